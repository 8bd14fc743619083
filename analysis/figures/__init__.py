"""The figures, one file each, and their shared helpers."""
