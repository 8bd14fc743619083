"""Errors for users: each is one clear sentence, with the nearest valid name if a name was wrong."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something that the user asked for cannot be done.

    The message says what was found, what is expected, and what to do.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "did you mean 'X'?" with the closest valid name, or the list of all valid names if none is close."""
    names = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}."


def place(cls: Any) -> str:
    """Return file and line of a class or function, for messages about it."""
    try:
        return f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # defined at a prompt
        return cls.__module__
