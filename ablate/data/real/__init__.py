"""Real corpora, read from the layouts they come in."""
