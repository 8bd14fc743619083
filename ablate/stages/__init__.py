"""The kinds of stages, from a recording to a score, and how one is executed."""
