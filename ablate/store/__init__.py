"""What lies under a root of runs: list it, say how two stages differ, bring it to the format of today.

`python -m ablate.store --help` explains it. Standard library only.
"""
