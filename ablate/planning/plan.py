"""Plans a sweep file: resolves and checks its rows and lays out their stages, of which equal ones are made once.

Planning imports the classes that it plans, and so torch. Commands call `plan_file` in a worker process and get a `Plan`
of plain data.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.clusters.resources import Resources
from ablate.data.mix import Mix
from ablate.data.streams import STREAMS
from ablate.errors import UserError
from ablate.planning import cost, summary, trial, values
from ablate.planning.estimate import Estimator
from ablate.planning.supply import Supply
from ablate.planning.values import shown
from ablate.stages.finetune import FinetuneStage
from ablate.stages.heldout import HeldoutStage
from ablate.stages.kind import SPLIT, Kind
from ablate.stages.kmeans import KMeansStage
from ablate.stages.pretrain import PretrainStage
from ablate.stages.registry import KINDS, make
from ablate.stages.score import ScoreStage
from ablate.stages.tune import TuneStage
from ablate.stages.tuned import ROLE
from ablate.store import identity, plugins
from ablate.store.continuing import continued
from ablate.store.stage import Plan, Stage
from ablate.sweepfile import checks, load
from ablate.sweepfile.added import FINETUNED, PRETRAINED
from ablate.sweepfile.patch import mapping
from ablate.sweepfile.quick import changed, smaller
from ablate.sweepfile.registry import Registry
from ablate.sweepfile.row import Row, owner
from ablate.sweepfile.rows import Resolver
from ablate.sweepfile.schema import Sweep, Value
from ablate.sweepfile.source import Source
from ablate.sweepfile.typed import setting
from ablate.tasks.task import TaskConfig

Pretrained = tuple[dict[str, str], dict[str, str], list[str], str]
"""Stages before fine-tuning: the tokenizer by role, fits of speech targets by role, trunks (the oldest first), the
leaf."""


@dataclass(frozen=True)
class Rows:
    """Which rows are asked for, and with how many of their seeds."""

    only: Collection[str] = ()
    """Rows whose data are missing are left out of the manifest, unless these rows start from them."""
    counts: Mapping[str, int] | None = None
    """Numbers of seeds by row; of rows that are not in it, that of the first look. By default all have all seeds."""


ALL = Rows()


def plan_file(
    path: str | Path,
    overrides: Iterable[str] = (),
    root: str | Path = "runs",
    known: cost.Known = cost.NOTHING,
    registry: Registry | None = None,
    asking: Collection[str] = (),
    quick: bool = False,
    rows: Rows = ALL,
) -> Plan:
    """Plan the sweep in a file, with command-line overrides. Writes and runs nothing.

    `root=DIR` among the overrides takes precedence over `root`. Costs are estimated from what is `known` of
    finished stages. On clusters named in `asking`, jobs request the sweep's resources, and a stage that needs more is
    refused. `quick` makes the sweep small (see `ablate.sweepfile.quick`). `rows` asks for some rows, or for some of
    their seeds. Raises UserError for any mistake in the sweep.
    """
    overrides = list(overrides)
    try:
        sweep, registry = _resolved(path, overrides, registry, quick)
        if sweep.get("root") is None:
            sweep = {"root": str(root)} | {key: value for key, value in sweep.items() if key != "root"}
        return Planner(sweep, registry, asking, rows).plan(known)
    except UserError as error:
        raise Source(path, overrides).located(error) from error.__cause__


def settings_of(path: str | Path, overrides: Iterable[str], quick: bool = False) -> Plan:
    """Resolve the rows of the sweep in a file at the first point of its axes; the plan has no stages.

    Needs no data, and no setting of the data that must be given. Raises UserError for any mistake in the sweep.
    """
    overrides = list(overrides)
    try:
        sweep, registry = _resolved(path, overrides, None, quick)
        if isinstance(data := sweep.get("data"), Mapping):
            sweep["data"] = {key: value for key, value in data.items() if value != "???"}
        return Planner(sweep, registry).settings()
    except UserError as error:
        raise Source(path, overrides).located(error) from error.__cause__


def _resolved(
    path: str | Path, overrides: list[str], registry: Registry | None, quick: bool
) -> tuple[dict[str, Value], Registry]:
    sweep, registry = read(path, overrides, registry)
    return load.interpolated(smaller(sweep, overrides, registry) if quick else sweep), registry


def read(
    path: str | Path, overrides: Iterable[str], registry: Registry | None = None
) -> tuple[dict[str, Value], Registry]:
    """Load plugins, and return a sweep with its overrides, interpolations unresolved, and all that it can name.

    Raises UserError.
    """
    sweep = load.override(load.load(path), overrides)
    plugins.announce(values.plugins(load.interpolated(sweep).get("plugins")))
    trial.load()
    return sweep, registry or Registry.default(named_kinds())


def origins(
    path: str | Path, overrides: Iterable[str], row: str, settings: Iterable[str], quick: bool
) -> dict[str, str]:
    """Return where the values of a row's settings come from (see `Source.origins`)."""
    overrides, made = list(overrides), {}
    if quick:
        sweep, registry = read(path, overrides)
        made = changed(sweep, smaller(sweep, overrides, registry))
    return Source(path, overrides, {"--quick": made}).origins(row, settings)


def named_kinds() -> dict[str, Kind]:
    """Return the kinds of stages that sweep files can name."""
    return {name: kind for name, kind in KINDS.items() if kind.settings is not None}


class Planner:
    """Turns one merged sweep into a plan."""

    def __init__(
        self,
        sweep: Mapping[str, Value],
        registry: Registry,
        asking: Collection[str] = (),
        rows: Rows = ALL,
    ):
        self.only = rows.only
        self.sweep, self.name = sweep, setting(Sweep, "name", sweep["name"])
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise UserError(f"name: '{self.name}' becomes a folder; use letters, digits, _, - and dots.")
        self.seeds, self.looks = values.seeds(sweep.get("seeds", [0])), values.looks(sweep.get("looks"))
        self.look_seeds = values.first_seeds(self.seeds, self.looks[-1]) if self.looks else []
        self.budget, self.counts = values.budget(sweep.get("budget")), rows.counts
        if self.counts is not None:
            if not self.looks:
                raise UserError("looks: --until-decided needs to know when verdicts are taken; write looks: [5, 8].")
            self.seeds = values.first_seeds(self.seeds, max([self.looks[0], *self.counts.values()]))
        self.axes = values.axes(sweep.get("axes"))
        self.points = [dict(zip(self.axes, one)) for one in itertools.product(*self.axes.values())]
        self.resolver = Resolver(sweep, registry)
        self.tasks = self.resolver.tasks
        self.stages: dict[str, Stage] = {}
        self.forms = identity.Forms()
        if sweep.get("root") == "":
            raise UserError("root: expected a folder, found ''; write root: runs.")
        self.root, self.cluster = (setting(Sweep, key, sweep.get(key)) or "" for key in ("root", "cluster"))
        resources = mapping(sweep.get("resources"), "resources")
        self.plugins = plugins.versions()
        self.kinds = {name: kind.trains for name, kind in KINDS.items()}
        self.here = self.cluster not in asking
        self.estimate = Estimator(Resources(resources, self.kinds, self.cluster in asking))
        self.gpu_hours: dict[str, Mapping[str, float]] = {}  # by stage and kind of GPU, of what is large
        self.laid: dict[tuple[int, str, int], Pretrained] = {}
        self.supply = Supply(self._supplied)
        self.seen: dict[
            tuple[int, str], tuple[TaskConfig, TaskConfig]
        ] = {}  # by id(): the first task is kept, so that no other object gets its id()

    def plan(self, known: cost.Known) -> Plan:
        """Resolve and check every row at every point, then lay out the stages. Raises UserError."""
        workers = setting(Sweep, "workers", self.sweep.get("workers"))
        grid = [self._rows(point) for point in self.points]
        encoders = [row.encoder for rows in grid for row in rows.values()]
        trial.hold(encoders)
        trial.score((one, row.targets) for rows in grid for row in rows.values() for one in row.objectives.values())
        self.draws = self._draws(grid)
        described = summary.sweep_json(self.sweep, self.resolver, grid, self.seeds, self.axes, self.plugins, self.looks)
        if several := {task: number for task, number in self.draws.items() if number > 1}:
            described["finetune_seeds"] = several
        lacking = self._lacking(grid)
        manifest = [
            self._line(rows[name], rows, point, seed)
            for name in self.resolver.order
            if name not in lacking
            for rows, point in zip(grid, self.points)
            for seed in self._seeds(name)
        ]
        written = self.resolver.names
        manifest.sort(key=lambda line: written.index(line["row"]))
        behind = {name: {one for rows in grid for one in self._behind(name, rows)} for name in written}
        digests = summary.settings(grid, behind, self.draws, manifest, self.stages)
        described["settings"] = digests | dict.fromkeys(lacking, "")
        if self.looks:
            described["look_seeds"] = self.look_seeds
        return Plan(
            name=self.name,
            sweep=described,
            manifest=manifest,
            stages=continued(cost.scaled(self.stages, known, self.here)),
            resolved={name: grid[0][name].plain() for name in written},
            remarks={name: grid[0][name].remarks for name in written},
            notes=(
                *([f"Not planned, as data that they read are missing: {', '.join(lacking)}."] if lacking else ()),
                *self._unlooked(),
                *self.supply.notes,
                *self.estimate.left_out(encoders),
                *self.estimate.idle(),
                *summary.gpu_hours(self.gpu_hours.values()),
                *summary.twins(manifest),
                *summary.columns_left(self.sweep, described),
                *summary.unscored(row for rows in grid for row in rows.values()),
            ),
            root=self.root,
            cluster=self.cluster,
            workers=workers,
            budget=self.budget,
            attention=values.attention(self.sweep.get("attention")),
            resources=mapping(self.sweep.get("resources"), "resources"),
            kinds=self.kinds,
            plugins=self.plugins,
            absent=grid[0][self.resolver.names[0]].data.absent,
            file=load.dumped(self.sweep),
        )

    def settings(self) -> Plan:
        """Resolve and check every row at the first point, for a plan without stages. Raises UserError."""
        rows, names = self._rows(self.points[0]), self.resolver.names
        self._draws([rows])
        return Plan(
            name=self.name,
            sweep=summary.sweep_json(self.sweep, self.resolver, [rows], self.seeds, {}, self.plugins, self.looks),
            manifest=[],
            stages={},
            resolved={name: rows[name].plain() for name in names},
            remarks={name: rows[name].remarks for name in names},
            plugins=self.plugins,
        )

    def _draws(self, grid: Iterable[Mapping[str, Row]]) -> dict[str, int]:
        """Return the number of fine-tunings of a leaf by task. Raises UserError."""
        trained = {key: owner(row.tasks[key]).trained for rows in grid for row in rows.values() for key in row.tasks}
        return values.draws(
            self.sweep.get("finetune_seeds"), {key: trained.get(key, True) for key in self.resolver.tasks}
        )

    def _seeds(self, row: str) -> list[int]:
        """Return the seeds of a row."""
        return self.seeds if self.counts is None else self.seeds[: self.counts.get(row, self.looks[0])]

    def _unlooked(self) -> list[str]:
        """Return a note on looks that a plan for all its seeds leaves out."""
        if self.counts is not None or not self.looks or len(self.seeds) >= self.looks[-1]:
            return []
        *early, last = self.looks
        at = f"{', '.join(map(str, early))} and {last}" if early else f"{last}"
        taken = sum(look <= len(self.seeds) for look in self.looks)
        have = f"seeds has {len(self.seeds)}, which is enough for {f'the first {taken}' if taken else 'none'}"
        return [f"Verdicts are taken at {at} seeds, and {have}; --until-decided runs what is undecided further."]

    def _lacking(self, grid: Iterable[Mapping[str, Row]]) -> list[str]:
        """Return the rows whose data are missing; none of these are in `only` (or any, if it is empty), as that raises
        UserError.
        """
        lacking: dict[str, None] = {}
        for rows in grid:
            behind = {name: self._behind(name, rows) for name in self.resolver.names}
            reads = {name: {*checks.read(row)} for name, row in rows.items()}
            asked = {one for name in self.only or behind for one in behind.get(name, ())}
            for data in {id(rows[name].data): rows[name].data for name in asked}.values():
                data.need(sorted({place for name in asked for place in reads[name]}))
            for name in (name for name in behind if name not in asked):
                if any(rows[one].data.missing(*place) for one in behind[name] for place in reads[one]):
                    lacking[name] = None
        return list(lacking)

    def _behind(self, name: str, rows: Mapping[str, Row]) -> set[str]:
        """Return a row and those that it starts from or takes speech targets from."""
        found, open_names = set(), [name]
        while open_names:
            if (one := open_names.pop()) not in found:
                found.add(one)
                of = [targets.of for targets in rows[one].targets.values() if targets.fitted and targets.of]
                open_names += [*of, *([rows[one].after] if rows[one].after else ())]
        return found

    def _rows(self, point: Mapping[str, Value]) -> dict[str, Row]:
        """Resolve all rows at a point. Raises UserError; it says which values of axes the mistake depends on."""
        try:
            return self.resolver.rows(point)
        except UserError as error:
            message = str(error)
            if depends := self._depends(message, point):
                message = f"{message.rstrip('.')} ({depends})."
            raise UserError(message) from error.__cause__

    def _depends(self, message: str, point: Mapping[str, Value]) -> str:
        """Return "at AXIS=VALUE, ..." with the axes of which another value would avoid a mistake; '' if none would.

        Empty also for a mistake that names the axis.
        """

        def avoided(point: Mapping[str, Value]) -> bool:
            try:
                self.resolver.rows(point)
            except UserError as error:
                return str(error) != message
            return True

        if message.startswith("axes."):
            return ""
        axes = [axis for axis in point if any(avoided({**point, axis: other}) for other in self.axes[axis])]
        if not axes and any(avoided(other) for other in self.points):
            axes = [*point]
        return f"at {', '.join(f'{axis}={shown(point[axis])}' for axis in axes)}" if axes else ""

    def _stage(
        self,
        kind: str,
        of: object,
        parents: Mapping[str, str],
        title: str,
        steps: int,
        seconds: float,
        **more: object,
    ) -> str:
        """Add a stage unless an equal one exists; return its id. `more` are further fields of the stage."""
        stage = make(
            kind,
            of,
            parents.items(),
            title,
            self.forms,
            steps=steps,
            cost=round(seconds, 2),
            **more,
        )
        return self.stages.setdefault(stage.id, stage).id

    def _supplied(
        self,
        kind: str,
        of: object,
        parents: Mapping[str, str],
        title: str,
        seconds: float,
        uses: object,
        **more: object,
    ) -> str:
        return self._stage(kind, of, parents, title, 0, seconds, uses=uses, **more)

    def _line(self, row: Row, rows: Mapping[str, Row], point: Mapping[str, Value], seed: int) -> dict[str, Value]:
        """Lay out all stages of a row at one point and seed; return its line of the manifest."""
        where = [f"{axis}={shown(value)}" for axis, value in point.items()]
        where += [f"seed {seed}"] if len(self.seeds) > 1 else []
        suffix = f" ({', '.join(where)})" if where else ""
        made, fits, trunks, leaf = self._pretrained(row, rows, seed, suffix)
        stages = {**made, **fits, "trunk": trunks[-1], "leaf": leaf, "trunks": trunks, "tables": {}, "tokens": {}}
        if row.total:
            self._read(row, _streamed(row, "train"), made, stages)
        if held := self._heldout(row, made, leaf, stages, f"{row.name} / held-out losses{suffix}"):
            stages["heldout"] = held
        na = [key for key in self.tasks if not row.has(key)]
        draws: list[dict[str, Any]] = [
            {"finetune": {}, "score": {}} for _ in range(max(self.draws.values(), default=1))
        ]
        for key in (key for key in self.tasks if key not in na):
            tuned = {"tune": self._tune(row, rows, key, suffix)} if key in row.grids else {}
            for draw in range(self.draws.get(key, 1)):
                title = f"{row.name} / {key}{suffix}" + f" fine-tuning {draw + 1}" * bool(draw)
                started = {**made, **tuned, "pretrain": leaf}
                self._measured(row, key, started, (seed, draw), title, stages, draws[draw])
        finetune, score = draws[0]["finetune"], draws[0]["score"]
        added = self._added(row, {**made, "pretrain": leaf}, finetune, f"{row.name} / ", suffix, stages)
        score |= {name: {SPLIT: id} for name, id in added.items()}
        return {
            "row": row.name,
            "point": {axis: shown(value) for axis, value in point.items()},
            "seed": seed,
            "reads": list(row.encoder.reads),
            "after": row.after,
            "steps": row.total,
            "stages": {**stages, "finetune": finetune, "score": score} | ({"draws": draws[1:]} if draws[1:] else {}),
            "na": [*na, *(name for name in row.stages if name not in added)],
            **({"kinds": {name: row.stages[name].kind for name in added}} if added else {}),
        }

    def _measured(
        self,
        row: Row,
        key: str,
        started: Mapping[str, str],
        chance: tuple[int, int],
        title: str,
        stages: dict[str, Value],
        made: dict[str, Any],
    ) -> None:
        """Lay out one fine-tuning of a task, if it has one, and its scores, and add them to `made`.

        `started` are the tokenizer, a choice of settings, and the leaf; `chance` is the seed, and which of several
        fine-tunings of the leaf it is.
        """
        task, (seed, draw) = row.tasks[key], chance
        parents = dict(started)
        if owner(task).trained:
            made["finetune"][key] = self._finetune(row, task, started, seed, title, stages, draw)
            del parents["pretrain"]
            parents["finetune"] = made["finetune"][key]
        for split in task.splits:
            read = self._data(row, task, {owner(task).baseline_split: False, split: True}, started, stages)
            of = ScoreStage(encoder=row.encoder, task=self._task(task, split), seed=seed)
            name = f"{title} {split} score" if len(task.splits) > 1 else f"{title} score"
            seconds = cost.score(row.encoder, owner(task).reads, self.supply.rows(row.data, task.table, split))
            made["score"].setdefault(key, {})[split] = self._stage("score", of, {**parents, **read}, name, 1, seconds)

    def _added(
        self,
        row: Row,
        started: Mapping[str, str],
        finetune: Mapping[str, str],
        before: str,
        suffix: str,
        stages: dict[str, Value],
    ) -> dict[str, str]:
        """Lay out the stages that the file adds to a row; return their ids by name.

        Parents by role: the tokenizer and the leaf, a fine-tuned model ("finetune"), other added stages by their names,
        and the tables that are read.
        """
        made: dict[str, str] = {}
        for name, one in row.stages.items():
            if not row.has(name):
                continue
            parents = dict(started)
            for other in one.after:
                if other.startswith(FINETUNED):
                    parents["finetune"] = finetune[other.removeprefix(FINETUNED)]
                elif other != PRETRAINED:
                    parents[other] = made[other]
            read = {place: (*place.split("."), True) for place in one.tables}
            parents |= self._read(row, read, started, stages)
            title = f"{before}{name}{suffix}"
            made[name] = self._stage(one.kind, one.config, parents, title, 0, one.of.seconds)
        return made

    def _read(
        self, row: Row, names: Mapping[str, tuple[str, str, bool]], made: Mapping[str, str], stages: dict[str, Value]
    ) -> dict[str, str]:
        """Lay out the tables that a stage reads; return them by role, and add them to `stages` of the manifest's line.

        `names` gives, by role, the table, its split, and whether texts are read as ids.
        """
        parents = {}
        for name, (table, split, ids) in names.items():
            parents[f"table/{name}"] = stages["tables"][f"{table}.{split}"] = self.supply.table(row.data, table, split)
            if ids:
                tokens = self.supply.tokens(row.data, made["tokenizer"], table, split)
                parents[f"tokens/{name}"] = stages["tokens"][f"{table}.{split}"] = tokens
        return parents

    def _data(
        self, row: Row, task: TaskConfig, splits: Mapping[str, bool], made: Mapping[str, str], stages: dict[str, Value]
    ) -> dict[str, str]:
        """Lay out splits of a task's table; return the stages by role. `splits` says whether texts are read as ids."""
        apart = task.tokenizer is not None  # whether its outputs have a tokenizer of their own
        own = "own" in task.ids() or "targets" in task.ids() and not apart
        parents = self._read(
            row, {split: (task.table, split, ids and own) for split, ids in splits.items()}, made, stages
        )
        if apart:
            parents["targets"] = self.supply.tokenizer(row.data, task.tokenizer, f"tokenizer of {task.table}")
        for split, ids in splits.items():
            if ids and apart and "targets" in task.ids():
                parents[f"targets-tokens/{split}"] = self.supply.tokens(row.data, parents["targets"], task.table, split)
        return parents

    def _task(self, task: TaskConfig, split: str = "") -> TaskConfig:
        """Return a task as training sees it, or as scoring of `split` does. Equal calls return the same object."""
        key = id(task), split
        if key not in self.seen:
            self.seen[key] = task, task.for_scoring(split) if split else task.for_training()
        return self.seen[key][1]

    def _finetune(
        self,
        row: Row,
        task: TaskConfig,
        parents: Mapping[str, str],
        seed: int,
        title: str,
        stages: dict[str, Value],
        draw: int = 0,
    ) -> str:
        read = self._data(row, task, {"train": True, "dev": True}, parents, stages)
        of = FinetuneStage(encoder=row.encoder, task=self._task(task), seed=seed, draw=draw, search=task.search())
        about = self.estimate.finetune(row, task, title)
        more = {"memory": about.bytes, "recomputes": owner(row.encoder).offers("recompute")}
        more["disk"] = self.estimate.kept(row, goes_on=False)
        made = self._stage("finetune", of, {**parents, **read}, title, task.steps, about.seconds, **more)
        self.gpu_hours[made] = about.gpu_hours
        return made

    def _tune(self, row: Row, rows: Mapping[str, Row], key: str, suffix: str) -> str:
        """Lay out the fine-tuning runs of a task's grid, with the first seed, and the stage that chooses among them."""
        made, _, _, leaf = self._pretrained(row, rows, self.seeds[0], suffix)
        choices, title, unseen = {}, f"{row.name} / {key}{suffix}", {"tables": {}, "tokens": {}}
        for number, (settings, task) in enumerate(row.grids[key]):
            tried = ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
            parents = {**made, "pretrain": leaf}
            choices[f"{ROLE}{number}"] = self._finetune(row, task, parents, self.seeds[0], f"{title} ({tried})", unseen)
        of = TuneStage(settings=tuple(settings for settings, _ in row.grids[key]))
        return self._stage("tune", of, choices, f"{title} tuned", 0, cost.START)

    def _pretrained(self, row: Row, rows: Mapping[str, Row], seed: int, suffix: str) -> Pretrained:
        """Lay out the stages of a row before fine-tuning, once."""
        key = id(rows), row.name, seed  # id() is safe: the grid keeps the rows of a point alive
        if key not in self.laid:
            self.laid[key] = self._lay(row, rows, seed, suffix)
        return self.laid[key]

    def _lay(self, row: Row, rows: Mapping[str, Row], seed: int, suffix: str) -> Pretrained:
        made = {"tokenizer": self.supply.tokenizer(row.data, row.tokenizer, "tokenizer")}
        before = self._pretrained(rows[row.after], rows, seed, suffix)[2] if row.after else []
        fits = self._fits(row, rows, seed, suffix)
        started = {**made, **fits, "pretrain": before[-1]} if before else {**made, **fits}
        trunks = [*before, self._pretrain(row, "trunk", started, seed, f"{row.name} / trunk{suffix}")]
        started = {**made, **fits, "pretrain": trunks[-1]}
        return made, fits, trunks, self._pretrain(row, "decay", started, seed, f"{row.name} / leaf{suffix}")

    def _fits(self, row: Row, rows: Mapping[str, Row], seed: int, suffix: str) -> dict[str, str]:
        """Lay out the stages that fit a row's speech targets; return them by role."""
        fits = {}
        for name, targets in row.targets.items():
            if not targets.fitted:
                continue
            parents, encoder, title = (
                {"table/speech": self.supply.table(row.data, "speech", "train")},
                None,
                "k-means of log-mel",
            )
            if targets.of:
                made, _, _, leaf = self._pretrained(rows[targets.of], rows, seed, suffix)
                parents |= {**made, "pretrain": leaf}
                encoder, title = rows[targets.of].encoder, f"k-means of {targets.of} / {targets.input}{suffix}"
            of = KMeansStage.of(targets, encoder)
            fits[f"kmeans/{name}"] = self._stage("kmeans", of, parents, title, targets.iterations, cost.KMEANS)
        return fits

    def _pretrain(self, row: Row, phase: str, parents: Mapping[str, str], seed: int, title: str) -> str:
        start, steps = (row.start, row.steps) if phase == "trunk" else (row.start + row.steps, row.decay)
        of = PretrainStage(
            encoder=row.encoder,
            objectives=row.objectives,
            targets=row.targets,
            update=row.update,
            optimizer=row.optimizer,
            start=start,
            steps=steps,
            joined={name: since for name, since in row.joined.items() if name in row.anneals},
            horizon=row.horizon if row.anneals else None,
            mix=self._mixed(row) if start + steps else {},
            phase=phase,
            seed=seed,
        )
        reads = sorted(owner(objective).reads for objective in row.objectives.values())
        streams = [*sorted(set(reads) - {"pair"}), *(read for read in reads if read == "pair")]  # pairs share no pass
        about = self.estimate.pretrain(row, streams, of, title)
        if start + steps:
            parents = {**parents, **self._read(row, _streamed(row, "train"), parents, {"tables": {}, "tokens": {}})}
        more = {"memory": about.bytes, "recomputes": owner(row.encoder).offers("recompute")}
        more["disk"] = self.estimate.kept(row, goes_on=phase == "trunk" and bool(steps))
        made = self._stage("pretrain", of, parents, title, steps, about.seconds, **more)
        self.gpu_hours[made] = about.gpu_hours
        return made

    def _mixed(self, row: Row) -> dict[str, Mix]:
        """By stream, how it is drawn from the corpora of its table, where these are mixed."""
        reads = sorted({owner(objective).reads for objective in row.objectives.values()})
        mixes = {name: self.supply.mix(row.data, STREAMS[name].table) for name in reads}
        return {name: mix for name, mix in mixes.items() if mix is not None}

    def _heldout(
        self, row: Row, made: Mapping[str, str], leaf: str, stages: dict[str, Value], title: str
    ) -> str | None:
        """Lay out the stage of the leaf's held-out losses, if the data have the dev splits that it is measured on."""
        read, have = _streamed(row, "dev"), row.data.tables()
        lacking = [
            table
            for table, _, _ in read.values()
            if have and ("dev" not in have.get(table, ()) or row.data.missing(table, "dev"))
        ]
        if lacking and row.total:
            lost = (
                f"Held-out losses of rows that read {', '.join(lacking)} are left out: the data have no dev split of "
                "that."
            )
            self.supply.notes[lost] = None
        if not read or lacking or not (have or row.total):
            return None
        parents = {**made, "pretrain": leaf, **self._read(row, read, made, stages)}
        return self._stage("heldout", HeldoutStage(), parents, title, 0, cost.HELDOUT)


def _streamed(row: Row, split: str) -> dict[str, tuple[str, str, bool]]:
    """Return what the row's objectives read of a split, by table: table, split, and whether texts are read as ids."""
    tables = {STREAMS[owner(objective).reads].table for objective in row.objectives.values()}
    return {table: (table, split, table != "speech") for table in sorted(tables)}
