"""Read a sweep's records into tidy frames: one line per number, also for missing and impossible cells."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import UserError, nearest
from ablate.store.record import Run, read_run, read_sweep, run_path, sweep_path
from analysis.records.index import Index
from analysis.records.logs import Logs
from analysis.records.results import Results
from analysis.records.scores import DONE, baselines, kind, point_name, reads, scores


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric of a task on a split, and its good direction."""

    task: str
    split: str
    metric: str
    better: str
    """"lower" or "higher"; "" while no run of the task is finished."""
    unit: str

    @property
    def sign(self) -> float:
        """Factor that makes larger mean better."""
        return -1.0 if self.better == "lower" else 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """One sweep as it is on disk now; everything in `analysis` starts from here."""

    root: Path
    folder: Path
    sweep: dict[str, Any]
    manifest: list[dict[str, Any]]
    scores: pd.DataFrame
    """One line per (row, point, seed, task, split, metric) with status done, missing or n/a; columns `SCORES`."""
    baselines: pd.DataFrame
    """One line per (task, split, metric, name): baselines that need no learning; columns `BASELINES`."""
    results: Results
    """Results of finished stages, as they were when first asked for."""

    @property
    def name(self) -> str:
        return self.sweep["name"]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows in the order of the table's blocks, then of the sweep file."""
        return self.sweep["rows"]

    @functools.cached_property
    def index(self) -> Index:
        """What clusters of test items contribute to scores, cached beside the sweep."""
        return Index.read(self.folder / "index.npz", _code("items.py", "index.py", "files.py"))

    @functools.cached_property
    def logs(self) -> Logs:
        """What stages logged while they ran, cached beside the sweep."""
        return Logs(self.folder / "logs.npz", _code("logs.py", "files.py"), self.results)

    @functools.cached_property
    def points(self) -> list[str]:
        """Points of the axes in manifest order; `[""]` for a sweep without axes."""
        return list(dict.fromkeys(point_name(line["point"]) for line in self.manifest))

    @property
    def seeds(self) -> list[int]:
        return list(self.sweep["seeds"])

    def of(self, what: Measure) -> pd.DataFrame:
        """Lines of `scores` about one measure."""
        return self._parts.get((what.task, what.split, what.metric), self.scores.iloc[:0])

    @functools.cached_property
    def _parts(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        return dict(iter(self.scores.groupby(["task", "split", "metric"], sort=False)))

    def values(self, what: Measure) -> pd.DataFrame:
        """Finished values as (point, seed) × row."""
        if what not in self._values:
            s = self.of(what)
            self._values[what] = s[s.status == DONE].pivot(index=["point", "seed"], columns="row", values="value")
        return self._values[what]

    @functools.cached_property
    def _values(self) -> dict[Measure, pd.DataFrame]:
        return {}

    def finished(self, what: Measure) -> dict[tuple[str, str, int], tuple[str, float]]:
        """Score run and value of every finished (row, point, seed)."""
        if what not in self._finished:
            s = self.of(what)
            s = s[s.status == DONE]
            self._finished[what] = dict(zip(zip(s.row, s.point, s.seed), zip(s.run, s.value)))
        return self._finished[what]

    @functools.cached_property
    def _finished(self) -> dict[Measure, dict]:
        return {}

    @functools.cached_property
    def descent(self) -> dict[tuple[str, str, int], frozenset[str]]:
        """Pre-training stages that the (row, point, seed) starts from and that belong to its seed alone."""
        seeds: dict[str, set[int]] = {}
        for line in self.manifest:
            for id in _pretraining(line):
                seeds.setdefault(id, set()).add(line["seed"])
        return {
            (line["row"], point_name(line["point"]), line["seed"]): frozenset(
                id for id in _pretraining(line) if len(seeds[id]) == 1
            )
            for line in self.manifest
        }

    def decimals(self, what: Measure) -> int:
        """Decimals that suit a measure's values."""
        return decimals(self.of(what).value.abs().max())

    def label(self, row: str, point: str = "") -> str:
        """The row's displayed label, on one line, with its point of the axes."""
        text = " ".join(str(self.rows[row].get("label") or row).split())
        return f"{text} ({point})" if point else text

    def task_label(self, task: str) -> str:
        """The task's displayed label, on one line."""
        return " ".join(str((self.sweep.get("labels") or {}).get(task) or task.replace("_", " ")).split())

    def run(self, kind: str, id: str) -> Run | None:
        """Open one stage's record; None while the stage has not started."""
        return open_run(self.root, kind, id)

    def result(self, kind: str, id: str) -> dict[str, Any] | None:
        """Result of a stage; None while it is not finished."""
        return self.results(kind, id)

    def path(self, kind: str, id: str) -> Path:
        """Folder of a stage."""
        return run_path(self.root, kind, id)

    def files(self, kind: str, id: str) -> Path:
        """Folder of the files that a stage wrote, including its log and its items."""
        return self.results.files(kind, id)

    def difference(self, row: str, reference: str | None) -> dict[str, str]:
        """Settings of `row` that differ from those of `reference`, as {key: "value (reference: value)"}.

        A part that only one of them has, such as an objective, is one entry under its name.
        """
        own, other = flatten(self.rows[row]), flatten(self.rows[reference]) if reference else {}
        if reference:
            own, other = _named(own, other), _named(other, own)
        keys = [key for key in [*own, *(k for k in other if k not in own)] if key != "label"]
        return {
            key: f"{own.get(key, 'absent')}" + (f" (reference: {other.get(key, 'absent')})" if other else "")
            for key in keys
            if own.get(key) != other.get(key)
        }

    def kind(self, task: str) -> str:
        """Kind of the stages that measure a task: "score", or a kind that the sweep file adds."""
        return kind(self.sweep, task)

    def reads(self, task: str) -> str:
        """Modality that a task reads: "speech", "text" or "pair"; from the sweep, else from a known task's name."""
        return reads(self.sweep, task)


def read(sweep: str | Path, root: str | Path = "runs") -> Records:
    """Read sweep `sweep`: a name below `root`/sweeps, or the path of a sweep folder (which then determines the root).

    Stages that are not finished become lines with status "missing": nothing is filled in, and a running sweep can be
    read at any time. Raises FileNotFoundError when there is no such sweep.
    """
    folder = Path(sweep)
    if (folder / "sweep.json").is_file():
        folder = folder.resolve()
        root, name = folder.parent.parent, folder.name
    else:
        root, name = Path(root), str(sweep)
        folder = root / "sweeps" / name
    if not (folder / "sweep.json").is_file():
        others = [path.parent.name for path in sorted(folder.parent.glob("*/sweep.json"))]
        raise FileNotFoundError(
            f"no {folder / 'sweep.json'}, the plan, which a copy needs, too; {nearest(folder.name, others)}"
        )
    plan = read_sweep(root, name)
    return planned(root, plan.sweep, plan.manifest, folder)


def planned(
    root: str | Path, sweep: dict[str, Any], manifest: list[dict[str, Any]], folder: Path | None = None
) -> Records:
    """Read the records of a plan, whose sweep.json and manifest need not be in its folder."""
    rows, blocks = sweep["rows"], (sweep.get("table") or {}).get("blocks") or []
    ordered = {row: rows[row] for block in blocks for row in block.get("rows", []) if row in rows} | rows
    sweep, results = {**sweep, "rows": ordered}, Results(root)
    return Records(
        root=Path(root),
        folder=folder or sweep_path(Path(root), sweep["name"]),
        sweep=sweep,
        manifest=manifest,
        scores=scores(sweep, manifest, results),
        baselines=baselines(sweep, manifest, results),
        results=results,
    )


def _code(*names: str) -> str:
    """Digest of some files of this package."""
    here = Path(__file__).parent
    return hashlib.blake2b(b"".join((here / name).read_bytes() for name in names), digest_size=12).hexdigest()


def decimals(largest: float, digits: int = 3) -> int:
    """Decimals that show numbers up to `largest` with `digits` significant digits; at least one and at most five."""
    return min(5, max(1, digits - 1 - math.floor(math.log10(largest)))) if largest > 0 else 1  # NaN: nothing finished


def open_run(root: Path, kind: str, id: str) -> Run | None:
    """Open one stage's record; None while the stage has not started."""
    return read_run(root, kind, id) if (run_path(root, kind, id) / "identity.json").is_file() else None


@functools.lru_cache(maxsize=64)
def measure(records: Records, name: str, split: str | None = None) -> Measure:
    """Resolve "task", "task.metric" or "task.split.metric"; split and metric default to the task's first.

    Raises `UserError` for a task, split or metric that does not exist. While no run of a task is finished, its splits
    and metrics are unknown and not checked.
    """
    task, *rest = name.split(".")
    if task not in records.sweep["tasks"]:
        raise UserError(f"'{name}' names no task of sweep '{records.name}': {nearest(task, records.sweep['tasks'])}")
    split = rest[0] if len(rest) > 1 else split
    s = records.scores[(records.scores.task == task) & (records.scores.metric != "")]
    if s.empty:
        split = split or records.scores.split[records.scores.task == task].iloc[0]
        return Measure(task=task, split=split, metric=rest[-1] if rest else "", better="", unit="")
    split = split or s.split.iloc[0]
    if split not in set(s.split):
        raise UserError(f"'{name}': task '{task}' has no split '{split}': {nearest(split, s.split.unique())}")
    s = s[s.split == split]
    metric = rest[-1] if rest else s.metric.iloc[0]
    if metric not in set(s.metric):
        raise UserError(f"'{name}': task '{task}' has no metric '{metric}': {nearest(metric, s.metric.unique())}")
    first = s[s.metric == metric].iloc[0]
    return Measure(task=task, split=split, metric=metric, better=first.better, unit=first.unit)


def _pretraining(line: dict[str, Any]) -> list[str]:
    """Ids of the pre-training stages of a manifest line."""
    stages = line["stages"]
    return [*stages["trunks"], stages["leaf"]]


def _named(own: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Flat settings in which a part that `other` lacks entirely (`objectives.tlm.…`) is one line with all its
    fields.
    """
    parts: dict[str, list[tuple[str, str]]] = {}
    for key, value in own.items():
        part, field = key.rsplit(".", 1) if key.count(".") >= 2 else (key, "")
        alone = field and not any(k.startswith(part + ".") for k in other)
        parts.setdefault(part if alone else key, []).append((field, value))
    return {
        part: fields[0][1] if part in own else ", ".join(f"{name} {value}" for name, value in fields)
        for part, fields in parts.items()
    }


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested mappings to dotted keys; lists stay whole, None is left out."""
    if isinstance(tree, dict):
        parts = [flatten(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in tree.items()]
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(tree, list):
        tree = " + ".join(str(value) for value in tree)
    return {} if tree is None else {prefix: str(tree)}
