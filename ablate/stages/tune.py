"""The `tune` stage: among fine-tunings that differ in some settings, choose the one with the best dev score.

A task with `tune: {lr: [5e-4, 1e-3]}` is fine-tuned at every point of that grid, with the sweep's first seed and
ordinary `finetune` stages. This stage records the dev score of each and names the winner, whose settings are then used
for all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ablate.stages.tuned import ROLE, task_of
from ablate.store.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class TuneStage:
    """Identity of a choice: it is determined by the candidates, its parents in this order."""

    tag: ClassVar[str] = "tune"
    how: ClassVar[tuple[str, ...]] = ("settings",)

    settings: tuple[dict[str, Any], ...] = ()
    """What each of the fine-tunings sets, such as {"lr": 1e-3}; only for the record."""


def stage(config: TuneStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Choose the best dev score, the first of equal ones; the result has the scores of all."""
    task, tried = task_of(parents[f"{ROLE}0"]).build(), []
    for number, settings in enumerate(config.settings):
        tuned = parents[f"{ROLE}{number}"]
        result = tuned.result()
        tried.append(
            {"settings": settings, "dev": result["dev"]["value"], "best_step": result["best_step"], "id": tuned.id}
        )
    best = (min if task.chosen.better == "lower" else max)(tried, key=lambda one: one["dev"])
    return {
        "task": task.name,
        "chosen": best["settings"],
        "winner": best["id"],
        "dev": {"metric": task.chosen.name, "value": best["dev"]},
        "tried": tried,
    }
