"""The fixtures of real_files.py, for all tests of real corpora."""

from real_files import cache, root  # noqa: F401 (fixtures, which pytest looks for here)
