"""What a kind of stage is, and how the config of a planned stage is restored."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.data.registry import DATA
from ablate.errors import UserError
from ablate.store import identity, plugins
from ablate.store.run import RunFolder
from ablate.store.stage import way
from ablate.tasks.registry import TASKS
from ablate.tasks.task import Score
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

NAMED = (DATA, TASKS, PRESETS, OBJECTIVES, TARGETS)  # records name classes by tag: importing these registers all tags


SPLIT = "all"  # the split of what a stage under `stages:` of a sweep file measures


@dataclass(frozen=True)
class Kind:
    """A kind of stage."""

    version: int
    """Version of its code, raised by hand when results change: part of every id."""
    run: Callable[[Any, Mapping[str, RunFolder], RunFolder], dict[str, Any]]
    """Runs a stage, given its config, its parents by role, and its folder; returns the content of result.json."""
    trains: bool = False
    """Whether it trains a model: several processes may then share it."""
    settings: Any = None
    """For a kind that sweep files name under `stages:`: its config with default values; every field is a setting."""
    metrics: tuple[str, ...] = ()
    """Names of what such a stage measures, each a column of the table: its result has "scores", made by `scored`."""
    reads: tuple[str, ...] = ()
    """Inputs ("speech", "text", "pair") that an encoder must read for its row to have such a stage."""
    seconds: float = 5.0
    """Approximate duration of such a stage; once one has run, its measured time is used."""

    def __post_init__(self) -> None:
        """Raises TypeError, with the file and line of `run`, for what would otherwise fail in a running stage."""
        code, where = inspect.unwrap(self.run).__code__, self._where
        if code.co_argcount != 3:
            raise TypeError(f"{where} takes {code.co_argcount} arguments, expected 3: config, parents and run.")
        if self.version < 1:
            raise TypeError(f"{where}: version is {self.version}, expected 1 or more.")
        if self.settings is None:
            return
        if not dataclasses.is_dataclass(self.settings) or isinstance(self.settings, type):
            raise TypeError(f"{where}: settings is {self.settings!r}, expected a dataclass with its default values.")
        identity.tag_of(type(self.settings))
        identity.fields(type(self.settings))
        hint = typing.get_type_hints(self.run).get(code.co_varnames[0])
        if not (isinstance(hint, type) and isinstance(self.settings, hint)):
            raise TypeError(f"{where}: its first argument has the type hint {hint}, expected the class of settings.")
        if not self.metrics:
            raise TypeError(f"{where}: metrics is empty, expected the names of what it measures.")

    @property
    def _where(self) -> str:
        code = inspect.unwrap(self.run).__code__
        return f"{code.co_filename}, line {code.co_firstlineno}: {code.co_name}"

    def checked(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check the result of a stage of this kind and return it. Raises UserError if its scores are not those that the
        kind names, or are not numbers.
        """
        if self.settings is None:
            return result
        found = {one["metric"]: one["value"] for one in result.get("scores", ())}
        if set(found) != set(self.metrics):
            said, named = ", ".join(found) or "none", ", ".join(self.metrics)
            raise UserError(f"{self._where} returns scores of {said}, and the metrics of its kind are {named}.")
        if strange := [name for name, value in found.items() if not math.isfinite(value)]:
            value = found[strange[0]]
            raise UserError(f"{self._where} returns {value} as the score of {strange[0]}, expected a number.")
        return result

    @property
    def config(self) -> Any:
        """The config class of such stages, or their common base: the type hint of `run`'s first parameter."""
        return next(iter(typing.get_type_hints(self.run).values()))


def scored(metric: str, value: float, better: str = "higher", unit: str = "", n: int = 1) -> dict[str, Any]:
    """Make one entry of "scores" in the result of a stage under `stages:`: the value of one of its `metrics` over `n`
    items; `better` says whether "higher" or "lower" values are better.
    """
    if better not in ("higher", "lower"):
        raise ValueError(f"{metric}: better is '{better}', expected higher or lower.")
    return {"split": SPLIT, **dataclasses.asdict(Score(metric, float(value), better, unit, n, ""))}


def restored(run: RunFolder, config: Any) -> Any:
    """Restore the typed config of a planned stage from what `materialise` wrote into its run folder.

    `config` is its class, or a common base. Raises UserError if the record contains something that this code does not
    know.
    """
    plugins.load()
    return identity.restore(run.identity()["config"], config, way(run)["how"])
