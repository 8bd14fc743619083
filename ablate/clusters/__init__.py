"""Where stages run: on this machine, or on Slurm. It knows neither torch nor what a stage does."""
