"""Checks the axes, seeds, plugins and attention of a sweep file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ablate.errors import UserError, as_written, nearest
from ablate.sweepfile.patch import listed, mapping, once
from ablate.sweepfile.schema import Sweep, Value
from ablate.sweepfile.typed import setting
from encoders.attention import CHOICES

FEWEST = 3
"""Fewest seeds of a look."""
UNITS = {"s": 1, "min": 60, "h": 3600}
AMOUNT = r"(\d+(?:\.\d+)?) ?(s|min|h)\b"


def axes(value: object) -> dict[str, list[Value]]:
    """Return the values of each axis: values of the setting that it names, or the names of its patches.

    Raises UserError for an axis without values.
    """
    axes = {axis: list(v) if isinstance(v, Mapping) else v for axis, v in mapping(value, "axes").items()}
    for axis, values in axes.items():
        listed(values, f"axes.{axis}")
        if not values:
            raise UserError(f"axes.{axis}: expected at least one value, found none.")
    return axes


def shown(value: Value) -> str | int | float:
    """Return an axis value for display: scalars as they are, patches as compact JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, separators=(",", ":"))


def plugins(value: object) -> list[str]:
    """Return the names of plugin modules. Raises UserError for anything but a list of modules' names."""
    names = [] if value is None else [*once(setting(Sweep, "plugins", value), "plugins")]
    for number, name in enumerate(names):
        if not all(part.isidentifier() for part in name.split(".")):
            module = ".".join(part for part in re.split(r"[/.]+", name.removesuffix(".py")) if part)
            hint = f"write {module}." if module else "remove it."
            raise UserError(f"plugins[{number}]: found '{name}', expected a module's name, as in my_lab.losses; {hint}")
    return names


def seeds(value: object) -> list[int]:
    """Return the seeds of every row. Raises UserError for anything but a list of whole numbers."""
    seeds = [*once(setting(Sweep, "seeds", value), "seeds")]
    if not seeds:
        raise UserError(f"seeds: expected a list of whole numbers, found {as_written(value)}; write seeds: [0, 1, 2].")
    return seeds


def draws(value: object, tasks: Mapping[str, bool]) -> dict[str, int]:
    """Return the number of fine-tunings of a leaf by task; `tasks` says of each whether it is fine-tuned.

    Raises UserError for a task that is unknown or is not fine-tuned.
    """
    given = setting(Sweep, "finetune_seeds", 1 if value is None else value)
    if not isinstance(given, Mapping):
        return {task: given for task, trained in tasks.items() if trained}
    for task in given:
        if task not in tasks:
            raise UserError(f"finetune_seeds.{task}: no task '{task}' in this sweep; {nearest(task, tasks)}")
        if not tasks[task]:
            raise UserError(
                f"finetune_seeds.{task}: task '{task}' is measured on the leaf itself, without fine-tuning; remove it."
            )
    return {task: given.get(task, 1) for task, trained in tasks.items() if trained}


def first_seeds(seeds: list[int], count: int) -> list[int]:
    """Return the first `count` seeds of a list, continued by the next whole numbers where it is shorter."""
    return [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + count)][:count]


def looks(value: object) -> list[int]:
    """Return the numbers of seeds at which verdicts are taken; empty if none are declared.

    Raises UserError for numbers that do not grow, or below `FEWEST`.
    """
    looks = [*setting(Sweep, "looks", value)] if value is not None else []
    for number, (before, one) in enumerate(zip([0, *looks], looks)):
        if one < FEWEST:
            raise UserError(f"looks[{number}]: found {one}, expected at least {FEWEST} seeds; write looks: [5, 8].")
        if one <= before:
            raise UserError(f"looks[{number}]: found {one} after {before}, expected numbers that grow, as in [5, 8].")
    return looks


def budget(value: object) -> float | None:
    """Return the seconds of a duration such as 3 h, 90 min, 1.5 h, 2 h 05 min or 2:00:00; None if there is none.

    Raises UserError for anything else.
    """
    if value is None:
        return None
    text = setting(Sweep, "budget", value)
    seconds = 0.0
    if clock := re.fullmatch(r"(\d+):(\d\d?):(\d\d?)", text.strip()):
        hours, minutes, rest = map(int, clock.groups())
        seconds = 3600.0 * hours + 60 * minutes + rest
    elif re.fullmatch(rf"({AMOUNT} *)+", text.strip()):
        seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(AMOUNT, text))
    if not seconds:
        raise UserError(f"budget: expected a duration, as in 3 h, 90 min or 2:00:00, found {as_written(value)}.")
    return seconds


def attention(value: object) -> str:
    """Return the name of the attention backend. Raises UserError with the nearest name for an unknown one."""
    name = setting(Sweep, "attention", "auto" if value is None else value)
    if name not in CHOICES:
        raise UserError(f"attention: there is no backend '{name}'; {nearest(name, CHOICES)}")
    return name
