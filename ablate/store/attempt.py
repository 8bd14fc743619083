"""What one attempt at a stage writes: a folder in the run folder, named by the token of its lock. Standard library
only.

Who takes a stage over first renames the folders of earlier attempts, so that their processes, should they wake up,
write nowhere; then takes the best of what they saved; then removes them. A result names one attempt, and that one
stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError
from ablate.store import files, pruned
from ablate.store.files import copied, linked, open_append, synced
from ablate.store.lock import clock, held
from ablate.store.machine import machine
from ablate.store.record import files_of, read_json, read_jsonl
from ablate.store.version import code_version

CHECKPOINT = "checkpoint.json"  # {"step": ..., "files": {name: ...}, ...}, of what an attempt saved last
TOKEN = re.compile(r"\.?([0-9a-f]{12})(\.gone)?")  # names of attempts' folders, and of those that were put away
SMALL = 1 << 22  # bytes of a file that is read for its digest whenever something starts from it
TORN_SECONDS = 60.0  # after which what is half-written has no writer

CIRCUMSTANCES = (  # of a result: what differs between two makings of one stage
    *("attempt", "seconds", "attempts", "code", "ended", "machine"),
    *("busy_seconds", "waiting"),  # said by stages themselves
)

Facts = Mapping[str, Any]  # {"size": bytes, "digest": hex}

_looked: dict[Path, tuple[Any, ...]] = {}  # files found to be what their record says: digest, size, time and inode then


def new_token() -> str:
    """A token for a lock, which is a folder's name, too."""
    return secrets.token_hex(6)


def ended(path: Path, lock: Mapping[str, Any], when: float, outcome: str, held_up: float = 0.0) -> None:
    """Note in the run folder `path` how the attempt of this lock ended, which waited `held_up` seconds for room on the
    disk.
    """
    line = {k: lock.get(k) for k in ("token", "host", "pid", "job", "began")}
    line |= {"ended": when, "outcome": outcome, "code": code_version()}
    line |= {"held_up": round(held_up, 3)} if held_up else {}
    with open_append(path / "attempts.jsonl") as file:
        file.write(json.dumps(line).encode() + b"\n")


def circumstances(path: Path, lock: Mapping[str, Any], held_up: float = 0.0) -> dict[str, Any]:
    """What a record says of how the stage in `path` was made, its last attempt that of this lock, ending now. Seconds
    of waiting for room on the disk, in this attempt `held_up`, are none of the stage's.
    """
    now, earlier = time.time(), list(read_jsonl(path / "attempts.jsonl"))
    made = [number for number, one in enumerate(earlier) if one["outcome"] == "done"]  # before it was pruned
    earlier = earlier[made[-1] + 1 :] if made else earlier
    spent = [one["ended"] - one["began"] - one.get("held_up", 0.0) for one in earlier]
    seconds = now - lock["began"] - held_up + sum(max(0.0, one) for one in spent)
    ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return {
        "seconds": round(seconds, 3),
        "attempts": len(earlier) + 1,
        "code": code_version(),
        "ended": ended,
        "machine": machine(),
    }


def settle(path: Path, own: str = "") -> None:
    """Leave one attempt in the run folder `path`: the one that completed the stage, else `own`; both where a pruned
    stage is made again.

    `own` takes over the last complete checkpoint that the others saved, and their log. Of these only what is there at
    the call is touched, and nothing of who holds the lock: a process that was suspended and wakes up here does no harm
    to who came after it.
    """
    result, again = path / "result.json", pruned.reopened(path)
    valid = read_json(result).get("attempt", "") if result.exists() else own
    others = [(entry, token) for entry, token in _attempts(path) if token != own]
    gone = {token: path / f".{token}.gone" for _, token in others}
    for entry, token in others:
        if token != valid and entry != gone[token] and not held(path, token):
            if gone[token].exists():  # its process was put away before, and made a new one
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(entry, gone[token])
    if result.exists():  # perhaps only now, by one of those that were just put away
        valid = read_json(result).get("attempt", "")
        if valid in gone and gone[valid].exists() and not (path / valid).exists():
            os.rename(gone[valid], path / valid)
    if gone and (again or not result.exists()):
        _inherit([folder for token, folder in gone.items() if not held(path, token)], path / own)
    for folder in gone.values():
        shutil.rmtree(folder, ignore_errors=True)


def drop(path: Path) -> None:
    """Remove all that attempts at the stage in the run folder `path` saved. It must not be complete, nor running."""
    for entry, _ in _attempts(path):
        shutil.rmtree(entry)


def _attempts(path: Path) -> list[tuple[Path, str]]:
    """Folders of attempts in a run folder, also those put away, and their tokens."""
    matches = ((entry, TOKEN.fullmatch(entry.name)) for entry in path.iterdir())
    return [(entry, match[1]) for entry, match in matches if match]


def tokens(path: Path) -> set[str]:
    """Tokens of the attempts that have a folder in a run folder."""
    return {token for _, token in _attempts(path)}


def _inherit(candidates: list[Path], own: Path) -> None:
    """Take over from the attempt that saved the highest step, of equals the latest."""
    ranked = []
    for folder in candidates:
        with contextlib.suppress(FileNotFoundError):
            ranked.append(((_saved(folder) or {}).get("step", -1), folder.stat().st_mtime_ns, folder))
    for _, _, folder in sorted(ranked, reverse=True):
        try:
            _take_over(folder, own)
        except FileNotFoundError:  # another one who was suspended removes it just now, having taken it over itself
            continue
        return


def _take_over(old: Path, own: Path) -> None:
    """Link what never changes, copy what grows; the checkpoint's own file comes last and makes it one."""
    saved = _saved(old)
    for name in (saved or {}).get("files", ()):
        with contextlib.suppress(FileExistsError):
            linked(old / name, own / name)
    for name in ("metrics.jsonl", CHECKPOINT):
        if (old / name).exists():
            copied(old / name, own / name)
    synced(own)


def _saved(folder: Path) -> Optional[dict[str, Any]]:
    path = folder / CHECKPOINT
    return read_json(path) if path.exists() else None


# What is in the files --------------------------------------------------------------------------------------------


def facts(folder: Path, names: Optional[Iterable[str]] = None, digests: bool = True) -> dict[str, dict[str, Any]]:
    """Size and digest of files in a folder by relative name; of all but hidden ones where no names are given.

    Without `digests`, sizes alone, as of what is written again and again while a stage runs.
    """
    if names is None:
        paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        names = sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))
    sizes = {name: {"size": (folder / name).stat().st_size} for name in names}
    return {name: {**size, "digest": digest(folder / name)} for name, size in sizes.items()} if digests else sizes


def digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 16 bytes in hex."""
    with open(path, "rb") as file:
        return files.digest(file).hex()


def named(path: Path, result: Mapping[str, Any], name: str) -> Path:
    """Return the path of a file of the stage in the run folder `path`, if its size and digest are what its result says.

    Raises UserError where they are not. A result of format 1 says nothing, so there is nothing to check.
    """
    file = files_of(path, result) / name
    _kept(path, [name])
    if "files" not in result:
        return file
    advice = f"remove {path}, and run the sweep again, which makes that stage anew."
    if name not in result["files"]:
        raise UserError(f"The stage in {path} has no file {name}; {advice}")
    return checked(file, result["files"][name], advice)


def sound(path: Path, result: Mapping[str, Any]) -> Path:
    """Return where the files of the stage in the run folder `path` lie, if all that its result names are of the size
    that it says, and those up to `SMALL` bytes of the digest, too. Raises UserError where one is not.
    """
    folder, advice = files_of(path, result), f"remove {path}, and run the sweep again, which makes that stage anew."
    _kept(path, result.get("files", {}))
    for name, expected in result.get("files", {}).items():
        checked(folder / name, expected if expected["size"] <= SMALL else {"size": expected["size"]}, advice)
    return folder


def _kept(path: Path, names: Iterable[str]) -> None:
    """Raises Pruned where one of these files of the finished stage in the run folder `path` was."""
    if lost := next((name for name in names if name in pruned.gone(path)), ""):
        raise pruned.Pruned(
            f"{lost} of {path} was pruned; python -m ablate.prune --restore {path} has the next run of its sweep make "
            "it again."
        )


def clear(path: Path) -> None:
    """Remove what writers that were killed left half-written in a run folder; others may be at work there just now."""
    now = clock(path)
    for torn in (*path.glob(".*.part"), *path.glob(".claim.*.dead")):
        with contextlib.suppress(FileNotFoundError):
            if now - torn.stat().st_mtime > TORN_SECONDS:
                torn.unlink()


def checked(path: Path, expected: Facts, advice: str) -> Path:
    """Return `path` if its size and digest are as expected; a file is read once per process, unless it changes.

    Raises UserError with `advice` in it otherwise.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} is missing, though the record names it; {advice}") from None
    seen = (expected.get("digest"), status.st_size, status.st_mtime_ns, status.st_ino)
    if _looked.get(path) == seen:
        return path
    if status.st_size != expected["size"]:
        raise UserError(f"{path} has {status.st_size} bytes, its record says {expected['size']}; {advice}")
    if "digest" in expected and (actual := digest(path)) != expected["digest"]:
        raise UserError(
            f"{path} has other bytes than its record says (digest {actual}, expected {expected['digest']}); {advice}"
        )
    _looked[path] = seen
    return path
