"""The paper-style table of a sweep: every cell knows its runs, its uncertainty and why it may be empty.

    python -m analysis.table SWEEP [--root runs] [--format terminal|md|tex|csv] [--why ROW COLUMN]

Rows stand in the order of the sweep file, in blocks with a reference row. The best value of a column is bold, the
second best underlined; cells that lack seeds are not ranked. `n/a` is impossible, `—` is missing, (2/3) counts
finished seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ablate.errors import UserError, nearest, plural
from ablate.store import disk
from ablate.store.child import unbroken
from analysis.records import audit, manifest, origin
from analysis.records.frame import Measure, Records, measure, read
from analysis.records.scores import DONE, IMPOSSIBLE, MISSING
from analysis.statistics import compare
from analysis.tables import baselines, formats, paper
from analysis.tables.cells import Block, Cell, Column, Line, Table


def build(records: Records) -> Table:
    """Make the table of a sweep from its records, with whatever is finished."""
    columns = _columns(records)
    known = [
        (
            dict(iter(records.of(column.measure).groupby(["row", "point"]))),
            column.measure,
        )
        for column in columns
    ]
    seeds, blocks = len(records.seeds), []
    for title, reference, rows in _blocks(records):
        lines = [
            Line(
                row=row,
                point=point,
                label=records.label(row, point),
                cells=[_cell(records, *about, row, point, reference) for about in known],
            )
            for row in rows
            for point in records.points
        ]
        blocks.append(Block(title=title, reference=reference, lines=lines))
    table = Table(name=records.name, columns=columns, blocks=blocks, seeds=seeds, caption="", records=records)
    return replace(_marked(_tested(table)), caption=_caption(table))


def _columns(records: Records) -> list[Column]:
    """Columns of `table.columns` (by default every task's first metric), for each split where none is named."""
    measures = []
    for name in _headlines((records.sweep.get("table") or {}).get("columns") or [*records.sweep["tasks"]], records):
        first = measure(records, name)
        s = records.scores[(records.scores.task == first.task) & (records.scores.metric == first.metric)]
        splits = [first.split] if name.count(".") == 2 else list(s.split.unique()) or [first.split]
        measures += [replace(first, split=split) for split in splits]
    return [
        Column(measure=what, decimals=records.decimals(what), baseline=_baseline(records, what)) for what in measures
    ]


def _headlines(names: Sequence[str], records: Records) -> list[str]:
    """These columns, with "cer" before "wer" of the same task and split where the records have it first, because the
    language has no spaces between words.
    """
    names = list(names)
    for place, name in enumerate(names):
        of, _, metric = name.rpartition(".")
        if metric == "wer" and f"{of}.cer" in names[place:] and measure(records, of.partition(".")[0]).metric == "cer":
            other = names.index(f"{of}.cer")
            names[place], names[other] = names[other], name
    return names


def _baseline(records: Records, what: Measure) -> tuple[str, float] | None:
    b = records.baselines
    b = b[(b.task == what.task) & (b.split == what.split) & (b.metric == what.metric)]
    if b.empty or not what.better:  # without a good direction there is no strongest baseline
        return None
    best = b.loc[(what.sign * b.value).idxmax()]
    return str(best["name"]), float(best["value"])


def _blocks(records: Records) -> list[tuple[str, str | None, list[str]]]:
    """Title, reference and rows of each block, in row order. A block that names no rows takes all remaining rows."""
    rows = list(records.rows)
    declared = (records.sweep.get("table") or {}).get("blocks") or []
    for name in (name for block in declared for name in [block.get("reference"), *(block.get("rows") or ())]):
        if name is not None and name not in rows:
            raise UserError(f"table.blocks names row '{name}', which is not in the sweep: {nearest(name, rows)}")
    placed = {name for block in declared for name in block.get("rows") or ()}
    blocks = []
    for block in declared:
        reference, named = block.get("reference"), set(block.get("rows") or set(rows) - placed)
        if reference is not None and reference not in placed:
            named.add(reference)
        placed |= named
        blocks.append((str(block.get("title") or ""), reference, [row for row in rows if row in named]))
    rest = [row for row in rows if row not in placed]
    return blocks + [("", None, rest)] if rest else blocks


def _cell(
    records: Records,
    scores: dict[tuple[str, str], pd.DataFrame],
    what: Measure,
    row: str,
    point: str,
    reference: str | None,
) -> Cell:
    """One cell from its column's lines, by (row, point)."""
    s = scores.get((row, point))
    lines = [] if s is None else sorted(zip(s.seed, s.run, s.status, s.value))
    done = {seed: value for seed, _, status, value in lines if status == DONE}
    impossible = lines and all(status == IMPOSSIBLE for _, _, status, _ in lines)
    compared = reference is not None and row != reference
    return Cell(
        status=DONE if len(done) else IMPOSSIBLE if impossible else MISSING,
        values=done,
        runs={seed: run for seed, run, _, _ in lines},
        seeds=len(lines),
        estimate=compare.over_seeds(list(done.values())),
        delta=compare.delta(records, what, row, reference, point) if compared else None,
    )


def _tested(table: Table) -> Table:
    """Mark cells that differ from their reference, corrected by Holm over all differences of the table."""
    cells = [c for line in table.lines for c in line.cells if c.delta is not None and not math.isnan(c.delta.half)]
    adjusted = compare.holm({id(cell): cell.delta.p() for cell in cells})
    return _with_cells(table, lambda cell: replace(cell, significant=adjusted.get(id(cell), 1.0) < compare.ALPHA))


def _marked(table: Table) -> Table:
    """Mark best and second of each column among complete cells; values that print alike share a mark."""
    marks = {}
    for k, column in enumerate(table.columns):
        cells = [line.cells[k] for line in table.lines if line.cells[k].n == table.seeds]
        shown = {id(cell): round(cell.estimate.mean, column.decimals) for cell in cells}
        ranked = sorted(set(shown.values()), reverse=column.measure.better == "higher")
        if len(ranked) > 1 and column.measure.better:
            marks |= {key: {ranked[0]: "best", ranked[1]: "second"}.get(value, "") for key, value in shown.items()}
    return _with_cells(table, lambda cell: replace(cell, mark=marks.get(id(cell), "")))


def _with_cells(table: Table, change: Callable[[Cell], Cell]) -> Table:
    return replace(
        table,
        blocks=[
            replace(block, lines=[replace(line, cells=[change(cell) for cell in line.cells]) for line in block.lines])
            for block in table.blocks
        ],
    )


def _caption(table: Table) -> str:
    if table.seeds == 1:
        parts = ["One seed: no interval."]
    else:
        parts = [
            f"Mean ± half-width of the 95 % t-interval over {table.seeds} seeds.",
            "† differs from its block's reference (Holm over the table; exploratory).",
        ]
    done = table.records.scores
    done = done[done.run != ""].groupby("run").status.first()
    waiting = int((done != DONE).sum())
    if waiting:
        parts.append(f"Incomplete: {waiting} of {len(done)} scoring runs are not finished (—).")
    parts += _warnings(table)
    compared = ((line.row, block.reference) for block in table.blocks if block.reference for line in block.lines)
    return " ".join(filter(None, (*parts, origin.note(table.records, compared))))


def _some(empty: list[bool]) -> str:
    """In how many of its scores a row has only empty outputs; nothing if in all."""
    return "" if all(empty) else f" (in {sum(empty)} of {plural(len(empty), 'score')})"


def _warnings(table: Table) -> list[str]:
    """Warnings: rows whose outputs are all empty, fine-tuning runs that stopped before their last update, and data
    that were skipped because they cannot be used, or left out of pre-training.
    """
    records, silent, stopped, tuned, unused = table.records, {}, set(), set(), {}
    for line in records.manifest:
        for task in line["stages"].get("score", {}):
            results = [records.results(manifest.kind(line, task), run) for run in manifest.scores(line, task).values()]
            empty = [one.get("empty") == one["scores"][0]["n"] for one in results if one and one["scores"]]
            silent.setdefault(records.task_label(task), {}).setdefault(records.label(line["row"], ""), []).extend(empty)
        for run in manifest.finetuned(line).values():
            if result := records.results("finetune", run):
                tuned.add(run)
                stopped |= {run} if "stopped_early" in result else set()
        for run in manifest.trunks(line):
            for phrase in _unused((records.results("pretrain", run) or {}).get("supply", {})):
                unused.setdefault(phrase, {})[records.label(line["row"], "")] = None
    notes = []
    for task, rows in silent.items():
        if told := [f"{row}{_some(empty)}" for row, empty in sorted(rows.items()) if any(empty)]:
            notes.append(f"Every output is empty: {task} of {', '.join(told)}.")
    if stopped:
        notes.append(f"{len(stopped)} of {len(tuned)} fine-tunings stopped early, because dev had stopped improving.")
    if records.scores.metric.str.endswith("_alone").any():
        notes.append(
            "Where data.normalisation is speaker, the mean over all recordings of a speaker in the split is "
            "subtracted; in columns marked alone, the mean of each recording by itself, as python -m ablate.transcribe "
            "does for a single file."
        )
    if skipped := _skipped(records):
        notes.append(f"Skipped, because they cannot be used (result.json says why): {', '.join(skipped)}.")
    lost = [f"{phrase}: {', '.join(rows)}" for phrase, rows in unused.items()]
    return [*notes, *[f"Not pre-trained on: {'; '.join(lost)}."] * bool(lost), *audit.notes(records)]


def _skipped(records: Records) -> list[str]:
    """Of each split how many of its rows and recordings were skipped, a phrase each."""
    made = {(what, id) for line in records.manifest for kind, what, id in manifest.stages(line) if kind == "table"}
    results = ((what, records.results("table", id)) for what, id in sorted(made))
    return [f"{plural(len(lost), 'row')} of {what}" for what, one in results if one and (lost := one.get("skipped"))]


def _unused(supply: Mapping[str, Any]) -> Iterator[str]:
    """What pre-training left out of its streams, a phrase each."""
    for stream, about in supply.items():
        unit = "tokens" if "tokens" in about else "hours"
        for reason, loss in about.get("left_out", {}).items():
            yield f"{loss['share']:.1%} of the {unit} of {stream} ({loss['items']} items {reason})"


def why(table: Table, row: str, column: str) -> str:
    """Trace one cell: its seeds, values, run folders and code, and how its row differs from the reference."""
    records = table.records
    if row not in records.rows:
        raise UserError(f"no row '{row}' in sweep '{records.name}': {nearest(row, records.rows)}")
    name = measure(records, column)
    matches = [(k, c) for k, c in enumerate(table.columns) if c.measure == name]
    if not matches:
        raise UserError(f"no column '{column}' in the table: {nearest(column, [c.name for c in table.columns])}")
    (k, shown), reads = matches[0], records.reads(name.task)
    able = set(records.rows[row]["reads"]) >= ({"speech", "text"} if reads == "pair" else {reads})
    left = "the sweep file leaves this task out for the row, or its objectives have nothing that it measures"
    lacking = left if able else f"the encoder does not read {reads}"
    out = []
    for block in table.blocks:
        for line in (line for line in block.lines if line.row == row):
            cell = line.cells[k]
            out.append(f"{line.label} / {shown.name}: {cell.display(shown)}")
            if cell.delta is not None and cell.delta.n:
                out.append(f"  against {block.reference} (positive is better): {cell.display_delta(shown)}")
            for seed, run in cell.runs.items():
                s = records.scores[records.scores.run == run]
                value = np.format_float_positional(cell.values[seed], trim="-") if seed in cell.values else MISSING
                commit = f", commit {s.commit.iloc[0]}" if run and s.commit.iloc[0] else ""
                kinds = sorted(origin.processors(records)[row, line.point, seed, name.task]) if run else []
                place = records.path(records.kind(name.task), run) if run else lacking
                out.append(f"  seed {seed}: {value if run else 'n/a'}   {place}{commit}{', on '.join(['', *kinds])}")
            out += [f"  {key}: {text}" for key, text in records.difference(row, block.reference).items()]
    if shown.baseline:
        out.append(f"  strongest shallow baseline: {shown.text(shown.baseline[1])} ({shown.baseline[0]})")
    return "\n".join(out)


def main() -> None:
    """Print a sweep's table, or trace one cell of it."""
    parser = argparse.ArgumentParser(prog="python -m analysis.table", description=main.__doc__)
    parser.add_argument("sweep", help="a sweep's name, or its folder")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    parser.add_argument("--format", default="terminal", choices=["terminal", "md", "tex", "csv"])
    parser.add_argument("--why", nargs=2, metavar=("ROW", "COLUMN"), help="trace a cell, e.g. joint asr.test.wer")
    arguments = parser.parse_args()
    try:
        with disk.told():
            table = build(read(arguments.sweep, arguments.root))
            below = [sheet for sheet in (baselines.sheet(table), paper.sheet(table)) if sheet]
            text = why(table, *arguments.why) if arguments.why else formats.joined(table, arguments.format, below)
            table.records.index.write(table.records.results.digests())
    except (UserError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    print(text)


if __name__ == "__main__":
    unbroken()
    main()
