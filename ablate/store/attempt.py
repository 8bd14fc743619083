"""An attempt at a stage writes into a folder of its own in the run folder, named by the token of its lock.

A process that takes a stage over first renames the folders of earlier attempts, so that their processes, if they wake
up, cannot write there. It then takes over the latest checkpoint among them, and removes them. A result names one
attempt, whose folder stays. Standard library only.
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

CHECKPOINT = "checkpoint.json"  # {"step": ..., "files": {name: ...}, ...} of an attempt's last checkpoint
TOKEN = re.compile(r"\.?([0-9a-f]{12})(\.gone)?")  # names of attempts' folders, also of renamed ones
SMALL = 1 << 22  # bytes up to which a file's digest is checked whenever a stage starts from it
TORN_SECONDS = 60.0  # age after which a half-written file has no writer any more

CIRCUMSTANCES = (  # keys of a result that differ when the same stage is made twice
    *("attempt", "seconds", "attempts", "code", "ended", "machine"),
    *("busy_seconds", "waiting"),  # from the stages themselves
)

Facts = Mapping[str, Any]  # {"size": bytes, "digest": hex}

_looked: dict[Path, tuple[Any, ...]] = {}  # digest, size, time and inode of files when they were last checked


def new_token() -> str:
    """Return a new token for a lock, which is also the name of the attempt's folder."""
    return secrets.token_hex(6)


def ended(path: Path, lock: Mapping[str, Any], when: float, outcome: str, held_up: float = 0.0) -> None:
    """Append to the run folder's attempts.jsonl how the attempt with this lock ended.

    `when` is in seconds since the epoch. The attempt waited `held_up` seconds for space on the disk.
    """
    line = {k: lock.get(k) for k in ("token", "host", "pid", "job", "began")}
    line |= {"ended": when, "outcome": outcome, "code": code_version()}
    line |= {"held_up": round(held_up, 3)} if held_up else {}
    with open_append(path / "attempts.jsonl") as file:
        file.write(json.dumps(line).encode() + b"\n")


def circumstances(path: Path, lock: Mapping[str, Any], held_up: float = 0.0) -> dict[str, Any]:
    """Return what a result says about how the stage in `path` was made. Its last attempt, that of `lock`, ends now.

    Time spent waiting for space on the disk (`held_up` seconds in this attempt) does not count as time of the stage.
    """
    now, earlier = time.time(), list(read_jsonl(path / "attempts.jsonl"))
    made = [number for number, one in enumerate(earlier) if one["outcome"] == "done"]  # earlier makings, pruned since
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
    """Leave one attempt in the run folder `path`: the one that the result names, else `own`.

    If a pruned stage is being made again, both stay. `own` takes over the last complete checkpoint of the others and
    its log. Only attempts that exist at the time of the call are touched, and never that of the lock's holder. So a
    process that was suspended and wakes up here cannot harm its successors.
    """
    result, again = path / "result.json", pruned.reopened(path)
    valid = read_json(result).get("attempt", "") if result.exists() else own
    others = [(entry, token) for entry, token in _attempts(path) if token != own]
    gone = {token: path / f".{token}.gone" for _, token in others}
    for entry, token in others:
        if token != valid and entry != gone[token] and not held(path, token):
            if gone[token].exists():  # renamed before; its process has created a new one
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(entry, gone[token])
    if result.exists():  # perhaps created only now, by an attempt that was just renamed
        valid = read_json(result).get("attempt", "")
        if valid in gone and gone[valid].exists() and not (path / valid).exists():
            os.rename(gone[valid], path / valid)
    if gone and (again or not result.exists()):
        _inherit([folder for token, folder in gone.items() if not held(path, token)], path / own)
    for folder in gone.values():
        shutil.rmtree(folder, ignore_errors=True)


def reached(path: Path) -> int:
    """Return the step of the latest checkpoint in the run folder `path`, 0 if there is none."""
    if not path.is_dir():
        return 0
    return max(((_saved(folder) or {}).get("step", 0) for folder, _ in _attempts(path)), default=0)


def drop(path: Path) -> None:
    """Remove the folders of all attempts at an unfinished stage that is not running."""
    for entry, _ in _attempts(path):
        shutil.rmtree(entry)


def _attempts(path: Path) -> list[tuple[Path, str]]:
    """Return the folders of attempts in a run folder, renamed ones included, with their tokens."""
    matches = ((entry, TOKEN.fullmatch(entry.name)) for entry in path.iterdir())
    return [(entry, match[1]) for entry, match in matches if match]


def tokens(path: Path) -> set[str]:
    """Return the tokens of all attempts that have a folder in a run folder."""
    return {token for _, token in _attempts(path)}


def _inherit(candidates: list[Path], own: Path) -> None:
    """Take over from the attempt with the highest step, and of equal ones from the latest."""
    ranked = []
    for folder in candidates:
        with contextlib.suppress(FileNotFoundError):
            ranked.append(((_saved(folder) or {}).get("step", -1), folder.stat().st_mtime_ns, folder))
    for _, _, folder in sorted(ranked, reverse=True):
        try:
            _take_over(folder, own)
        except FileNotFoundError:  # a suspended process woke up, took it over itself and removes it just now
            continue
        return


def _take_over(old: Path, own: Path) -> None:
    """Link files that never change and copy those that grow, the checkpoint's own file last, as it makes them valid."""
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


# Contents of files -----------------------------------------------------------------------------------------------


def facts(folder: Path, names: Optional[Iterable[str]] = None, digests: bool = True) -> dict[str, dict[str, Any]]:
    """Return size and digest (unless `digests` is False) of files in a folder, by relative name.

    `names` defaults to all files that are not hidden.
    """
    if names is None:
        paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        names = sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))
    sizes = {name: {"size": (folder / name).stat().st_size} for name in names}
    return {name: {**size, "digest": digest(folder / name)} for name, size in sizes.items()} if digests else sizes


def digest(path: Path) -> str:
    """Return the BLAKE2b hash of a file, 16 bytes in hexadecimal."""
    with open(path, "rb") as file:
        return files.digest(file).hex()


def named(path: Path, result: Mapping[str, Any], name: str) -> Path:
    """Return the path of a file of the stage in the run folder `path`, after comparing it with its record.

    Raises UserError if size or digest differ, and Pruned if the file was pruned. Results of format 1 do not list files,
    so nothing is checked for them.
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
    """Return the folder of the files of the stage in the run folder `path`, after checking all that its result names.

    Checks the size of every file, and the digest of files up to `SMALL` bytes. Raises UserError if one differs, and
    Pruned if one was pruned.
    """
    folder, advice = files_of(path, result), f"remove {path}, and run the sweep again, which makes that stage anew."
    _kept(path, result.get("files", {}))
    for name, expected in result.get("files", {}).items():
        checked(folder / name, expected if expected["size"] <= SMALL else {"size": expected["size"]}, advice)
    return folder


def _kept(path: Path, names: Iterable[str]) -> None:
    """Raise Pruned if one of these files of a finished stage was pruned."""
    if lost := next((name for name in names if name in pruned.gone(path)), ""):
        raise pruned.Pruned(
            f"{lost} of {path} was pruned; python -m ablate.prune --restore {path} has the next run of its sweep make "
            "it again."
        )


def clear(path: Path) -> None:
    """Remove half-written files of killed writers from a run folder.

    Recent ones stay, as other processes may be writing them.
    """
    now = clock(path)
    for torn in (*path.glob(".*.part"), *path.glob(".claim.*.dead")):
        with contextlib.suppress(FileNotFoundError):
            if now - torn.stat().st_mtime > TORN_SECONDS:
                torn.unlink()


def checked(path: Path, expected: Facts, advice: str) -> Path:
    """Return `path` after comparing its size and digest with `expected`. A process reads a file once unless it changes.

    Raises UserError, with `advice` in the message, if they differ.
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
