"""Differences, intervals, verdicts on claims, scaling laws."""
