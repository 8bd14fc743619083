"""What an update is: the loop, the optimizer, checkpoints, ranks, numbers that are not finite."""
