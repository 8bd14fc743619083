"""What real data is, before anything is made of it: a fingerprint of its files, and what in them cannot be used.

Both show how far they are, and both are kept: digests of large files by size and time of change, and the list of what
is skipped by fingerprint, in `$ABLATE_CACHE`, else `ablate` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ablate.data.audio import FORMATS

T = TypeVar("T")

LARGE = 1 << 24  # bytes; digests of files larger than this are kept
TELL = 2.0  # seconds between two messages


def fingerprint(root: Path, paths: Iterable[str]) -> str:
    """Hash the used files: names relative to `root`, sizes, and the content of all that are not audio."""
    digest, digests = hashlib.sha256(), Kept("digests")
    for relative in told(_below(root, sorted(set(paths))), "Looking at data", "files"):
        path, name = relative
        size = path.stat().st_size
        digest.update(f"{name}\t{size}\n".encode())
        if path.suffix.lower() not in FORMATS:
            digest.update(_content(path, digests).encode())
    return digest.hexdigest()[:16]


def _below(root: Path, paths: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """Every file at or below `paths`, sorted, with its name: relative to `root`, or to a path that lies elsewhere."""
    for given in paths:
        top = root / given
        base = root if top.is_relative_to(root) else top.parent
        found = [top] if top.is_file() else (Path(at, name) for at, _, names in os.walk(top, followlinks=True) for name in names)
        yield from ((path, path.relative_to(base).as_posix()) for path in sorted(found))


def _content(path: Path, digests: Kept) -> str:
    facts = path.stat()
    key = json.dumps([str(path.resolve()), facts.st_size, facts.st_mtime_ns])
    known = digests.get(key) if facts.st_size > LARGE else None
    if known is None:
        with open(path, "rb") as file:
            known = _digest(file)
        if facts.st_size > LARGE:
            digests.put(key, known)
    return known


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(LARGE):
        digest.update(block)
    return digest.hexdigest()


class Kept:
    """Values by key, one small file each, in a folder of the user's cache; whoever deletes them loses time only."""

    def __init__(self, name: str) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._folder = Path(os.environ.get("ABLATE_CACHE") or Path(cache) / "ablate") / name

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"

    def get(self, key: str) -> Any:
        """Return what was kept, or None."""
        path = self._path(key)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def put(self, key: str, value: Any) -> None:
        """Keep a value."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        beside.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        os.replace(beside, path)

    def of(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what is kept under `key`, made and kept if it is not."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value


def told(items: Iterable[T], what: str, unit: str) -> Iterator[T]:
    """Yield `items`, telling on standard error every few seconds how many there were; short work stays silent."""
    last = began = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > TELL:
            last = time.monotonic()
            print(f"{what}: {count:,} {unit} in {last - began:.0f} s", file=sys.stderr, flush=True)
    if last > began:
        print(f"{what}: all {count:,} {unit} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
