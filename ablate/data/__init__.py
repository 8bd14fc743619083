"""Where data comes from: corpora, the tables they are written to, tokens and packed batches."""
