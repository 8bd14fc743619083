"""Checks of what is read at the end of a run: claims, the table and labels. They are checked before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypedDict

from ablate.errors import UserError, nearest
from ablate.sweepfile.patch import known, mapping, once
from ablate.sweepfile.schema import Block, Claim, Interference, Roles, Sweep, Table, Value, keys
from ablate.sweepfile.typed import made, setting

BOUNDS = ("above", "below", "within")


class Compared(Protocol):
    """What claims need to know of a row: its total updates, what each update holds, and which tasks it has."""

    total: int
    update: object

    def has(self, task: str) -> bool: ...


class Measured(TypedDict, total=False):
    """What is known of a task, or of an added stage, before it is scored."""

    reads: str
    table: str
    splits: list[str]
    metrics: list[str]
    """The main one first."""
    beside: list[str]
    """Metrics shown beside the main one in a table that names no columns."""
    by_class: str
    """The metric that is also reported for each class."""
    kind: str
    """For an added stage only: its kind."""


def contrast(text: str, path: str) -> dict[str, float]:
    """Return the coefficients of a linear contrast of rows: "(a - b) - (c - d)" gives {a: 1, b: -1, c: -1, d: 1}.

    Rows may be multiplied or divided by numbers. Raises UserError for any other expression, and for coefficients that
    do not sum to zero, as such a contrast is not a comparison.
    """

    def walk(node: ast.AST) -> dict[str, float]:  # the key "" holds a plain number
        match node:
            case ast.Name(id=name):
                return {name: 1.0}
            case ast.Constant(value=int() | float() as number):
                return {"": float(number)}
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return {key: -value for key, value in walk(operand).items()}
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                a, b, sign = walk(left), walk(right), 1 if isinstance(op, ast.Add) else -1
                return {key: a.get(key, 0.0) + sign * b.get(key, 0.0) for key in {**a, **b}}
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                a, b = walk(left), walk(right)
                rows, scale = (b, a) if set(a) == {""} else (a, b)
                if set(scale) == {""}:
                    return {key: value * scale[""] for key, value in rows.items()}
            case ast.BinOp(left=left, op=ast.Div(), right=right) if walk(right).get("") and set(walk(right)) == {""}:
                return {key: value / walk(right)[""] for key, value in walk(left).items()}
        raise UserError(f"{path}: '{text}' is not a sum of rows; write differences of rows, e.g. joint - scratch.")

    try:
        factors = walk(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise UserError(f"{path}: '{text}' cannot be read; write differences of rows, e.g. joint - scratch.") from None
    if "" in factors or abs(sum(factors.values())) > 1e-9:
        raise UserError(f"{path}: '{text}' is not a difference; the rows' factors must sum to zero.")
    if not any(factors.values()):
        raise UserError(f"{path}: '{text}' compares nothing: every row's factor is zero; write joint - scratch.")
    return {row: value for row, value in factors.items() if value}


def measure(text: str, tasks: Mapping[str, Measured], path: str) -> tuple[str, str, str]:
    """Return (task, split, metric) of "task", "task.metric" or "task.split.metric".

    The first split and metric of the task are the defaults. Raises UserError for an unknown task, split or metric. The
    classes of a metric "by_class" (as in "ser_date") are unknown before scoring, so any class name is accepted.
    """
    task, *rest = text.split(".")
    if task not in tasks or len(rest) > 2:
        raise UserError(f"{path}: '{text}' names no task of this sweep; {nearest(task, tasks)}")
    metrics, splits = tasks[task]["metrics"], tasks[task]["splits"]
    metric = rest[-1] if rest else metrics[0]
    by_class = tasks[task].get("by_class")
    if metric not in metrics and not (by_class and metric.startswith(f"{by_class}_")):
        alone = " (metrics of recordings alone need data.normalisation: speaker)" * metric.endswith("_alone")
        raise UserError(f"{path}: task '{task}' has no metric '{metric}'{alone}; {nearest(metric, metrics)}")
    split = rest[0] if len(rest) == 2 else splits[0]
    if split not in splits:
        raise UserError(f"{path}: task '{task}' is not scored on '{split}'; {nearest(split, splits)}")
    return task, split, metric


def claims(
    written: object, grid: Sequence[Mapping[str, Compared]], tasks: Mapping[str, Measured]
) -> dict[str, dict[str, Value]]:
    """Check every claim, and add its contrasts as {row: coefficient} under "coefficients" and "assay_coefficients".

    Raises UserError for an unknown row, task or metric, and for a row that cannot have the task. Also raises it if the
    rows of the effect differ in pre-training (updates, or what an update holds), unless the claim says `unmatched:
    true`. The rows of an assay may differ, as it only shows that the task can tell rows apart.
    """
    checked = {}
    for name, value in mapping(written, "claims").items():
        path = f"claims.{name}"
        given = known(value, path, keys(Claim))
        for key in ("effect", "on"):
            if key not in given:
                raise UserError(f"{path}: '{key}' is missing; write {{effect: a - b, on: asr.wer, above: 0}}.")
        claim = made(Claim, given, path)
        if sum(getattr(claim, key) is not None for key in BOUNDS) != 1:
            raise UserError(f"{path}: expected exactly one of above, below and within; e.g. above: 0.")
        if claim.within is not None and claim.margin is not None:
            raise UserError(
                f"{path}.margin: it stands beside above or below, found within: {claim.within:g}; remove it."
            )
        task, _, metric = measure(claim.on, tasks, f"{path}.on")
        if claim.split is not None:
            measure(f"{task}.{claim.split}.{metric}", tasks, f"{path}.split")
        effect = _rows(contrast(claim.effect, f"{path}.effect"), grid[0], f"{path}.effect")
        assay = _rows(contrast(claim.assay, f"{path}.assay"), grid[0], f"{path}.assay") if claim.assay else {}
        for row in {**effect, **assay}:
            if not grid[0][row].has(task):
                raise UserError(
                    f"{path}: row '{row}' does not have task '{task}': its encoder does not read what the task "
                    "shows it, its objectives have nothing that the task measures, or the row removes it; compare "
                    "other rows, or on another task."
                )
        if not claim.unmatched:
            for rows in grid:
                _matched(path, [(row, rows[row]) for row in effect])
        checked[name] = {**given, "coefficients": effect, **({"assay_coefficients": assay} if assay else {})}
    return checked


def _rows(effect: dict[str, float], rows: Collection[str], path: str) -> dict[str, float]:
    for row in effect:
        if row not in rows:
            raise UserError(f"{path}: no row '{row}'; {nearest(row, rows)}")
    return effect


def _matched(path: str, rows: Sequence[tuple[str, Compared]]) -> None:
    (first, one), *others = rows
    for name, other in others:
        difference = None
        if other.total != one.total:
            difference = f"{first} has {one.total} pre-training steps and {name} {other.total}"
        elif other.update != one.update:
            difference = f"pretrain.update of {first} and {name} differs"
        if difference:
            raise UserError(f"{path}: {difference}; match them, or say unmatched: true.")


def table(
    written: object, rows: Sequence[str], tasks: Mapping[str, Measured], taken_off: Collection[str] = ()
) -> dict[str, Value]:
    """Check the table and return it with its defaults: one block of all rows, and each task's main metrics as columns.

    A block compares its rows with its reference. Columns of tasks that were `taken_off` the sweep are left out.
    `compare_with` is the row that a separate sheet compares all others with. `frontier` names two measures that its
    `rows`, in this order, trade against each other. Raises UserError.
    """
    given, of = mapping(written, "table"), made(Table, written, "table")
    if of.compare_with is not None:
        _row(of.compare_with, rows, "table.compare_with")
    _interference(of.interference or Interference(), rows)
    if of.frontier:
        for axis in ("x", "y"):
            measure(getattr(of.frontier, axis), tasks, f"table.frontier.{axis}")
        _all(of.frontier.rows, rows, "table.frontier.rows")
    _blocks(of.blocks or (), rows)
    written = enumerate(once(of.columns or (), "table.columns"))
    columns = {one: f"table.columns[{k}]" for k, one in written if one.partition(".")[0] not in taken_off}
    if not columns:
        first = {task: (about["metrics"][0], *about.get("beside", ())) for task, about in tasks.items()}
        columns = {f"{task}.{metric}": "table.columns" for task, metrics in first.items() for metric in metrics}
    for column, path in columns.items():
        measure(column, tasks, path)
    blocks = given.get("blocks") or [{"reference": rows[0], "rows": list(rows)}]
    described = {"blocks": [{"rows": [], **block} for block in blocks], "columns": [*columns]}
    return described | {key: given[key] for key in ("interference", "compare_with", "frontier") if given.get(key)}


def _interference(of: Interference, rows: Sequence[str]) -> None:
    """Check the rows that serve as controls in the analysis of interference. Raises UserError."""
    for modality, roles in (("speech", of.speech), ("text", of.text)):
        for role in keys(Roles) if roles else ():
            if (row := getattr(roles, role)) is not None:
                _row(row, rows, f"table.interference.{modality}.{role}")


def _blocks(blocks: Sequence[Block], rows: Sequence[str]) -> None:
    for number, block in enumerate(blocks):
        path = f"table.blocks[{number}]"
        if block in blocks[:number]:
            raise UserError(f"{path}: an equal block is there already; remove one.")
        _all(block.rows, rows, f"{path}.rows")
        if block.reference is not None:
            _row(block.reference, rows, f"{path}.reference")


def _all(named: Sequence[str], rows: Sequence[str], path: str) -> None:
    """Raise UserError unless all these rows exist and none is named twice."""
    for k, row in enumerate(once(named, path)):
        _row(row, rows, f"{path}[{k}]")


def _row(row: str, rows: Sequence[str], path: str) -> None:
    """Raise UserError unless the row exists."""
    if row not in rows:
        raise UserError(f"{path}: no row '{row}'; {nearest(row, rows)}")


def labels(written: object, rows: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Check and return the display names of rows, tasks and columns. Raises UserError for a name of none of these,
    and for two rows that would be shown alike.
    """
    names = setting(Sweep, "labels", mapping(written, "labels"))
    for key in names:
        if key.split(".")[0] not in (*rows, *tasks):
            raise UserError(f"labels.{key}: no row or task '{key}'; {nearest(key, (*rows, *tasks))}")
    of: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row in names):  # a row without a label has its name for one
        if (other := of.setdefault(names.get(row, row), row)) != row:
            raise UserError(f"labels.{row}: row '{other}' is shown as '{names[row]}', too; write another label.")
    return names
