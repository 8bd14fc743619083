"""How far chance alone moves a score, for rows of one seed, which have no interval: a ruler from other seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.errors import plural
from analysis.records.frame import Measure, Records
from analysis.statistics import compare, wording
from analysis.tables.cells import Column, Table

SEEDS = "other seeds of"
TUNINGS = "several fine-tunings of a leaf, so without the chance of pre-training, of"


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """The spread of a score that chance alone makes, pooled within rows."""

    sd: float
    """Pooled standard deviation of one score of a row."""
    freedom: int
    """Its degrees of freedom."""
    rows: int
    """Number of rows that it is from."""
    source: str
    """What differs between scores of one row: `SEEDS` or `TUNINGS`."""

    @property
    def apart(self) -> float:
        """Difference below which two scores of one row lie in 19 of 20: t √2 sd."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 1 - compare.ALPHA / 2)) * math.sqrt(2) * self.sd


def ruler(records: Records, what: Measure) -> Ruler | None:
    """Pool the variance of scores within rows of several seeds or, where there are none, within leaves of several
    fine-tunings; None where no row has several different scores.

    A score is the mean over a leaf's fine-tunings: for that of the leaf with the fewest.
    """
    seeds: dict[str, list[Sequence[float]]] = {}
    tunings: dict[str, list[Sequence[float]]] = {}
    for row in records.rows:
        for point in records.points:
            for group in compare.groups(records, {row: 1.0}, what, [point]):
                seeds.setdefault(row, []).append(group.values)
                tunings.setdefault(row, []).extend(values for leaf in group.drawn for _, values in leaf)
    if found := _pooled(SEEDS, seeds):
        return found
    found = _pooled(TUNINGS, tunings)
    fewest = min((len(values) for leaves in tunings.values() for values in leaves), default=1)
    return found and replace(found, sd=found.sd / math.sqrt(fewest))


def _pooled(source: str, by_row: Mapping[str, Sequence[Sequence[float]]]) -> Ruler | None:
    """Pool within lists of values, by row; None where no list has two different ones."""
    several = {row: own for row, lists in by_row.items() if (own := [x for x in lists if len(x) > 1])}
    freedom = sum(len(x) - 1 for own in several.values() for x in own)
    if all(len({*x}) == 1 for own in several.values() for x in own):
        return None
    squares = sum(float(np.var(x)) * len(x) for own in several.values() for x in own)
    return Ruler(sd=math.sqrt(squares / freedom), freedom=freedom, rows=len(several), source=source)


def one_seed(table: Table) -> str:
    """What is said of columns that have rows of one seed: how far chance alone moves their scores, where that is known;
    "" if there are none in a sweep of several seeds.
    """
    alone = [column for k, column in enumerate(table.columns) if any(line.cells[k].n == 1 for line in table.lines)]
    said = "One seed: no interval" if table.seeds == 1 else "Cells of one seed have no interval"
    if not alone:
        return f"{said}." if table.seeds == 1 else ""
    rulers = [(column, ruler(table.records, column.measure)) for column in alone]
    sources: dict[str, list[tuple[Column, Ruler]]] = {}
    for column, one in rulers:
        if one:
            sources.setdefault(f"{one.source} {plural(one.rows, 'row')}", []).append((column, one))
    if not sources:
        return f"{said}; nothing tells how much is chance (run seeds=[0,1,2] or finetune_seeds: 4)."
    told = (f"{'; '.join(_told(table, *pair) for pair in pairs)} (from {name})" for name, pairs in sources.items())
    rest = [_name(table, column) for column, one in rulers if not one]
    lacking = f" Nothing tells how much is chance in {', '.join(rest)}." if rest else ""
    return (
        f"{said}. By chance alone two scores of one row differ by less than this in 19 of 20: "
        f"{'; '.join(told)}.{lacking}"
    )


def _told(table: Table, column: Column, one: Ruler) -> str:
    unit = wording.unit(column.measure)
    return f"{_name(table, column)} {column.text(one.apart)}{f' {unit}' if unit else ''}"


def _name(table: Table, column: Column) -> str:
    return f"{table.records.task_label(column.measure.task)} {column.words}"
