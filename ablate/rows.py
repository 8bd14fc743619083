"""The rows of a sweep: patches over the base or over the row they continue, resolved to typed configs and checked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablate import config, identity
from ablate.claims import listed
from ablate.config import Registry
from ablate.errors import UserError, nearest
from ablate.patch import PRETRAIN, expand, mapping, patched
from ablate.tune import choices


NAME = "[A-Za-z_][A-Za-z0-9_]*"  # of a row or task


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


class Resolver:
    """Turns the rows of one merged sweep into typed rows, at any point of its axes."""

    def __init__(self, sweep: Mapping[str, Any], registry: Registry):
        self.registry = registry
        self.patches = {name: mapping(row, f"rows.{name}") for name, row in mapping(sweep.get("rows"), "rows").items()}
        if not self.patches:
            raise UserError(f"Sweep '{sweep['name']}' has no rows; write rows: {{name: {{...}}}}.")
        for name in self.patches:
            if not re.fullmatch(NAME, name):
                raise UserError(f"rows.{name}: expected a name of letters, digits and _; claims compute with it.")
        base = mapping(sweep.get("base"), "base")
        settings = _filled(base.get("tasks", {}))
        pretrain = {key: _filled(part) if key in ("objectives", "targets") else part
                    for key, part in base.get("pretrain", {}).items()}  # fmt: skip
        written = [str(task) for task in listed(sweep.get("tasks", list(settings)), "tasks")]
        self.tasks = list(dict.fromkeys(one for task in written for one in registry.groups.get(task, (task,))))
        for task in self.tasks:
            if not re.fullmatch(NAME, task):
                raise UserError(f"tasks: '{task}' is no name; use letters, digits and _, as in asr_100.")
            preset = settings.setdefault(task, {}).get("preset", task)
            if preset not in registry.tasks:
                raise UserError(f"tasks: no task '{preset}'; {nearest(preset, registry.tasks)}")
        sections = {"data": sweep.get("data", {"preset": "builtin"}), "encoder": {}, "tokenizer": {}}
        self.base = {**sections, **base, "pretrain": pretrain, "tasks": settings}
        self.order = self._order()
        self.made: dict[tuple[str, str | None, str], Any] = {}

    @property
    def names(self) -> list[str]:
        """All rows as the file orders them."""
        return list(self.patches)

    def _order(self) -> list[str]:
        """Rows with parents before those that continue them; raises UserError for missing parents and cycles."""
        order: list[str] = []

        def visit(name: str, below: tuple[str, ...]) -> None:
            if name in below:
                chain = " after ".join([*below[below.index(name):], name])
                raise UserError(f"rows.{name}: {chain} is a cycle; let one of them start from scratch.")
            if name in order:
                return
            after = self.patches[name].get("after")
            if after is not None:
                if after not in self.patches:
                    raise UserError(f"rows.{name}: after: no row '{after}'; {nearest(str(after), self.patches)}")
                visit(after, (*below, name))
            order.append(name)

        for name in self.patches:
            visit(name, ())
        return order

    def rows(self, point: Mapping[str, Any]) -> dict[str, Row]:
        """Resolve all rows at one point of the axes, parents first."""
        base = self.base
        for axis, value in point.items():
            base = patched(base, axis_patch(axis, value), f"axes.{axis}")
        data = config.resolve(self.registry.data, base["data"], "data")
        if hasattr(data, "resolved"):
            data = data.resolved()  # checks that the files are there, and takes their fingerprint
        self._configs(base, "base")  # so that a mistake in the base is reported there
        resolved: dict[str, dict[str, Any]] = {}
        rows: dict[str, Row] = {}
        for name in self.order:
            patch, path = dict(self.patches[name]), f"rows.{name}"
            after = patch.pop("after", None)
            for part in ("encoder", "tokenizer") if after else ():
                if part in patch:
                    raise UserError(f"{path}.{part}: a row keeps the {part} of the row it comes after; remove it.")
            resolved[name] = patched(resolved[after] if after else base, patch, path)
            pretrain, parent = resolved[name]["pretrain"], rows.get(after)
            rows[name] = Row(
                name=name, after=after, data=data, **self._configs(resolved[name], path),
                steps=_count(pretrain, "steps", path), decay=_count(pretrain, "decay", path),
                start=parent.start + parent.steps if parent else 0,
                horizon=parent.horizon if parent else _count(pretrain, "steps", path),
            )  # fmt: skip
            _fitting(rows[name], path)
            _trained(rows[name], rows, path)
        _teachers(rows)
        return rows

    def _configs(self, row: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Make every config of a row; only speech targets that its objectives need are among them."""
        pretrain = row["pretrain"]

        def named(kind: str, parts: Mapping[str, Any], where: str) -> dict[str, Any]:
            return {key: self._config(kind, part, f"{path}.{where}.{key}", key) for key, part in parts.items()}

        objectives = named("objectives", pretrain.get("objectives", {}), "pretrain.objectives")
        weights = pretrain.get("weights") or "unit"
        if weights not in self.registry.weights:
            raise UserError(f"{path}.pretrain.weights: no preset '{weights}'; {nearest(weights, self.registry.weights)}")
        targets = {name: {} for objective in objectives.values() for name in objective.needs}
        written = named("targets", {**targets, **pretrain.get("targets", {})}, "pretrain.targets")
        tasks = {key: dict(row["tasks"][key]) for key in self.tasks if key in row["tasks"]}
        tuned = {key: part.pop("tune", None) for key, part in tasks.items()}
        grids = {key: choices(tasks[key], grid, f"{path}.tasks.{key}", lambda part, where: self._config("tasks", part, where, key))
                 for key, grid in tuned.items() if grid}  # fmt: skip
        return {
            "encoder": self._config("encoder", row["encoder"], f"{path}.encoder", "nano"),
            "tokenizer": self._config("tokenizer", row["tokenizer"], f"{path}.tokenizer"),
            "objectives": {key: _times(part, self.registry.weights[weights]) for key, part in objectives.items()},
            "targets": {name: written[name] for name in targets},
            "update": self._config("update", pretrain.get("update", {}), f"{path}.pretrain.update"),
            "optimizer": self._config("optimizer", pretrain.get("optimizer", {}), f"{path}.pretrain.optimizer"),
            "tasks": named("tasks", tasks, "tasks"),
            "grids": grids,
        }

    def _config(self, kind: str, patch: Mapping[str, Any], path: str, default: str | None = None) -> Any:
        """Make one config, or find it: most rows share most of their settings, and making one takes milliseconds."""
        key = kind, default, json.dumps(patch, sort_keys=True)
        if key not in self.made:
            presets = getattr(self.registry, kind)
            self.made[key] = (
                config.resolve(presets, patch, path, default) if isinstance(presets, Mapping)
                else config.typed(presets, patch, path)
            )  # fmt: skip
        return self.made[key]


def _fitting(row: Row, path: str) -> None:
    """Check that the encoder reads what the objectives need, and that there is something to train on."""
    for name, objective in row.objectives.items():
        for needed in reads(objective):
            if needed not in row.encoder.reads:
                raise UserError(
                    f"{path}: objective '{name}' reads {needed}, but the encoder reads {', '.join(row.encoder.reads)}; "
                    f"remove it with pretrain: {{objectives: {{{name}: null}}}}, or let the encoder read {needed}."
                )
    if not row.objectives and row.steps + row.decay:
        raise UserError(f"{path}: {row.steps + row.decay} updates of pre-training without an objective; add one.")


def _teachers(rows: Mapping[str, Row]) -> None:
    """Check the rows that speech targets are fitted to a layer of: they are there, hear speech, and start elsewhere."""

    def visit(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            chain = " needs ".join([*below[below.index(name):], name])
            raise UserError(f"rows.{name}: {chain} is a cycle; fit its speech targets to another row, or to log-mel.")
        row = rows[name]
        for key, targets in row.targets.items():
            if not (targets.fitted and targets.of):
                continue
            path = f"rows.{name}.pretrain.targets.{key}.of"
            if targets.of not in rows:
                raise UserError(f"{path}: no row '{targets.of}'; {nearest(targets.of, rows)}")
            if "speech" not in rows[targets.of].encoder.reads:
                raise UserError(f"{path}: the encoder of row '{targets.of}' does not read speech; name one that does.")
            visit(targets.of, (*below, name))
        if row.after is not None:
            visit(row.after, (*below, name))

    for name in rows:
        visit(name, ())


def _times(objective: Any, factors: Mapping[str, float]) -> Any:
    """An objective with its own weight times the factor for the stream it reads."""
    return replace(objective, weight=objective.weight * factors[owner(objective).reads])


def _trained(row: Row, rows: Mapping[str, Row], path: str) -> None:
    """Check that learned speech codes are learned: by a loss of this row, or of one that it continues.

    A loss of weight 0 passes, though it trains nothing: whoever writes it wants to see that.
    """
    chain = [row]
    while chain[-1].after:
        chain.append(rows[chain[-1].after])
    trained = {target for one in chain for objective in one.objectives.values() for target in objective.trains}
    for name, objective in row.objectives.items() if row.steps + row.decay else ():
        for target in objective.needs:
            if row.targets[target].learned and target not in trained:
                raise UserError(
                    f"{path}: objective '{name}' predicts the learned codes '{target}', which no loss of this row trains; "
                    "add pretrain: {objectives: {contrastive: 1.0}} (at weight 0 it only measures, to study collapse), "
                    f"or predict fixed codes: {{{name}: {{targets: random_projection}}}}."
                )


def _filled(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Things by name, where nothing written (`asr:`) means the preset as it is."""
    return {name: {} if part is None else part for name, part in parts.items()}


def axis_patch(axis: str, value: Any) -> dict[str, Any]:
    """The patch of `base` (or of `data`) that sets the dotted path `axis`, shorthand expanded."""
    for key in reversed(axis.split(".")):
        value = {key: value}
    found = expand(value if "data" in value else {"base": value}, f"axes.{axis}")
    return found.get("base", found)


def _count(pretrain: Mapping[str, Any], key: str, path: str) -> int:
    path = f"{path}.pretrain"
    if key not in pretrain:
        raise UserError(f"{path}.{key}: must be given; write base: {{pretrain: {{{key}: 1000}}}}.")
    if type(pretrain[key]) is not int or pretrain[key] < 0:
        raise UserError(f"{path}.{key}: expected a number of updates, found {pretrain[key]!r}.")
    return pretrain[key]
