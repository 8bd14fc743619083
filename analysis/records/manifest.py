"""What a line of a sweep's manifest says of its stages: all that `analysis` knows of the formats of records.

Format 2 has one score a task and split, the losses on dev in a stage of their own (`heldout`), and a stage a table and
split. In format 1 (commit e7f69db and before) one score had all splits of a task, the leaf's result had the losses, and
one stage, `corpus`, held all tables. Where the files of a stage lie is `ablate.store.record.Run.files`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("corpus", "table", "tokenizer", "tokens", "kmeans", "pretrain", "heldout", "finetune", "score")
"""Kinds of stages that a manifest names, in the order they run."""

Line = Mapping[str, Any]


def trunks(line: Line) -> list[str]:
    """The trunks that a row's training goes through, oldest first."""
    about = line["stages"]
    return [id for id in dict.fromkeys([*about.get("trunks", ()), about.get("trunk")]) if id]


def leaf(line: Line) -> str | None:
    """The end of a row's pre-training, which its tasks start from."""
    return line["stages"].get("leaf")


def held_out(line: Line) -> tuple[str, str | None]:
    """Kind and id of the stage whose result has the losses on dev ("final")."""
    about = line["stages"]
    return ("heldout", about["heldout"]) if "heldout" in about else ("pretrain", leaf(line))


def finetuned(line: Line) -> dict[str, str]:
    """Fine-tuning stage by task; tasks that are measured on a leaf as it is have none."""
    return {task: id for task, id in line["stages"].get("finetune", {}).items() if id}


def scores(line: Line, task: str) -> dict[str, str]:
    """Score stages of a task by split; under "" one that has all splits."""
    ids = line["stages"].get("score", {}).get(task) or {}
    return ids if isinstance(ids, Mapping) else {"": ids}


def kind(line: Line, task: str) -> str:
    """Kind of the stages that measure a task: "score", or that of a stage which the sweep file adds."""
    return line.get("kinds", {}).get(task, "score")


def scored(line: Line, task: str, split: str) -> str | None:
    """The stage that scores a task on a split; None where none is planned."""
    by_split = scores(line, task)
    return by_split.get("", by_split.get(split))


def table(line: Line, name: str, split: str) -> tuple[str, str, str] | None:
    """Kind and id of the stage that holds a split of a table, and the folder among its files; None where the line reads
    none.
    """
    about = line["stages"]
    if (id := about.get("tables", {}).get(f"{name}.{split}")) is not None:
        return "table", id, "."
    return ("corpus", about["corpus"], f"tables/{name}/{split}") if "corpus" in about else None


def stages(line: Line) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, what it is for, id) of the stages behind a line, in the order they run."""
    about = line["stages"]
    if "corpus" in about:
        yield "corpus", "", about["corpus"]
    yield from (("table", name, id) for name, id in about.get("tables", {}).items())
    if "tokenizer" in about:
        yield "tokenizer", "", about["tokenizer"]
    yield from (("tokens", name, id) for name, id in about.get("tokens", {}).items())
    yield from (("kmeans", key.partition("/")[2], id) for key, id in about.items() if key.startswith("kmeans/"))
    yield from (("pretrain", "trunk", id) for id in trunks(line) if id != leaf(line))
    if leaf(line):
        yield "pretrain", "leaf", leaf(line)
    if "heldout" in about:
        yield "heldout", "", about["heldout"]
    yield from (("finetune", task, id) for task, id in finetuned(line).items())
    for task in about.get("score", {}):
        yield from ((kind(line, task), f"{task}.{split}".rstrip("."), id) for split, id in scores(line, task).items())
