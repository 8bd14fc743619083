"""Values at the top of a sweep file, checked: its axes, seeds and plugins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ablate.errors import UserError
from ablate.sweepfile import claims
from ablate.sweepfile.patch import mapping


def axes(value: Any) -> dict[str, list[Any]]:
    """Values of every axis: of the setting it names, or, where the file has a mapping, names of patches of the base.
    Raises UserError for an axis without values.
    """
    axes = {axis: list(v) if isinstance(v, Mapping) else v for axis, v in mapping(value, "axes").items()}
    for axis, values in axes.items():
        claims.listed(values, f"axes.{axis}")
        if not values:
            raise UserError(f"axes.{axis}: expected at least one value, found none.")
    return axes


def shown(value: Any) -> Any:
    """An axis value as people read it: scalars as they are, patches as compact JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, separators=(",", ":"))


def plugins(value: Any) -> list[str]:
    """Names of the modules that register more. Raises UserError for what is no list of names."""
    names = [] if value is None else claims.listed(value, "plugins")
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"plugins: expected a list of modules, found {value!r}; write plugins: [my_lab.ablations].")
    return names


def seeds(value: Any) -> list[int]:
    """The seeds of every row. Raises UserError for what is no list of whole numbers."""
    seeds = claims.listed(value, "seeds")
    if not seeds or any(type(seed) is not int for seed in seeds):
        raise UserError(f"seeds: expected a list of whole numbers, found {value!r}; write seeds: [0, 1, 2].")
    return seeds
