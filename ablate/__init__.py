"""Ablations of joint speech-text pre-training: see docs/architecture.md for what is where."""
