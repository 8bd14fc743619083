"""From a sweep file to its stages: rows resolved and typed, everything checked, equal stages made once.

Planning imports what it plans (and so torch): drivers call `plan_file` in a worker and get a `Plan` of plain data.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ablate import claims, config, cost, identity, tune
from ablate.config import Registry
from ablate.errors import UserError, nearest
from ablate.estimate import Estimator
from ablate.finetune import FinetuneStage
from ablate.kmeans import KMeansStage
from ablate.patch import mapping
from ablate.pretrain import PretrainStage
from ablate.row import Row, owner
from ablate.rows import Resolver
from ablate.score import ScoreStage
from ablate.stage import Plan, Stage, make
from ablate.tasks.task import TaskConfig

CLUSTERS = ("local", "debug", "slurm")

Pretrained = tuple[dict[str, str], dict[str, str], list[str], str]
"""Stages before fine-tuning: corpus and tokenizer by role, fits of speech targets by role, trunks (oldest first), leaf."""


def plan_file(
    path: str | Path, overrides: Iterable[str] = (), root: str | Path = "runs",
    timings: Mapping[str, float] | None = None, registry: Registry | None = None,
    paces: Callable[[], Mapping[str, float]] = dict,
) -> Plan:  # fmt: skip
    """Plan the sweep in a file, with command-line overrides; nothing is written and nothing is run.

    `root=DIR` among the overrides wins over `root`. `timings` are seconds of finished stages by id and `paces()` seconds
    a step by shape (see `ablate.cost`), by which the costs of the others are estimated. Raises
    UserError for whatever is wrong with the sweep.
    """
    sweep = config.interpolated(config.override(config.load(path), overrides))
    return Planner({"root": str(root), **sweep}, registry or Registry.default()).plan(timings or {}, paces)


class Planner:
    """Turns one merged sweep into a plan."""

    def __init__(self, sweep: Mapping[str, Any], registry: Registry):
        self.sweep, self.name = sweep, str(sweep["name"])
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise UserError(f"name: '{self.name}' becomes a folder; use letters, digits, _, - and dots.")
        self.seeds = _seeds(sweep.get("seeds", [0]))
        self.axes = _axes(sweep.get("axes"))
        self.points = [dict(zip(self.axes, values)) for values in itertools.product(*self.axes.values())]
        self.resolver = Resolver(sweep, registry)
        self.tasks = self.resolver.tasks
        self.stages: dict[str, Stage] = {}
        self.forms = identity.Forms()
        self.estimate = Estimator(str(sweep.get("cluster", "local")), mapping(sweep.get("resources"), "resources"))
        self.laid: dict[tuple[int, str, int], Pretrained] = {}

    def plan(self, timings: Mapping[str, float], paces: Callable[[], Mapping[str, float]] = dict) -> Plan:
        """Resolve and check every row at every point, then lay out the stages."""
        cluster, workers = self.sweep.get("cluster", "local"), self.sweep.get("workers")
        if cluster not in CLUSTERS:
            raise UserError(f"cluster: found '{cluster}'; {nearest(str(cluster), CLUSTERS)}")
        if workers is not None and (type(workers) is not int or workers < 1):
            raise UserError(f"workers: expected a number of processes, found {workers!r}.")
        grid = [self.resolver.rows(point) for point in self.points]
        described = self._describe(grid)
        manifest = [
            self._line(rows[name], rows, point, seed)
            for name in self.resolver.order for rows, point in zip(grid, self.points) for seed in self.seeds
        ]  # fmt: skip
        written = self.resolver.names
        manifest.sort(key=lambda line: written.index(line["row"]))
        return Plan(
            name=self.name, sweep=described, manifest=manifest, stages=cost.scaled(self.stages, timings, paces),
            resolved={name: grid[0][name].plain() for name in written}, notes=(*_twins(manifest), *self._columns_left(described)),
            root=str(self.sweep["root"]), cluster=cluster, workers=workers,
            resources=mapping(self.sweep.get("resources"), "resources"),
            absent=getattr(grid[0][self.resolver.names[0]].data, "absent", ""),
        )  # fmt: skip

    def _describe(self, grid: list[dict[str, Row]]) -> dict[str, Any]:
        """Check what is read at the end, and say what the sweep is (sweep.json)."""
        sweep, rows, configs = self.sweep, {name: grid[0][name] for name in self.resolver.names}, {}
        for row in rows.values():
            configs |= {key: task for key, task in row.tasks.items() if key not in configs}
        tasks = {key: described(configs[key]) for key in self.tasks if key in configs}
        labels = claims.labels(sweep.get("labels"), list(rows), list(tasks))
        taken_off = {*self.resolver.base["tasks"], *self.resolver.registry.tasks} - set(self.tasks)
        return {
            "name": self.name, "question": sweep.get("question", ""),
            "changes_our_mind": sweep.get("changes_our_mind", ""), "seeds": self.seeds,
            "rows": {name: row.summary(labels.get(name, name)) for name, row in rows.items()},
            "tasks": tasks, "axes": {axis: [shown(v) for v in values] for axis, values in self.axes.items()},
            "table": claims.table(sweep.get("table"), list(rows), tasks, taken_off), "labels": labels,
            "claims": claims.claims(sweep.get("claims"), grid, tasks),
            "data": identity.canonical(grid[0][self.resolver.names[0]].data),
        }  # fmt: skip

    def _columns_left(self, described: Mapping[str, Any]) -> Iterable[str]:
        """Note columns that left the table with their task."""
        written = mapping(self.sweep.get("table"), "table").get("columns") or []
        if left := [column for column in written if column not in described["table"]["columns"]]:
            yield f"Not in the table, as their tasks are not in this sweep: {', '.join(left)}."

    def _stage(self, kind: str, of: Any, parents: Mapping[str, str], title: str, steps: int, seconds: float,
               memory: float = 0.0) -> str:  # fmt: skip
        """Add a stage unless an equal one is there; return its id."""
        stage = make(kind, of, parents.items(), title, self.forms, steps=steps, cost=round(seconds, 2), memory=memory)
        return self.stages.setdefault(stage.id, stage).id

    def _line(self, row: Row, rows: Mapping[str, Row], point: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Lay out all stages of a row at one point and seed; return its line of the manifest."""
        where = [f"{axis}={shown(value)}" for axis, value in point.items()]
        where += [f"seed {seed}"] if len(self.seeds) > 1 else []
        suffix = f" ({', '.join(where)})" if where else ""
        made, fits, trunks, leaf = self._pretrained(row, rows, seed, suffix)
        finetune, score, na = {}, {}, []
        for key in self.tasks:
            if not row.has(key):
                na.append(key)
                continue
            task, parents = row.tasks[key], dict(made)
            if task.tokenizer is not None:
                parents["targets"] = self._tokenizer(task.tokenizer, made, f"tokenizer of {key}")
            title = f"{row.name} / {key}{suffix}"
            if key in row.grids:
                parents["tune"] = self._tune(row, rows, key, suffix)
            if owner(task).trained:
                of = FinetuneStage(encoder=row.encoder, task=task, seed=seed)
                seconds, memory = self.estimate.finetune(row, task, title)
                started = {**parents, "pretrain": leaf}
                finetune[key] = self._stage("finetune", of, started, title, task.steps, seconds, memory)
                parents["finetune"] = finetune[key]
            else:
                parents["pretrain"] = leaf
            of = ScoreStage(encoder=row.encoder, task=task, seed=seed)
            score[key] = self._stage("score", of, parents, f"{title} score", len(task.splits), cost.SCORE)
        return {
            "row": row.name, "point": {axis: shown(value) for axis, value in point.items()}, "seed": seed,
            "reads": list(row.encoder.reads), "after": row.after, "steps": row.total,
            "stages": {**made, **fits, "trunk": trunks[-1], "leaf": leaf, "trunks": trunks,
                       "finetune": finetune, "score": score},
            "na": na,
        }  # fmt: skip

    def _tune(self, row: Row, rows: Mapping[str, Row], key: str, suffix: str) -> str:
        """Lay out the fine-tunings of a task's grid, of the first seed, and the choice among them."""
        made, _, _, leaf = self._pretrained(row, rows, self.seeds[0], suffix)
        choices, title = {}, f"{row.name} / {key}{suffix}"
        for number, (settings, task) in enumerate(row.grids[key]):
            parents = {**made, "pretrain": leaf}
            if task.tokenizer is not None:
                parents["targets"] = self._tokenizer(task.tokenizer, made, f"tokenizer of {key}")
            of = FinetuneStage(encoder=row.encoder, task=task, seed=self.seeds[0])
            seconds = cost.finetune(row.encoder, task, owner(task).reads)
            tried = ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
            choices[f"{tune.ROLE}{number}"] = self._stage("finetune", of, parents, f"{title} ({tried})", task.steps, seconds)
        of = tune.TuneStage(task=row.tasks[key], settings=tuple(settings for settings, _ in row.grids[key]))
        return self._stage("tune", of, choices, f"{title} tuned", 0, cost.START)

    def _tokenizer(self, of: Any, made: Mapping[str, str], title: str) -> str:
        return self._stage("tokenizer", of, {"corpus": made["corpus"]}, title, 0, cost.TOKENIZER)

    def _pretrained(self, row: Row, rows: Mapping[str, Row], seed: int, suffix: str) -> Pretrained:
        """Lay out all before fine-tuning, once."""
        key = id(rows), row.name, seed  # the grid keeps the rows of a point alive
        if key not in self.laid:
            self.laid[key] = self._lay(row, rows, seed, suffix)
        return self.laid[key]

    def _lay(self, row: Row, rows: Mapping[str, Row], seed: int, suffix: str) -> Pretrained:
        made = {"corpus": self._stage("corpus", row.data, {}, "corpus", 0, cost.CORPUS)}
        made["tokenizer"] = self._tokenizer(row.tokenizer, made, "tokenizer")
        before = self._pretrained(rows[row.after], rows, seed, suffix)[2] if row.after else []
        fits = self._fits(row, rows, made["corpus"], seed, suffix)
        started = {**made, **fits, "pretrain": before[-1]} if before else {**made, **fits}
        trunks = [*before, self._pretrain(row, "trunk", started, seed, f"{row.name} / trunk{suffix}")]
        started = {**made, **fits, "pretrain": trunks[-1]}
        return made, fits, trunks, self._pretrain(row, "decay", started, seed, f"{row.name} / leaf{suffix}")

    def _fits(self, row: Row, rows: Mapping[str, Row], corpus: str, seed: int, suffix: str) -> dict[str, str]:
        """The stages that the row's fitted speech targets come from, by role."""
        found = {}
        for name, targets in row.targets.items():
            if not targets.fitted:
                continue
            parents, encoder, title = {"corpus": corpus}, None, "k-means of log-mel"
            if targets.of:
                made, _, _, leaf = self._pretrained(rows[targets.of], rows, seed, suffix)
                parents, encoder = {**made, "pretrain": leaf}, rows[targets.of].encoder
                title = f"k-means of {targets.of} / {targets.input}{suffix}"
            of = KMeansStage.of(targets, encoder)
            found[f"kmeans/{name}"] = self._stage("kmeans", of, parents, title, targets.iterations, cost.KMEANS)
        return found

    def _pretrain(self, row: Row, phase: str, parents: Mapping[str, str], seed: int, title: str) -> str:
        start, steps = (row.start, row.steps) if phase == "trunk" else (row.start + row.steps, row.decay)
        of = PretrainStage(
            encoder=row.encoder, objectives=row.objectives, targets=row.targets, update=row.update,
            optimizer=row.optimizer, start=start, steps=steps, horizon=row.horizon, phase=phase, seed=seed,
        )  # fmt: skip
        reads = sorted(owner(objective).reads for objective in row.objectives.values())
        streams = [*sorted(set(reads) - {"pair"}), *(read for read in reads if read == "pair")]  # pairs share no view
        seconds, memory = self.estimate.pretrain(row, streams, steps, title)
        return self._stage("pretrain", of, parents, title, steps, seconds, memory)


def described(task: TaskConfig) -> dict[str, Any]:
    """What checks of columns and claims, and analysis, know of a task before it is scored."""
    built = task.build()
    found = {"reads": built.reads, "splits": list(task.splits), "metrics": [metric.name for metric in built.metrics]}
    return found | ({"by_class": built.by_class.name} if built.by_class else {})


def shown(value: Any) -> Any:
    """An axis value as people read it: scalars as they are, patches as compact JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, separators=(",", ":"))


def _axes(value: Any) -> dict[str, list[Any]]:
    """Values of every axis: of the setting it names, or, where the file has a mapping, names of patches of the base."""
    axes = {axis: list(v) if isinstance(v, Mapping) else v for axis, v in mapping(value, "axes").items()}
    for axis, values in axes.items():
        claims.listed(values, f"axes.{axis}")
        if not values:
            raise UserError(f"axes.{axis}: expected at least one value, found none.")
    return axes


def _seeds(value: Any) -> list[int]:
    seeds = claims.listed(value, "seeds")
    if not seeds or any(type(seed) is not int for seed in seeds):
        raise UserError(f"seeds: expected a list of whole numbers, found {value!r}; write seeds: [0, 1, 2].")
    return seeds


def _twins(manifest: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Note rows that are the same model: one of them may not say what its author meant."""
    seen: dict[str, Mapping[str, Any]] = {}
    noted = set()
    for line in manifest:
        other = seen.setdefault(line["stages"]["leaf"], line)
        pair = other["row"], line["row"]
        if pair[0] != pair[1] and pair not in noted:
            noted.add(pair)
            yield f"Rows '{pair[0]}' and '{pair[1]}' are the same model: their settings do not differ."
