"""Values at the top of a sweep file, checked: its axes, seeds, plugins and attention."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ablate.errors import UserError
from ablate.sweepfile.patch import listed, mapping, once
from ablate.sweepfile.schema import Sweep, Value
from ablate.sweepfile.typed import setting
from encoders.attention import CHOICES
from encoders.choices import check_choice


def axes(value: object) -> dict[str, list[Value]]:
    """Values of every axis: of the setting it names, or, where the file has a mapping, names of patches of the base.
    Raises UserError for an axis without values.
    """
    axes = {axis: list(v) if isinstance(v, Mapping) else v for axis, v in mapping(value, "axes").items()}
    for axis, values in axes.items():
        listed(values, f"axes.{axis}")
        if not values:
            raise UserError(f"axes.{axis}: expected at least one value, found none.")
    return axes


def shown(value: Value) -> str | int | float:
    """An axis value as people read it: scalars as they are, patches as compact JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, separators=(",", ":"))


def plugins(value: object) -> list[str]:
    """Names of the modules that register more. Raises UserError for what is no list of names."""
    return [] if value is None else [*once(setting(Sweep, "plugins", value), "plugins")]


def seeds(value: object) -> list[int]:
    """The seeds of every row. Raises UserError for what is no list of whole numbers."""
    seeds = [*once(setting(Sweep, "seeds", value), "seeds")]
    if not seeds:
        raise UserError(f"seeds: expected a list of whole numbers, found {value!r}; write seeds: [0, 1, 2].")
    return seeds


def attention(value: object) -> str:
    """The name of what computes attention. Raises UserError, with the nearest, for another name."""
    name = setting(Sweep, "attention", "auto" if value is None else value)
    try:
        check_choice("attention", name, CHOICES)
    except ValueError as error:
        raise UserError(str(error)) from None
    return name
