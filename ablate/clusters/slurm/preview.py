"""Describe what a sweep would submit to Slurm: resources, hours, memory, and the arrays in order. Submits nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from ablate.clusters.display import duration, end_in
from ablate.clusters.remaining import Left
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, Board
from ablate.clusters.slurm import controller, pack

LARGEST = 1000  # array size if no cluster can be asked (Slurm's default MaxArraySize is 1001)


def slurm_text(board: Board, resources: Resources, left: Left) -> str:
    """Describe the missing stages as jobs: what each kind asks for and needs, and the arrays that would be
    submitted.
    """
    try:
        largest = controller.limits()[1] if shutil.which("scontrol") else LARGEST
    except controller.Silent:
        largest = LARGEST
    kinds = dict.fromkeys(board.stages[id].kind for id in board.stages if board.state[id] != DONE)
    wants = {kind: resources.wanted(kind) for kind in kinds}
    rows = [("missing", "stages", "longest", "hours", "", "holds", "sbatch")]
    hours = {"GPU": 0.0, "core": 0.0}
    for kind in kinds:
        stages = [stage for id, stage in board.stages.items() if stage.kind == kind and board.state[id] != DONE]
        unit, each = ("GPU", wants[kind]["gpus"]) if wants[kind].get("gpus") else ("core", wants[kind]["cpus"])
        spent = sum(stage.cost for stage in stages) / 3600 * each * processes(kind, wants[kind])
        hours[unit] += spent
        memory = max(stage.memory for stage in stages)
        rows.append(
            (
                kind,
                f"{len(stages)}",
                duration(max(stage.cost for stage in stages)),
                f"{spent:,.1f}",
                f"{unit}-hours",
                f"{memory / 1e9:.1f} GB" if memory else "",
                options(kind, resources),
            )
        )
    shapes = {kind: json.dumps(wants[kind], sort_keys=True) for kind in kinds}
    arrays = pack.arrays(board, (), largest, shapes, {kind: resources.seconds_of_task(kind) for kind in kinds})
    where = {id: number for number, array in enumerate(arrays, 1) for task in array.tasks for id in task}
    queue = [("array", "tasks", "stages", "first of them", "after")]
    for number, array in enumerate(arrays, 1):
        after = ", ".join(str(one) for one in sorted({where[parent] for parent in array.parents})) or "none"
        count = sum(map(len, array.tasks))
        queue.append(
            (
                f"{number}",
                f"{len(array.tasks)}",
                f"{count}",
                f"{array.kind} {board.stages[array.tasks[0][0]].title}",
                after,
            )
        )
    total = " and ".join(f"{spent:,.0f} {unit}-hours" for unit, spent in hours.items() if spent >= 0.5) or "minutes"
    return "\n".join(
        [
            *aligned(rows),
            "",
            *aligned(queue),
            "",
            f"About {total} in total; done {end_in(left.all)} if no job has to queue.",
        ]
    )


def processes(kind: str, wants: Mapping[str, Any]) -> int:
    """How many times a job has its GPUs or cores: once per node and, without GPUs, once per process on each node."""
    return wants.get("nodes", 1) * (1 if wants.get("gpus") else wants.get("tasks", 1))


OURS = ("setup", "array_parallelism", "signal_delay_s")  # parameters of submitit that are not options of sbatch


def options(kind: str, resources: Resources) -> str:
    """A job's options for sbatch."""
    asked = {name: value for name, value in resources.for_submitit(kind).items() if name not in OURS}
    asked |= asked.pop("additional_parameters", {})
    said = (f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in asked.items())
    return " ".join(said)


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Align rows in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width) for cell, width in zip(row, widths)
        ).rstrip()
        for row in rows
    ]
