"""Adds a finished stage of another root to this one. Standard library only.

The files that its result names are linked or copied, then the files around them, and its result is created last. If the
process is killed, the stage here is as it was, and the next try starts anew. The other root does not change.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError
from ablate.store import attempt, files, pruned
from ablate.store.identity import flat
from ablate.store.lock import ASIDE, PROGRESS, alive, held, read_lock
from ablate.store.record import FORMAT, files_of, read_json, read_jsonl, read_result, run_path
from ablate.store.run import BEAT_SECONDS, RESULT, Busy, RunFolder
from ablate.store.stage import MOST_WAYS

TAKE, RESTORE, SAME, RUNNING, REFUSED = "take", "restore", "same", "running", "refused"
TIDY = "tidy"  # the same, and a process that was killed at it left files
NOTE = b'{"step": 0, "steps": 0, "note": "taken from another root"}'  # the progress that watchers see
MOST_NAMED = 3  # most differences of two results that are named


@dataclass(frozen=True)
class Found:
    """A finished stage in a run folder elsewhere."""

    kind: str
    id: str
    title: str
    folder: Path
    result: Mapping[str, Any]
    gone: Collection[str]
    """Names of its files that were pruned there."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.title})"

    @property
    def root(self) -> Path:
        """The root that its folder lies under."""
        return self.folder / ".." / ".." / ".."

    @property
    def facts(self) -> Mapping[str, Any]:
        """Size and digest of its files, by name."""
        return self.result.get("files", {})

    def size(self, names: Collection[str]) -> int:
        """Return the bytes of some of its files."""
        return sum(self.facts[name]["size"] for name in names)


@dataclass(frozen=True)
class Verdict:
    """What to do about a stage: take it, restore pruned files, or nothing."""

    what: str
    names: tuple[str, ...] = ()
    """Files to link or copy."""
    why: str = ""
    """Why it is refused, in a sentence."""


def read(folder: Path) -> Found:
    """Read the finished stage in a run folder.

    Raises UserError if the folder has no stage, or an unfinished one, or one of an earlier format.
    """
    folder = Path(folder)
    if not (folder / "identity.json").is_file():
        raise UserError(f"No stage in {folder}; give the folder of one, ROOT/KIND/AB/ID.")
    what, result = read_json(folder / "identity.json"), read_result(folder)
    if result is None:
        raise UserError(f"{what['kind']} {what['id']} in {folder} is not finished; only finished stages are taken.")
    if result.get("format", 1) < FORMAT:
        raise UserError(f"{folder} is of format {result.get('format', 1)}, which no new plan uses; it is read there.")
    return Found(what["kind"], what["id"], what["title"], folder, result, pruned.gone(folder))


def judge(one: Found, to: Path, without: Collection[str] = ()) -> Verdict:
    """Return what to do to have a stage under the root `to`. Files of the parts `without` are left out.

    Two results agree if they differ only in circumstances and their records are the same byte for byte. Files that can
    be pruned may differ: those in `to` stay, as neither machine's are better. For parts, see `ablate.store.pruned`.
    """
    path = run_path(to, one.kind, one.id)
    wanted = [name for name in one.facts if name not in one.gone and pruned.part(one.kind, name) not in without]
    own, lock = read_result(path), read_lock(path)
    if own is None:
        busy = lock is not None and lock["pid"] is not None and alive(lock) and not lock.get(ASIDE)
        return Verdict(RUNNING) if busy else Verdict(TAKE, tuple(wanted))
    if other := _disagreement(one, own):
        more = f" and {len(other) - MOST_NAMED} more" if len(other) > MOST_NAMED else ""
        told = ", ".join(other[:MOST_NAMED]) + more
        return Verdict(REFUSED, why=f"{one} is finished in both and differs in {told}; that of {to} stays.")
    lost, here = pruned.gone(path), own.get("files", {})
    back = tuple(name for name in wanted if name in lost and here[name] == one.facts[name])
    if back:
        return Verdict(RESTORE, back)
    return Verdict(TIDY if _littered(path, own, lock) else SAME)


def _littered(path: Path, own: Mapping[str, Any], lock: Optional[Mapping[str, Any]]) -> bool:
    """Return whether a process that was killed left files in the folder of a stage that is finished here."""
    if lock is not None:
        return (lock["pid"] is None or lock.get(ASIDE, False)) and not alive(lock)
    return not pruned.reopened(path) and any(token != own.get("attempt") for token in attempt.tokens(path))


def _disagreement(one: Found, own: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between a result and that of the same stage here."""
    ours, theirs = (
        flat({key: value for key, value in result.items() if key not in (*attempt.CIRCUMSTANCES, "files")})
        for result in (own, one.result)
    )
    names = [name for name in {**theirs, **ours} if theirs.get(name, ...) != ours.get(name, ...)]
    records = [
        {name: facts for name, facts in result.get("files", {}).items() if not _varies(one.kind, name)}
        for result in (one.result, own)
    ]
    return names + [name for name in {**records[0], **records[1]} if records[0].get(name) != records[1].get(name)]


def _varies(kind: str, name: str) -> bool:
    """Return whether a file may differ when the same stage is made twice. A checkpoint's own file holds times."""
    return name == attempt.CHECKPOINT or pruned.part(kind, name) != ""


def adopt(
    one: Found, to: Path, without: Collection[str] = (), tell: Callable[[int], None] = lambda size: None
) -> Verdict:
    """Do what `judge` says while holding the stage's lock, and return what was done.

    `tell` is called with the bytes of each file that was linked or copied. Raises UserError for a file that differs
    from its record or cannot be read.
    """
    run = RunFolder(to, one.kind, one.id)
    run.path.mkdir(parents=True, exist_ok=True)
    try:
        with _joining(run) as own:
            verdict = judge(one, to, without)
            if verdict.what == TAKE:
                _sound(one, verdict.names)
                _take(one, run.path, own, verdict.names, tell)
                if read_result(run.path)["attempt"] != own.name:  # another process finished it meanwhile
                    verdict = judge(one, to, without)
            elif verdict.what == RESTORE:
                _sound(one, verdict.names)
                _restore(one, run.path, verdict.names, tell)
            if verdict.what != TAKE and not pruned.reopened(run.path):
                _tidy(run.path, files_of(run.path, run.result()))
    except Busy:
        return Verdict(RUNNING)
    except (FileNotFoundError, PermissionError) as error:
        if one.folder not in Path(str(error.filename)).parents:
            raise
        raise UserError(f"{one} was not taken: {error.filename} cannot be read ({error.strerror}).") from None
    return verdict


@contextlib.contextmanager
def _joining(run: RunFolder) -> Iterator[Path]:
    """Hold a stage's lock and yield a folder for its files. Raises Busy if the stage is running.

    In contrast to an attempt, this is not listed among the stage's attempts.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # renamed just now, or the disk fails: the next write raises it
                os.utime(own / PROGRESS)

    try:
        with run.aside() as token:
            own = run.path / token
            try:
                own.mkdir()
                files.replace(own / PROGRESS, NOTE, durable=False)
                threading.Thread(target=beat, daemon=True).start()
                attempt.clear(run.path)
                yield own
            finally:
                stop.set()
                result = read_result(run.path)
                if result is not None and result.get("attempt") == own.name:
                    _tidy(run.path, own)
                else:
                    shutil.rmtree(own, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):  # not empty, unless nothing was written
            run.path.rmdir()


def _sound(one: Found, names: Collection[str]) -> None:
    """Raise UserError if a file to be linked or copied differs from its record."""
    source = files_of(one.folder, one.result)
    for name in names:
        expected = one.facts[name]
        small = expected["size"] <= attempt.SMALL
        attempt.checked(source / name, expected if small else {"size": expected["size"]}, f"{one} was not taken.")


def _take(one: Found, path: Path, own: Path, names: Collection[str], tell: Callable[[int], None]) -> None:
    """Link or copy all files of a stage into the attempt's folder `own`, and create a result that names it."""
    for name in sorted(names, key=lambda name: name == attempt.CHECKPOINT):  # last: it promises the files it names
        _bring(one, name, own / name, tell)
    for folder in {(own / name).parent for name in names} - {own}:
        files.synced(folder)
    _beside(one.folder, path)
    patch = one.result.get("code", {}).get("patch")
    for name in [f"{patch}.patch"] if patch else []:
        _copy(one.root / "code" / name, path.parents[2] / "code" / name)
    lacking = {name: facts["size"] for name, facts in one.facts.items() if name not in names}
    (path / pruned.NAME).unlink(missing_ok=True)
    if lacking:
        pruned.write(path, lacking, own.name)
    # syncs this file and the folder
    files.replace(own / RESULT, files.encoded({**one.result, "attempt": own.name}))
    if not held(path, own.name):
        raise Busy(f"{one} was taken over by somebody else.")
    with contextlib.suppress(FileExistsError):  # another process finished it meanwhile
        files.linked(own / RESULT, path / "result.json")
    files.synced(path)


def _tidy(path: Path, valid: Path) -> None:
    """Remove what was left in the run folder of a finished stage, except for its valid attempt's files."""
    for left in (valid / RESULT, valid / PROGRESS):
        left.unlink(missing_ok=True)
    attempt.settle(path, valid.name)


def _restore(one: Found, path: Path, names: Collection[str], tell: Callable[[int], None]) -> None:
    """Put pruned files back. Until all of them are there, they count as pruned."""
    here = files_of(path, read_result(path))
    for name in names:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).unlink(missing_ok=True)  # left by a pruning that was killed before it removed the file
        _bring(one, name, here / name, tell)
    for folder in {(here / name).parent for name in names}:
        files.synced(folder)
    pruned.withdraw(path, names)


def _bring(one: Found, name: str, target: Path, tell: Callable[[int], None]) -> None:
    """Link or copy a file. A copy is read again and compared with its record. Raises UserError."""
    source, facts = files_of(one.folder, one.result) / name, one.facts[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    files.linked(source, target)
    if "digest" in facts and not os.path.samefile(source, target) and attempt.digest(target) != facts["digest"]:
        raise UserError(f"{one} was not taken: the copy of {source} has other bytes than its record says.")
    tell(facts["size"])


def _beside(source: Path, path: Path) -> None:
    """Copy the files next to the attempts in a run folder. Files that a plan wrote here stay."""
    for name in ("config.yaml", "identity.json"):
        _copy(source / name, path / name)
    for log in (source / "logs").glob("*"):
        _copy(log, path / "logs" / log.name)
    if (source / "code.txt").exists():
        files.copied(source / "code.txt", path / "code.txt", durable=False)
    _copy(source / "how.json", path / "how.json")
    if (source / "how.json").exists():
        known = read_json(path / "how.json")["ways"]
        more = [way for way in read_json(source / "how.json")["ways"] if way not in known]
        if more:
            files.replace(
                path / "how.json", json.dumps({"ways": [*known, *more][:MOST_WAYS]}).encode() + b"\n", durable=False
            )
    _copy(source / "attempts.jsonl", path / "attempts.jsonl")
    known = list(read_jsonl(path / "attempts.jsonl"))
    if more := [line for line in read_jsonl(source / "attempts.jsonl") if line not in known]:
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in [*known, *more])
        files.replace(path / "attempts.jsonl", lines, durable=False)


def _copy(source: Path, target: Path) -> None:
    """Copy a file if it exists there and not here."""
    if source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        files.copied(source, target, durable=False)  # not durable, like a plan's own files
