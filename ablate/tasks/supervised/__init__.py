"""Tasks that train a head and, with it, the encoder."""
