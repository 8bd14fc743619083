"""Says how a sweep differs from its last run: in rows, seeds, tasks, axes, claims and settings. Standard library only.

How the sweep runs does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.errors import plural
from ablate.planning.again import at
from ablate.store.differ import DATA, Differences, Identity, Known, on_disk, settings
from ablate.store.record import FORMAT, Sweep, read_sweep, sweep_path
from ablate.store.stage import Plan, places

MOST_NAMES, MOST_CAUSES, MOST_LINES = 8, 4, 4
OF_CODE = ("version of ", "recipe of ")  # sentences that begin so are about the code, not the sweep
UNKNOWN = "is not known"


def since(plan: Plan, root: Path, said: Collection[str] = ()) -> list[str]:
    """Return lines that say what was added, dropped and changed since the last run; none if this is the first run.

    Settings of rows that `said` names already are left out. The plan is compared with the sweep's folder, so call this
    before `materialise`.
    """
    before = _before(plan, root)
    if before is None:
        return []
    lines = ["; ".join(_parts(before.sweep, plan.sweep)), *_changed(plan, before, root, said)]
    return [f"since the last run: {line}" for line in lines if line]


def apart(plan: Plan, root: Path) -> str:
    """Say in a few words how a plan differs from the one in its sweep's folder."""
    before = _before(plan, root)
    if before is None:
        return "other rows or settings"
    parts = [*_parts(before.sweep, plan.sweep), *_changed(plan, before, root)]
    kinds = [key for key in dict.fromkeys([*before.sweep, *plan.sweep]) if before.sweep.get(key) != plan.sweep.get(key)]
    more = f"; and {len(parts) - 3} more" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more or f"other {', '.join(key for key in kinds if key != 'format') or 'stages'}"


def _before(plan: Plan, root: Path) -> Optional[Sweep]:
    if not (sweep_path(root, plan.name) / "sweep.json").exists():
        return None
    before = read_sweep(root, plan.name)
    return before if before.format == FORMAT else None


def _parts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:  # of sweep.json
    """Say what was added and dropped by name, and which claims, settings of the data, and columns changed."""
    parts = []
    for what in ("rows", "seeds", "tasks", "axes"):
        parts += named(what, before.get(what, ()), now.get(what, ()))
    old, new = before.get("axes", {}), now.get("axes", {})
    for axis in (axis for axis in new if axis in old):
        parts += named(f"values of {axis}", old[axis], new[axis])
    old, new = before.get("claims", {}), now.get("claims", {})
    parts += named("claims", old, new)
    if changed := [name for name in new if name in old and new[name] != old[name]]:
        parts.append(f"claims changed: {_list(changed)}")
    of_data = settings(before.get("data"), now.get("data"), "data") if _other_data(before, now) else []
    if changed := [cause for cause in of_data if not cause.startswith(OF_CODE)]:
        parts.append(_told(changed))
    if not parts and before.get("table") != now.get("table"):  # else other changes may explain it
        parts.append("other columns or blocks of the table")
    return parts


def _other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return before.get("data") != now.get("data")


def _told(causes: list[str]) -> str:
    more = f"; and {plural(len(causes) - MOST_CAUSES, 'other setting')}" if len(causes) > MOST_CAUSES else ""
    return "; ".join(causes[:MOST_CAUSES]) + more


def named(what: str, before: Iterable[object], now: Iterable[object]) -> list[str]:
    """Say which names were added, and which were dropped."""
    before, now = list(before), list(now)
    added, dropped = [one for one in now if one not in before], [one for one in before if one not in now]
    return [f"{what} {verb}: {_list(names)}" for verb, names in (("added", added), ("dropped", dropped)) if names]


def _list(names: Collection[object]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(str, list(names)[:MOST_NAMES])) + more


def _changed(plan: Plan, before: Sweep, root: Path, said: Collection[str] = ()) -> list[str]:
    """Say which of the earlier rows have changed settings or data, and what changed."""
    rows = [row for row in plan.sweep["rows"] if row in before.sweep["rows"]]
    behind: dict[str, list[str]] = {}  # cause -> rows
    trained = {stage.kind for stage in plan.stages.values()} - set(DATA)
    for row, causes in _causes(plan, before, on_disk(root)).items():
        for cause in causes:
            if cause.split()[0].rstrip(":") not in trained and _other_data(before.sweep, plan.sweep):
                continue  # it follows from the settings of the data, which `_parts` lists
            behind.setdefault(cause, []).append(row)
    groups: dict[tuple[str, ...], list[str]] = {}
    for cause, of in behind.items():
        groups.setdefault(tuple(of), []).append(cause)
    lines = []
    for of, causes in groups.items():
        new = [cause for cause in causes if not any(_setting(cause) in line for line in said)]
        if not new and len(of) == len(rows) > 1:
            continue  # `said` has it all
        names = "all rows" if len(of) == len(rows) > 1 else _list(of)
        lines.append(f"{names} changed" + (f" ({_told(new)})" if new else ""))
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [f"and {plural(len(lines) - MOST_LINES + 1, 'other change')} of rows"]
    return lines


def _causes(plan: Plan, before: Sweep, on_root: Known) -> dict[str, list[str]]:
    """Return by row the sentences that say how its stages differ from those in the same places before."""

    def planned(id: str) -> Optional[Identity]:
        return plan.stages[id].identity if id in plan.stages else on_root(id)

    differ, lines = Differences(on_root, planned), {at(line): places(line["stages"]) for line in before.manifest}
    causes: dict[str, dict[str, str]] = {}
    vague = set()  # rows whose stages do not tell all that changed
    seen = set()  # rows at points: seeds differ in nothing else, so one of each is enough
    for line in plan.manifest:
        old, found = lines.get(at(line)), causes.setdefault(line["row"], {})
        if old is None:
            vague.add(line["row"])
        if old is None or at(line)[:2] in seen:
            continue
        seen.add(at(line)[:2])
        for place, id in places(line["stages"]).items():
            for cause in differ.between(old[place], id) if old.get(place, id) != id else ():
                if UNKNOWN in cause:
                    vague.add(line["row"])
                elif not cause.startswith(OF_CODE):
                    found.setdefault(_setting(cause), cause)  # fine-tuning and score share a task's settings
    for row in vague:
        if not causes[row] and row in before.sweep["rows"] and before.sweep.get("axes") == plan.sweep.get("axes"):
            old, new = (_plain(one["rows"][row]) for one in (before.sweep, plan.sweep))
            causes[row] = {cause: cause.removeprefix(": ") for cause in settings(old, new, "")}
    return {row: list(found.values()) for row, found in causes.items() if found}


def _plain(row: object) -> object:
    """Return a row's settings without labels and recipes, which are not part of the sweep."""
    if not isinstance(row, Mapping):
        return row
    return {key: _plain(part) for key, part in row.items() if key not in ("label", "recipe")}


def _setting(cause: str) -> str:
    """Return a sentence without the kind of stage that it begins with."""
    return cause.partition(": ")[2] or cause
