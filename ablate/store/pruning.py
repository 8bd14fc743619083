"""Give disk back: what of a root's finished stages nothing needs, and removing that. Standard library only.

A stage that is missing from a sweep wants what it reads, all the way up; whatever else is no record may go. Removing
happens in three steps, so that a kill, and a sweep that is planned meanwhile, do no harm: `pruned.json` says what is
gone, under the stage's lock; then running stages are looked at, and what one of them reads is taken back; only then are
files removed. A stage that starts after the first step finds that it must be made again.
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
    TRUNKS: "weights and moments of trunks that nothing goes on from",
    FINETUNED: "weights of fine-tuned runs whose scores are done, and fits of speech targets",
    ENCODINGS: "texts as ids, made again in seconds",
    CACHES: "what reports keep to be quicker the next time",
    UNREFERENCED: "all but the records of stages that no sweep refers to",
    LEAVES: "weights of pre-trained leaves (with --sweep only)",
    LEFT: "what a prune that was interrupted noted as gone, and did not remove (always goes)",
}
KEEPABLE = (TRUNKS, FINETUNED, ENCODINGS, CACHES, UNREFERENCED, LEAVES)
NOTES = ".pruning"  # below the root: a file for each stage of which something is about to be removed
BATCH = 64  # stages whose files go together, after one look at what runs
ALL = (WEIGHTS, MOMENTS, ENCODINGS, DATA)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Item:
    """Files of one stage that may go, and why: one of `SORTS`."""

    entry: Entry
    sort: str
    parts: tuple[str, ...]
    bytes: int
    """How much disk it gives back."""


@dataclass(frozen=True)
class Survey:
    """What a root holds and what of it may go."""

    root: Path
    entries: Mapping[str, Entry]
    sweeps: Mapping[str, Collection[str]]
    """Ids of all stages that each sweep refers to, what they start from included."""
    items: tuple[Item, ...]
    caches: tuple[Path, ...]
    """Files in sweeps' folders."""

    @property
    def bytes(self) -> int:
        """How much disk all of it gives back."""
        return sum(item.bytes for item in self.items) + sum(path.stat().st_size for path in self.caches)


def survey(root: Path, sweep: str = "", keep: Collection[str] = ()) -> Survey:
    """Look at a root: what may go, but for the sorts to `keep`. With the name of a `sweep`, only what of its stages no
    other sweep refers to, and then the weights of its leaves, too.

    Raises UserError where there is nothing, or no such sweep.
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
        asked = entry.pruned and not entry.done  # to be made again
        by_sort: dict[str, list[str]] = {}
        for part in free if not (entry.running or entry.damaged or asked) else ():
            by_sort.setdefault(_sort(entry, part, sweep or entry.id in referenced), []).append(part)
        for sort, parts in by_sort.items():
            if sort and sort not in keep:
                items.append(Item(entry, sort, tuple(parts), sum(entry.sizes[part] for part in parts)))
    items += _left(root, all_)
    folders = [sweep_path(root, name) for name in ([sweep] if sweep else names)]
    caches = [] if CACHES in keep else [path for folder in folders for path in sorted(folder.glob("*.npz"))]
    largest = sorted(items, key=lambda item: -item.bytes)  # on a full disk these make room for the notes of others
    return Survey(root, all_, sweeps, tuple(largest), tuple(caches))


def _left(root: Path, all_: Mapping[str, Entry]) -> Iterator[Item]:
    """What a prune that was interrupted noted as gone, and did not remove."""
    for note in sorted((root / NOTES).glob("*")):
        if note.name in all_ and (names := _leavings((entry := all_[note.name]).folder)):
            yield Item(entry, LEFT, tuple({pruned.part(entry.kind, name) for name in names}), sum(names.values()))


def _leavings(path: Path) -> dict[str, int]:
    """Files of a finished stage that are noted as gone and lie in its run folder all the same, and their bytes."""
    gone = pruned.gone(path)
    folder = files_of(path, read_result(path)) if gone else path
    return {name: size for name, size in gone.items() if (folder / name).exists()}


def _sort(entry: Entry, part: str, referenced: str | bool) -> str:
    """Which of `SORTS` the files of a part are that nothing wants; empty where they stay all the same. `referenced` is
    the name of the sweep that is pruned as a whole, else whether some sweep refers to the stage.
    """
    if not referenced:
        return UNREFERENCED
    if not entry.done or part == DATA:  # the report plays and shows data
        return ""
    if part == ENCODINGS:
        return ENCODINGS
    if MOMENTS in (*entry.sizes, *entry.pruned):
        return TRUNKS
    if entry.kind != "pretrain":
        return FINETUNED
    return LEAVES if isinstance(referenced, str) else ""


def _unlaid(line: Mapping[str, Any], all_: Mapping[str, Entry]) -> list[str]:
    """All stages of a manifest's line of which some end has no folder, as no command was asked for that row (--only):
    nothing on the disk says what of the others it reads. No stages of other lines.
    """
    by_place = places(line["stages"])
    ends = [id for place, id in by_place.items() if place.startswith("score") or place == "heldout"]
    ends = ends or [id for place, id in by_place.items() if place == "leaf"]
    return list(by_place.values()) if any(id not in all_ for id in ends) else []


def _wanted(
    root: Path, all_: Mapping[str, Entry], referenced: Collection[str], kept: Collection[str]
) -> dict[str, set[str]]:
    """Parts of stages, by id, that running stages and the missing ones of sweeps read, all the way up; of those that
    are `kept`, all.
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
    """The finished trunks that a trunk would go on from, the best first; nothing for other stages."""
    used = [id for role, id in entry.uses if role == continuing.ROLE]
    if entry.kind != "pretrain":
        return used
    what = read_json(entry.folder / "identity.json")
    return used + (continuing.shorter(root, what)[:1] if what["config"].get("phase") == "trunk" else [])


# Removing ---------------------------------------------------------------------------------------------------------


def remove(found: Survey, tell: Callable[[int, int], None] = lambda done, all_: None) -> tuple[int, list[str]]:
    """Remove what may go; return how many bytes, and sentences about what was left alone. `tell` is told how many
    stages of how many are behind. A stage that changed since the survey is left alone. Safe to repeat, after a kill
    too.

    Caches go first, and the first stages one by one: on a full disk there is then room for the notes. Raises OSError
    where something cannot be removed.
    """
    freed, left, size, begin = 0, [], 1, 0
    for path in (*found.caches, found.root / index.NAME):
        with suppress(FileNotFoundError):  # a report makes it anew just now
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
                RunFolder(found.root, entry.kind, entry.id).bury()  # the lock of a prune that was killed
                attempt.clear(entry.folder)
        if not entry or not _leavings(entry.folder):
            note.unlink(missing_ok=True)
    return freed, left


def _batch(found: Survey, items: Collection[Item], left: list[str]) -> int:
    """Remove the files of some stages in the three steps; return their bytes."""
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
                left.append(f"{run.kind} {run.id} is read by a stage that runs. It was left alone.")
        elif names:
            freed += _locked(run, partial(_removed, run, names), 0, left)
        (found.root / NOTES / run.id).unlink(missing_ok=True)
    return freed


def _noted(run: RunFolder, item: Item) -> dict[str, int]:
    """Note what of a finished stage is gone from now on; return its names and bytes, none where the stage is another
    than it was, or to be made again.
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
    """Remove those of these files that are noted as gone, and return their bytes. Files of the same names that were
    made again or put back since they were noted stay.
    """
    going = {name: size for name, size in _leavings(run.path).items() if name in names}
    for name in going:
        (files_of(run.path, read_result(run.path)) / name).unlink(missing_ok=True)
    return sum(going.values())


def _dropped(run: RunFolder, item: Item) -> int:
    """Remove what attempts at an unfinished stage saved; return its bytes."""
    if read_result(run.path) is not None:  # somebody finished it since
        return 0
    attempt.drop(run.path)
    return item.bytes


def _locked(run: RunFolder, act: Callable[[], Made], otherwise: Made, left: list[str]) -> Made:
    """What `act` returns with the stage locked; `otherwise` where somebody runs it, which `left` is told, and where its
    folder was removed.
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
    """Parts of stages, by id, that the stages read which run now."""
    running = [RunFolder(root, path.parents[2].name, path.parent.name) for path in Path(root).glob("*/??/*/claim.json")]
    read: dict[str, set[str]] = {}
    for run in running:
        if run.holder() is not None and (run.path / "identity.json").exists():
            for _, folder, parts in needs.of(run):
                read.setdefault(folder.id, set()).update(parts)
            for id in continuing.candidates(root, run.identity()):
                read.setdefault(id, set()).update(continuing.CHECKPOINT)
    return read
