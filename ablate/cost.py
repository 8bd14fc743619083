"""What stages will cost in core-seconds: a formula from steps and sizes, scaled by what finished stages took."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from ablate.stage import Stage

PASS = 4e-3  # seconds of one forward and backward through one layer, at sizes where single operations rule
RATE = 2.6e10  # floating-point operations a second of one core, beyond that
POSITIONS = 25.0  # speech positions a second
PAIR = (3.0, 12)  # seconds and tokens of a typical pair
ITEM = {"speech": 60, "text": 20, "pair": 80}  # positions of a typical item of a task
CORPUS, TOKENIZER, KMEANS, START, SCORE = 20.0, 1.0, 5.0, 0.2, 1.5  # seconds


def pretrain(encoder: Any, streams: Iterable[str], update: Any, steps: int) -> float:
    """Core-seconds of `steps` updates with one encoder pass for each of `streams`."""
    sizes = {
        "speech": update.speech * POSITIONS, "text": update.text,
        "pair": update.pairs * (PAIR[0] * POSITIONS + PAIR[1]),
    }  # fmt: skip
    return START + steps * sum(_pass(encoder, sizes[stream]) for stream in streams)


def finetune(encoder: Any, task: Any, reads: str) -> float:
    """Core-seconds of fine-tuning on items of the kind it `reads`, to the last step."""
    return START + task.steps * _pass(encoder, task.items * ITEM[reads])


def _pass(encoder: Any, positions: float) -> float:
    """Seconds of a forward and backward pass; an encoder that names no width and layers counts as a nano one."""
    names = [field.name for field in dataclasses.fields(encoder)]
    layers = sum(getattr(encoder, name) for name in names if name.endswith("_layers")) or 3
    return layers * (PASS + 6 * positions * 12 * getattr(encoder, "width", 64) ** 2 / RATE)


def scaled(stages: Mapping[str, Stage], timings: Mapping[str, float]) -> dict[str, Stage]:
    """Scale estimates by the median ratio of measured to estimated seconds over finished stages of the same sort."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for id, seconds in timings.items():
        if id in stages and stages[id].cost > 0:
            ratios.setdefault(_sort(stages[id]), []).append(seconds / stages[id].cost)
    factors = {sort: median(values) for sort, values in ratios.items()}
    return {
        id: dataclasses.replace(stage, cost=timings.get(id, stage.cost * factors.get(_sort(stage), 1.0)))
        for id, stage in stages.items()
    }


def _sort(stage: Stage) -> tuple[str, str]:
    return stage.kind, stage.config.get("task", {}).get("type", "")
