"""Where the spread of scores comes from: variance components of each column, below the table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.records.frame import Measure, Records
from analysis.statistics.components import Components, of_effect
from analysis.tables.cells import Column, Table
from analysis.tables.sheet import Sheet

NOTE = (
    "Standard deviations of one score, in the metric's points; rows are pooled. Fine-tuning: between fine-tunings of "
    "one leaf. Pre-training: between leaves of other seeds, fine-tuning taken off; with one fine-tuning a leaf the two "
    "cannot be told apart ('both'), and a task that is measured on the leaf itself has no fine-tuning. Test items: had "
    "other items been drawn, by themselves, and what is added because those of a cluster are alike."
)
NAMES = ("pretraining", "finetuning", "items", "clusters")
FIELDS = ("task", "split", "metric", "rows", *NAMES, "clustered_by")


def of_row(records: Records, what: Measure, row: str, point: str) -> Components | None:
    """Variance components of a row's scores at a point; None while it has none."""
    return of_effect(records, {row: 1.0}, what, [point])


def told(parts: Components, column: Column) -> str:
    """The components of a row as a phrase, as standard deviations."""
    heads = ["pre-training", "fine-tuning", "test items", f"{parts.by} add"]
    return ", ".join(f"{head} {text}" for head, text in zip(heads, _texts([parts], column)) if text != "—")


def sheet(table: Table) -> Sheet | None:
    """Print one line per column whose rows have several seeds or fine-tunings; None where none has."""
    records, lines, values = table.records, [], []
    pooled = [(column, _rows(table, column)) for column in table.columns]
    pooled = [(column, parts) for column, parts in pooled if any(map(_known, parts))]
    if not pooled:
        return None
    for column, parts in pooled:
        what = column.measure
        texts = _texts(parts, column)
        lines.append([f"{records.task_label(what.task)} {column.words}", *texts, str(len(parts))])
        values.append([what.task, what.split, what.metric, len(parts), *_deviations(parts), parts[0].by])
    return Sheet(
        name="spread",
        title="Where the spread of scores comes from",
        heads=["", "pre-training", "fine-tuning", "test items", "clusters add", "rows"],
        lines=lines,
        note=NOTE,
        fields=FIELDS,
        values=values,
    )


def _rows(table: Table, column: Column) -> list[Components]:
    ends = dict.fromkeys((line.row, line.point) for line in table.lines)
    found = [of_row(table.records, column.measure, row, point) for row, point in ends]
    return [one for one in found if one is not None]


def _known(parts: Components) -> bool:
    """Whether a variance is known that is not of test items."""
    return not math.isnan(parts.pretraining) or parts.finetuning > 0


def _deviations(parts: Sequence[Components]) -> list[float]:
    """Root of the mean of each component over rows that have it; NaN if none has."""
    known = ([value for one in parts if not math.isnan(value := getattr(one, name))] for name in NAMES)
    return [math.sqrt(sum(of) / len(of)) if of else math.nan for of in known]


def _texts(parts: Sequence[Components], column: Column) -> list[str]:
    """Standard deviations of the four components; "—" for what is unknown or is no part."""
    pretraining, tuned, items, clusters = _deviations(parts)
    both = math.isnan(tuned) and not math.isnan(pretraining)
    return [
        (column.text(pretraining) + " (both)" * both) if not math.isnan(pretraining) else "—",
        column.text(tuned) if tuned > 0 else "—",
        column.text(items) if not math.isnan(items) else "—",
        column.text(clusters) if any(one.by != "items" for one in parts) and not math.isnan(clusters) else "—",
    ]
