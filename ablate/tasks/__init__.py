"""Downstream tasks: what is trained on an encoder or measured on it, and how it is scored."""
