"""Longer trunks continue shorter ones: trunks that differ only in length are the same training.

If nothing in a trunk depends on where it ends (its config has no horizon), it starts from the longest finished trunk of
its family. Its id and its result stay the same; only the time is shorter. Finished trunks are listed under
ROOT/trunks/FAMILY/. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.store import attempt, identity, pruned
from ablate.store.record import run_path
from ablate.store.run import RunFolder
from ablate.store.stage import Stage

ROLE = "continues"
CHECKPOINT = (pruned.WEIGHTS, pruned.MOMENTS)  # parts of the shorter trunk that are read
EVERY = 10  # updates between two lines of the log; a trunk that ends between two is not continued


def family(what: Mapping[str, Any]) -> str:
    """Return the name that all trunks share that differ only in length. `what` is the content of identity.json."""
    config = {key: value for key, value in what["config"].items() if key != "steps"}
    return identity.stage_id(what["kind"], what["version"], config, what["parents"])


def continued(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """Make every trunk of a plan wait for the longest shorter one of its family, and reduce its cost accordingly."""
    families: dict[str, list[Stage]] = {}
    for stage in stages.values():
        if stage.kind == "pretrain" and stage.config["phase"] == "trunk" and stage.steps:
            families.setdefault(family(stage.identity), []).append(stage)
    by_id = dict(stages)
    for members in families.values():
        members.sort(key=lambda stage: stage.steps)
        ends = [stage for stage in members if _noted(stage.config)]
        for stage in members:
            shorter = next((one for one in reversed(ends) if one.steps < stage.steps), None)
            if shorter is None or stage.config["horizon"] is not None:
                continue
            left = stage.cost * (1 - shorter.steps / stage.steps)
            by_id[stage.id] = replace(stage, uses=(*stage.uses, (ROLE, shorter.id)), cost=round(left, 2))
    return by_id


def spared(stage: Stage, stages: Mapping[str, Stage]) -> int:
    """Return how many updates the planned cost of a stage leaves out, because it continues a trunk of `stages`."""
    return max((stages[id].steps for role, id in stage.uses if role == ROLE and id in stages), default=0)


def begun(stage: Stage, root: Path) -> int:
    """Return how many updates a stage need not make if it is started now: those of its last checkpoint, or else of the
    finished trunk that it will continue.
    """
    path = run_path(Path(root), stage.kind, stage.id)
    saved = 0 if pruned.reopened(path) else attempt.reached(path) - stage.config.get("start", 0)
    if saved > 0:
        return saved
    ends = shorter(root, stage.identity) if _continues(stage) else []
    return RunFolder(root, stage.kind, ends[0]).identity()["config"]["steps"] if ends else 0


def _continues(stage: Stage) -> bool:
    """Whether a stage is a trunk that may continue a shorter one."""
    return stage.kind == "pretrain" and stage.config.get("phase") == "trunk" and stage.config["horizon"] is None


def note(run: RunFolder, steps: int) -> None:
    """List a trunk with `steps` updates of its own, so that longer trunks find it once it is finished.

    A trunk that ends between two lines of the log is not listed, as its continuation would log other values.
    """
    if not _noted(run.identity()["config"]):
        return
    folder = run.root / "trunks" / family(run.identity())
    folder.mkdir(parents=True, exist_ok=True)
    # `touch` would write to the file, which may belong to another user
    os.close(os.open(folder / f"{steps}-{run.id}", os.O_CREAT, 0o666))


def noted(root: Path) -> Iterator[tuple[str, str]]:
    """Yield all listed trunks under a root: path of the note relative to the root, and the trunk's id."""
    for path in sorted(Path(root).glob("trunks/*/*-*")):
        yield path.relative_to(root).as_posix(), path.name.rpartition("-")[2]


def note_again(place: str, id: str, root: Path) -> None:
    """List a trunk under another root, if it is finished there."""
    path = Path(root) / place
    if RunFolder(root, "pretrain", id).done and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _noted(config: Mapping[str, Any]) -> bool:
    return (config["start"] + config["steps"]) % EVERY == 0


def candidates(root: Path, what: Mapping[str, Any]) -> list[str]:
    """Return the ids of finished trunks of the same family that are shorter than this one, the longest first.

    Pruned ones are included.
    """
    folder = Path(root) / "trunks" / family(what)
    noted = [path.name.partition("-") for path in folder.glob("*-*")] if folder.is_dir() else []
    by_length = sorted(
        ((int(length), id) for length, _, id in noted if 0 < int(length) < what["config"]["steps"]), reverse=True
    )
    return [id for _, id in by_length if RunFolder(root, "pretrain", id).done]


def shorter(root: Path, what: Mapping[str, Any]) -> list[str]:
    """Return those of the `candidates` whose checkpoint was not pruned."""
    found = (RunFolder(root, "pretrain", id) for id in candidates(root, what))
    return [run.id for run in found if not pruned.lacks(run.path, run.kind, CHECKPOINT)]


def notes(stages: Iterable[Stage], root: Path) -> list[str]:
    """Return a note for each of these stages that will continue a finished trunk."""
    finished = ((stage, shorter(root, stage.identity)) for stage in stages if _continues(stage))
    return [
        f"note: {stage.title} goes on from a finished trunk, {ids[0]}, and will take less time."
        for stage, ids in finished
        if ids
    ]
