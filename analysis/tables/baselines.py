"""For every column, does its best row clear the strongest shallow baseline, with an interval over seeds and test items?

The best row is chosen by its mean on the same test items that give its interval, so its value is biased upwards (the
best of many equal rows lies above their common level). The stricter question is asked of every row: `short` names those
that do not clear the baseline. One seed has an interval over test items alone, which speaks of one checkpoint: it gives
no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.records.frame import Measure, Records
from analysis.statistics.compare import effect_with_items
from analysis.tables.cells import Cell, Column, Line, Table
from analysis.tables.sheet import Sheet

TITLE = "Does the best row clear the strongest shallow baseline?"
NOTE = (
    "A row clears when its whole 95 % interval over seeds and clusters of test items (over seeds alone, where a metric "
    "has no counts per item) lies on the good side of the baseline, taken as a fixed number. An interval over items or "
    "voices alone speaks of one checkpoint and gives no verdict. The best row was chosen by its mean on these items, "
    "which flatters it; the last column asks every finished row of several seeds, and names those that do not clear "
    "where they are few."
)
HEADS = ("", "best row", "value", "95 % interval", "over", "strongest baseline", "verdict", "rows that clear")
FEW = 3
"""Maximum number of rows that are named for not clearing a baseline."""
FIELDS = (
    "task",
    "split",
    "metric",
    "unit",
    "better",
    "row",
    "point",
    "seeds",
    "value",
    "low",
    "high",
    "over",
    "baseline_name",
    "baseline",
    "verdict",
    "rows_that_clear",
    "rows",
    "rows_that_do_not",
)


@dataclass(frozen=True, kw_only=True)
class Level:
    """A finished row's value with its interval."""

    line: Line
    cell: Cell
    low: float
    high: float
    over: str
    """What was sampled, as "seeds and voices", "seeds", or, for one seed, "items"; "" when there is no interval."""
    seeds: bool
    """Whether seeds were sampled."""


@dataclass(frozen=True, kw_only=True)
class Clearance:
    """How one column's rows compare with its strongest shallow baseline."""

    column: Column
    best: Level | None
    """None while no row has all its seeds, and for a metric without a good direction."""
    verdict: str
    """"clears", "does not clear", "one seed", "seeds are equal", "no baseline" or "not finished"."""
    short: list[Line]
    """Finished rows of several seeds that do not clear the baseline."""
    rows: int
    """Number of rows that have all their seeds, and more than one."""

    @property
    def clearing(self) -> int:
        return self.rows - len(self.short)


def strongest(records: Records, what: Measure) -> tuple[str, float] | None:
    """Name and value of a measure's strongest shallow baseline; None without one, or without a good direction."""
    b = records.baselines
    b = b[(b.task == what.task) & (b.split == what.split) & (b.metric == what.metric)]
    if b.empty or not what.better:
        return None
    best = b.loc[(what.sign * b.value).idxmax()]
    return str(best["name"]), float(best["value"])


def clearances(table: Table) -> list[Clearance]:
    """Judge every column, with only the rows that have all their seeds; a row in several blocks counts once."""
    judged = []
    for k, column in enumerate(table.columns):
        lines = {(line.row, line.point): line for line in table.lines if line.cells[k].complete}
        levels = [_level(table.records, column, line, line.cells[k]) for line in lines.values()]
        asked = [level for level in levels if level.cell.n > 1]
        best = max(levels, key=lambda level: column.measure.sign * level.cell.estimate.mean, default=None)
        judged.append(
            Clearance(
                column=column,
                best=best if column.measure.better else None,
                verdict=_verdict(column, best),
                short=[level.line for level in asked if _verdict(column, level) != "clears"],
                rows=len(asked),
            )
        )
    return judged


def _level(records: Records, column: Column, line: Line, cell: Cell) -> Level:
    what = column.measure
    estimate = effect_with_items(records, {line.row: 1.0}, what, [line.point])
    seeds = not math.isnan(estimate.half)
    edges = (estimate.low, estimate.high) if seeds else estimate.items
    low, high = sorted(what.sign * edge for edge in edges)
    over = estimate.over if seeds else "" if math.isnan(low) else estimate.by
    return Level(line=line, cell=cell, low=low, high=high, over=over, seeds=seeds)


def _verdict(column: Column, level: Level | None) -> str:
    if level is None:
        return "not finished"
    if column.baseline is None:
        return "no baseline"
    if not level.seeds:
        return "seeds are equal" if level.cell.n > 1 else "one seed"
    bound = column.baseline[1]
    clear = level.high < bound if column.measure.better == "lower" else level.low > bound
    return "clears" if clear else "does not clear"


def sheet(table: Table) -> Sheet | None:
    """Print the verdicts, one line per column; None while no column has a baseline."""
    judged = clearances(table)
    if not any(c.column.baseline for c in judged):
        return None
    return Sheet(
        name="baselines",
        title=TITLE,
        heads=HEADS,
        lines=[_line(table, c) for c in judged],
        note=NOTE,
        fields=FIELDS,
        values=[_values(c) for c in judged],
    )


def _line(table: Table, clearance: Clearance) -> list[str]:
    column, best = clearance.column, clearance.best
    name, value = column.baseline or ("", math.nan)
    few = f" (not: {'; '.join(line.label for line in clearance.short)})" if 0 < len(clearance.short) <= FEW else ""
    return [
        f"{table.records.task_label(column.measure.task)} {column.title}",
        best.line.label if best else "—",
        column.text(best.cell.estimate.mean) if best else "—",
        f"[{column.text(best.low)}, {column.text(best.high)}]" if best and best.over else "—",
        best.over if best and best.over else "—",
        f"{column.text(value)} ({name})" if name else "—",
        clearance.verdict,
        f"{clearance.clearing} of {clearance.rows}{few}" if name and clearance.rows else "—",
    ]


def _values(clearance: Clearance) -> list:
    what, best = clearance.column.measure, clearance.best
    name, value = clearance.column.baseline or ("", math.nan)
    level = (
        [best.line.row, best.line.point, best.cell.n, best.cell.estimate.mean, best.low, best.high, best.over]
        if best
        else [None] * 7
    )
    return [
        what.task,
        what.split,
        what.metric,
        what.unit,
        what.better,
        *level,
        name,
        value,
        clearance.verdict,
        clearance.clearing,
        clearance.rows,
        "; ".join(f"{line.row} {line.point}".strip() for line in clearance.short),
    ]
