"""What clusters of test items contribute to each score, cached between two readings.

Parsing items is most of the work in a large sweep. An entry is keyed by the digest of the score's result.json, which is
written last and once: a score that is run again has another key, and a copied folder keeps its index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.records.files import keep, kept


class Parts(NamedTuple):
    """What each cluster of test items contributes to one metric of one score."""

    ids: str
    """Digest of the clusters' ids in order: equal for scores of the same test items."""
    level: float
    """The metric over all items."""
    parts: np.ndarray
    """float32 [clusters], with a sum of 0."""
    effective: float
    """Number of equal clusters that would be worth as much as these unequal ones (Kish): (Σ size)² / Σ size²."""
    by: str
    """What the clusters are, as "items" or "speakers"."""
    each: np.ndarray
    """What each item contributes by itself, float32 [items], with a sum of 0; empty where the clusters are the items.
    """


Key = tuple[str, str, str]
"""Digest of a score's result, split, metric."""


@dataclass
class Index:
    """Entries by key; an entry is None for a metric without counts per item."""

    path: Path
    version: str
    """Digest of the code that makes entries: a file made by other code is ignored."""
    entries: dict[Key, Parts | None] = field(default_factory=dict)
    changed: bool = False
    read_now: set[Hashable] = field(default_factory=set)
    """Of what the entries were made together since the file was read."""

    @classmethod
    def read(cls, path: Path, version: str) -> Index:
        """Read the file at `path`; empty if there is none, if it is incomplete, or if other code made it."""
        index, stored = cls(path, version), kept(path, version)
        if stored:
            about, arrays = stored
            start, parts = 0, arrays["parts"]
            for key, ids, level, clusters, effective, by, alone in about["entries"]:
                middle, end = start + clusters, start + clusters + alone
                own = Parts(ids, level, parts[start:middle], effective, by, parts[middle:end]) if ids else None
                index.entries[tuple(key)], start = own, end
        return index

    def together(self, what: Hashable, make: Callable[[], dict[Key, Parts | None]]) -> None:
        """Store the entries that `make` returns, unless this was done for `what` before: those of its scores that are
        unknown, or known otherwise.
        """
        if what not in self.read_now:
            self.read_now.add(what)
            made = make()
            self.entries |= made
            self.changed = self.changed or bool(made)

    def write(self, results: set[str]) -> None:
        """Write the entries of these results to a file beside the sweep, if any is new and the folder is writable; a
        reader sees the old or the new file.
        """
        if not self.changed or not os.access(self.path.parent, os.W_OK):
            return
        wanted = {key: entry for key, entry in self.entries.items() if key[0] in results}
        nothing = np.zeros(0, np.float32)
        none = Parts("", 0.0, nothing, 0.0, "", nothing)
        made = [(key, entry or none) for key, entry in wanted.items()]
        listed = [[key, e.ids, e.level, len(e.parts), e.effective, e.by, len(e.each)] for key, e in made]
        parts = [part for entry in wanted.values() if entry for part in (entry.parts, entry.each)]
        about = {"version": self.version, "entries": listed}
        keep(self.path, about, parts=np.concatenate(parts) if parts else nothing)
        self.changed = False
