"""The paper-style table of a sweep: every cell knows its runs, its uncertainty and why it may be empty.

    python -m analysis.table SWEEP [--root runs] [--format terminal|md|tex|csv] [--why ROW COLUMN]
    python -m analysis.table SWEEP --advise [HOURS]

Rows stand in the order of the sweep file, in blocks with a reference row. Bold are the best value of a column and all
that cannot be told from it; cells that lack seeds, or have one, are not marked. `n/a` is impossible, `—` is missing,
(2/3) counts finished seeds.
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
from analysis.statistics import claims, compare, wording
from analysis.statistics.compare import holm
from analysis.tables import across, advice, baselines, formats, paper, ruler, spread
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
    seeds, blocks, mixed = len(records.seeds), [], origin.mixed(records)
    for title, reference, rows in _blocks(records):
        lines = [
            Line(
                row=row,
                point=point,
                label=records.label(row, point),
                cells=[_cell(records, *about, row, point, reference) for about in known],
                mixed=(row, point) in mixed,
            )
            for row in rows
            for point in records.points
        ]
        blocks.append(Block(title=title, reference=reference, lines=lines))
    table = Table(name=records.name, columns=columns, blocks=blocks, seeds=seeds, caption="", records=records)
    marked = _marked(_tested(table))
    return replace(marked, caption=_caption(marked))


def _columns(records: Records) -> list[Column]:
    """Columns of `table.columns` (by default every task's first metric), for each split where none is named."""
    measures = []
    for name in _headlines((records.sweep.get("table") or {}).get("columns") or [*records.sweep["tasks"]], records):
        first = measure(records, name)
        s = records.scores[(records.scores.task == first.task) & (records.scores.metric == first.metric)]
        splits = [first.split] if name.count(".") == 2 else list(s.split.unique()) or [first.split]
        measures += [replace(first, split=split) for split in splits]
    return [
        Column(measure=what, decimals=records.decimals(what), baseline=baselines.strongest(records, what))
        for what in measures
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
    s, other = scores.get((row, point)), scores.get((reference, point))
    runs = [] if s is None else [next(iter(drawn), run) for drawn, run in zip(s.drawn, s.run)]
    lines = [] if s is None else sorted(zip(s.seed, runs, s.status, s.value))
    done = {seed: value for seed, _, status, value in lines if status == DONE}
    impossible = lines and all(status == IMPOSSIBLE for _, _, status, _ in lines)
    compared = reference is not None and row != reference
    return Cell(
        status=DONE if len(done) else IMPOSSIBLE if impossible else MISSING,
        values=done,
        runs={seed: run for seed, run, _, _ in lines},
        seeds=len(lines),
        compared=min(len(lines), 0 if other is None else len(other)),
        estimate=compare.Estimate(mean=math.nan, n=0) if s is None else compare.level(s),
        delta=compare.delta(records, what, row, reference, point) if compared else None,
    )


def _tested(table: Table) -> Table:
    """Mark cells that differ from their reference, corrected by Holm over all differences of the table."""
    cells = [c for line in table.lines for c in line.cells if c.delta is not None and not math.isnan(c.delta.half)]
    adjusted = holm({id(cell): cell.delta.p() for cell in cells})
    return _with_cells(table, lambda cell: replace(cell, significant=adjusted.get(id(cell), 1.0) < compare.ALPHA))


def _marked(table: Table) -> Table:
    """Mark the best of each column, and all that cannot be told from it (Holm within the column), among complete cells
    of several seeds.

    The row that is truly best is left unmarked in about 2.5 % of columns at most: only a row above it leaves it out,
    which each of those that are not told from it does with a probability of .025 over their number (subset selection,
    Gupta 1956).
    """
    marked = set()
    for k, column in enumerate(table.columns):
        what = column.measure
        cells = {(line.row, line.point): line.cells[k] for line in table.lines}
        means = {end: what.sign * cell.estimate.mean for end, cell in cells.items() if cell.complete and cell.n > 1}
        if len(means) < 2 or not what.better:
            continue
        best = max(means, key=means.get)
        p = holm({end: compare.between(table.records, what, best, end).p() for end in means if end != best})
        alike = {best, *(end for end in p if not p[end] < compare.ALPHA)}
        marked |= {id(line.cells[k]) for line in table.lines if (line.row, line.point) in alike}
    return _with_cells(table, lambda cell: replace(cell, mark="best" if id(cell) in marked else ""))


def _with_cells(table: Table, change: Callable[[Cell], Cell]) -> Table:
    return replace(
        table,
        blocks=[
            replace(block, lines=[replace(line, cells=[change(cell) for cell in line.cells]) for line in block.lines])
            for block in table.blocks
        ],
    )


def _caption(table: Table) -> str:
    parts = []
    if table.seeds > 1:
        parts = [
            f"Mean ± half-width of the 95 % t-interval over {_seeds(table)}.",
            "† differs from its block's reference (Holm over the table; exploratory).",
            "Bold: cannot be told from the best of its column (Holm within the column).",
        ]
        ranked = [
            line.cells[k].mark
            for k, column in enumerate(table.columns)
            for line in table.lines
            if column.measure.better and line.cells[k].complete and line.cells[k].n > 1
        ]
        parts += ["Here nothing can: every such cell is bold."] if ranked and all(ranked) else []
    parts.append(ruler.one_seed(table))
    if again := _again(table):
        parts.append(f"Seeds that led to the very same run count once: {', '.join(again)}.")
    done, planned = table.records.scoring
    if done < planned:
        parts.append(f"Incomplete: {planned - done} of {planned} scoring runs are not finished (—).")
    parts += _warnings(table)
    compared = ((line.row, block.reference) for block in table.blocks if block.reference for line in block.lines)
    return " ".join(filter(None, (*parts, origin.note(table.records, compared))))


def _seeds(table: Table) -> str:
    """Numbers of seeds that the sweep asks for; of the rows that have fewer than others, which these are."""
    asked: dict[int, list[str]] = {}
    for line in {line.label: line for line in table.lines}.values():
        asked.setdefault(max(cell.seeds for cell in line.cells), []).append(line.label)
    fewer = [f"{plural(n, 'seed')} of {', '.join(asked[n])}" for n in sorted(asked) if n < max(asked)]
    return f"{plural(max(asked), 'seed')}" + (f" ({'; '.join(fewer)}: no claim needed more)" if fewer else "")


def _again(table: Table) -> list[str]:
    """Rows, each with the tasks of which several finished seeds led to the same run."""
    rows: dict[str, list[str]] = {}
    for line in table.lines:
        for column, cell in zip(table.columns, line.cells):
            if cell.n < cell.done:
                rows.setdefault(line.label, []).append(table.records.task_label(column.measure.task))
    return [f"{row} ({', '.join(dict.fromkeys(tasks))})" for row, tasks in rows.items()]


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
            results = [records.results(manifest.kind(line, task), run) for run in manifest.every_score(line, task)]
            empty = [one.get("empty") == one["scores"][0]["n"] for one in results if one and one["scores"]]
            silent.setdefault(records.task_label(task), {}).setdefault(records.label(line["row"], ""), []).extend(empty)
        for _, run in manifest.every_finetuned(line):
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
    (k, shown), reads, unit = matches[0], records.reads(name.task), name.unit
    able = set(records.rows[row]["reads"]) >= ({"speech", "text"} if reads == "pair" else {reads})
    left = "the sweep file leaves this task out for the row, or its objectives have nothing that it measures"
    lacking = left if able else f"the encoder does not read {reads}"
    out = []
    for block in table.blocks:
        for line in (line for line in block.lines if line.row == row):
            cell = line.cells[k]
            out.append(f"{line.label} / {shown.name}{unit and f' in {unit}'}: {cell.display(shown)}")
            if cell.delta is not None and cell.delta.n:
                out.append(f"  against {block.reference}: {_difference(cell.delta, shown)}")
            if parts := spread.of_row(records, name, line.row, line.point):
                out.append(f"  standard deviations of one score: {spread.told(parts, shown)}")
            for seed, run in cell.runs.items():
                s = records.of(name)
                s = s[(s.row == line.row) & (s.point == line.point) & (s.seed == seed)].iloc[0]
                value = _exact(cell.values[seed]) if seed in cell.values else MISSING
                if len(s.drawn) > 1:
                    value += f", the mean of {', '.join(map(_exact, s.drawn.values()))}"
                commit = f", commit {s.commit}" if run and s.commit else ""
                kinds = sorted(origin.processors(records)[row, line.point, seed, name.task]) if run else []
                place = records.path(records.kind(name.task), run) if run else lacking
                out.append(f"  seed {seed}: {value if run else 'n/a'}   {place}{commit}{', on '.join(['', *kinds])}")
            out += [f"  {key}: {text}" for key, text in records.difference(row, block.reference).items()]
    if shown.baseline:
        text = f"{shown.text(shown.baseline[1])} {unit}".strip()
        out.append(f"  strongest shallow baseline: {text} ({shown.baseline[0]})")
    return "\n".join(out)


def _exact(value: float) -> str:
    """A value with all its digits, as far as they tell it from others."""
    return np.format_float_positional(round(value, 10) + 0.0, trim="-")


def _difference(delta: compare.Estimate, column: Column) -> str:
    """A difference in words, with its interval."""
    text = wording.effect(delta.mean, column.decimals, column.measure)
    if delta.n < 2:
        return f"{text} (one seed: no interval)"
    if math.isnan(delta.half):
        return f"{text} (all {delta.n} seeds give the same: no interval)"
    paired = ", paired" * delta.paired
    return f"{text}, 95 % {wording.interval(delta.low, delta.high, column.decimals)} over {delta.n} seeds{paired}"


def main() -> None:
    """Print a sweep's table, trace one cell of it, or tell where more work would tell most."""
    parser = argparse.ArgumentParser(prog="python -m analysis.table", description=main.__doc__)
    parser.add_argument("sweep", help="a sweep's name, or its folder")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    parser.add_argument("--format", default="terminal", choices=["terminal", "md", "tex", "csv"])
    parser.add_argument("--why", nargs=2, metavar=("ROW", "COLUMN"), help="trace a cell, e.g. joint asr.test.wer")
    parser.add_argument(
        "--advise",
        nargs="?",
        type=float,
        const=1.0,
        metavar="HOURS",
        help="what so many more hours (default: 1) of seeds, fine-tunings or test items would make detectable, for "
        "each claim; reads variances and times, no effects",
    )
    arguments = parser.parse_args()
    try:
        with disk.told():
            if arguments.advise is not None:
                if not 0 < arguments.advise < math.inf:
                    raise UserError(f"--advise: expected hours above 0, found {arguments.advise:g}.")
                records = read(arguments.sweep, arguments.root)
                print(getattr(advice.sheet(records, arguments.advise), arguments.format)())
                records.index.write(records.results.digests())
                return
            table = build(read(arguments.sweep, arguments.root))
            sheets = (baselines.sheet(table), across.sheet(table), paper.sheet(table), spread.sheet(table))
            below = [sheet for sheet in sheets if sheet]
            text = why(table, *arguments.why) if arguments.why else formats.joined(table, arguments.format, below)
            if arguments.format in ("terminal", "md") and not arguments.why:
                text += "\n".join(["", *claims.told(table.records, claims.verdicts(table.records))])
            table.records.index.write(table.records.results.digests())
    except (UserError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    print(text)


if __name__ == "__main__":
    unbroken()
    main()
