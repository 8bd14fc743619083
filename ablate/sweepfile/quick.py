"""`--quick`: makes a sweep small, so that it shows within minutes how everything works.

Some counts are divided, but not below `LEAST`: pre-training's updates and warm-up by 20, fine-tuning's updates and the
updates between evaluations by 5, and the rows of the corpus by 10. Only the first seed is kept. Settings from overrides
stay as they are. The sweep and its root get other names, so that no real run is overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.errors import UserError
from ablate.sweepfile.load import set_by
from ablate.sweepfile.patch import leaves, listed, mapping
from ablate.sweepfile.registry import Registry
from ablate.sweepfile.rows import axis_patch

LEAST = 10
DIVISORS = {  # by a pattern of the dotted names of settings of `base`
    r"pretrain\.(steps|decay|optimizer\.warmup)": 20,
    r"tasks\.[^.]+\.(tune\.)?(steps|evaluate_every)": 5,
}
ROWS = 10  # divisor of numbers of rows
WORTH = (
    "Quick run: shows how everything works and decides nothing (a twentieth of pre-training, a fifth of fine-tuning, a "
    "tenth of the data{})."
)
ROOT = "runs-quick"  # the default root


def less(count: int, divisor: int) -> int:
    """Divide a number of updates or rows, but not below `LEAST`."""
    return max(min(count, LEAST), round(count / divisor))


def smaller(sweep: Mapping[str, Any], overrides: Iterable[str], registry: Registry) -> dict[str, Any]:
    """Return the small version of a sweep, whose overrides are applied and whose shorthand is expanded.

    Interpolations remain unresolved. Raises UserError for data whose rows cannot be left out.
    """
    kept = set_by(overrides)
    sweep = {"seeds": [0], "question": "", **sweep}
    sweep["data"] = {"preset": "builtin", **mapping(sweep.get("data"), "data")}
    rows, axes = mapping(sweep.get("rows"), "rows"), mapping(sweep.get("axes"), "axes")
    data = [sweep["data"], *_data_of(axes)]
    presets = {str(one["preset"]) for one in data if "preset" in one}
    for preset in sorted(presets & registry.data.keys()):
        if not registry.data[preset].counts:
            raise UserError(
                f"--quick leaves most rows of the corpus out, which data of the kind '{preset}' cannot do; set fewer "
                "updates yourself, as in base.pretrain.steps=100, or use it with data: builtin."
            )
    counted = sorted({name for preset in presets & registry.data.keys() for name in registry.data[preset].counts})
    of = _Smaller(DIVISORS | {re.escape(f"data.{name}"): ROWS for name in counted}, kept)
    tuned = any(path.partition(".")[0] == "finetune_seeds" for path in kept)
    made = {
        "data": of({**_counts(sweep["data"], registry), **sweep["data"]}, "data", "data"),
        "base": of(_filled(sweep, registry), "base"),
        "rows": {name: of(row, f"rows.{name}") for name, row in rows.items()},
        "axes": {
            axis: {point: of(patch, f"axes.{axis}.{point}") for point, patch in values.items()}
            if isinstance(values, Mapping)
            else of(values, f"axes.{axis}", axis)
            for axis, values in axes.items()
        },
        "finetune_seeds": sweep["finetune_seeds"] if tuned else 1,
        "seeds": sweep["seeds"] if "seeds" in kept else listed(sweep["seeds"], "seeds")[:1],
        "name": sweep["name"] if "name" in kept else f"{sweep['name']}_quick",
    }
    if "root" in sweep and "root" not in kept:
        made["root"] = f"{sweep['root']}-quick"
    worth = WORTH.format("" if "seeds" in kept else ", one seed")
    return {**sweep, **made, "question": f"{worth} {sweep['question']}".strip()}


@dataclass(frozen=True)
class _Smaller:
    """Divides the counts in a part of a sweep."""

    divisors: Mapping[str, int]
    kept: Collection[str]

    def __call__(self, value: Any, path: str, setting: str = "") -> Any:
        """Return the value at `path` with its counts divided; `setting` is its dotted name in `base` or `data`."""
        if path in self.kept:
            return value
        if isinstance(value, Mapping):
            below = f"{setting}." if setting else ""
            return {key: self(part, f"{path}.{key}", f"{below}{key}") for key, part in value.items()}
        if isinstance(value, list):  # of an axis or a grid
            made = [self(item, f"{path}[{number}]", setting) for number, item in enumerate(value)]
            return value if made == value else [one for number, one in enumerate(made) if one not in made[:number]]
        divisor = next((by for names, by in self.divisors.items() if re.fullmatch(names, setting)), 1)
        return less(value, divisor) if type(value) is int and divisor > 1 else value


def _data_of(axes: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the patches of `data` that the axes apply."""
    for axis, values in axes.items():
        if axis.partition(".")[0] == "data" and isinstance(values, list):
            yield from (axis_patch(axis, value)["data"] for value in values)


def _counts(data: Mapping[str, Any], registry: Registry) -> dict[str, int]:
    """Return the default numbers of rows of the preset that the data name."""
    preset = registry.data.get(data.get("preset"))
    return {name: getattr(preset, name) for name in preset.counts} if preset is not None else {}


def _filled(sweep: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return the base, with the counts that it leaves to presets written out."""
    base = mapping(sweep.get("base"), "base")
    pretrain, tasks = mapping(base.get("pretrain"), "base.pretrain"), mapping(base.get("tasks"), "base.tasks")
    optimizer = {"warmup": registry.optimizer.warmup} | mapping(pretrain.get("optimizer"), "base.pretrain.optimizer")
    named = [str(name) for name in listed(sweep.get("tasks", [*tasks]), "tasks")]
    for task in [one for name in named for one in registry.groups.get(name, (name,))]:
        written = tasks.get(task) or {}
        preset = registry.tasks.get(written.get("preset", task)) if isinstance(written, Mapping) else None
        if preset is not None and preset.steps:
            tasks[task] = {"steps": preset.steps, "evaluate_every": preset.evaluate_every, **written}
    return {**base, "pretrain": {**pretrain, "optimizer": optimizer}, "tasks": tasks}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `after` that differ from `before`, by dotted path."""
    old = dict(leaves(before))
    return {path: value for path, value in leaves(after) if path not in old or old[path] != value}
