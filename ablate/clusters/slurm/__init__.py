"""Stages as Slurm jobs: submitted in arrays, followed, and diagnosed when they fail."""
