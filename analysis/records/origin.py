"""Origin of numbers: the code and the kind of processor of each stage behind a score, and rows whose stages differ in
them.

Kinds of processor round differently, so a difference between rows may be one between machines. Records name their
machine from format 2 on; an unknown origin does not count as different.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec

from analysis.records import manifest
from analysis.records.frame import Records
from analysis.records.manifest import Line
from analysis.records.scores import DONE, point_name

NAMED = 8
"""Maximum number of rows that a note names; of the others it gives the number."""

Cell = tuple[str, str, int, str]
"""Row, point, seed, task."""


def processor(result: Mapping | None) -> str:
    """Kind of processor that a result was computed on: GPU name, CPU model, instruction set; "" if unknown."""
    machine = (result or {}).get("machine") or {}
    device = machine.get("device")
    parts = [device if device != "cpu" else None, machine.get("processor"), machine.get("instructions")]
    return ", ".join(part for part in parts if part)


def behind(line: Line, task: str) -> Iterator[tuple[str, str]]:
    """Kind and id of the stages that compute a line's scores of a task: pre-training, fine-tuning, scoring."""
    yield from (("pretrain", id) for id in dict.fromkeys([*manifest.trunks(line), manifest.leaf(line)]) if id)
    yield from (("finetune", id) for tuned, id in manifest.every_finetuned(line) if tuned == task)
    yield from ((manifest.kind(line, task), id) for id in manifest.every_score(line, task))


@functools.lru_cache(maxsize=1)
def plugins(records: Records) -> dict[Cell, frozenset[str]]:
    """Versions of plugins behind each row's scores of each task by point and seed, for plugins with several
    versions.
    """
    by_cell, versions = {}, {}
    for line in records.manifest:
        for task in records.sweep["tasks"]:
            codes = [(records.result(*stage) or {}).get("code", {}) for stage in behind(line, task)]
            of = {plugin for code in codes for plugin in code.get("plugins", {}).items()}
            by_cell[line["row"], point_name(line["point"]), line["seed"], task] = of
            for name, version in of:
                versions.setdefault(name, set()).add(version)
    several = {name for name, of in versions.items() if len(of) > 1}
    return {cell: frozenset(f"{n} {v}" for n, v in of if n in several) for cell, of in by_cell.items()}


def lacking(records: Records) -> str:
    """Name the plugins of the sweep that are not installed: its table can be read, but its rows cannot be run again."""
    names = [name for name in records.sweep.get("plugins", {}) if find_spec(name.partition(".")[0]) is None]
    return f"Made with plugins that are not installed: {', '.join(names)}." if names else ""


@functools.lru_cache(maxsize=1)
def processors(records: Records) -> dict[Cell, frozenset[str]]:
    """Kinds of processor behind each row's scores of each task by point and seed; empty where no record says."""
    by_cell = {}
    for line in records.manifest:
        for task in records.sweep["tasks"]:
            kinds = {processor(records.result(*stage)) for stage in behind(line, task)} - {""}
            by_cell[line["row"], point_name(line["point"]), line["seed"], task] = frozenset(kinds)
    return by_cell


def mixed(records: Records) -> frozenset[tuple[str, str]]:
    """Each (row, point) whose finished seeds differ, on some task, in the kinds of processor behind their scores."""
    done = records.scores[records.scores.status == DONE]
    finished = {*zip(done.row, done.point, done.seed, done.task)}
    seen: dict[tuple[str, str, str], set[frozenset[str]]] = {}
    for cell, own in processors(records).items():
        if own and cell in finished:
            row, point, _, task = cell
            seen.setdefault((row, point, task), set()).add(own)
    return frozenset((row, point) for (row, point, _), kinds in seen.items() if len(kinds) > 1)


def commits(records: Records) -> dict[Cell, frozenset[str]]:
    """The code that scored each row's tasks by point and seed, as the first eight letters of its commit."""
    by_cell: dict[Cell, set[str]] = {}
    s = records.scores
    for *cell, commit in zip(s.row, s.point, s.seed, s.task, s.commit):
        by_cell.setdefault(tuple(cell), set()).update({commit[:8]} - {""})
    return {cell: frozenset(of) for cell, of in by_cell.items()}


def note(records: Records, compared: Iterable[tuple[str, str]]) -> str:
    """Describe mixed origins: code, kinds of processor, plugins; "" where each is the same everywhere and installed.

    It names rows made with several, and rows that were not made with the same as the row they are compared with, in
    `compared` (row, reference) or with `table.compare_with` of the sweep file.
    """
    other = (records.sweep.get("table") or {}).get("compare_with")
    pairs = [*compared, *((row, other) for row in records.rows if other)]
    return " ".join(
        filter(
            None,
            (
                _mixed(records, "code versions", commits(records), pairs),
                _mixed(records, "kinds of processor", processors(records), pairs, {row for row, _ in mixed(records)}),
                _mixed(records, "versions of plugins", plugins(records), pairs),
                lacking(records),
            ),
        )
    )


def _mixed(
    records: Records,
    what: str,
    of: Mapping[Cell, frozenset[str]],
    pairs: Collection[tuple[str, str]],
    unequal: Collection[str] = (),
) -> str:
    kinds = sorted(frozenset().union(*of.values()))
    if len(kinds) < 2:
        return ""
    several = [
        row for row in records.rows if len(frozenset().union(*(own for cell, own in of.items() if cell[0] == row))) > 1
    ]
    apart = [row for row in records.rows if any(differ(of, (row, other)) for own, other in pairs if own == row)]
    parts = [f"Records of {len(kinds)} {what} are mixed: {'; '.join(kinds)}."]
    parts += [f"Made with several: {_names(records, several, unequal)}."] if several else []
    parts += ["‡ Not all seeds of the row were made on the same kinds."] if unequal else []
    parts += [f"Not made with the same as the row they are compared with: {_names(records, apart)}."] if apart else []
    return " ".join(parts)


def _names(records: Records, rows: list[str], unequal: Collection[str] = ()) -> str:
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(records.label(row) + "‡" * (row in unequal) for row in rows[:NAMED]) + more


def differ(of: Mapping[Cell, frozenset[str]], rows: Collection[str], tasks: Collection[str] = ()) -> bool:
    """Whether rows that are compared seed by seed differ in origin on a task (by default any)."""
    seen: dict[tuple[str, int, str], frozenset[str]] = {}
    for (row, point, seed, task), own in of.items():
        if row in rows and own and (not tasks or task in tasks) and seen.setdefault((point, seed, task), own) != own:
            return True
    return False
