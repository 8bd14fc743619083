"""When a sweep's claims were declared, and the looks at which verdicts were taken: claims.jsonl and looks.jsonl.

`ablate.store.declared` describes the files. A claim's first result is the first moment at which its effect could be
seen: each of its rows was scored with some seed, by whichever sweep.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.store.declared import CLAIMS, FILES, LOOKS, append, content, utc
from ablate.store.record import read_jsonl
from analysis.records import manifest
from analysis.records.frame import Measure, Records

UNKNOWN, BEFORE, CHANGED, ADDED = (
    "when it was declared is not recorded",
    "declared before its first result",
    "changed since its first result",
    "added after its first result",
)
IN_TIME = (UNKNOWN, BEFORE)
"""What lets a claim have a verdict."""


@dataclass(frozen=True)
class Status:
    """Whether a claim was declared before its first result."""

    word: str
    """`UNKNOWN`, `BEFORE`, `CHANGED` or `ADDED`."""
    what: str = ""
    """What of it changed."""

    def __str__(self) -> str:
        return self.word + (f" ({self.what})" if self.what else "") + ", so exploratory" * (self.word not in IN_TIME)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A look of a claim that was logged."""

    time: str
    seeds: tuple[int, ...]
    runs: frozenset[str]
    """Ids of the score stages of its rows."""
    rows: str
    """Digest of the settings of its rows."""


def status(records: Records, name: str, what: Measure) -> Status:
    """Return whether a claim, as it is now, was declared before its first result."""
    now, lines = _said(content(records.sweep), name), lines_of(records)
    since = next((line["time"] for line in lines if now in _every(line)), None)  # under whatever name
    first = _first_result(records, name, what)
    if since is None:
        return Status(UNKNOWN)
    if first is None or since <= first:  # "…Z" of one length: texts compare as times
        return Status(BEFORE)
    before = [_said(line, name) for line in lines if (line["time"] or "") <= first and name in line["claims"]]
    if not before:
        return Status(ADDED)
    return Status(CHANGED, ", ".join(key for key in {**before[-1], **now} if before[-1].get(key) != now.get(key)))


def lines_of(records: Records) -> list[dict[str, Any]]:
    """Return the lines of claims.jsonl, the oldest first; empty where there is none."""
    return _lines(records, CLAIMS)


def registered(records: Records) -> tuple[str, str] | None:
    """Return the hash of what the sweep declares now, and when it was declared ("" if that is not known); None where
    nothing is recorded.
    """
    lines = lines_of(records)
    return (lines[-1]["hash"], lines[-1]["time"] or "") if lines else None


def lapsed(records: Records) -> dict[str, str]:
    """Return claims that were dropped or changed after the sweep's first result, by name, with their families: they
    still count.
    """
    ended = [result["ended"] for result in _scored(records, records.manifest) if "ended" in result]
    now, found = _every(content(records.sweep)), {}
    for line, after in zip(lines_of(records), lines_of(records)[1:]):
        if ended and after["time"] and after["time"] > min(ended):
            said = {name: _said(line, name) for name in line["claims"]}
            found |= {name: of["family"] for name, of in said.items() if of not in now}
    return {name: family for name, family in found.items() if family != "exploratory"}


def taken(records: Records, name: str) -> list[Taken]:
    """Return the looks of a claim that were logged, the oldest first."""
    return [
        Taken(time=line["time"], seeds=tuple(line["seeds"]), runs=frozenset(one["runs"]), rows=one["rows"])
        for line in _lines(records, LOOKS)
        if (one := line["claims"].get(name))
    ]


def settings(records: Records, name: str) -> str:
    """Digest of the settings of a claim's rows."""
    rows, effect = content(records.sweep)["rows"], records.sweep["claims"][name]["coefficients"]
    text = "".join(f"{row} {rows[row]}\n" for row, times in sorted(effect.items()) if times)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A look at a claim, to be logged."""

    look: int
    """Which of the looks, from 1."""
    of: int
    seeds: tuple[int, ...]
    effect: float
    p: float
    runs: frozenset[str]


def log(records: Records, seen: Mapping[str, Iterable[Seen]]) -> None:
    """Add to looks.jsonl the looks of claims that are not there yet; those without a p-value decided nothing."""
    new: dict[tuple[int, int, tuple[int, ...]], dict[str, Any]] = {}
    for name, looks in seen.items():
        known = [(one.seeds, one.runs) for one in taken(records, name)]
        for one in looks:
            if not math.isnan(one.p) and (one.seeds, one.runs) not in known:
                of_look = new.setdefault((one.look, one.of, one.seeds), {})
                about = {"runs": sorted(one.runs), "rows": settings(records, name)}
                of_look[name] = {"effect": one.effect, "p": one.p, **about}
    for (look, of, seeds), claims in sorted(new.items()):
        append(records.folder / LOOKS, {"time": utc(), "look": look, "of": of, "seeds": seeds, "claims": claims})
    _lines.cache_clear()


def digest(records: Records) -> str:
    """Digest of both files."""
    paths = [records.folder / name for name in FILES]
    return hashlib.blake2b(
        b"\0".join(path.read_bytes() if path.exists() else b"" for path in paths), digest_size=16
    ).hexdigest()


def _said(line: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a line says of a claim, with the looks at which it is judged; empty if it has no such claim."""
    claim = line["claims"].get(name)
    return {} if claim is None else {"family": "primary", **claim, "looks": line["looks"]}


def _every(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a line says of all its claims."""
    return [_said(line, name) for name in line["claims"]]


def _scored(records: Records, lines: Iterable[manifest.Line]) -> Iterator[dict[str, Any]]:
    """Results of all finished scores of some lines of the manifest."""
    for line in lines:
        for task in records.sweep["tasks"]:
            results = (records.result(records.kind(task), id) for id in manifest.every_score(line, task))
            yield from (result for result in results if result)


def _first_result(records: Records, name: str, what: Measure) -> str | None:
    """When the last of the claim's rows had its first score; None while one has none, or where no record says."""
    effect = records.sweep["claims"][name]["coefficients"]
    first: dict[str, list[str]] = {row: [] for row, times in effect.items() if times}
    for line in records.manifest:
        runs = manifest.draws(line, what.task, what.split) if line["row"] in first else []
        for result in (records.result(records.kind(what.task), run) or {} for run in runs):
            first[line["row"]] += [result["ended"]] if "ended" in result else []
    return max(map(min, first.values())) if all(first.values()) else None


@functools.lru_cache(maxsize=8)
def _lines(records: Records, name: str) -> list[dict[str, Any]]:
    return list(read_jsonl(records.folder / name))
