"""Which files of other stages a stage reads, and which pruned stages must be made again for that.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ablate.store import continuing, pruned
from ablate.store.pruned import DATA, ENCODINGS, MOMENTS, WEIGHTS
from ablate.store.record import read_result, run_path
from ablate.store.run import RunFolder, find
from ablate.store.stage import Stage, way

CHOICE = "tune"  # role of a stage that chose one of its parents; that parent's files are then read


@dataclass(frozen=True)
class Known:
    """What must be known of a stage here, whether it is planned or on a disk."""

    kind: str
    parents: tuple[tuple[str, str], ...]
    uses: tuple[tuple[str, str], ...] = ()


def planned(stage: Stage) -> Known:
    """Return what is known of a stage of a plan."""
    return Known(stage.kind, stage.parents, stage.uses)


def reads(one: Known, known: Mapping[str, Known], root: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield role, id and parts of files of each stage that must be complete for this one to run.

    For parts, see `ablate.store.pruned`. A stage that reads a table also reads the table's recordings. The first
    fine-tuning after a choice takes over the chosen one's weights.
    """
    for role, id in (*one.parents, *one.uses):
        if role == continuing.ROLE:
            continue  # optional: it only saves time
        if role == CHOICE:
            if one.kind == "finetune":
                yield from _chosen(id, known, root)
            continue
        if one.kind == "tune":
            continue  # it reads only results, which are never pruned
        goes_on = one.kind == "pretrain" and role == "pretrain"
        yield role, id, (WEIGHTS, MOMENTS) if goes_on else (WEIGHTS, ENCODINGS, DATA)
        if role.startswith("table/") and id in known:
            yield from ((name, source, (DATA,)) for name, source in known[id].uses)


def _chosen(tune: str, known: Mapping[str, Known], root: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the fine-tuning stage that was chosen, or all candidates if the choice is still open."""
    result = read_result(run_path(root, CHOICE, tune))
    for role, id in known[tune].parents if tune in known else ():
        if role.startswith("finetune/") and (result is None or result["winner"] == id):
            yield role, id, (WEIGHTS,)


def remade(stages: Mapping[str, Stage], done: Collection[str], root: Path) -> set[str]:
    """Return the ids of the stages among `done` that must be made again, as missing stages read files pruned from them.

    Stages that these read in turn are included. `stages` has parents before their children.
    """
    known = {id: planned(stage) for id, stage in stages.items()}
    gone: dict[str, dict[str, int]] = {}
    again: set[str] = set()
    for id in reversed(stages):
        if id in done and id not in again:
            continue
        for _, other, parts in reads(known[id], known, root):
            if other not in stages or other not in done:
                continue
            kind = stages[other].kind
            if other not in gone:
                gone[other] = pruned.gone(run_path(root, kind, other))
            if any(pruned.part(kind, name) in parts for name in gone[other]):
                again.add(other)
    return again


def of(run: RunFolder) -> list[tuple[str, RunFolder, tuple[str, ...]]]:
    """Return role, folder and parts of each stage that a planned one must read. Missing stages are left out."""
    one = _on_disk(run)
    folders = {id: folder for _, id in (*one.parents, *one.uses) if (folder := find(run.root, id)) is not None}
    known = {id: _on_disk(folder) for id, folder in folders.items()}
    read = ((role, folders.get(id) or find(run.root, id), parts) for role, id, parts in reads(one, known, run.root))
    return [(role, folder, parts) for role, folder, parts in read if folder is not None]


def lacking(run: RunFolder) -> list[tuple[str, RunFolder]]:
    """Return role and folder of each finished stage whose pruned files a planned stage must read."""
    found = ((role, folder) for role, folder, parts in of(run) if pruned.lacks(folder.path, folder.kind, parts))
    return [(role, folder) for role, folder in found if folder.done]


def _on_disk(run: RunFolder) -> Known:
    parents, uses = run.identity()["parents"], way(run)["uses"]
    return Known(run.kind, tuple(map(tuple, parents)), tuple(map(tuple, uses)))
