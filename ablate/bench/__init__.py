"""Speed and memory of training steps compared with other libraries: `python -m ablate.bench`."""
