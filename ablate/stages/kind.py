"""What a kind of stage is, and how the config of a planned one is made again."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.data.registry import DATA
from ablate.store import identity
from ablate.store.run import RunFolder
from ablate.store.stage import way
from ablate.tasks.registry import TASKS
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

NAMED = (DATA, TASKS, PRESETS, OBJECTIVES, TARGETS)  # records name their classes by tags: who restores one has them all


@dataclass(frozen=True)
class Kind:
    """A kind of stage."""

    version: int
    """Of its code, raised by hand when results change: part of every id."""
    run: Callable[[Any, Mapping[str, RunFolder], RunFolder], dict[str, Any]]
    """Runs a stage, given its config, what it starts from by role, and its folder; returns what result.json holds."""
    trains: bool = False
    """Whether it trains a model: several processes may then share it."""

    @property
    def config(self) -> Any:
        """The class of the configs of such stages, or the base of several: the type hint of `run`'s first parameter."""
        return next(iter(typing.get_type_hints(self.run).values()))


def restored(run: RunFolder, config: Any) -> Any:
    """Make the typed config of a planned stage again, from what `materialise` wrote into its run folder.

    `config` is the class that it is of, or the base of several. Raises UserError where the record says what this code
    does not know.
    """
    return identity.restore(run.identity()["config"], config, way(run)["how"])
