"""A row at one point of the axes, as typed configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.data.corpus import CorpusConfig
from ablate.data.tokenizer import TokenizerConfig
from ablate.store import identity
from ablate.sweepfile.added import FINETUNED, PRETRAINED, Added
from ablate.sweepfile.schema import Pretrain, Value, keys
from ablate.tasks.task import TaskConfig
from ablate.training.optim import OptimizerConfig
from ablate.training.update import Update
from encoders.encoder import EncoderConfig
from objectives.objective import ObjectiveConfig
from objectives.quantizer import TargetsConfig


@dataclass(frozen=True)
class Row:
    """A row at one point of the axes."""

    name: str
    after: str | None
    data: CorpusConfig
    encoder: EncoderConfig
    tokenizer: TokenizerConfig
    objectives: dict[str, ObjectiveConfig]
    targets: dict[str, TargetsConfig]
    update: Update
    optimizer: OptimizerConfig
    steps: int
    decay: int
    tasks: dict[str, TaskConfig]
    grids: dict[str, list[tuple[dict[str, Value], TaskConfig]]]
    """For each tuned task, the combinations to try: settings by dotted name, and the resulting config."""
    stages: dict[str, Added]
    """Stages that the sweep file adds to the row, each after those that it starts from."""
    start: int
    """Trunk updates of the rows that it continues."""
    joined: dict[str, tuple[int, int]]
    """By name, speech targets that the first row of its chain did not have: the update at which they were added, and
    the length of that trunk in updates."""
    horizon: int
    """Trunk updates of the first row of its chain; annealed values are annealed over them."""

    @property
    def total(self) -> int:
        """All pre-training updates of the row's leaf, those of the rows it continues included."""
        return self.start + self.steps + self.decay

    @property
    def anneals(self) -> dict[str, str]:
        """By name of speech targets, what is annealed over the horizon. If anything is, the id includes the horizon."""
        changes = {name: targets.anneals() for name, targets in self.targets.items()}
        return {name: what for name, what in changes.items() if what}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes of the objectives on what their settings do not show."""
        return tuple(f"{name}: {note}" for name, one in self.objectives.items() if (note := one.note()))

    def has(self, task: str) -> bool:
        """Return whether the row has a task: it is not removed, and the encoder reads all of the task's inputs.

        A task without training also needs the row to have an objective whose result it can measure.
        """
        if task in self.stages:
            return set(self.stages[task].of.reads) <= set(self.encoder.reads) and all(
                one == PRETRAINED or self.has(one.removeprefix(FINETUNED)) for one in self.stages[task].after
            )
        if task not in self.tasks or not set(self.tasks[task].shown) <= set(self.encoder.reads):
            return False
        made = owner(self.tasks[task])
        return made.trained or made.fits(self.objectives)

    def summary(self, label: str) -> dict[str, Value]:
        """Return what the analysis needs to know of the row, as plain values.

        `tags` names the encoder's class, and the class of every objective whose name is not its class's tag.
        """
        others = {name: one.tag for name, one in self.objectives.items() if one.tag != name}
        return {
            "label": label,
            "reads": list(self.encoder.reads),
            "after": self.after,
            "steps": self.total,
            **{name: people_see(getattr(self, name)) for name in SETTINGS if name not in ("data", "tasks")},
            "tags": {"encoder": self.encoder.tag, **({"objectives": others} if others else {})},
            **self._added(),
        }

    def plain(self) -> dict[str, Value]:
        """Return every setting as nested plain values, for display."""
        settings = {name: people_see(getattr(self, name)) for name in SETTINGS}
        after = {"after": self.after} if self.after else {}
        anneals = [f"{what} of targets '{name}'{self._since(name)}" for name, what in self.anneals.items()]
        horizon = (
            f"{self.horizon} updates: {', '.join(anneals)}"
            if anneals and self.total
            else "of no effect: a longer trunk continues a shorter one"
        )
        trunk = {"start": self.start, "steps": self.steps, "decay": self.decay, "horizon": horizon}
        pretrain = trunk | {name: settings.pop(name) for name in keys(Pretrain) if name in settings}
        for key, tried in self.grids.items():
            settings["tasks"][key]["tune"] = [point for point, _ in tried]
        return {**after, **settings, **self._added(), "pretrain": pretrain}

    def _added(self) -> dict[str, Value]:
        """Return the added stages as plain values, for display; empty if there are none."""
        stages = {name: one.plain() | people_see(one.config) for name, one in self.stages.items()}
        return {"stages": stages} if stages else {}

    def _since(self, targets: str) -> str:
        """Say over which updates speech targets anneal that were added in a later row of the chain; '' for others."""
        if targets not in self.joined:
            return ""
        first, updates = self.joined[targets]
        return f" (from update {first} over {updates})"


SETTINGS = ("data", "encoder", "tokenizer", "objectives", "targets", "update", "optimizer", "tasks")


def owner(part: EncoderConfig | ObjectiveConfig | TaskConfig) -> Any:  # encoders, objectives and tasks differ
    """Return the class that the config builds, in which it is nested."""
    return part.owner


def people_see(value: object, hint: object = Any) -> Value:
    """Return a config as nested plain values for display: fields by their present names, and each class's recipe."""
    if dataclasses.is_dataclass(value):
        version = identity.recipe_of(type(value))
        recipe = {"recipe": version} if version is not None else {}
        ordered = sorted(identity.fields(type(value)), key=lambda one: (one.how, one.attribute))
        return recipe | {one.attribute: people_see(getattr(value, one.attribute), one.hint) for one in ordered}
    if isinstance(value, Mapping):
        return {str(key): people_see(value[key], identity.of_values(hint)) for key in sorted(value)}
    if isinstance(value, (tuple, list)):
        return [people_see(item, identity.of_items(hint)) for item in value]
    return identity.Forms().of(value, hint).plain
