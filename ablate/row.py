"""A row at one point of the axes, with all its configs typed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate import identity
from ablate.patch import PRETRAIN


@dataclass(frozen=True)
class Row:
    """A row at one axis point, typed."""

    name: str
    after: str | None
    data: Any
    encoder: Any
    tokenizer: Any
    objectives: dict[str, Any]
    targets: dict[str, Any]
    update: Any
    optimizer: Any
    steps: int
    decay: int
    tasks: dict[str, Any]
    grids: dict[str, list[tuple[dict[str, Any], Any]]]
    """Per tuned task, what is tried: settings by dotted name, and the task with them."""
    start: int
    """Trunk updates of the rows it continues."""
    horizon: int
    """Trunk updates of the row that its chain begins with: what is annealed is annealed over them."""

    @property
    def total(self) -> int:
        """All pre-training updates behind the row's leaf."""
        return self.start + self.steps + self.decay

    def has(self, task: str) -> bool:
        """Whether the row has a task: it was not removed, and the encoder reads all that the task shows it.

        A task that measures the leaf itself also says whether the row's objectives leave there what it measures.
        """
        if task not in self.tasks or not set(reads(self.tasks[task])) <= set(self.encoder.reads):
            return False
        made = owner(self.tasks[task])
        return made.trained or made.fits(self.objectives)

    def summary(self, label: str) -> dict[str, Any]:
        """What analysis must know of the row."""
        return {
            "label": label, "reads": list(self.encoder.reads), "after": self.after, "steps": self.total,
            **{name: _plain(getattr(self, name)) for name in SETTINGS if name not in ("data", "tasks")},
        }  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """Every setting as nested plain values, for people."""
        settings = {name: _plain(getattr(self, name)) for name in SETTINGS}
        after = {"after": self.after} if self.after else {}
        trunk = {"start": self.start, "steps": self.steps, "decay": self.decay}
        pretrain = trunk | {name: settings.pop(name) for name in PRETRAIN if name in settings}
        for key, tried in self.grids.items():
            settings["tasks"][key]["tune"] = [point for point, _ in tried]
        return {**after, **settings, "pretrain": pretrain}


SETTINGS = ("data", "encoder", "tokenizer", "objectives", "targets", "update", "optimizer", "tasks")


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    return {**_untagged(identity.canonical(part)), **identity.how(part)}


def _untagged(form: Any) -> Any:
    if isinstance(form, Mapping):
        return {key: _untagged(value) for key, value in form.items() if key != "type"}
    return form


def owner(part: Any) -> Any:
    """The class that a config is nested in, and that it builds."""
    cls: Any = sys.modules[type(part).__module__]
    for name in type(part).__qualname__.split(".")[:-1]:
        cls = getattr(cls, name)
    return cls


def reads(part: Any) -> tuple[str, ...]:
    """What an objective or task needs of the encoder; a measure of the leaf says what it shows it."""
    made = owner(part)
    if hasattr(made, "shows"):
        return made.shows
    if not getattr(made, "trained", True):
        return made.sees
    return (getattr(part, "reads", None) or made.reads,)
