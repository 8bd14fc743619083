"""Joins the finished stages and the sweeps of one root to another. Standard library only.

Stages are taken parents first, each whole or not at all (see `ablate.store.adopt`), then notes of trunks, then sweeps.
So a merge can be interrupted at any moment, and the same command continues it. Stages that both roots have are left
alone if they are equal and refused if they differ. A stage made from a refused one is refused too, as its numbers would
come from another parent.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ablate.errors import UserError, plural
from ablate.store import attempt, continuing, declared, disk, files, index, listing
from ablate.store.adopt import (
    REFUSED,
    RESTORE,
    RUNNING,
    SAME,
    TAKE,
    TIDY,
    Found,
    Verdict,
    adopt,
    judge,
    read,
)
from ablate.store.disk import amount
from ablate.store.index import Entry
from ablate.store.progress import Progress
from ablate.store.pruned import DATA, ENCODINGS, MOMENTS, WEIGHTS
from ablate.store.record import FORMAT, Sweep, read_sweep, sweep_path

LEFT = (WEIGHTS, MOMENTS, ENCODINGS, DATA)  # left out by --without-weights, except for data that reports show
BLOCKED, OLD = "made from what was refused", "of an earlier format"


@dataclass
class Merge:
    """What is to be joined from the root `source` to the root `to`, and what happened to it."""

    source: Path
    to: Path
    without_weights: bool = False
    stages: dict[str, Found] = field(default_factory=dict)
    """Finished stages of the current format in `source`, parents before their children."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    sweeps: dict[str, str] = field(default_factory=dict)
    """What to do about each sweep in `source`."""
    refused: list[str] = field(default_factory=list)
    """A sentence about each refused stage and sweep."""
    shown: set[str] = field(default_factory=set)
    """Ids of stages whose data a report shows."""
    other: set[str] = field(default_factory=set)
    """Ids of refused stages, and of the stages made from them."""
    open: int = 0
    """Number of stages in `source` that are not finished."""
    old: int = 0
    """Number of stages and sweeps in `source` of an earlier format."""

    def without(self, one: Found) -> tuple[str, ...]:
        """Return the parts of a stage to leave out."""
        return tuple(part for part in LEFT if part != DATA or one.id not in self.shown) if self.without_weights else ()

    def of(self, *what: str) -> list[str]:
        """Return the ids of the stages with one of these verdicts."""
        return [id for id, verdict in self.verdicts.items() if verdict.what in what]

    def size(self, *what: str) -> int:
        """Return the bytes to link or copy for these stages."""
        return sum(self.stages[id].size(self.verdicts[id].names) for id in self.of(*what))


UNREFERENCED = "python -m ablate.prune removes weights that no sweep there refers to, unless --keep=unreferenced."


def run(source: Path, to: Path, without_weights: bool = False, dry_run: bool = False) -> int:
    """Join a root to another and print what is done; return the exit status.

    It is 0, 1 if something was refused, and 130 after Ctrl-C. Raises UserError as `survey` does, and for a lack of
    space.
    """
    try:
        merge = survey(source, to, without_weights)
        links, size = _links(merge), merge.size(TAKE, RESTORE)
        print("\n".join(estimate(merge, links)), flush=True)
        if not dry_run:
            if not links:
                _roomy(merge.to, size)
            before = len(merge.refused)
            said = carry_out(merge)
            print("\n".join([*merge.refused[before:], said]))
    except KeyboardInterrupt:
        print("\nStopped. What was joined is whole; the same command goes on.", file=sys.stderr)
        return 130
    return int(bool(merge.refused))


def take_in(folder: Path, to: Path) -> str:
    """Add the finished stage in a folder to the root `to`, and say what was done.

    Raises UserError if it is not a finished stage, or is refused.
    """
    one = read(folder)
    if to.resolve() in one.folder.resolve().parents:
        raise UserError(f"{folder} lies in {to} already.")
    verdict = adopt(one, to)
    if verdict.what == REFUSED:
        raise UserError(verdict.why)
    for note, id in continuing.noted(one.root):
        if id == one.id:
            continuing.note_again(note, id, to)
    size = amount(one.size(verdict.names))
    return {
        TAKE: f"{one} was taken into {to}, {size}. {UNREFERENCED}",
        RESTORE: f"{one} was in {to}, and {size} that were pruned of it are back.",
        SAME: f"{one} is in {to} already.",
        TIDY: f"{one} is in {to} already.",
        RUNNING: f"{one} is being run in {to}; it was left alone.",
    }[verdict.what]


def survey(source: Path, to: Path, without_weights: bool = False) -> Merge:
    """Find out what is to be done, without doing it.

    Raises UserError if the roots are the same or one contains the other, if there is nothing to join, and for records
    of a newer format.
    """
    merge = Merge(Path(source), Path(to), without_weights)
    _apart(merge.source, merge.to)
    found = index.entries(merge.source, write=False)
    if not found:
        raise listing.nothing(source)
    plans = [read_sweep(merge.source, name) for name in listing.sweeps(merge.source)]
    for plan in plans:
        merge.sweeps[plan.path.name] = _compared(merge, plan)
    merge.shown = {id for plan in plans for id in _shown(plan, found)}
    for entry in _parents_first(found):
        if entry.damaged:
            merge.refused.append(entry.damaged)
            merge.other.add(entry.id)
        elif not (entry.done or entry.pruned):
            merge.open += 1
        elif entry.format < FORMAT:
            merge.old += 1
        else:
            _judged(merge, entry)
    return merge


def _judged(merge: Merge, entry: Entry) -> None:
    one = merge.stages[entry.id] = read(entry.folder)
    verdict = judge(one, merge.to, merge.without(one))
    if verdict.what == TAKE and any(id in merge.other for _, id in entry.parents):
        verdict = Verdict(BLOCKED)
    if verdict.what == REFUSED:
        merge.refused.append(verdict.why)
    if verdict.what in (REFUSED, BLOCKED):
        merge.other.add(one.id)
    merge.verdicts[entry.id] = verdict


def _apart(source: Path, to: Path) -> None:
    here, there = source.resolve(), to.resolve()
    if there.exists() and not there.is_dir():
        raise UserError(f"{to} is a file; give the root that {source} is joined to.")
    if here == there or (there.exists() and here.exists() and there.samefile(here)):
        raise UserError(f"{source} and {to} are the same root; give two.")
    if here in there.parents or there in here.parents:
        raise UserError(f"{source} and {to} lie in each other; give two roots that lie apart.")


def _parents_first(found: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield all stages, each after those that it was made from."""
    seen: set[str] = set()
    todo = [(id, False) for id in reversed(found)]
    while todo:
        id, ready = todo.pop()
        if ready:
            yield found[id]
        elif id in found and id not in seen:
            seen.add(id)
            todo += [(id, True), *((other, False) for _, other in found[id].needs)]


def _shown(plan: Sweep, found: Mapping[str, Entry]) -> Iterator[str]:
    """Yield the ids of the stages whose data a sweep's report shows: tables of test splits and their recordings."""
    tasks = plan.sweep["tasks"] if isinstance(plan.sweep.get("tasks"), dict) else {}
    splits = {split for about in tasks.values() for split in (about or {}).get("splits", ())}
    tables = {place: id for line in plan.manifest for place, id in line["stages"].get("tables", {}).items()}
    for place, id in tables.items():
        if place.partition(".")[2] in splits and id in found:
            yield id
            yield from (used for _, used in found[id].uses)


# Before joining ------------------------------------------------------------------------------------------------------


def estimate(merge: Merge, links: bool) -> list[str]:
    """Return lines that say what is to be done, with numbers of stages and bytes, and what is refused."""
    new, back = merge.of(TAKE), merge.of(RESTORE)
    how = "to link" if links else "to copy"
    lines = [
        f"{merge.source} has {plural(len(merge.stages), 'finished stage')}: {plural(len(new), '', 'are')} joined to "
        f"{merge.to} ({amount(merge.size(TAKE))} {how}), {plural(len(merge.of(SAME, TIDY)), '', 'are')} there already."
    ]
    if back:
        lines.append(
            f"{plural(len(back), '', 'were')} pruned in {merge.to}: {amount(merge.size(RESTORE))} {how} are put back."
        )
    if merge.without_weights and new:
        left = sum(merge.stages[id].size(merge.stages[id].facts) for id in new) - merge.size(TAKE)
        lines.append(f"{amount(left)} are left out as if they were pruned; they are made again when needed.")
    out = {
        "not finished": merge.open,
        f"being run in {merge.to}": len(merge.of(RUNNING)),
        "made from what is refused": len(merge.of(BLOCKED)),
        "of an earlier format, which no new plan uses": merge.old,
    }
    if any(out.values()):
        lines.append(f"Left out: {'; '.join(f'{count:,} {why}' for why, count in out.items() if count)}.")
    taken = [name for name, what in merge.sweeps.items() if what == TAKE]
    lines += [f"Sweeps: {', '.join(taken)}."] if taken else []
    return lines + merge.refused


def _links(merge: Merge) -> bool:
    """Return whether files of `source` can be linked in `to`, which is tried with one file."""
    probe = disk.standing(merge.to) / f".{attempt.new_token()}.part"
    try:
        os.link(next(iter(merge.stages.values())).folder / "result.json", probe)
    except (OSError, StopIteration):
        return False
    probe.unlink()
    return True


def _roomy(to: Path, size: int) -> None:
    """Raise UserError unless the disk of a root has space for `size` bytes."""
    if (free := disk.free(to)) is not None and size > free:
        raise UserError(
            f"{to} would need {amount(size)}, and its disk has {amount(free)} left; make room, or leave weights out "
            "(--without-weights)."
        )


def _compared(merge: Merge, plan: Sweep) -> str:
    """Return what to do about a sweep."""
    name = plan.path.name
    if plan.format < FORMAT:
        merge.old += 1
        return OLD
    if not (sweep_path(merge.to, name) / "sweep.json").exists():
        return TAKE
    own = read_sweep(merge.to, name)
    differs = [key for key in {**plan.sweep, **own.sweep} if plan.sweep.get(key, ...) != own.sweep.get(key, ...)]
    if differs or plan.manifest != own.manifest:
        merge.refused.append(
            f"Sweep {name} is different in {merge.to} (in {', '.join(differs) or 'its stages'}); rename the "
            f"folder {plan.path}, or that in {merge.to}, and merge again."
        )
        return REFUSED
    return SAME


# Joining -------------------------------------------------------------------------------------------------------------


def carry_out(merge: Merge) -> str:
    """Do what is to be done, and say what was done."""
    done: list[Verdict] = []
    todo = merge.of(TAKE, RESTORE, TIDY)
    progress = Progress(len(todo), merge.size(TAKE, RESTORE))
    for id in todo:
        one = merge.stages[id]
        try:
            done.append(adopt(one, merge.to, merge.without(one), progress.file))
        except UserError as error:
            merge.refused.append(str(error))
        progress.stage()
    progress.end()
    for note, id in continuing.noted(merge.source):
        if id in merge.stages:
            continuing.note_again(note, id, merge.to)
    taken = [name for name, what in merge.sweeps.items() if what == TAKE]
    for name in taken:
        _lay(sweep_path(merge.source, name), sweep_path(merge.to, name))
    for name in (name for name, what in merge.sweeps.items() if what == SAME):
        declared.join(sweep_path(merge.source, name), sweep_path(merge.to, name))
    merge.refused += [verdict.why for verdict in done if verdict.what == REFUSED]
    count = Counter(verdict.what for verdict in done)
    restored = f", put files of {count[RESTORE]:,} back" if count[RESTORE] else ""
    running = f", left out {plural(count[RUNNING], 'stage')} being run there" if count[RUNNING] else ""
    root = shlex.quote(str(merge.to))
    report = f" python -m analysis.report {taken[0]} --root {root} makes its report." if taken else ""
    alone = "" if taken or not count[TAKE] else f" No sweep was joined with them. {UNREFERENCED}"
    return f"Joined {plural(count[TAKE], 'stage')}{restored}{running}.{report}{alone}"


def _lay(source: Path, target: Path) -> None:
    """Copy a sweep's plan, with what it declared and when verdicts were taken. The file that readers look for comes
    last. Tables, figures and the report are made anew.
    """
    target.mkdir(parents=True, exist_ok=True)
    declared.join(source, target)
    for name in ("manifest.jsonl", "sweep.json"):
        files.copied(source / name, target / name)
