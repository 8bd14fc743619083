"""Stages as jobs of Slurm: submitted in arrays, followed, told apart when they fail."""
