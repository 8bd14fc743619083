"""What tuning hands to the stages after it: the winner, and the task with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ablate.store import identity
from ablate.store.run import RunFolder
from ablate.store.stage import way
from ablate.tasks.task import TaskConfig

ROLE = "finetune/"  # prefix of the roles of the fine-tunings to choose from, followed by a number


def settled(config: Any, parents: Mapping[str, RunFolder]) -> Any:
    """A fine-tuning or scoring stage's config, with the task's settings that tuning chose, if it is among the
    parents.
    """
    if "tune" not in parents:
        return config
    return replace(config, task=task_of(winner(parents["tune"])).scored_as(config.task))


def winner(tune: RunFolder) -> RunFolder:
    """The fine-tuning that a finished `tune` stage chose."""
    return RunFolder(tune.root, "finetune", tune.result()["winner"])


def task_of(finetune: RunFolder) -> TaskConfig:
    """The task of a planned fine-tuning. Raises UserError if its record contains something that this code does not
    know.
    """
    how = {
        path.removeprefix("task."): value for path, value in way(finetune)["how"].items() if path.startswith("task.")
    }
    return identity.restore(finetune.identity()["config"]["task"], TaskConfig, how)
