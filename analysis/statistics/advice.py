"""Where another hour of work tells most: in seeds, in fine-tunings, or in test items.

It reads variances and times, never effects: what it says is no look at a claim, and can be asked at any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from analysis.records import manifest
from analysis.records.frame import Measure, Records
from analysis.records.manifest import Line
from analysis.statistics import looks
from analysis.statistics.compare import MANY, Estimate, detectable, effect_with_items
from analysis.statistics.components import Components, of_effect

ITEMS = 2
"""Factor by which more test items are considered."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to spend work."""

    name: str
    more: int
    """How many more: seeds, or fine-tunings of each leaf; of items, by which factor."""
    seconds: float
    """Work that it takes."""
    detectable: float
    """Smallest effect shown four times in five after it."""


def ways(
    records: Records, effect: Mapping[str, float], what: Measure, budget: float, at: float
) -> tuple[float, list[Way]]:
    """Return the smallest effect detectable now at level `at`, and what `budget` seconds would make of it, by way.

    Each way has at least one unit, also where that costs more. Nothing can be said of one seed (NaN, no ways).
    """
    estimate, parts = effect_with_items(records, effect, what), of_effect(records, effect, what)
    now = detectable(estimate, level=at)
    if parts is None or math.isnan(now):
        return now, []
    rows = [row for row, times in effect.items() if times]
    seeds = set.intersection(*({line["seed"] for line in records.manifest if line["row"] == row} for row in rows))
    lines = [line for line in records.manifest if line["row"] in rows and line["seed"] in seeds]
    found = []
    if seed := _seed(records, lines, what.task):
        more = _affordable(budget, seed)
        found.append(Way(name="seeds", more=more, seconds=more * seed, detectable=_then(estimate, at, seeds=more)))
    if parts.finetuning > 0 and (tuned := _finetuned(records, lines, what.task)):
        more = _affordable(budget, tuned)
        saved = parts.tuned() - parts.tuned(more)
        then = _then(estimate, at, spread=_less(estimate, parts, saved))
        found.append(Way(name="fine-tunings", more=more, seconds=more * tuned, detectable=then))
    if estimate.shared and (scored := _scored(records, lines, what.task)):
        then = _then(estimate, at, items=ITEMS)
        found.append(Way(name="test items", more=ITEMS, seconds=(ITEMS - 1) * scored, detectable=then))
    return now, found


def _less(estimate: Estimate, parts: Components, saved: float) -> float:
    """The seeds' part of the squared error without `saved` of the variance of a leaf's value."""
    whole = parts.pretraining + parts.tuned()
    return estimate.spread * max(0.0, 1 - saved / whole) if whole else estimate.spread


def _then(estimate: Estimate, at: float, seeds: int = 0, spread: float | None = None, items: int = 1) -> float:
    """Smallest detectable effect with so many more seeds, another spread of seeds, `items` times the test items."""
    kept = estimate.spread if spread is None else spread
    kept = max(0.0, kept - estimate.within * (1 - 1 / items))
    shared, within, less = estimate.shared / items, estimate.within / items, kept / estimate.spread
    changed = replace(
        estimate,
        error=math.sqrt(kept + shared),
        groups=tuple((variance * less, freedom) for variance, freedom in estimate.groups),
        shared=shared,
        within=within,
        within_term=estimate.within_term / items**2,
        items_freedom=estimate.items_freedom * items,
    )
    return detectable(changed, level=at, seeds=estimate.n + seeds)


def _affordable(budget: float, seconds: float) -> int:
    return max(1, min(MANY, int(budget / seconds)))


def _seconds(records: Records, kind: str, id: str) -> float:
    return (records.result(kind, id) or {}).get("seconds", 0.0)


def _seed(records: Records, lines: list[Line], task: str) -> float:
    """Mean seconds of what one seed of the rows takes for a task: its own pre-training, fine-tunings and scores."""
    of: dict[tuple[str, str], set[int]] = {}
    for line in lines:
        ids = [("pretrain", id) for id in (*manifest.trunks(line), manifest.leaf(line)) if id]
        ids += [("finetune", id) for tuned, id in manifest.every_finetuned(line) if tuned == task]
        ids += [(manifest.kind(line, task), id) for id in manifest.every_score(line, task)]
        for one in ids:
            of.setdefault(one, set()).add(line["seed"])
    seeds = {line["seed"] for line in lines}
    return sum(_seconds(records, *one) for one, own in of.items() if len(own) == 1) / max(1, len(seeds))


def _finetuned(records: Records, lines: list[Line], task: str) -> float:
    """Seconds of one more fine-tuning, and its scores, of every leaf."""
    total = 0.0
    for line in lines:
        tuned = [id for name, id in manifest.every_finetuned(line) if name == task]
        work = sum(_seconds(records, "finetune", id) for id in tuned)
        work += sum(_seconds(records, manifest.kind(line, task), id) for id in manifest.every_score(line, task))
        total += work / max(1, len(tuned))
    return total


def _scored(records: Records, lines: list[Line], task: str) -> float:
    """Seconds of all scores of a task."""
    ids = {(manifest.kind(line, task), id) for line in lines for id in manifest.every_score(line, task)}
    return sum(_seconds(records, *one) for one in ids)


def level(records: Records, claim: Mapping[str, Any]) -> float:
    """Return the level of the first and strictest step of a claim's family, at its last look."""
    family = claim.get("family", "primary")
    claims = sum(one.get("family", "primary") == family for one in records.sweep["claims"].values())
    return looks.remaining(records.sweep.get("looks") or [len(records.seeds)], claims)
