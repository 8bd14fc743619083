"""Downstream tasks: what is trained on an encoder or measured of it, and how it is scored."""
