"""Results of finished stages, each read once and identified by its content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ablate.store.record import files_of, known, run_path


class Results:
    """`result.json` of finished stages, each read once even if several rows share it, and its digest."""

    def __init__(self, root: Path | str) -> None:
        self._root = root
        self._seen: dict[tuple[str, str], tuple[dict | None, str]] = {}

    def __call__(self, kind: str, id: str | None) -> dict | None:
        """The result of a stage; None for no stage, and for one that is not finished. Raises UserError for a newer
        format.
        """
        return None if id is None else self._read(kind, id)[0]

    def digest(self, kind: str, id: str) -> str:
        """Digest of a result; "" for a stage that is not finished."""
        return self._read(kind, id)[1]

    def digests(self) -> set[str]:
        """Digests of all results read so far."""
        return {digest for _, digest in self._seen.values()} - {""}

    def files(self, kind: str, id: str) -> Path:
        """Folder of the files that a stage wrote, including its log and its items."""
        return files_of(run_path(self._root, kind, id), self(kind, id))

    def _read(self, kind: str, id: str) -> tuple[dict | None, str]:
        if (kind, id) not in self._seen:
            path = run_path(self._root, kind, id) / "result.json"
            data = path.read_bytes() if path.exists() else b""
            digest = hashlib.blake2b(data, digest_size=12).hexdigest() if data else ""
            self._seen[kind, id] = known(path, json.loads(data)) if data else None, digest
        return self._seen[kind, id]
