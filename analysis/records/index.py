"""Each score's metrics under every bootstrap draw of its test items, cached between two readings.

Parsing items is most of the work in a large sweep. An entry is keyed by the digest of the score's result.json, which is
written last and once: a score that is run again has another key, and a copied folder keeps its index.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.records.files import keep, kept


class Drawn(NamedTuple):
    """One metric of one score under each draw of the items."""

    ids: str
    """Digest of the items' ids in order: equal for scores of the same test items."""
    level: float
    """The metric over all items, each once."""
    draws: np.ndarray
    """float32: the metric under each draw."""


Key = tuple[str, str, str]
"""Digest of a score's result, split, metric."""


@dataclass
class Index:
    """Entries by key; an entry is None for a metric without counts per item."""

    path: Path
    version: str
    """Digest of the code that makes entries: a file made by other code is ignored."""
    entries: dict[Key, Drawn | None] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def read(cls, path: Path, version: str) -> Index:
        """Read the file at `path`; empty if there is none, if it is incomplete, or if other code made it."""
        index, stored = cls(path, version), kept(path, version)
        if stored:
            about, arrays = stored
            rows = iter(arrays["draws"])
            for key, ids, level in about["entries"]:
                index.entries[tuple(key)] = Drawn(ids, level, next(rows)) if ids else None
        return index

    def entry(self, key: Key, make: Callable[[], dict[Key, Drawn | None]]) -> Drawn | None:
        """Return the entry of `key`; if it is unknown, store everything that `make` returns, which includes `key`."""
        if key not in self.entries:
            self.entries |= make()
            self.changed = True
        return self.entries[key]

    def write(self, results: set[str]) -> None:
        """Write the entries of these results to a file beside the sweep, if any is new and the folder is writable; a
        reader sees the old or the new file.
        """
        if not self.changed or not os.access(self.path.parent, os.W_OK):
            return
        entries = {key: entry for key, entry in self.entries.items() if key[0] in results}
        listed = [[key, entry.ids if entry else "", entry.level if entry else 0.0] for key, entry in entries.items()]
        draws = [entry.draws for entry in entries.values() if entry]
        about = {"version": self.version, "entries": listed}
        keep(self.path, about, draws=np.stack(draws) if draws else np.zeros((0, 0)))
        self.changed = False
