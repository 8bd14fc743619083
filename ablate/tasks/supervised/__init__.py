"""Tasks that train a head, and the encoder with it."""
