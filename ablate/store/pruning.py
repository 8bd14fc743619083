"""Frees disk space: finds what nothing needs of a root's finished stages, and removes it. Standard library only.

Stages that are missing from a sweep need the files that they read, and so on up to the first stages. Any other file
that is no record may be removed. That takes three steps, so that neither a kill nor a sweep that is planned meanwhile
does harm. First `pruned.json` notes what is gone, under the stage's lock. Then running stages are looked at, and the
note is undone for files that one of them reads. Only then are files removed. A stage that starts after the first step
finds that its inputs must be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ablate.store import attempt, continuing, disk, index, listing, needs, pruned
from ablate.store.index import Entry, entries
from ablate.store.needs import Known
from ablate.store.pruned import DATA, ENCODINGS, MOMENTS, WEIGHTS
from ablate.store.record import files_of, read_json, read_result, read_sweep, sweep_path
from ablate.store.run import Busy, RunFolder
from ablate.store.stage import places

TRUNKS, FINETUNED, LEAVES, CACHES = "trunks", "finetuned", "leaves", "caches"
UNREFERENCED, LEFT = "unreferenced", "left"
SORTS = {
    TRUNKS: "weights and moments of trunks that nothing continues",
    FINETUNED: "weights of fine-tuned runs whose scores are done, and fits of speech targets",
    ENCODINGS: "texts as ids, made again in seconds",
    CACHES: "caches of reports",
    UNREFERENCED: "everything but records, of stages that no sweep refers to",
    LEAVES: "weights of pre-trained leaves (with --sweep only)",
    LEFT: "files that an interrupted prune did not remove (always removed)",
}
KEEPABLE = (TRUNKS, FINETUNED, ENCODINGS, CACHES, UNREFERENCED, LEAVES)
NOTES = ".pruning"  # folder in the root: has a file for each stage whose files are about to be removed
BATCH = 64  # stages whose files are removed together, after one look at running stages
ALL = (WEIGHTS, MOMENTS, ENCODINGS, DATA)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Item:
    """Files of one stage that may be removed, and their sort (see `SORTS`)."""

    entry: Entry
    sort: str
    parts: tuple[str, ...]
    bytes: int
    """Disk space that removing them frees."""


@dataclass(frozen=True)
class Survey:
    """What a root holds, and what of it may be removed."""

    root: Path
    entries: Mapping[str, Entry]
    sweeps: Mapping[str, Collection[str]]
    """Ids of all stages that each sweep refers to, including those that they start from."""
    items: tuple[Item, ...]
    caches: tuple[Path, ...]
    """Cache files in sweeps' folders."""

    @property
    def bytes(self) -> int:
        """Disk space that removing everything frees."""
        return sum(item.bytes for item in self.items) + sum(path.stat().st_size for path in self.caches)


def survey(root: Path, sweep: str = "", keep: Collection[str] = ()) -> Survey:
    """Find out what may be removed from a root, except for the sorts to `keep`.

    With the name of a `sweep`, only its stages that no other sweep refers to are considered, and the weights of its
    leaves may be removed too. Raises UserError if the root has no runs or no such sweep.
    """
    all_, names = entries(root), listing.sweeps(root)
    if not all_ and not names:
        raise listing.nothing(root)
    if sweep and sweep not in names:
        raise listing.unknown(root, sweep, names)
    plans = {name: read_sweep(root, name) for name in names}
    sweeps = {name: listing.members(plan, all_) for name, plan in plans.items()}
    kept = {id for plan in plans.values() for line in plan.manifest for id in _unlaid(line, all_)}
    wanted = _wanted(root, all_, {id for ids in sweeps.values() for id in ids}, kept)
    referenced = {id for name, ids in sweeps.items() if name != sweep for id in ids}
    scope = [all_[id] for id in (sweeps[sweep] - referenced if sweep else all_) if id in all_]
    items = []
    for entry in scope:
        free = [part for part in ALL if entry.sizes.get(part) and part not in wanted.get(entry.id, ())]
        asked = entry.pruned and not entry.done  # it is to be made again
        by_sort: dict[str, list[str]] = {}
        for part in free if not (entry.running or entry.damaged or asked) else ():
            by_sort.setdefault(_sort(entry, part, sweep or entry.id in referenced), []).append(part)
        for sort, parts in by_sort.items():
            if sort and sort not in keep:
                items.append(Item(entry, sort, tuple(parts), sum(entry.sizes[part] for part in parts)))
    items += _left(root, all_)
    folders = [sweep_path(root, name) for name in ([sweep] if sweep else names)]
    caches = [] if CACHES in keep else [path for folder in folders for path in sorted(folder.glob("*.npz"))]
    largest = sorted(items, key=lambda item: -item.bytes)  # on a full disk, the first make space for later notes
    return Survey(root, all_, sweeps, tuple(largest), tuple(caches))


def _left(root: Path, all_: Mapping[str, Entry]) -> Iterator[Item]:
    """Yield the files that an interrupted prune noted as gone but did not remove."""
    for note in sorted((root / NOTES).glob("*")):
        if note.name in all_ and (names := _leavings((entry := all_[note.name]).folder)):
            yield Item(entry, LEFT, tuple({pruned.part(entry.kind, name) for name in names}), sum(names.values()))


def _leavings(path: Path) -> dict[str, int]:
    """Return the files of a finished stage that are noted as gone but still in its run folder, with their bytes."""
    gone = pruned.gone(path)
    folder = files_of(path, read_result(path)) if gone else path
    return {name: size for name, size in gone.items() if (folder / name).exists()}


def _sort(entry: Entry, part: str, referenced: str | bool) -> str:
    """Return which of `SORTS` unneeded files of a part belong to; empty if they stay nevertheless.

    `referenced` is the name of the sweep that is pruned as a whole, else whether some sweep refers to the stage.
    """
    if not referenced:
        return UNREFERENCED
    if not entry.done or part == DATA:  # the report plays recordings and shows rows
        return ""
    if part == ENCODINGS:
        return ENCODINGS
    if MOMENTS in (*entry.sizes, *entry.pruned):
        return TRUNKS
    if entry.kind != "pretrain":
        return FINETUNED
    return LEAVES if isinstance(referenced, str) else ""


def _unlaid(line: Mapping[str, Any], all_: Mapping[str, Entry]) -> list[str]:
    """Return all stages of a manifest's line if one of its last stages has no folder, else none.

    That happens if no command has run that row (--only). Then the disk does not say what the missing stage reads.
    """
    by_place = places(line["stages"])
    ends = [id for place, id in by_place.items() if place.startswith("score") or place == "heldout"]
    ends = ends or [id for place, id in by_place.items() if place == "leaf"]
    return list(by_place.values()) if any(id not in all_ for id in ends) else []


def _wanted(
    root: Path, all_: Mapping[str, Entry], referenced: Collection[str], kept: Collection[str]
) -> dict[str, set[str]]:
    """Return the parts of stages, by id, that running stages and missing stages of sweeps read, directly or indirectly.

    All parts of the stages in `kept` are included.
    """
    known = {id: Known(entry.kind, entry.parents, entry.uses) for id, entry in all_.items()}
    wanted: dict[str, set[str]] = {id: set(ALL) for id in kept}
    open_ = [id for id, entry in all_.items() if entry.running or (id in referenced and not entry.done)]
    open_ += [id for id in kept if id in all_ and all_[id].pruned]
    seen: set[str] = set()
    while open_:
        id = open_.pop()
        if id in seen:
            continue
        seen.add(id)
        read = [(other, parts) for _, other, parts in needs.reads(known[id], known, root)]
        read += [(other, continuing.CHECKPOINT) for other in _shorter(root, all_[id])]
        for other, parts in read:
            if other in all_:
                wanted.setdefault(other, set()).update(parts)
                if not all_[other].done or any(part in all_[other].pruned for part in parts):
                    open_.append(other)
    return wanted


def _shorter(root: Path, entry: Entry) -> list[str]:
    """Return the ids of finished trunks that a trunk would continue, the best first; empty for other stages."""
    used = [id for role, id in entry.uses if role == continuing.ROLE]
    if entry.kind != "pretrain":
        return used
    what = read_json(entry.folder / "identity.json")
    return used + (continuing.shorter(root, what)[:1] if what["config"].get("phase") == "trunk" else [])


# Removing ---------------------------------------------------------------------------------------------------------


def remove(found: Survey, tell: Callable[[int, int], None] = lambda done, all_: None) -> tuple[int, list[str]]:
    """Remove what may be removed; return the freed bytes, and a sentence about each thing that was left alone.

    `tell` is called with the number of finished stages and of all stages. A stage that changed since the survey is left
    alone. Safe to repeat, also after a kill. Caches come first, and the first stages are removed one by one, so that a
    full disk has space for the notes. Raises OSError if something cannot be removed.
    """
    freed, left, size, begin = 0, [], 1, 0
    for path in (*found.caches, found.root / index.NAME):
        with suppress(FileNotFoundError):  # a report is rewriting it just now
            freed += path.stat().st_size if path in found.caches else 0
            path.unlink()
    (found.root / NOTES).mkdir(exist_ok=True)
    while batch := found.items[begin : begin + size]:
        freed += _batch(found, batch, left)
        begin, size = begin + size, min(2 * size, BATCH)
        tell(min(begin, len(found.items)), len(found.items))
    for note in (found.root / NOTES).iterdir():
        if entry := found.entries.get(note.name):
            with suppress(Busy, PermissionError):
                RunFolder(found.root, entry.kind, entry.id).bury()  # removes the lock of a prune that was killed
                attempt.clear(entry.folder)
        if not entry or not _leavings(entry.folder):
            note.unlink(missing_ok=True)
    return freed, left


def _batch(found: Survey, items: Collection[Item], left: list[str]) -> int:
    """Remove files of some stages in the three steps; return their bytes."""
    freed, marked = 0, []
    for item in items:
        run = RunFolder(found.root, item.entry.kind, item.entry.id)
        (found.root / NOTES / run.id).touch()
        if item.entry.done or item.sort == LEFT:
            marked.append((item, run, _locked(run, partial(_noted, run, item), {}, left)))
        else:
            freed += _locked(run, partial(_dropped, run, item), 0, left)
    reading = _read_now(found.root)
    for item, run, names in marked:
        if any(part in reading.get(run.id, ()) for part in item.parts):
            if names:
                _locked(run, partial(pruned.withdraw, run.path, names), None, left)
                left.append(f"{run.kind} {run.id} is read by a running stage. It was left alone.")
        elif names:
            freed += _locked(run, partial(_removed, run, names), 0, left)
        (found.root / NOTES / run.id).unlink(missing_ok=True)
    return freed


def _noted(run: RunFolder, item: Item) -> dict[str, int]:
    """Note that files of a finished stage are gone from now on; return their names and bytes.

    Returns {} if the stage changed since the survey, or is to be made again.
    """
    if item.sort == LEFT:
        return _leavings(run.path)
    if not run.done:
        return {}
    folder = files_of(run.path, read_result(run.path))
    lying = {name: one["size"] for name, one in attempt.facts(folder, digests=False).items()}
    names = {name: size for name, size in lying.items() if pruned.part(run.kind, name) in item.parts}
    pruned.write(run.path, names)
    return names


def _removed(run: RunFolder, names: Collection[str]) -> int:
    """Remove those of these files that are noted as gone; return their bytes.

    Files that were made again or put back since they were noted stay.
    """
    going = {name: size for name, size in _leavings(run.path).items() if name in names}
    for name in going:
        (files_of(run.path, read_result(run.path)) / name).unlink(missing_ok=True)
    return sum(going.values())


def _dropped(run: RunFolder, item: Item) -> int:
    """Remove the files of attempts at an unfinished stage; return their bytes."""
    if read_result(run.path) is not None:  # it was finished since the survey
        return 0
    attempt.drop(run.path)
    return item.bytes


def _locked(run: RunFolder, act: Callable[[], Made], otherwise: Made, left: list[str]) -> Made:
    """Return what `act` returns while the stage is locked.

    Returns `otherwise`, and adds a sentence to `left`, if the stage is running or may not be written to; if its folder
    was removed, only `otherwise`.
    """
    try:
        with run.aside():
            return act()
    except Busy as busy:
        left.append(f"{busy} It was left alone.")
    except PermissionError as error:
        left.append(f"{disk.sentence(error, run.path)} {run.kind} {run.id} was left alone.")
    except FileNotFoundError:
        if run.path.exists():
            raise
    return otherwise


def _read_now(root: Path) -> dict[str, set[str]]:
    """Return the parts of stages, by id, that running stages read."""
    running = [RunFolder(root, path.parents[2].name, path.parent.name) for path in Path(root).glob("*/??/*/claim.json")]
    read: dict[str, set[str]] = {}
    for run in running:
        if run.holder() is not None and (run.path / "identity.json").exists():
            for _, folder, parts in needs.of(run):
                read.setdefault(folder.id, set()).update(parts)
            for id in continuing.candidates(root, run.identity()):
                read.setdefault(id, set()).update(continuing.CHECKPOINT)
    return read
