"""The parts of a sweep file that are read at the end: claims, table and labels, checked before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from ablate.errors import UserError, nearest
from ablate.sweepfile.patch import known, mapping

CLAIM = ("effect", "on", "above", "below", "within", "margin", "assay", "split", "unmatched")
BOUNDS = ("above", "below", "within")


class Compared(Protocol):
    """What is asked of a row: the updates behind it, what each update holds, and which tasks it can have."""

    total: int
    update: Any

    def has(self, task: str) -> bool: ...


def contrast(text: Any, path: str) -> dict[str, float]:
    """Read a linear contrast of rows: "(a - b) - (c - d)" is {a: 1, b: -1, c: -1, d: 1}; numbers may scale rows.

    Raises UserError for anything else, and for coefficients that do not sum to zero: a level is not a comparison.
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
        factors = walk(ast.parse(str(text).strip(), mode="eval").body)
    except SyntaxError:
        raise UserError(f"{path}: '{text}' cannot be read; write differences of rows, e.g. joint - scratch.") from None
    if "" in factors or abs(sum(factors.values())) > 1e-9:
        raise UserError(f"{path}: '{text}' is not a difference; the rows' factors must sum to zero.")
    return {row: value for row, value in factors.items() if value}


def measure(text: Any, tasks: Mapping[str, Mapping[str, Any]], path: str) -> tuple[str, str, str]:
    """Read "task", "task.metric" or "task.split.metric" as (task, split, metric); the first ones are the defaults.

    Which classes a metric "by_class" has ("ser_date") is not known before it is scored: any name will do.
    """
    task, *rest = str(text).split(".")
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
    written: Any, grid: Sequence[Mapping[str, Compared]], tasks: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Check every claim; each gets its contrasts as {row: coefficient} under "coefficients" and "assay_coefficients".

    Raises UserError for unknown rows, tasks and metrics, for rows that cannot have the task, and for rows with
    different pre-training (updates, or what an update holds) unless the claim says `unmatched: true`; the assay only
    shows that the task can tell rows apart, so its rows may differ.
    """
    checked = {}
    for name, value in mapping(written, "claims").items():
        path = f"claims.{name}"
        claim = known(value, path, CLAIM)
        for key in ("effect", "on"):
            if key not in claim:
                raise UserError(f"{path}: '{key}' is missing; write {{effect: a - b, on: asr.wer, above: 0}}.")
        if sum(key in claim for key in BOUNDS) != 1:
            raise UserError(f"{path}: expected exactly one of above, below and within; e.g. above: 0.")
        for key in (*BOUNDS, "margin"):
            if key in claim and (isinstance(claim[key], bool) or not isinstance(claim[key], (int, float))):
                raise UserError(f"{path}.{key}: expected a number, found {claim[key]!r}.")
        task, _, metric = measure(claim["on"], tasks, f"{path}.on")
        if "split" in claim:
            measure(f"{task}.{claim['split']}.{metric}", tasks, f"{path}.split")
        effect = _rows(contrast(claim["effect"], f"{path}.effect"), grid[0], f"{path}.effect")
        assay = _rows(contrast(claim["assay"], f"{path}.assay"), grid[0], f"{path}.assay") if "assay" in claim else {}
        for row in {**effect, **assay}:
            if not grid[0][row].has(task):
                raise UserError(
                    f"{path}: row '{row}' does not have task '{task}': its encoder does not read what the task "
                    "shows it, its objectives have nothing that the task measures, or the row removes it; compare "
                    "other rows, or on another task."
                )
        if not claim.get("unmatched"):
            for rows in grid:
                _matched(path, [(row, rows[row]) for row in effect])
        checked[name] = {**claim, "coefficients": effect, **({"assay_coefficients": assay} if assay else {})}
    return checked


def _rows(effect: dict[str, float], rows: Mapping[str, Any], path: str) -> dict[str, float]:
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
            difference = f"an update of {first} holds something else than one of {name}"
        if difference:
            raise UserError(f"{path}: {difference}; match them, or say unmatched: true.")


def table(
    written: Any, rows: Sequence[str], tasks: Mapping[str, Mapping[str, Any]], taken_off: Collection[str] = ()
) -> dict[str, Any]:
    """Check the table: blocks of rows with a reference each, and columns; by default all rows and each task's first.

    Columns of tasks that were `taken_off` the sweep leave the table with them.
    `compare_with` is a row that all others are set against in a sheet of its own; `frontier` names two measures that
    `rows`, in this order, trade against each other.
    """
    given = known(written, "table", ("blocks", "columns", "interference", "compare_with", "frontier"))
    roles = _interference(given.get("interference"), rows)
    compared = given.get("compare_with")
    if compared is not None and compared not in rows:
        raise UserError(f"table.compare_with: no row '{compared}'; {nearest(str(compared), rows)}")
    frontier = _frontier(given.get("frontier"), rows, tasks)
    blocks = given.get("blocks") or [{"reference": rows[0], "rows": list(rows)}]
    for number, block in enumerate(listed(blocks, "table.blocks")):
        path = f"table.blocks[{number}]"
        known(block, path, ("reference", "rows", "title"))
        for row in [*listed(block.get("rows", []), f"{path}.rows"), *filter(None, [block.get("reference")])]:
            if row not in rows:
                raise UserError(f"{path}: no row '{row}'; {nearest(row, rows)}")
    written = listed(given.get("columns") or [], "table.columns")
    columns = [column for column in written if str(column).partition(".")[0] not in taken_off]
    columns = columns or [
        f"{task}.{metric}"
        for task, about in tasks.items()
        for metric in (about["metrics"][0], *about.get("beside", ()))
    ]
    for column in columns:
        measure(column, tasks, "table.columns")
    described = {"blocks": [{"rows": [], **block} for block in blocks], "columns": list(columns)}
    return described | {
        k: v for k, v in (("interference", roles), ("compare_with", compared), ("frontier", frontier)) if v
    }


def _interference(written: Any, rows: Sequence[str]) -> dict[str, Any]:
    """Check which rows play the roles of a modality's analysis of interference."""
    roles = mapping(written, "table.interference")
    for modality, part in roles.items():
        path = f"table.interference.{modality}"
        if modality not in ("speech", "text"):
            raise UserError(f"{path}: expected speech or text; {nearest(modality, ('speech', 'text'))}")
        for role, row in known(part, path, ("single", "placebo")).items():
            if row not in rows:
                raise UserError(f"{path}.{role}: no row '{row}'; {nearest(str(row), rows)}")
    return roles


def _frontier(written: Any, rows: Sequence[str], tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Check the two measures of a frontier, and the rows that trade them; empty where none is asked for."""
    frontier = known(written, "table.frontier", ("x", "y", "rows"))
    for axis in ("x", "y") if frontier else ():
        measure(str(frontier.get(axis)), tasks, f"table.frontier.{axis}")
    for row in listed(frontier.get("rows", []), "table.frontier.rows"):
        if row not in rows:
            raise UserError(f"table.frontier.rows: no row '{row}'; {nearest(str(row), rows)}")
    return frontier


def labels(written: Any, rows: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Check names for people: of rows, tasks and columns."""
    names = mapping(written, "labels")
    for key in names:
        if key.split(".")[0] not in (*rows, *tasks):
            raise UserError(f"labels.{key}: no row or task '{key}'; {nearest(key, (*rows, *tasks))}")
    return {key: str(value) for key, value in names.items()}


def listed(value: Any, path: str) -> list[Any]:
    """Return a list without repetitions as it is; raises UserError for anything else."""
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a list, found {value!r}; write [a, b].")
    twice = next((item for i, item in enumerate(value) if item in value[:i]), None)
    if twice is not None:
        raise UserError(f"{path}: '{twice}' is there twice; remove one.")
    return value
