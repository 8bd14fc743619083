"""Which stages share a Slurm task, and which tasks share an array: all that wait for the same stages, short
ones in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ablate.clusters import schedule
from ablate.clusters.schedule import DONE, WAITING, Board

MOST = 300  # maximum number of arrays that wait for exactly what their stages need


@dataclass(frozen=True)
class Array:
    """Tasks with equal resources that wait for the same unfinished stages; `depth` is the number of waves before it."""

    kind: str
    """Kind of the first stage of every task."""
    tasks: list[list[str]]
    """Stage ids, in the order in which the task runs them."""
    parents: list[str]
    depth: int
    wave: bool = False
    """Whether only some of its stages need each of `parents`. It then waits for all parents, even failed ones, and its
    jobs check their own parents.
    """


def arrays(
    board: Board, jobs: Iterable[str], largest: int, shapes: Mapping[str, str], lasting: Mapping[str, float]
) -> list[Array]:
    """Group the waiting stages into arrays of at most `largest` tasks, parents first.

    `lasting` gives the intended duration of a task in seconds for each kind; 0 means one stage per task. A stage is
    joined by all stages that follow from it alone if they fit, and stages that wait for the same parents are put
    together; kinds with equal `shapes` ask for the same resources. A stage that another awaited stage already waits for
    is left out of the stages to wait for. `jobs` are the stages that have a job; a stage that needs one without a job
    (another process runs it) is left for later.
    """
    able, depth, todo = set(jobs), {}, {}
    for id, stage in board.stages.items():
        parents = {parent for parent in stage.awaits(board.stages) if board.state[parent] != DONE}
        depth[id] = 1 + max((depth[parent] for parent in parents), default=0)
        if board.state[id] == WAITING and parents <= able:
            able.add(id)
            todo[id] = parents
    place = {id: number for number, id in enumerate(todo)}
    children: dict[str, list[str]] = {}
    for id, parents in todo.items():
        for parent in parents:
            children.setdefault(parent, []).append(id)
    groups: dict[tuple[int, str, tuple[str, ...]], list[list[str]]] = {}
    placed: set[str] = set()
    for id, parents in todo.items():
        if id in placed:
            continue
        kind = board.stages[id].kind
        implied = schedule.ancestors(board.stages, [p for x in parents for p in board.stages[x].awaits(board.stages)])
        alike = {other for other, shape in shapes.items() if shape == shapes[kind]}
        unit = _along(board, id, todo, children, place, alike, parents | implied, lasting[kind])
        placed.update(unit)
        groups.setdefault((depth[id], kind, tuple(sorted(parents - implied))), []).append(unit)
    waves = len(groups) > MOST
    if waves:  # one sbatch call per set of parents would take minutes: all of a kind at equal depth wait together
        together: dict[tuple[int, str], tuple[set[str], list[list[str]]]] = {}
        for (deep, kind, parents), units in groups.items():
            waited, members = together.setdefault((deep, kind), (set(), []))
            waited.update(parents)
            members += units
        groups = {(deep, kind, tuple(sorted(waited))): units for (deep, kind), (waited, units) in together.items()}
    return [
        Array(kind, tasks[first : first + largest], list(parents), deep, waves)
        for (deep, kind, parents), units in sorted(groups.items())
        for tasks in [_filled(board, units, lasting[kind])]
        for first in range(0, len(tasks), largest)
    ]


def _along(
    board: Board,
    id: str,
    todo: dict[str, set[str]],
    children: dict[str, list[str]],
    place: dict[str, int],
    alike: set[str],
    known: set[str],
    seconds: float,
) -> list[str]:
    """A stage and all that follows from it, if they fit `seconds` and wait for nothing else; otherwise the
    stage alone.
    """
    unit, cost, stack = {id}, board.stages[id].cost, list(children.get(id, ()))
    while stack and seconds:
        child = stack.pop()
        if child in unit:
            continue
        unit.add(child)
        cost += board.stages[child].cost
        if cost > seconds or board.stages[child].kind not in alike:
            return [id]
        stack += children.get(child, ())
    if any(not todo[child] <= unit | known for child in unit):
        return [id]
    return sorted(unit, key=place.__getitem__)


def _filled(board: Board, units: list[list[str]], seconds: float) -> list[list[str]]:
    """Join units into as few tasks of about equal length as last about `seconds` each."""
    costs = [sum(board.stages[id].cost for id in unit) for unit in units]
    total = sum(costs)
    if not seconds or not total:
        return units
    count, past, tasks = math.ceil(total / seconds), 0.0, {}
    for unit, cost in zip(units, costs):
        place = min(count - 1, int((past + cost / 2) / total * count))
        tasks.setdefault(place, []).extend(unit)
        past += cost
    return list(tasks.values())
