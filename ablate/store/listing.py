"""Lists what is under a root: its sweeps with their progress, and its stages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from ablate.errors import UserError, nearest, plural
from ablate.store import index
from ablate.store.disk import amount
from ablate.store.index import Entry
from ablate.store.record import Sweep, read_json, read_result, read_sweep
from ablate.store.stage import stage_ids

HEAD = ("sweep", "rows × seeds", "done", "running", "failed", "size", "last change", "question")


def lines(root: Path) -> list[str]:
    """Describe the sweeps and the kinds of stages under a root.

    Raises UserError if there is nothing, or a record of a newer format.
    """
    names, found = sweeps(root), index.entries(root)
    if not names and not found:
        raise nothing(root)
    used: set[str] = set()
    table = []
    for name in names:
        sweep = read_sweep(root, name)
        ids = members(sweep, found)
        used |= ids
        table.append(_row(sweep, ids, [found[id] for id in ids if id in found]))
    report = _columns([HEAD, *table], right=range(2, 6)) if table else []
    kinds = Counter(one.kind for one in found.values())
    width, digits = max(map(len, kinds), default=0), max((len(f"{n:,}") for n in kinds.values()), default=0)
    for kind in sorted(kinds):
        own = [one for one in found.values() if one.kind == kind]
        done = sum(one.done for one in own)
        report.append(f"{kind:{width}}  {done:{digits},} of {kinds[kind]:{digits},} done  {amount(_size(own)):>7}")
    if alone := [one for one in found.values() if one.id not in used]:
        report.append(f"{plural(len(alone), 'stage', 'are')} used by no sweep here ({amount(_size(alone))}).")
    if gone := [one for one in found.values() if one.pruned]:
        lost = amount(sum(sum(one.pruned.values()) for one in gone))
        report.append(f"{lost} of files of {plural(len(gone), 'stage')} were pruned; they are made again when needed.")
    if old := sum(one.format == 1 for one in found.values()):
        report.append(f"{plural(old, 'stage', 'are')} of format 1: reports show them, but no new plan uses them.")
    return report


def of_sweep(root: Path, name: str) -> list[str]:
    """Describe the stages of one sweep, shared ones included. Raises UserError for an unknown name."""
    names, found = sweeps(root), index.entries(root)
    if name not in names:
        raise unknown(root, name, names) if names else nothing(root)
    ids = members(read_sweep(root, name), found)
    mine = [one for id, one in found.items() if id in ids]
    table = [
        (one.kind, one.id, state(one), amount(one.bytes), when(_ended(one)), one.title)
        for one in sorted(mine, key=lambda one: (one.kind, one.title, one.id))
    ]
    report = _columns([("kind", "id", "state", "size", "when", "title"), *table], right=(3,))
    missing = len(ids - found.keys())
    return report + ([f"{missing:,} more were never planned here, or were removed."] if missing else [])


def members(sweep: Sweep, found: Mapping[str, Entry]) -> set[str]:
    """Return the ids of all stages of a sweep: those that its manifest names, and all that they were made from."""
    ids = {id for line in sweep.manifest for id in stage_ids(line)}
    todo = list(ids)
    while todo:
        one = found.get(todo.pop())
        more = {id for _, id in one.needs} - ids if one else set()
        ids |= more
        todo += more
    return ids


def state(one: Entry) -> str:
    """Return a stage's state in words."""
    if one.done:
        return f"done, without {' and '.join(sorted(filter(None, one.pruned)))}" if one.pruned else "done"
    if one.running:
        return "running"
    if one.damaged:
        return "damaged"
    return one.failed or "not done"


def when(seconds: float) -> str:
    """Format seconds since the epoch as local time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _row(sweep: Sweep, ids: Collection[str], own: list[Entry]) -> tuple[str, ...]:
    seeds = len(sweep.sweep.get("seeds") or {line.get("seed") for line in sweep.manifest})
    changed = [one.changed for one in own] + [(sweep.path / "sweep.json").stat().st_mtime]
    counts = (f"{sum(one.done for one in own):,} of {len(ids):,}", sum(one.running for one in own))
    failed = sum(bool(one.failed or one.damaged) for one in own)
    question = " ".join(str(sweep.sweep.get("question") or "").split())
    if sweep.format == 1:
        question = f"(format 1) {question}"
    name = sweep.path.name
    cells = (name, f"{len(sweep.sweep['rows'])} × {seeds}", *counts, failed, amount(_size(own)), when(max(changed)))
    return (*map(str, cells), question)


def _columns(rows: list[tuple[str, ...]], right: Collection[int]) -> list[str]:
    """Align cells in columns, the columns `right` to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    padded = (
        (cell.rjust(width) if k in right else cell.ljust(width) for k, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    )
    return ["  ".join(cells).rstrip() for cells in padded]


def _ended(one: Entry) -> float:
    """Return when a stage finished; if that is unknown, when its folder last changed."""
    return datetime.fromisoformat(one.ended.replace("Z", "+00:00")).timestamp() if one.ended else one.changed


def _size(own: Iterable[Entry]) -> int:
    return sum(one.bytes for one in own)


def nothing(root: Path) -> UserError:
    """Return the error that a folder has no runs."""
    return UserError(f"There are no runs under '{root}'; give the root=DIR that sweeps were run with.")


def unknown(root: Path, name: str, names: Collection[str]) -> UserError:
    """Return the error that no sweep under a root has this name."""
    return UserError(f"No sweep '{name}' under '{root}'; {nearest(name, names)}")


def sweeps(root: Path) -> list[str]:
    """Return the names of the sweeps under a root."""
    return sorted(path.parent.name for path in Path(root).glob("sweeps/*/sweep.json"))


def stages(root: Path) -> Iterator[Path]:
    """Yield the folders of all planned stages under a root."""
    yield from (path.parent for path in sorted(Path(root).glob("*/??/*/identity.json")))


def format_of(folder: Path) -> int:
    """Return the format of a stage's records. Before it is finished, how.json shows it: format 1 had "modules"."""
    result = read_result(folder)
    if result is not None:
        return result.get("format", 1)
    how = folder / "how.json"
    return 1 if how.exists() and "modules" in read_json(how) else 2
