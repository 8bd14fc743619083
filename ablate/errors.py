"""Errors meant for the user: one clear sentence each, with the nearest valid name where a name was wrong."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something the user wrote cannot be done; the message says what, what was expected, and what to do."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "did you mean X?" with the closest valid name, else the list of all valid names."""
    names = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}."


def place(cls: Any) -> str:
    """File and line of a class or function, for messages about it."""
    try:
        return f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # defined at a prompt
        return cls.__module__
