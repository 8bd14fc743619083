"""Sweeps from YAML to report, through the real engine, in this process and in seconds."""

from __future__ import annotations

from pathlib import Path

import yaml

from ablate.planning.plan import plan_file
from ablate.stages.execute import execute
from ablate.store.record import sweep_path
from ablate.store.stage import materialise
from analysis import report

SMALL = {
    "encoder": {"preset": "nano", "width": 16, "heads": 2, "ffn": 32, "groups": 2},
    "tokenizer": {"size": 300},
    "pretrain": {"objectives": {}, "steps": 0, "decay": 0, "update": {"speech": "3 s", "text": 60, "pairs": 3}},
}
NOTHING = {
    **dict.fromkeys(("speech", "pairs", "asr", "text"), ()),
    **dict.fromkeys(("dev", "test", "test_unseen", "translation", "sentiment", "sentence_pair"), ""),
    **dict.fromkeys(("normalization", "digits"), ""),
}
"""Real corpora without any."""


def real(root: Path, **fields: object) -> dict:
    """`data:` of real corpora below `root`, with nothing but what is said."""
    return {"preset": "real", "root": str(root), **NOTHING, **fields}


def file(folder: Path, data: dict, tasks: dict, **base: object) -> Path:
    """A sweep file of one row with these tasks."""
    sweep = {"data": data, "base": {**SMALL, "tasks": tasks, **base}, "rows": {"toy": {}}, "tasks": list(tasks)}
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def table(sweep: Path) -> str:
    """Run a sweep file from its plan to its report; returns the table as Markdown."""
    root = sweep.parent / "runs"
    plan = plan_file(sweep, [], root)
    materialise(plan, root)
    for id in plan.stages:
        execute(id, root)
    report.write(plan.name, root)
    return (sweep_path(root, plan.name) / "table.md").read_text()
