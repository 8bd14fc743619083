"""Data: corpora, the tables they are written to, tokens and packed batches."""
