"""What a sweep declared before it ran: its claims, looks and rows, in claims.jsonl; and verdicts taken, in looks.jsonl.

Both files lie beside sweep.json and only grow. A line of claims.jsonl is added when a sweep is planned to run and any
of this differs from the last line: {"time": UTC, "hash", "claims", "looks", "seeds": those of the looks, "rows": {row:
{"": digest of its settings, task: digest of the task's}}, "data": digest}. Where a row has a text instead, as its data
are missing or the sweep is older than such digests, its settings are not known, and what is not known has not changed.
The time is null where a sweep was there already when such lines were first kept: nobody knows when it was declared. A
line of looks.jsonl is a look at which verdicts were first taken: {"time", "look", "of", "seeds", "claims": {name:
{"effect", "p", "runs": score runs, "settings": digest of those of its rows, or null}}}.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.store import files
from ablate.store.record import read_json, read_jsonl

CLAIMS, LOOKS = FILES = ("claims.jsonl", "looks.jsonl")
DERIVED = ("coefficients", "assay_coefficients")  # of a claim, from its text


def content(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sweep (content of sweep.json) declares: claims as they are written, looks with their seeds, digests
    of rows and data.
    """
    claims = sweep.get("claims") or {}
    return {
        "claims": {
            name: {key: value for key, value in claim.items() if key not in DERIVED} for name, claim in claims.items()
        },
        "looks": sweep.get("looks") or [],
        "seeds": sweep.get("look_seeds"),
        "rows": sweep.get("settings")
        or {
            name: digest({key: value for key, value in row.items() if key != "label"})
            for name, row in sweep.get("rows", {}).items()
        },
        "data": digest(sweep.get("data")),
    }


def hash_of(sweep: Mapping[str, Any]) -> str:
    """Return the hash of what a sweep declares; empty if it has no claims."""
    return digest(content(sweep)) if sweep.get("claims") else ""


def rows(claim: Mapping[str, Any]) -> set[str]:
    """Return the rows that a claim's verdict depends on, those of its assay among them."""
    both = (claim["coefficients"], claim.get("assay_coefficients") or {})
    return {row for effect in both for row, times in effect.items() if times}


def declare(folder: Path, sweep: Mapping[str, Any]) -> None:
    """Add what a sweep declares to the claims.jsonl of its folder, unless that is there already.

    Call it before sweep.json is replaced: the claims of an earlier one that no line has were declared at a time that is
    not known.
    """
    for line in _new(folder, sweep, list(read_jsonl(folder / CLAIMS))):
        append(folder / CLAIMS, line)


def lines_if_run(folder: Path, sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines that claims.jsonl of a sweep's folder has once the sweep is planned to run, now."""
    lines = list(read_jsonl(folder / CLAIMS))
    return [*lines, *_new(folder, sweep, lines)]


def _new(folder: Path, sweep: Mapping[str, Any], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    now, there = content(sweep), folder / "sweep.json"
    before = _line(content(read_json(there)), None) if not lines and there.exists() else None
    last = lines[-1] if lines else before
    if not (now["claims"] or last and last["claims"]) or last and last["hash"] == digest(now):
        return []
    return [line for line in (before, _line(now, utc())) if line is not None]


def _line(declared: Mapping[str, Any], when: Optional[str]) -> dict[str, Any]:
    return {"time": when, "hash": digest(declared), **declared}


def digest(value: object) -> str:
    """Return a digest of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def utc() -> str:
    """Return the present time in the form of records."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a JSON-lines file in one write, which no other process's write can break up.

    A crash may leave half a line; it is removed.
    """
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        files.open_append(path).close()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, json.dumps(line, ensure_ascii=False).encode() + b"\n")
    finally:
        os.close(handle)


def join(source: Path, target: Path) -> None:
    """Add the lines of a sweep's folder to those of an equal sweep in another root, in the order of their times."""
    for name in FILES:
        theirs, own = list(read_jsonl(source / name)), list(read_jsonl(target / name))
        if more := [line for line in theirs if line not in own]:
            lines = sorted([*own, *more], key=lambda line: line["time"] or "")
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            files.replace(target / name, text.encode())
