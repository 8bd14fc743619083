"""What a line of a sweep's manifest says about its stages: all that `analysis` knows about the formats of records.

In format 2 a score stage covers one task and split, the held-out dev losses have a stage of their own (`heldout`), and
a table stage covers one table and split. In format 1 (commit e7f69db and before) a score stage covered all splits of a
task, the leaf's result held the losses, and one stage, `corpus`, held all tables. `ablate.store.record.Run.files` says
where a stage's files lie. Where a leaf is fine-tuned several times, "draws" holds the further fine-tunings and their
scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("corpus", "table", "tokenizer", "tokens", "kmeans", "pretrain", "heldout", "finetune", "score")
"""Kinds of stages that a manifest names, in the order they run."""

Line = Mapping[str, Any]


def trunks(line: Line) -> list[str]:
    """The trunks of a row's pre-training, oldest first."""
    about = line["stages"]
    return [id for id in dict.fromkeys([*about.get("trunks", ()), about.get("trunk")]) if id]


def leaf(line: Line) -> str | None:
    """The last stage of a row's pre-training, from which its tasks start."""
    return line["stages"].get("leaf")


def held_out(line: Line) -> tuple[str, str | None]:
    """Kind and id of the stage whose result holds the losses on dev ("final")."""
    about = line["stages"]
    return ("heldout", about["heldout"]) if "heldout" in about else ("pretrain", leaf(line))


def finetuned(line: Line) -> dict[str, str]:
    """First fine-tuning stage by task; tasks that are measured directly on a leaf have none."""
    return {task: id for task, id in line["stages"].get("finetune", {}).items() if id}


def every_finetuned(line: Line) -> list[tuple[str, str]]:
    """Task and id of every fine-tuning stage."""
    return [(task, id) for about in _draws(line) for task, id in about.get("finetune", {}).items() if id]


def scores(line: Line, task: str) -> dict[str, str]:
    """Score stages of a task's first fine-tuning by split; "" is the key of one that has all splits."""
    return _by_split(line["stages"], task)


def every_score(line: Line, task: str) -> list[str]:
    """All score stages of a task: of every fine-tuning and split."""
    return [id for about in _draws(line) for id in _by_split(about, task).values()]


def draws(line: Line, task: str, split: str) -> list[str]:
    """The stages that score the fine-tunings of a task on a split; the first is `scored`."""
    of = (_by_split(about, task) for about in _draws(line))
    return [id for by_split in of if (id := by_split.get("", by_split.get(split))) is not None]


def _draws(line: Line) -> list[Mapping[str, Any]]:
    return [line["stages"], *line["stages"].get("draws", ())]


def _by_split(about: Mapping[str, Any], task: str) -> Mapping[str, str]:
    ids = about.get("score", {}).get(task) or {}
    return ids if isinstance(ids, Mapping) else {"": ids}


def kind(line: Line, task: str) -> str:
    """Kind of the stages that measure a task: "score", or a kind that the sweep file adds."""
    return line.get("kinds", {}).get(task, "score")


def scored(line: Line, task: str, split: str) -> str | None:
    """The stage that scores a task on a split; None where none is planned."""
    by_split = scores(line, task)
    return by_split.get("", by_split.get(split))


def table(line: Line, name: str, split: str) -> tuple[str, str, str] | None:
    """Kind and id of the stage that holds a split of a table, and the folder within its files; None where the line
    does not read the table.
    """
    about = line["stages"]
    if (id := about.get("tables", {}).get(f"{name}.{split}")) is not None:
        return "table", id, "."
    return ("corpus", about["corpus"], f"tables/{name}/{split}") if "corpus" in about else None


def stages(line: Line) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, purpose, id) of the stages behind a line, in the order they run."""
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
    yield from (("finetune", task, id) for task, id in every_finetuned(line))
    for one in _draws(line):
        for task in one.get("score", {}):
            of = _by_split(one, task).items()
            yield from ((kind(line, task), f"{task}.{split}".rstrip("."), id) for split, id in of)
