"""Tasks that train nothing: they measure what a pre-trained encoder already represents."""
