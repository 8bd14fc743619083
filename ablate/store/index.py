"""An index of all stages under a root, which answers within a moment for ten thousand folders. Standard library only.

ROOT/.index.json holds what was read of stages that are finished or were never started. An entry is valid as long as its
folder and its result have the same inode and times. Whatever starts, finishes, prunes, remakes, upgrades, removes or
renames a stage changes these, so the stage is read again. Other stages are read every time. The file is replaced by any
process that read something new. Losing it costs only time, and a root that cannot be written to works without it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ablate.store import attempt, disk, files, pruned
from ablate.store.lock import alive, clock, read_lock
from ablate.store.record import Damaged, read_json, read_jsonl, read_result

NAME = ".index.json"
FAILURE = "failure.json"  # why a job ended without a result: {"kind": ..., "why": ...}
FORGIVEN = ("to be run again", "cancelled by --cancel")  # kinds that the next command does not count as failures
SETTLED_SECONDS = 4.0  # a newer folder may change again within one tick of the file system's clock: not stored

Key = list[int]
Roles = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """A stage under a root."""

    kind: str
    id: str
    title: str
    folder: Path
    format: int
    done: bool
    """Whether it is finished, and not being made again after pruning."""
    parents: Roles
    """(role, stage id) of the stages that it starts from."""
    uses: Roles
    """(role, stage id) of other stages that it used, or would use in any planned way to make it. A table keeps pointing
    into the recordings that it was made from, even if others were planned since."""
    sizes: dict[str, int]
    """Bytes by part ("" for records; see `ablate.store.pruned`). For a finished stage they come from its record, pruned
    files excluded; else from the files in its folder."""
    pruned: dict[str, int]
    """Bytes of pruned files by part."""
    ended: str
    """When it finished, as "2026-01-31T12:00:00Z"; empty if unknown."""
    changed: float
    """Time of the last change in its folder, in seconds since the epoch."""
    running: bool = False
    """Whether a live process holds its lock."""
    failed: str = ""
    """How its last attempt failed; empty if it did not, or if the stage is done or running."""
    damaged: str = ""
    """Why its records cannot be read, in a sentence; all other fields are then unknown."""

    @property
    def needs(self) -> Roles:
        """All stages that it was made from."""
        return (*self.parents, *self.uses)

    @property
    def bytes(self) -> int:
        """Bytes of all its parts."""
        return sum(self.sizes.values())


def entries(root: Path, write: bool = True) -> dict[str, Entry]:
    """Return all stages under a root by id, in the order of kinds and ids, planned ones included.

    Copies of folders under other names do not count. With `write`, the index is updated. A record that is damaged or
    unreadable gives an entry that says so in `damaged`. Raises UserError for a record of a newer format.
    """
    root, began = Path(root), time.monotonic()
    remembered = _read(root / NAME)
    found: dict[str, Entry] = {}
    keep: dict[str, list[Any]] = {}
    fresh: dict[str, list[Any]] = {}
    for kind, id, folder in _folders(root):
        try:
            key = _key(folder)
            place = f"{kind}/{id}"
            if place in remembered and remembered[place][0] == key:
                keep[place] = remembered[place]
                found[id] = _entry(kind, id, folder, key, remembered[place][1])
            elif (entry := _look(kind, id, folder)) is not None:
                found[id] = entry
                if _rests(entry):
                    fresh[place] = [key, _fields(entry)]
        except FileNotFoundError:
            continue  # it is created, removed or renamed just now
        except PermissionError as error:
            found[id] = _unknown(kind, id, folder, disk.sentence(error, Path(folder)))
        except (ValueError, KeyError, Damaged):
            said = f"A record in {folder} is damaged; remove that folder, and run its sweep again."
            found[id] = _unknown(kind, id, folder, said)
    if write and (fresh or len(keep) < len(remembered)):
        with contextlib.suppress(OSError):  # no permission, or a full disk: the next call reads it all again
            settled = (clock(root) - (time.monotonic() - began) - SETTLED_SECONDS) * 1e9
            keep |= {place: one for place, one in fresh.items() if max(one[0][:4]) < settled}
            if keep.keys() != remembered.keys() or any(keep[place] is not remembered[place] for place in keep):
                files.replace(root / NAME, json.dumps({"code": _code(), "stages": keep}).encode(), durable=False)
                attempt.clear(root)
    return found


def _unknown(kind: str, id: str, folder: str, why: str) -> Entry:
    """Return the entry of a stage whose records cannot be read."""
    return Entry(kind, id, "?", Path(folder), 2, False, (), (), {}, {}, "", 0.0, damaged=why)


def _folders(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield kind, id and path of every possible run folder."""
    for kind in _inside(root):
        for start in _inside(kind.path):
            if len(start.name) == 2:
                yield from ((kind.name, folder.name, folder.path) for folder in _inside(start.path))


def _inside(path: Path | str) -> list[os.DirEntry]:
    """Return the folders in a folder, sorted by name, hidden ones excluded."""
    try:
        with os.scandir(path) as listing:
            return sorted((e for e in listing if e.name[0] != "." and e.is_dir()), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _key(folder: str) -> Key:
    """Return numbers of which one changes whenever a stage that is finished or was never started changes.

    They are four times, in nanoseconds, and two inodes.
    """
    own = os.stat(folder)
    try:
        result = os.stat(f"{folder}/result.json")
    except FileNotFoundError:
        return [own.st_mtime_ns, own.st_ctime_ns, 0, 0, own.st_ino, 0]
    return [own.st_mtime_ns, own.st_ctime_ns, result.st_mtime_ns, result.st_ctime_ns, own.st_ino, result.st_ino]


def _rests(entry: Entry) -> bool:
    """Return whether the stage cannot change without its key changing."""
    with os.scandir(entry.folder) as listing:
        held = [item for item in listing if item.name == "claim.json" or (not entry.done and item.is_dir())]
    return not held


def _look(kind: str, id: str, place: str) -> Optional[Entry]:
    """Read a stage; None for a copy under another name. Raises FileNotFoundError if it does not exist."""
    folder = Path(place)
    what = read_json(folder / "identity.json")
    if what["kind"] != kind or what["id"] != id:
        return None
    result = read_result(folder)
    how = read_json(folder / "how.json") if (folder / "how.json").exists() else {}
    gone = pruned.gone(folder) if result else {}
    done = result is not None and not pruned.reopened(folder)
    held = read_lock(folder)
    running = held is not None and alive(held)
    if result is not None and "files" in result:
        sizes = {name: facts["size"] for name, facts in result["files"].items() if name not in gone}
    else:
        sizes = dict(_lying(folder))
    uses = dict.fromkeys((role, used) for way in how.get("ways", ()) for role, used in way["uses"])
    return Entry(
        kind=kind,
        id=id,
        title=what["title"],
        folder=folder,
        format=result.get("format", 1) if result else 1 if "modules" in how else 2,
        done=done,
        parents=tuple((role, parent) for role, parent in what["parents"]),
        uses=tuple(uses),
        sizes=_parts(kind, sizes),
        pruned=_parts(kind, gone),
        ended=(result or {}).get("ended", ""),
        changed=os.stat(folder).st_mtime_ns / 1e9,
        running=running,
        failed="" if done or running else _failed(folder),
    )


def _parts(kind: str, sizes: dict[str, int]) -> dict[str, int]:
    by_part: dict[str, int] = {}
    for name, size in sizes.items():
        part = pruned.part(kind, name)
        by_part[part] = by_part.get(part, 0) + size
    return by_part


def _lying(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the present names and bytes of the files in a folder."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a process is working in the folder
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _failed(folder: Path) -> str:
    """Return how a stage failed that is neither done nor running; empty if it did not."""
    if (folder / FAILURE).exists():
        said = read_json(folder / FAILURE)
        if said["kind"] in FORGIVEN:
            return ""
        return said["kind"] if said["kind"] == said["why"] else f"{said['kind']}: {said['why']}"
    last = [line["outcome"] for line in read_jsonl(folder / "attempts.jsonl")][-1:]
    return "failed" if last == ["failed"] else ""


# The file ------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, list[Any]]:
    """Return the stored entries; {} if the file is missing, damaged or from other code."""
    try:
        stored = json.loads(path.read_bytes())
        return stored["stages"] if stored["code"] == _code() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _fields(entry: Entry) -> list[Any]:
    about = [entry.title, entry.format, entry.done, entry.parents, entry.uses]
    return [*about, entry.sizes, entry.pruned, entry.ended, entry.failed]


def _entry(kind: str, id: str, folder: str, key: Key, fields: list[Any]) -> Entry:
    title, format, done, parents, uses, *held, failed = fields
    roles = tuple(map(tuple, parents)), tuple(map(tuple, uses))
    return Entry(kind, id, title, Path(folder), format, done, *roles, *held, key[0] / 1e9, failed=failed)


@functools.cache
def _code() -> str:
    """Return a digest of the code that makes entries."""
    return hashlib.blake2b(
        b"".join(Path(f).read_bytes() for f in (__file__, pruned.__file__)), digest_size=8
    ).hexdigest()
