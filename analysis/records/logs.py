"""What stages logged while they ran, as arrays: parsed once and cached beside the sweep, like the items in
`analysis.records.index`.

An entry is keyed by the digest of the stage's result.json, which is written last and once. A stage that is not finished
is read again each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ablate.store.record import read_jsonl
from analysis.records.files import keep, kept
from analysis.records.results import Results


class Log(NamedTuple):
    """Numbers in the order they were logged; `metrics` holds indices into `Logs.names`."""

    steps: np.ndarray
    metrics: np.ndarray
    values: np.ndarray


class Logs:
    """Logs by stage; `version` is the digest of the code that parses them: a file made by other code is ignored."""

    def __init__(self, path: Path, version: str, results: Results) -> None:
        self.names: list[str] = []
        """Every metric seen so far."""
        self._codes: dict[str, int] = {}
        self._path, self._version, self._results = path, version, results
        self._known: dict[tuple[str, str], Log] = {}
        self._changed = False
        self._read()

    def __call__(self, kind: str, id: str) -> Log:
        """One stage's log; empty where nothing was logged."""
        key = id, self._results.digest(kind, id)
        log = self._known.get(key)
        if log is None:
            log = self._parsed(read_jsonl(self._results.files(kind, id) / "metrics.jsonl"))
            self._known[key], self._changed = log, self._changed or key[1] != ""
        return log

    def _parsed(self, lines: Iterable[dict]) -> Log:
        """Lines of metrics.jsonl in long form. Anything that is not a number is left out."""
        steps, metrics, values = [], [], []
        for line in lines:
            for name, value in line.items():
                if type(value) in (int, float) and name != "step":
                    steps.append(line["step"])
                    metrics.append(self._code(name))
                    values.append(value)
        return Log(np.array(steps, np.int64), np.array(metrics, np.int32), np.array(values, np.float64))

    def _code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def _read(self) -> None:
        stored = kept(self._path, self._version)
        if not stored:
            return
        about, arrays = stored
        for name in about["names"]:
            self._code(name)
        ends = np.cumsum([length for _, _, length in about["entries"]], dtype=np.int64)[:-1]
        parts = zip(*(np.split(arrays[part], ends) for part in Log._fields))
        self._known = {(id, digest): Log(*part) for (id, digest, _), part in zip(about["entries"], parts)}

    def write(self) -> None:
        """Write the entries of the results read so far to a file beside the sweep, if any is new and the folder is
        writable; a reader sees the old or the new file.
        """
        if not self._changed or not os.access(self._path.parent, os.W_OK):
            return
        results = self._results.digests()
        logs = {key: log for key, log in self._known.items() if key[1] in results}
        about = {
            "version": self._version,
            "names": self.names,
            "entries": [[*key, len(log.steps)] for key, log in logs.items()],
        }
        keep(self._path, about, **{part: joined([getattr(log, part) for log in logs.values()]) for part in Log._fields})
        self._changed = False


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays; empty for none."""
    return np.concatenate(arrays) if arrays else np.zeros(0)
