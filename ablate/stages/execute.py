"""The one function by which every worker, wherever it runs, executes a planned stage."""

from __future__ import annotations

import os
from pathlib import Path

from ablate.errors import UserError
from ablate.stages.kind import restored
from ablate.stages.registry import KINDS
from ablate.store import needs, plugins
from ablate.store.pruned import Pruned
from ablate.store.run import RunFolder, find
from ablate.store.stage import parents_of, uses_of
from ablate.training import distributed, numerics
from encoders.attention import Unavailable


def execute(stage_id: str, root: str | Path) -> None:
    """Run one planned stage to its end in this process; returns at once if it is done.

    Under a launcher that set RANK and WORLD_SIZE this process is one of several, which share the shards of every
    update. Raises UserError if the stage was never planned under `root` or lacks a parent, `pruned.Pruned` if files of
    a parent that it reads were pruned, `run.Busy` if another process runs it, `run.Stopped` if it was asked to stop
    (run it again to continue), `run.Lost` if another process took it over, and whatever the stage itself raises.
    """
    plugins.load()
    planned = find(Path(root), stage_id)
    if planned is None or planned.kind not in KINDS or not (planned.path / "identity.json").exists():
        raise UserError(f"No stage '{stage_id}' is planned under '{root}'; run the sweep command with this root.")
    kind = KINDS[planned.kind]
    run = RunFolder(planned.root, planned.kind, stage_id, rank=int(os.environ.get("RANK", "0")))
    if run.done:
        run.tidy()
        return
    what = run.identity()
    if what["version"] != kind.version:
        raise UserError(
            f"Stage {stage_id} was planned as version {what['version']} of '{run.kind}', this code is version "
            f"{kind.version}; run the sweep command again to plan it again."
        )
    with _locked(run):
        if run.done:  # another process finished it before this one had the lock
            return
        parents = parents_of(run)
        for role, parent in {**uses_of(run), **parents}.items():
            if not parent.done and role != "continues":  # without the shorter trunk it trains from the start
                raise UserError(f"Stage {stage_id} starts from {role} {parent.id}, not done yet; run the sweep.")
        if lost := needs.lacking(run):
            names = ", ".join(f"{role} {parent.id}" for role, parent in lost)
            raise Pruned(
                f"Stage {stage_id} reads files that were pruned: {names}; run the sweep, which makes them again."
            )
        numerics.begin()
        with run.writing():
            try:
                result = kind.checked(kind.run(restored(run, kind.config), parents, run))
            except Unavailable as error:
                raise UserError(str(error)) from None
        run.finish(result)


def _locked(run: RunFolder) -> RunFolder:
    """Lock a stage, together with the other processes that work on it if the launcher started several."""
    return run.lock() if int(os.environ.get("WORLD_SIZE", "1")) == 1 else distributed.lock(run)
