"""Tasks that train nothing: what a pre-trained encoder already knows."""
