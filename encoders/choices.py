"""Checks of names in a config. The only copy for encoders and objectives, which import nothing from `ablate`."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator
from functools import cache

from encoders.ranges import OneOf


def check_choices(config: object) -> None:
    """Raise ValueError, with the nearest valid name, unless each field of a dataclass is among its `OneOf`, if it has
    one. Of a tuple, every item must be.
    """
    for field, one in _choices(type(config)):
        value = getattr(config, field)
        for name in value if isinstance(value, tuple) else (value,):
            if not one.holds(name):
                raise ValueError(f"{field} is '{name}': {_hint(name, one.names)}")


def check_known(what: str, names: Iterable[str], valid: Iterable[str]) -> None:
    """Raise ValueError, with the nearest valid name, unless all `names` are among `valid`."""
    valid = tuple(valid)
    for name in names:
        if name not in valid:
            raise ValueError(f"Unknown {what} '{name}': {_hint(name, valid)}")


@cache
def _choices(cls: type) -> tuple[tuple[str, OneOf], ...]:
    """Return the fields of a dataclass that have a `OneOf`, each with it."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple((one.name, choice) for one in dataclasses.fields(cls) for choice in _of(hints[one.name]))


def _of(hint: object) -> Iterator[OneOf]:
    """Yield the choices in a type hint."""
    if isinstance(hint, OneOf):
        yield hint
    for inner in (*typing.get_args(hint), *getattr(hint, "__metadata__", ())):
        yield from _of(inner)


def _hint(value: str, valid: Iterable[str]) -> str:
    valid = tuple(valid)
    close = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(valid) or 'none'}."
