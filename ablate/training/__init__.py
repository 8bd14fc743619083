"""Optimizer updates: the loop, the optimizer, checkpoints, ranks, values that are not finite."""
