"""Resolves the rows of a sweep to typed, checked configs. Each is a patch of `base` or of the row that it continues."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ablate.data.corpus import CorpusConfig
from ablate.errors import UserError, as_written, nearest
from ablate.sweepfile import checks
from ablate.sweepfile.added import NAME, Added, added
from ablate.sweepfile.grid import choices
from ablate.sweepfile.order import needed_first
from ablate.sweepfile.patch import expand, mapping, once, patched, section
from ablate.sweepfile.registry import Registry
from ablate.sweepfile.row import Row, owner
from ablate.sweepfile.schema import Pretrain, RowPatch, Sweep, Value
from ablate.sweepfile.typed import resolve, setting, typed
from ablate.tasks.task import TaskConfig
from objectives.objective import ObjectiveConfig
from objectives.quantizer import TargetsConfig


class Resolver:
    """Resolves the rows of one merged sweep, at any point of its axes."""

    def __init__(self, sweep: Mapping[str, Value], registry: Registry):
        self.registry = registry
        self.patches = {name: mapping(row, f"rows.{name}") for name, row in mapping(sweep.get("rows"), "rows").items()}
        if not self.patches:
            raise UserError("rows: expected at least one row, found none; write rows: {name: {...}}.")
        for name in self.patches:
            if not re.fullmatch(NAME, name):
                raise UserError(f"rows.{name}: expected a name of letters, digits and _; claims compute with it.")
        base = mapping(sweep.get("base"), "base")
        settings = _filled(base.get("tasks", {}))
        pretrain = {
            key: _filled(part) if key in ("objectives", "targets") else part
            for key, part in base.get("pretrain", {}).items()
        }
        written = once(setting(Sweep, "tasks", sweep.get("tasks", list(settings))), "tasks")
        self.tasks = list(dict.fromkeys(one for task in written for one in registry.groups.get(task, (task,))))
        for task in self.tasks:
            if not re.fullmatch(NAME, task):
                raise UserError(f"tasks: '{task}' is no name; use letters, digits and _, as in asr_100.")
            preset = settings.setdefault(task, {}).get("preset", task)
            if not isinstance(preset, str) or preset not in registry.tasks:
                path = f"base.tasks.{task}" if task in base.get("tasks", {}) else "tasks"
                raise UserError(f"{path}: no task {as_written(preset)}; {nearest(str(preset), registry.tasks)}")
        data = {"preset": "builtin", **mapping(sweep.get("data"), "data")}
        sections = {"data": data, "encoder": {}, "tokenizer": {}}
        self.base = {**sections, **base, "pretrain": pretrain, "tasks": settings}
        if "stages" in base:
            self.base["stages"] = _filled(base["stages"])
        self.order = self._order()
        self.named = {
            axis: {name: _named_patch(patch, f"axes.{axis}.{name}") for name, patch in values.items()}
            for axis, values in mapping(sweep.get("axes"), "axes").items()
            if isinstance(values, Mapping)
        }
        self.made: dict[tuple[str, str | None, str], object] = {}
        self.data: dict[str, CorpusConfig] = {}

    @property
    def names(self) -> list[str]:
        """All rows, in the order of the file."""
        return list(self.patches)

    def _order(self) -> list[str]:
        """Return the rows, each after the row that it continues. Raises UserError for an unknown row and a cycle."""

        def parents(name: str) -> list[str]:
            path = f"rows.{name}.after"
            after = setting(RowPatch, "after", self.patches[name].get("after"), path)
            if after is not None and after not in self.patches:
                raise UserError(f"{path}: no row '{after}'; {nearest(after, self.patches)}")
            return [] if after is None else [after]

        return needed_first(self.patches, parents, "rows", "after", "let one of them start from scratch")

    def rows(self, point: Mapping[str, Value]) -> dict[str, Row]:
        """Resolve and check all rows at one point of the axes. Raises UserError."""
        base = self.base
        for axis, value in point.items():
            patch = axis_patch(axis, value) if axis not in self.named else self.named[axis][value]
            base = patched(base, patch, f"axes.{axis}")
        try:
            data = self._data(base["data"])
            self._configs(base, "base")  # so that a mistake in the base is reported there
            for key in ("steps", "decay"):
                if base["pretrain"].get(key, "???") != "???":
                    _count(base["pretrain"], key, "base")
        except UserError as error:
            raise UserError(self._by_axis(str(error), point)) from error.__cause__
        resolved: dict[str, dict[str, Value]] = {}
        rows: dict[str, Row] = {}
        for name in self.order:
            patch, path = dict(self.patches[name]), f"rows.{name}"
            after = patch.pop("after", None)
            for part in ("encoder", "tokenizer") if after else ():
                if part in patch:
                    raise UserError(f"{path}.{part}: a row keeps the {part} of the row it comes after; remove it.")
            resolved[name] = patched(resolved[after] if after else base, patch, path)
            pretrain, parent = resolved[name]["pretrain"], rows.get(after)
            owners = {key: "base" if base["pretrain"].get(key) == "???" else path for key in ("steps", "decay")}
            configs, steps = self._configs(resolved[name], path), _count(pretrain, "steps", owners["steps"])
            start = parent.start + parent.steps if parent else 0
            rows[name] = Row(
                name=name,
                after=after,
                data=data,
                **configs,
                stages=self._stages(resolved[name], configs["tasks"], path),
                steps=steps,
                decay=_count(pretrain, "decay", owners["decay"]),
                start=start,
                joined=_joined(configs["targets"], parent, (start, steps)),
                horizon=parent.horizon if parent else steps,
            )
            checks.fits(rows[name], path)
            checks.held(rows[name], path)
            checks.learnt_from(rows[name], path)
            checks.trained(rows[name], rows, path)
        checks.teachers(rows)
        return rows

    def _data(self, written: Mapping[str, Value]) -> CorpusConfig:
        """Return the corpus. It is made once for all points, as making it may read files."""
        key = json.dumps(written, sort_keys=True)
        if key not in self.data:
            self.data[key] = resolve(self.registry.data, written, "data").resolved()
        return self.data[key]

    def _by_axis(self, message: str, point: Mapping[str, Value]) -> str:
        """Rewrite a message about `base` so that it names the axis that sets the setting in question, if one does."""
        rest = message.removeprefix("base.")
        path = rest.partition(":")[0]
        for axis, value in point.items():
            named = axis in self.named
            if _sets(self.named[axis][value] if named else axis_patch(axis, value), path.split(".")):
                if named:
                    return f"axes.{axis}.{value}.{rest}"
                if f"{path}.".startswith(f"{axis}."):
                    return f"axes.{rest}"
        return message

    def _configs(self, row: Mapping[str, Value], path: str) -> dict[str, Any]:  # fields of Row, by name
        """Make all configs of a row. Speech targets that no objective uses are left out."""
        pretrain = row["pretrain"]

        def named(kind: str, parts: Mapping[str, Value], where: str) -> dict[str, Any]:
            return {key: self._config(kind, part, f"{path}.{where}.{key}", key) for key, part in parts.items()}

        objectives = named("objectives", pretrain.get("objectives", {}), "pretrain.objectives")
        written = pretrain.get("weights")
        weights = setting(Pretrain, "weights", "unit" if written is None else written, f"{path}.pretrain.weights")
        if weights not in self.registry.weights:
            raise UserError(
                f"{path}.pretrain.weights: no preset '{weights}'; {nearest(weights, self.registry.weights)}"
            )
        targets = {name: {} for objective in objectives.values() for name in objective.needs}
        of = {**self.registry.targets, **pretrain.get("targets", {})}
        for key, name in ((key, name) for key, one in objectives.items() for name in one.needs if name not in of):
            raise UserError(
                f"{path}.pretrain.objectives.{key}.targets: no speech targets '{name}'; {nearest(name, of)}"
            )
        written = named("targets", {**targets, **pretrain.get("targets", {})}, "pretrain.targets")
        for key, task in row["tasks"].items():
            if key not in self.tasks:  # not of this sweep, which an override may say; its settings are checked
                self._config("tasks", {k: v for k, v in task.items() if k != "tune"}, f"{path}.tasks.{key}", key)
        tasks = {key: dict(row["tasks"][key]) for key in self.tasks if key in row["tasks"]}
        tuned = {key: part.pop("tune", None) for key, part in tasks.items()}
        grids = {
            key: choices(
                tasks[key],
                grid,
                f"{path}.tasks.{key}",
                lambda part, where, key=key: self._config("tasks", part, where, key),
            )
            for key, grid in tuned.items()
            if mapping(grid, f"{path}.tasks.{key}.tune")
        }
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

    def _stages(self, row: Mapping[str, Value], tasks: Mapping[str, TaskConfig], path: str) -> dict[str, Added]:
        trained = [task for task, of in tasks.items() if owner(of).trained]
        return added(row.get("stages", {}), self.registry.stages, self.tasks, trained, f"{path}.stages")

    def _config(
        self, kind: str, patch: Mapping[str, Value], path: str, default: str | None = None
    ) -> Any:  # a config of this kind
        """Make a config, or return the one made before from the same patch: rows share most of their settings."""
        key = kind, default, json.dumps(patch, sort_keys=True)
        if key not in self.made:
            presets = getattr(self.registry, kind)
            self.made[key] = (
                resolve(presets, patch, path, default) if isinstance(presets, Mapping) else typed(presets, patch, path)
            )
        return self.made[key]


def _joined(
    targets: Mapping[str, TargetsConfig], parent: Row | None, now: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """Return when speech targets were added that the first row of the chain lacks; `now` for those new in this row."""
    if parent is None:
        return {}
    new = [name for name in targets if name not in parent.targets]
    return {name: parent.joined.get(name, now) for name in targets if name in new or name in parent.joined}


def _sets(patch: Value, path: list[str]) -> bool:
    """Return whether a patch has a value at a path."""
    return not path or isinstance(patch, Mapping) and path[0] in patch and _sets(patch[path[0]], path[1:])


def _times(objective: ObjectiveConfig, factors: Mapping[str, float]) -> ObjectiveConfig:
    """Multiply an objective's weight by the factor of the stream that it reads."""
    return replace(objective, weight=objective.weight * factors[owner(objective).reads])


def _filled(parts: Mapping[str, Value]) -> dict[str, Value]:
    """Replace None by {}: a name with nothing after it (`asr:`) stands for its unchanged preset."""
    return {name: {} if part is None else part for name, part in parts.items()}


def axis_patch(axis: str, value: Value) -> dict[str, Value]:
    """Return the patch of `base` (or of `data`) that sets the dotted path `axis` to a value, with shorthand expanded.

    Raises UserError for an unknown key.
    """
    if axis.startswith("base.") or "" in axis.split("."):
        meant = axis.removeprefix("base.").strip(".").replace("..", ".") or "encoder.width"
        raise UserError(f"axes.{axis}: expected the path of a setting within base; write {meant}.")
    for key in reversed(axis.split(".")):
        value = {key: value}
    try:
        patch = expand(value if "data" in value else {"base": value})
    except UserError as error:
        raise UserError(f"axes.{axis}: {str(error).partition(': ')[2]}") from None
    return patch.get("base", patch)


def _named_patch(patch: object, path: str) -> dict[str, Value]:
    """Return the patch of `base` at a named point of an axis, with shorthand expanded. Raises UserError."""
    return section(mapping(patch, path), path)


def _count(pretrain: Mapping[str, Value], key: str, path: str) -> int:
    path = f"{path}.pretrain"
    if key not in pretrain:
        raise UserError(f"{path}.{key}: must be given; write base: {{pretrain: {{{key}: 1000}}}}.")
    return setting(Pretrain, key, pretrain[key], f"{path}.{key}")
