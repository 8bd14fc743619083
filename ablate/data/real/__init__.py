"""Real corpora, read in their published layouts."""
