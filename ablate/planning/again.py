"""Says which finished stages a plan makes again, and why. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Optional

from ablate.errors import plural
from ablate.store.differ import Crossing, Differences, Identity, on_disk
from ablate.store.record import read_sweep, run_path, sweep_path
from ablate.store.stage import Plan, places

Lookup = Callable[[str], Optional[Identity]]
MOST = 10  # most lines that are shown
TOGETHER = 4  # most causes on one line


def again(plan: Plan, root: Path) -> list[str]:
    """Return lines that say which finished stages are made again under other ids, grouped by what changed.

    The plan is compared with the manifest of the last run, so call this before `materialise`. Returns an empty list if
    nothing is made again.
    """
    if not (sweep_path(root, plan.name) / "sweep.json").exists():
        return []
    before, on_root = read_sweep(root, plan.name), on_disk(root)

    def planned(id: str) -> Optional[Identity]:
        return plan.stages[id].identity if id in plan.stages else on_root(id)

    pairs = _pairs(plan, before.manifest, on_root, first=before.format == 1)
    made = {id: old for id, old in pairs.items() if _done(root, on_root, old) and not _done(root, planned, id)}
    differ = (Crossing if before.format == 1 else Differences)(on_root, planned)
    behind: dict[str, set[str]] = {}
    for id, old in made.items():
        for cause in differ.between(old, id):
            behind.setdefault(cause, set()).add(id)
    groups: dict[frozenset[str], list[str]] = {}  # causes of the same stages share a line
    for cause, stages in behind.items():
        groups.setdefault(frozenset(stages), []).append(cause)
    lines = []
    for stages, causes in sorted(groups.items(), key=lambda group: (-len(group[0]), group[1])):
        more = f"; and {plural(len(causes) - TOGETHER, 'other change')}" if len(causes) > TOGETHER else ""
        lines.append(f"{len(stages):,} to make again: {'; '.join(causes[:TOGETHER])}{more}")
    if len(lines) > MOST:
        lines[MOST - 1 :] = [f"and {plural(len(lines) - MOST + 1, 'other change')}; see python -m ablate.store explain"]
    return lines


def _pairs(plan: Plan, manifest: Iterable[Mapping[str, object]], known: Lookup, first: bool) -> dict[str, str]:
    """Return the earlier stage of each stage of the plan whose id changed.

    Stages are paired by their place in the manifest, and then by role down their parents. `first`: the manifest has
    format 1.
    """
    lines = {at(line): places(line["stages"]) for line in manifest}
    pairs: dict[str, str] = {}
    for line in plan.manifest:
        old = lines.get(at(line), {})
        for place, id in places(line["stages"]).items():
            other = old.get(place, old.get(_first(place)) if first else None)
            if id in plan.stages and other not in (None, id):
                pairs.setdefault(id, other)
    open_ = list(pairs)
    while open_:
        id = open_.pop()
        old = dict((known(pairs[id]) or {"parents": ()})["parents"])
        for role, parent in plan.stages[id].parents:
            if parent in plan.stages and parent not in pairs and old.get(role, parent) != parent:
                pairs[parent] = old[role]
                open_.append(parent)
    return pairs


def at(line: Mapping[str, object]) -> tuple[str, str, int]:
    """Return what a line of the manifest is about: row, point of the axes, and seed."""
    return line["row"], json.dumps(line["point"], sort_keys=True), line["seed"]


def _first(place: str) -> str:
    """Return the place that a stage had in format 1.

    There, one corpus stood for all tables, the tokenizer for texts as ids, and one score for all splits of a task.
    """
    kind, _, rest = place.partition("/")
    return {"tables": "corpus", "tokens": "tokenizer", "score": f"score/{rest.rpartition('/')[0]}"}.get(kind, place)


def _done(root: Path, known: Lookup, id: str) -> bool:
    what = known(id)
    return what is not None and (run_path(root, what["kind"], id) / "result.json").exists()
