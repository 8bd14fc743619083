"""The `tune` stage: of fine-tunings that differ in some settings, the one with the best dev score.

A task with `tune: {lr: [5e-4, 1e-3]}` is fine-tuned at every point of that grid, with the sweep's first seed and ordinary
`finetune` stages. This stage records what each reached on dev and names the winner, whose settings all seeds then take.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ablate.errors import UserError
from ablate.sweepfile.patch import mapping, merge
from ablate.store.run import RunFolder
from ablate.store.stage import restored
from ablate.tasks.task import TaskConfig

FIXED = ("preset", "table", "splits", "tokenizer")
ROLE = "finetune/"  # of the fine-tunings to choose from, by number


@dataclass(frozen=True, kw_only=True)
class TuneStage:
    """Identity of a choice: all of it is in what is chosen from, its parents, in this order."""

    tag: ClassVar[str] = "tune"
    how: ClassVar[tuple[str, ...]] = ("settings",)

    settings: tuple[dict[str, Any], ...] = ()
    """What each of the fine-tunings sets, as {"lr": 1e-3}: for the record."""


def choices(
    part: Mapping[str, Any], tune: Any, path: str, made: Callable[[Mapping[str, Any], str], TaskConfig]
) -> list[tuple[dict[str, Any], TaskConfig]]:
    """What tuning a task tries: all combinations of the listed values, the last field varying fastest, and the configs
    that `made` (from a patch and its path in the file) makes of `part` with them.

    Raises UserError for what is no list, what cannot be tuned, and a task that trains nothing.
    """
    path, tune = f"{path}.tune", mapping(tune, f"{path}.tune")
    for name, values in tune.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}.{name}: expected a list of values to try, found {values!r}; write {name}: [1, 2].")
        if name.partition(".")[0] in FIXED:
            raise UserError(f"{path}.{name}: cannot be tuned: what is scored must stay the same; choose another field.")
    points = [dict(zip(tune, values)) for values in itertools.product(*tune.values())]
    found = [(point, made(merge(part, nested(point)), path)) for point in points]
    if not found[0][1].build().trained:
        raise UserError(f"{path}: this task trains nothing, so there is nothing to tune; remove it.")
    return found


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name as a patch: {"decoder.layers": 2} is {"decoder": {"layers": 2}}."""
    patch: dict[str, Any] = {}
    for name, value in settings.items():
        *above, last = name.split(".")
        inner = patch
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return patch


def run(config: TuneStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Choose the best dev score, of equals the first; the result has what all of them reached."""
    task, tried = restored(parents[f"{ROLE}0"]).task.build(), []
    for number, settings in enumerate(config.settings):
        tuned = parents[f"{ROLE}{number}"]
        result = tuned.result()
        tried.append({"settings": settings, "dev": result["dev"]["value"], "best_step": result["best_step"], "id": tuned.id})
    best = (min if task.select.better == "lower" else max)(tried, key=lambda one: one["dev"])
    return {
        "task": task.name,
        "chosen": best["settings"],
        "winner": best["id"],
        "dev": {"metric": task.select.name, "value": best["dev"]},
        "tried": tried,
    }


def settled(config: Any, parents: Mapping[str, RunFolder]) -> Any:
    """A fine-tuning or scoring stage's config, with the task as tuning left it where that is among the parents."""
    if "tune" not in parents:
        return config
    return replace(config, task=restored(winner(parents["tune"])).task.scored_as(config.task))


def winner(tune: RunFolder) -> RunFolder:
    """The fine-tuning that a finished `tune` stage chose."""
    return RunFolder(tune.root, "finetune", tune.result()["winner"])
