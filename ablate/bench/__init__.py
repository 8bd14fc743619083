"""Speed and memory of training steps beside those of other libraries: `python -m ablate.bench`."""
