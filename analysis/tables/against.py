"""Compare every row with one named row, usually the one without pre-training.

The row is `table.compare_with` of the sweep file. Each block of the table is compared with its own reference; this
sheet asks one question of all rows, such as "did pre-training help at all?".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablate.errors import UserError, nearest
from analysis.records.frame import Records
from analysis.records.scores import IMPOSSIBLE
from analysis.statistics import compare
from analysis.statistics.compare import Estimate
from analysis.tables import ruler
from analysis.tables.cells import Column, Line, Table
from analysis.tables.sheet import Sheet

NOTE = (
    "Mean difference over seeds in the metric's good direction, ± half-width of the 95 % interval over seeds / over "
    "seeds and test items (never the narrower; omitted where the metric has no counts per item): paired by seed where "
    "both rows start from one pre-training stage of the seed, else Welch's. * the interval over seeds excludes 0, "
    "** both do. Not corrected for the number of cells: where nothing differs, one in twenty still gets a mark. No "
    "interval: one seed, or all seeds gave the same."
)
FIELDS = (
    "row",
    "point",
    "task",
    "split",
    "metric",
    "unit",
    "better",
    "seeds_done",
    "seeds",
    "difference",
    "low",
    "high",
    "excludes_0",
    "with_items_low",
    "with_items_high",
    "with_items_excludes_0",
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row's difference from the named row in one column; positive is good."""

    column: Column
    seeds: Estimate
    """Over seeds only."""
    with_items: Estimate | None
    """Over seeds and items; None without counts per item, and where there is no interval over seeds."""
    compared: int
    """Number of seeds that the sweep asks for of both rows."""
    impossible: bool

    def text(self) -> str:
        """Mean, both half-widths, marks, and the number of finished seeds where some are missing."""
        e, text = self.seeds, self.column.text
        if e.n == 0:
            return "n/a" if self.impossible else "—"
        parts = [text(e.mean, signed=True)]
        if not math.isnan(e.half):
            parts.append(f" ± {text(e.half)}")
        if self.with_items:
            parts.append(f" / {text(self.with_items.half)}")
        if e.excludes_zero:
            parts.append("**" if self.with_items and self.with_items.excludes_zero else "*")
        return "".join(parts) + (f" ({e.n}/{self.compared})" if e.n < self.compared else "")


def reference(records: Records) -> str | None:
    """Row that the sweep file names in `table.compare_with`; None where it names none."""
    row = (records.sweep.get("table") or {}).get("compare_with")
    if row is not None and row not in records.rows:
        raise UserError(f"table.compare_with: no row '{row}' in the sweep: {nearest(row, records.rows)}")
    return row


def differences(table: Table, row: str) -> list[tuple[Line, list[Difference]]]:
    """Compare every other line of the table with `row` at the line's own point of the axes; each line once."""
    lines = {(line.row, line.point): line for line in table.lines}
    return [
        (line, [_difference(table, k, line, lines[row, line.point]) for k in range(len(table.columns))])
        for line in lines.values()
        if line.row != row
    ]


def _difference(table: Table, k: int, line: Line, other: Line) -> Difference:
    records, what = table.records, table.columns[k].measure
    both = compare.effect_with_items(records, {line.row: 1.0, other.row: -1.0}, what, [line.point])
    return Difference(
        column=table.columns[k],
        with_items=both if both.over != "seeds" else None,
        seeds=compare.delta(records, what, line.row, other.row, line.point),
        compared=min(line.cells[k].seeds, other.cells[k].seeds),
        impossible=IMPOSSIBLE in (line.cells[k].status, other.cells[k].status),
    )


def sheet(table: Table) -> Sheet | None:
    """Print the differences, one line per row, and below them how many rows differ; None where no row is named."""
    row = reference(table.records)
    if row is None:
        return None
    by_line, records = differences(table, row), table.records
    lines = [[line.label, *(each.text() for each in cells)] for line, cells in by_line]
    if table.seeds > 1:
        columns = list(zip(*(cells for _, cells in by_line)))
        lines += [
            [f"rows clearly {word}", *(_count(column, sign) for column in columns)]
            for word, sign in (("above", 1), ("below", -1))
        ]
    return Sheet(
        name=f"against_{row}",
        title=f"Against {records.label(row)} (positive is better)",
        heads=["", *(f"{records.task_label(c.measure.task)} {c.title_of_differences}" for c in table.columns)],
        lines=lines,
        note=" ".join(filter(None, (NOTE if table.seeds > 1 else "", ruler.one_seed(table)))),
        fields=FIELDS,
        values=[_values(line, each, table.seeds) for line, cells in by_line for each in cells],
    )


def _count(cells: tuple[Difference, ...], sign: int) -> str:
    """Number of rows whose interval over seeds lies entirely above (sign 1) or below 0, of those with an interval."""
    with_interval = [cell.seeds for cell in cells if not math.isnan(cell.seeds.half)]
    return f"{sum(e.excludes_zero and sign * e.mean > 0 for e in with_interval)} of {len(with_interval)}"


def _values(line: Line, each: Difference, seeds: int) -> list:
    what, e, both = each.column.measure, each.seeds, each.with_items
    return [
        line.row,
        line.point,
        what.task,
        what.split,
        what.metric,
        what.unit,
        what.better,
        e.n,
        seeds,
        *((e.mean, e.low, e.high) if e.n else [None] * 3),
        _word(e),
        *((both.low, both.high) if both else [None] * 2),
        _word(both),
    ]


def _word(estimate: Estimate | None) -> str:
    """Whether an interval excludes 0: "yes", "no", or "" without an interval."""
    return "" if estimate is None or math.isnan(estimate.half) else "yes" if estimate.excludes_zero else "no"
