"""The kinds of stages, from recordings to scores, and how one is executed."""
