"""What takes long to find out and does not change, kept for all runs of a user: one file, `known.sqlite3` in
`$ABLATE_CACHE` or else in `ablate` in the user's cache folder.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.store import files


def hashed(*parts: bytes) -> bytes:
    """16 bytes that identify `parts`; all but the last must always have the same length."""
    return blake2b(b"".join(parts), digest_size=16).digest()


class Kept:
    """Values by key, in one file of the user's cache that any number of processes share; deleting it only costs time.

    Without a writable place, values are kept for the life of the process, and standard error says so.
    """

    _WAITING = 5000  # number of values that are written together

    def __init__(self) -> None:
        folder = files.cache()
        self.path = folder / "known.sqlite3"
        self._new: dict[bytes, bytes] = {}
        self._writes = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._open(self.path)
        except (OSError, sqlite3.OperationalError) as error:
            self._db = self._open(":memory:")
            self._forgets(error)

    def _open(self, path: Path | str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=60)
        try:
            db.execute("PRAGMA cache_size = -65536")
            known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept'").fetchone()
            if known is None:
                db.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: the cache is damaged ({error}); delete this file.") from error
        return db

    def _forgets(self, error: Exception) -> None:
        self._writes = False
        print(
            f"cache: {self.path} cannot be written ({error}), so what it would hold (of data files, of estimates) is "
            "made again each time; set ABLATE_CACHE to a writable folder.",
            file=sys.stderr,
        )

    def get(self, key: bytes) -> bytes | None:
        """Return the stored value, or None."""
        if key in self._new:
            return self._new[key]
        return self._asked("SELECT key, value FROM kept WHERE key = ?", (key,)).get(key)

    def some(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The stored values of up to some thousand keys."""
        query = f"SELECT key, value FROM kept WHERE key IN ({','.join('?' * len(keys))})"
        return {key: self._new[key] for key in keys if key in self._new} | self._asked(query, keys)

    def _asked(self, query: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The result of a query; empty if the file cannot be read, which is reported once."""
        try:
            return dict(self._db.execute(query, keys))
        except sqlite3.DatabaseError as error:
            if self._writes:
                self._forgets(error)
            return {}

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value, at the latest when `flush` is called."""
        self._new[key] = value
        if len(self._new) >= self._WAITING:
            self.flush()

    def flush(self) -> None:
        """Write pending values."""
        if not self._new or not self._writes:
            return
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", sorted(self._new.items()))
        except sqlite3.OperationalError as error:
            self._forgets(error)
        else:
            self._new.clear()

    def of(self, what: Any, make: Callable[[], Any]) -> Any:
        """Return the plain value that `make` computes, computed once for each plain `what`."""
        key = b"v" + hashed(json.dumps(what, sort_keys=True).encode())
        kept = self.get(key)
        if kept is None:
            kept = json.dumps(make()).encode()
            self.put(key, kept)
            self.flush()
        return json.loads(kept)
