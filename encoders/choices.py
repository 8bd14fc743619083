"""Checks of names in a config. The only copy for encoders and objectives, which import nothing from `ablate`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def check_choice(what: str, value: str, valid: Iterable[str]) -> None:
    """Raise ValueError, with the nearest valid name, unless `value` is one of `valid`."""
    valid = tuple(valid)
    if value not in valid:
        raise ValueError(f"{what} is '{value}', which is not one of its choices; {_hint(value, valid)}")


def check_known(what: str, names: Iterable[str], valid: Iterable[str]) -> None:
    """Raise ValueError, with the nearest valid name, unless all `names` are among `valid`."""
    valid = tuple(valid)
    for name in names:
        if name not in valid:
            raise ValueError(f"Unknown {what} '{name}': {_hint(name, valid)}")


def _hint(value: str, valid: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(valid) or 'none'}."
