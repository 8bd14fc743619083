"""What all stages under a root are and hold, answered in a moment over ten thousand folders. Standard library only.

ROOT/.index.json remembers what was read of stages that are finished, or were never started. An entry counts while its
folder and its result are the ones it was read from, by inode and times: whoever starts, finishes, prunes, makes again,
upgrades, removes or renames a stage changes these, so that it is read anew. What is or was worked on, and is not
finished, is always read. The file is written beside and renamed, by whoever read something new; losing it costs time,
and a root that cannot be written to has none.
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
FAILURE = "failure.json"  # what is kept of jobs that are gone: {"kind": ..., "why": ...}
FORGIVEN = ("to be run again", "cancelled by --cancel")  # kinds that are no failures to the next command
SETTLED_SECONDS = 4.0  # what changed later may change again within one tick of a file system's clock

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
    """Whether it is complete, and not to be made again since it was pruned."""
    parents: Roles
    """(role, stage id) of what it starts from."""
    uses: Roles
    """(role, stage id) of what it used besides, or would by any way to make it that was planned: a table points for
    ever into the recordings that it was made from, whichever were planned since.
    """
    sizes: dict[str, int]
    """Bytes by part (see `ablate.store.pruned`; "" for records): of a finished stage as its record says, less what was
    pruned, else of what lies there.
    """
    pruned: dict[str, int]
    """Bytes by part of what was pruned."""
    ended: str
    """When it was finished, as "2026-01-31T12:00:00Z"; empty where that is not known."""
    changed: float
    """Time of the last change in its folder."""
    running: bool = False
    """Whether a live process holds its lock."""
    failed: str = ""
    """How the last attempt at it went wrong; empty where none did, and when it is done or running."""
    damaged: str = ""
    """Why its records cannot be read, in a sentence; all else is then unknown."""

    @property
    def needs(self) -> Roles:
        """All that it was made from."""
        return (*self.parents, *self.uses)

    @property
    def bytes(self) -> int:
        """Of all its parts."""
        return sum(self.sizes.values())


def entries(root: Path, write: bool = True) -> dict[str, Entry]:
    """All stages under a root by id, those only planned too, in the order of kinds and ids; copies of folders under
    other names do not count. What was read anew is remembered, unless nothing is to be written.

    Raises UserError for a record of a newer format. One that is damaged, or closed to this user, makes a `damaged`
    entry.
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
            continue  # somebody lays, removes or renames it just now
        except PermissionError as error:
            found[id] = _unknown(kind, id, folder, disk.sentence(error, Path(folder)))
        except (ValueError, KeyError, Damaged):
            said = f"A record in {folder} is damaged; remove that folder, and run its sweep again."
            found[id] = _unknown(kind, id, folder, said)
    if write and (fresh or len(keep) < len(remembered)):
        with contextlib.suppress(OSError):  # not ours to write to, or full: it is read again the next time
            settled = (clock(root) - (time.monotonic() - began) - SETTLED_SECONDS) * 1e9
            keep |= {place: one for place, one in fresh.items() if max(one[0][:4]) < settled}
            if keep.keys() != remembered.keys() or any(keep[place] is not remembered[place] for place in keep):
                files.replace(root / NAME, json.dumps({"code": _code(), "stages": keep}).encode(), durable=False)
                attempt.clear(root)
    return found


def _unknown(kind: str, id: str, folder: str, why: str) -> Entry:
    """The entry of a stage whose records cannot be read."""
    return Entry(kind, id, "?", Path(folder), 2, False, (), (), {}, {}, "", 0.0, damaged=why)


def _folders(root: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, id and path of whatever may be a run folder."""
    for kind in _inside(root):
        for start in _inside(kind.path):
            if len(start.name) == 2:
                yield from ((kind.name, folder.name, folder.path) for folder in _inside(start.path))


def _inside(path: Path | str) -> list[os.DirEntry]:
    """The folders in a folder, by name."""
    try:
        with os.scandir(path) as listing:
            return sorted((e for e in listing if e.name[0] != "." and e.is_dir()), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _key(folder: str) -> Key:
    """What changes when a stage does that is finished or was never started; times in nanoseconds come first."""
    own = os.stat(folder)
    try:
        result = os.stat(f"{folder}/result.json")
    except FileNotFoundError:
        return [own.st_mtime_ns, own.st_ctime_ns, 0, 0, own.st_ino, 0]
    return [own.st_mtime_ns, own.st_ctime_ns, result.st_mtime_ns, result.st_ctime_ns, own.st_ino, result.st_ino]


def _rests(entry: Entry) -> bool:
    """Whether nothing changes about a stage without its key changing, too."""
    with os.scandir(entry.folder) as listing:
        held = [item for item in listing if item.name == "claim.json" or (not entry.done and item.is_dir())]
    return not held


def _look(kind: str, id: str, place: str) -> Optional[Entry]:
    """Read a stage; None for a copy under another name. Raises FileNotFoundError where there is none."""
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
    """Names and bytes of the files in a folder as they are now."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it is being worked in
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _failed(folder: Path) -> str:
    """What went wrong with a stage that is not done and that nobody works on."""
    if (folder / FAILURE).exists():
        said = read_json(folder / FAILURE)
        if said["kind"] in FORGIVEN:
            return ""
        return said["kind"] if said["kind"] == said["why"] else f"{said['kind']}: {said['why']}"
    last = [line["outcome"] for line in read_jsonl(folder / "attempts.jsonl")][-1:]
    return "failed" if last == ["failed"] else ""


# The file ------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, list[Any]]:
    """What is remembered; nothing where the file is missing, damaged or another code's."""
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
    """Digest of the code that entries are made by."""
    return hashlib.blake2b(
        b"".join(Path(f).read_bytes() for f in (__file__, pruned.__file__)), digest_size=8
    ).hexdigest()
