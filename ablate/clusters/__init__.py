"""Where stages run: on this machine, or on Slurm. No torch, and nothing of what a stage does."""
