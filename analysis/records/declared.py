"""When a sweep's claims were declared, and the looks at which verdicts were taken: claims.jsonl and looks.jsonl.

`ablate.store.declared` describes the files. A claim's first result is the first moment at which its effect could be
seen with seeds that its verdict reads: each of its rows was scored with one of them, by whichever sweep, or a look at
it was logged. The version of the claim that was in force at that moment is the one that was declared in time.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.store.declared import CLAIMS, FILES, LOOKS, append, content, utc
from ablate.store.declared import digest as digest_of
from ablate.store.record import read_jsonl
from analysis.records import manifest
from analysis.records.frame import Records

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

    claim: str
    time: str
    seeds: tuple[int, ...]
    runs: frozenset[str]
    """Ids of the score stages of its rows."""
    settings: str | None
    """Digest of the settings of its rows; None if that is not known."""


def status(records: Records, name: str, lines: Sequence[dict[str, Any]] | None = None) -> Status:
    """Return whether a claim, as it is now, was declared before its first result.

    `lines` are those of claims.jsonl, by default those that are there.
    """
    lines = lines_of(records) if lines is None else lines
    now, own = _said(content(records.sweep), name), settings(records, name)
    if any(None not in (one.settings, own) and one.settings != own for one in taken(records, name)):
        return Status(CHANGED, "rows")
    if not lines:
        return Status(UNKNOWN)
    first = _first(records, name, now)
    force = [line for line in lines if first is None or (line["time"] or "") <= first][-1:]  # "…Z": texts compare
    if any(not _changes(one, now) for line in force for one in _every(line)):  # under whatever name
        return Status(BEFORE if force[0]["time"] else UNKNOWN)
    if first is None:
        return Status(BEFORE)
    if not force or name not in force[0]["claims"]:
        return Status(ADDED)
    return Status(CHANGED, ", ".join(_changes(_said(force[0], name), now)))


def seeds(records: Records) -> list[int]:
    """Return the seeds that verdicts read, in their order: those of the declared looks, or all."""
    return list(records.sweep.get("look_seeds") or records.seeds)


def lines_of(records: Records) -> list[dict[str, Any]]:
    """Return the lines of claims.jsonl, the oldest first; empty where there is none."""
    return _lines(records, CLAIMS)


def registered(records: Records) -> tuple[str, str] | None:
    """Return the hash of what the sweep declares now, and when it was declared ("" if that is not known); None where
    nothing is recorded.
    """
    lines = lines_of(records)
    return (lines[-1]["hash"], lines[-1]["time"] or "") if lines else None


def lapsed(records: Records) -> list[tuple[str, str]]:
    """Return name and family of versions of claims that still count although they were dropped or changed: those that
    were in force at their first result, or at a look that was logged.
    """
    lines, now, own = lines_of(records), content(records.sweep), {*seeds(records)}
    found: list[tuple[str, dict[str, Any]]] = []
    for line, after in zip(lines, lines[1:]):
        for name, said in ((name, _said(line, name)) for name in line["claims"]):
            looks = taken(records, name)
            times = [_first_score(records, said) or "", *(one.time for one in looks)]
            elsewhere = name not in now["claims"] and any({*one.seeds} - own for one in looks)  # not just renamed
            known = [*([] if elsewhere else _every(now)), *(one for _, one in found)]
            if any((line["time"] or "") <= time < (after["time"] or "") for time in times if time):
                found += [(name, said)] * all(_changes(said, one) for one in known)
    return [(name, said["family"]) for name, said in found if said["family"] != "exploratory"]


def taken(records: Records, name: str) -> list[Taken]:
    """Return the looks of a claim that were logged, the oldest first."""
    return [one for one in _taken(records) if one.claim == name]


def alike(records: Records, name: str, runs: frozenset[str]) -> list[Taken]:
    """Return the logged looks that read the data of a claim: its own at rows of the same or unknown settings, and those
    at one of its score runs, also of claims with its effect and measure under another name.
    """
    own, now = settings(records, name), content(records.sweep)["claims"][name]
    names = {name} | {
        other
        for line in lines_of(records)
        for other, claim in line["claims"].items()
        if all(claim.get(key) == now.get(key) for key in ("effect", "on", "split"))
    }
    return [
        one
        for one in _taken(records)
        if one.claim in names
        and (one.runs & runs or one.claim == name and (None in (one.settings, own) or one.settings == own))
    ]


def settings(records: Records, name: str) -> str | None:
    """Digest of the settings of a claim's rows; None if they are not known."""
    rows = _said(content(records.sweep), name)["rows"]
    return digest_of(rows) if rows else None


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
                about = {"runs": sorted(one.runs), "settings": settings(records, name)}
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
    """What a line says of a claim: its text, and the looks, their seeds and the settings of its rows; None for what is
    not known.
    """
    claim, rows = line["claims"][name], {}
    for row in sorted(_words(f"{claim['effect']} {claim.get('assay') or ''}") & line["rows"].keys()):
        of = line["rows"][row]
        rows[row] = None if isinstance(of, str) else [of.get(""), of.get(claim["on"].partition(".")[0])]
    known = rows if rows and None not in rows.values() else None
    return {"family": "primary", **claim, "looks": line["looks"], "seeds": line.get("seeds"), "rows": known}


def _words(effect: str) -> set[str]:
    """Names of the rows of an effect, and perhaps other words."""
    return {*re.findall(r"[A-Za-z_]\w*", effect)}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two versions of a claim; what one of them does not know does not."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return [key for key in keys if key not in ("seeds", "rows") or None not in (before[key], now[key])]


def _every(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a line says of all its claims."""
    return [_said(line, name) for name in line["claims"]]


def _first(records: Records, name: str, said: Mapping[str, Any]) -> str | None:
    """When a claim had its first result; None while it has none, or where no record says."""
    times = [_first_score(records, said), *(one.time for one in taken(records, name))]
    return min(filter(None, times), default=None)


def _first_score(records: Records, said: Mapping[str, Any]) -> str | None:
    """When the last of a claim's rows had its first score with a seed that verdicts read; the sweep's first score where
    its rows or task are gone; None while there is none, or where no record says.
    """
    tasks, (task, *rest) = records.sweep["tasks"], said["on"].split(".")
    first: dict[str, list[str]] = {row: [] for row in sorted(_words(said["effect"]) & records.rows.keys())}
    if task not in tasks or not first:
        ended = (_ended(records, one, manifest.every_score(line, one)) for line in records.manifest for one in tasks)
        return min(sum(ended, []), default=None)
    split = said.get("split") or (rest[0] if len(rest) > 1 else (tasks[task].get("splits") or [""])[0])
    for line in records.manifest:
        if line["row"] in first and line["seed"] in seeds(records):
            first[line["row"]] += _ended(records, task, manifest.draws(line, task, split))
    return max(map(min, first.values())) if all(first.values()) else None


def _ended(records: Records, task: str, ids: Iterable[str]) -> list[str]:
    """When finished scores of a task ended."""
    results = (records.result(records.kind(task), id) for id in ids)
    return [result["ended"] for result in results if result and "ended" in result]


def _taken(records: Records) -> list[Taken]:
    return [
        Taken(
            claim=name,
            time=line["time"],
            seeds=tuple(line["seeds"]),
            runs=frozenset(one["runs"]),
            settings=one.get("settings"),
        )
        for line in _lines(records, LOOKS)
        for name, one in line["claims"].items()
    ]


@functools.lru_cache(maxsize=8)
def _lines(records: Records, name: str) -> list[dict[str, Any]]:
    return list(read_jsonl(records.folder / name))
