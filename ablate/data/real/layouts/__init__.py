"""How corpora lie on disk: each reader yields rows as they are written there."""
