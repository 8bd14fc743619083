"""Layouts of corpora on disk: each reader yields rows as they are written there."""
