"""The first rows of a test table, and the frames of the spoken ones: what models were given, as far as it is available.

Folders of tables are described in `ablate.data.table`. A copied root may lack any of their files.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from ablate.store.record import read_json, read_jsonl
from analysis.records import manifest
from analysis.records.frame import Measure, Records
from analysis.records.scores import table

BINS = 80
"""Mel bins per frame, as tables store them."""

Example = dict[str, Any]


def first(records: Records, what: Measure, count: int) -> dict[str, Example]:
    """First rows of a task's test table by id, with "mel" [frames, BINS] where they are spoken; empty where the table
    is not available.
    """
    name = table(records.sweep, what.task)
    places = (manifest.table(line, name, what.split) for line in records.manifest)
    place = next(filter(None, places), None)
    if place is None:
        return {}
    kind, id, below = place
    folder = records.files(kind, id) / below
    rows = _in_order(folder, count) if kind == "corpus" else _in_canonical_order(records, folder, count)
    return {row["id"]: row for row in rows}


def _in_order(folder: Path, count: int) -> list[Example]:
    """Rows of format 1: rows and their frames lie one after the other."""
    rows, begin = list(itertools.islice(read_jsonl(folder / "rows.jsonl"), count)), 0
    for row in rows:
        _hear(row, folder, begin, row.get("frames", 0))
        begin += row.get("frames", 0)
    return rows


def _in_canonical_order(records: Records, folder: Path, count: int) -> list[Example]:
    """Rows of format 2: an index says where each row is in its file, and in which recordings its frames are."""
    if not (folder / "rows.jsonl").exists() or not (folder / "rows.i64").exists():
        return []
    rows = []
    with open(folder / "rows.jsonl", "rb") as file:
        for begin, end in _numbers(folder / "rows.i64", 0, 2 * count).reshape(-1, 2).tolist():
            file.seek(begin)
            rows.append(json.loads(file.read(end - begin)))
    if not (folder / "recording.i64").exists():
        return rows
    sources = [records.files("recordings", id) for id in read_json(folder / "recordings.json")] or [folder / "own"]
    for number, row in enumerate(rows):
        source, place = _numbers(folder / "recording.i64", 2 * number, 2).tolist()
        if (sources[source] / "frames.i64").exists():
            begin, end = _numbers(sources[source] / "frames.i64", place, 2).tolist()
            _hear(row, sources[source], begin, end - begin)
    return rows


def _numbers(path: Path, begin: int, count: int) -> np.ndarray:
    """Read up to `count` numbers of an int64 column from `begin`; fewer where the column ends."""
    return np.fromfile(path, "<i8", count=count, offset=8 * begin)


def _hear(row: Example, folder: Path, begin: int, frames: int) -> None:
    """Add "mel" to a spoken row, `frames` frames from `begin`, if its frames are available."""
    path = folder / "mel.f16"
    if frames and path.exists() and path.stat().st_size >= 2 * BINS * (begin + frames):
        row["mel"] = np.fromfile(path, "<f2", count=BINS * frames, offset=2 * BINS * begin).reshape(-1, BINS)
