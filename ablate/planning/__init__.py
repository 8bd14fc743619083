"""Turns a sweep file into a plan: resolves the rows, makes equal stages once, and estimates what they cost."""
