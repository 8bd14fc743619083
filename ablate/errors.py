"""Errors for users: each is one clear sentence, with the nearest valid name if a name was wrong."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(Exception):
    """Something that the user asked for cannot be done.

    The message says what was found, what is expected, and what to do.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "did you mean 'X'?" with the closest valid name, or the list of all valid names if none is close."""
    names = [str(v) for v in valid]
    near = close(name, names)
    return f"did you mean '{near}'?" if near is not None else f"valid: {', '.join(names) or 'none'}."


def close(name: str, valid: Iterable[str]) -> str | None:
    """Return the closest valid name, or None if none is close."""
    return next(iter(difflib.get_close_matches(str(name), [str(one) for one in valid], n=1, cutoff=0.6)), None)


def plural(count: int, noun: str, verb: str = "") -> str:
    """Return a count with its noun and, if given, its verb, all in the same number: "1 stage is", "2 stages are".

    `noun` is singular, or "" for none; `verb` is plural.
    """
    one = count == 1
    words = [f"{count:,}"]
    words += [noun if one else f"{noun}s"] * bool(noun)
    words += [SINGULAR.get(verb, verb) if one else verb] * bool(verb)
    return " ".join(words)


SINGULAR = {"are": "is", "were": "was"}


def as_written(value: object) -> str:
    """A value as a file has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(as_written, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def place(cls: Any) -> str:
    """Return file and line of a class or function, for messages about it."""
    try:
        return f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # defined at a prompt
        return cls.__module__
