"""Stages and plans as plain data, and what of them is written into run folders.

Drivers plan nothing and train nothing: they move these objects about.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ablate.errors import UserError, nearest
from ablate.store import driver, files, identity
from ablate.store.record import FORMAT, read_json, read_sweep, run_path, sweep_path
from ablate.store.run import RunFolder, find

MOST_WAYS = 8  # to make one stage, in how.json
PLAIN = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class Stage:
    """A piece of work with an identity; everything below the first four fields is for people and schedulers."""

    kind: str
    config: dict[str, Any]
    """Canonical form of the typed config (see `ablate.store.identity`)."""
    parents: tuple[tuple[str, str], ...]
    """(role, stage id) of what it starts from; roles: table/NAME and tokens/NAME (of a table and split), tokenizer,
    pretrain, finetune, targets (a task's own tokenizer) and targets-tokens/NAME, tune, finetune/N (what tuning chooses
    from), and kmeans/NAME (the fit of the speech targets called NAME).
    """
    id: str
    title: str = ""
    steps: int = 0
    """Expected units of progress; 0 when there are none."""
    cost: float = 0.0
    """Estimated seconds of its process, or of its processes together when it has several."""
    memory: float = 0.0
    """Estimated bytes of each of its processes; 0 where that is not known."""
    disk: float = 0.0
    """Expected bytes that it leaves on the disk; 0 where that is not known."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """What of the config is not in its canonical form, as it only says how the stage runs: dotted path → value."""
    uses: tuple[tuple[str, str], ...] = ()
    """(role, stage id) of what must be finished before it runs, but is no part of its id: recordings (of a table),
    continues (a shorter trunk that this one goes on from).
    """
    version: int = 1
    """Of the code of its kind."""
    trains: bool = False
    """Whether it trains a model: several processes may then share it."""
    recomputes: bool = False
    """Whether activations may be computed twice to spare memory."""

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """All that must be finished before it runs."""
        return (*self.parents, *self.uses)

    def awaits(self, stages: Mapping[str, Any]) -> list[str]:
        """Ids of what must be finished before it runs, each once; what is not among `stages` is left out."""
        return list(dict.fromkeys(id for _, id in self.needs if id in stages))

    @property
    def identity(self) -> dict[str, Any]:
        """Content of identity.json."""
        parents = [list(parent) for parent in self.parents]
        return {
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "parents": parents,
            "id": self.id,
            "title": self.title,
        }


@dataclass(frozen=True)
class Plan:
    """All stages that a sweep needs, as plain data that can cross a process border."""

    name: str
    sweep: dict[str, Any]
    """The resolved sweep as analysis reads it (sweep.json)."""
    manifest: list[dict[str, Any]]
    """One line per (row, axis point, seed), with the ids of its stages."""
    stages: dict[str, Stage]
    """By id; parents come before their children."""
    resolved: dict[str, dict[str, Any]]
    """Per row (at the first axis point), every setting with defaults filled in."""
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Per row (at the first axis point), what its settings do not say."""
    notes: tuple[str, ...] = ()
    """Things to tell the user that are no errors."""
    root: str = "runs"
    cluster: str = ""
    """By name; empty where the sweep does not say."""
    workers: int | None = None
    attention: str = "auto"
    """What computes attention, by name."""
    resources: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, bool] = field(default_factory=dict)
    """Kinds of stages there are, and whether they train."""
    plugins: dict[str, str] = field(default_factory=dict)
    """Modules that registered kinds of their own, with their versions."""
    absent: str = ""
    """Why this plan can only be looked at; empty when it can be run."""
    file: str = ""
    """The sweep file with all that it extends, overrides and interpolations: to plan the same again from."""

    @property
    def files(self) -> dict[str, str]:
        """The sweep's description and its manifest, as they are written into its folder, by name."""
        return {
            "sweep.json": json.dumps({"format": FORMAT, **self.sweep}, indent=1, ensure_ascii=False) + "\n",
            "manifest.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.manifest),
        }

    @cached_property
    def digest(self) -> str:
        """Of what the sweep is, and of the stages that answer it; how it runs is no part of it."""
        return _digest(text.encode() for text in self.files.values())

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in table order."""
        return list(self.sweep["rows"])

    def lines(self, row: str) -> list[dict[str, Any]]:
        """Manifest lines of one row; raises UserError with the nearest name for an unknown one."""
        if row not in self.rows:
            raise UserError(f"No row '{row}' in sweep '{self.name}'; {nearest(row, self.rows)}")
        return [line for line in self.manifest if line["row"] == row]

    def only(self, rows: Iterable[str]) -> Plan:
        """Keep what the given rows need, ancestors included; the sweep's description and manifest stay whole."""
        needed: set[str] = set()
        open_ids = [id for row in rows for line in self.lines(row) for id in stage_ids(line)]
        while open_ids:
            id = open_ids.pop()
            if id not in needed:
                needed.add(id)
                open_ids += self.stages[id].awaits(self.stages)
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in needed})

    def without_idle(self, finished: Collection[str], asked: Collection[str] = ()) -> Plan:
        """Leave out what is not done and only finished stages start from, or use: recordings of tables that are
        written, and what was removed by hand since. What nothing starts from is always wanted, as is what is `asked`
        for.
        """
        started = {id for stage in self.stages.values() for _, id in stage.needs}
        wanted = {*finished, *asked} | (self.stages.keys() - started)
        for id, stage in reversed(self.stages.items()):  # children come after their parents
            if id in wanted and id not in finished:
                wanted.update(one for one in stage.awaits(self.stages))
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in wanted})

    def settings(self, row: str) -> dict[str, Any]:
        """Every setting of a row by dotted path. Raises UserError with the nearest name for an unknown row."""
        self.lines(row)
        return identity.flat(self.resolved[row])

    def show(self, row: str, origins: Mapping[str, str] = MappingProxyType({})) -> str:
        """Describe a row: every setting as YAML, with where it comes from, then how it differs from its reference
        row.
        """
        reference, said = self.reference(row), self.settings(row)
        text = yaml(self.resolved[row])
        lines = [f"# {row}", *_beside(text, [origins.get(path, "") for path in said])]
        lines += [f"# note: {remark}" for remark in self.remarks.get(row, ())]
        if row != reference:
            lines += [f"# difference from {reference}", *self.between(reference, row)]
        return "\n".join(lines)

    def between(self, one: str, other: str) -> list[str]:
        """The settings in which two rows differ, as "path: of one → of the other"; "none" where there is none."""
        return changes(self.settings(one), self.settings(other)) or ["none"]

    def reference(self, row: str) -> str:
        """The row that `row` is compared with: of its first table block, else the first row."""
        blocks = self.sweep["table"]["blocks"]
        return next((b["reference"] for b in blocks if row in b["rows"] and b.get("reference")), self.rows[0])


def _beside(text: str, comments: Iterable[str]) -> Iterator[str]:
    """The lines of YAML, with a comment behind each that has a value."""
    left = iter(comments)
    for line in text.split("\n"):
        comment = "" if line.endswith(":") else next(left, "")
        yield f"{line:<47} # {comment}" if comment else line


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How settings by dotted path differ, as "path: before → now"."""
    changed = [path for path in {**before, **now} if now.get(path, ...) != before.get(path, ...)]
    return [f"{path}: {_side(before, path)} → {_side(now, path)}" for path in changed]


def _side(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "(absent)"


def stage_ids(line: Mapping[str, Any]) -> list[str]:
    """All stage ids of a manifest line."""
    return list(dict.fromkeys(places(line["stages"]).values()))


def places(stages: Any, at: str = "") -> dict[str, str]:
    """The stage ids in "stages" of a manifest line by their place there, such as "leaf", "trunks/0" or
    "score/asr/test".
    """
    if isinstance(stages, str):
        return {at: stages}
    by_place: dict[str, str] = {}
    for key, part in enumerate(stages) if isinstance(stages, list) else stages.items():
        by_place |= places(part, f"{at}/{key}" if at else key)
    return by_place


def materialise(plan: Plan, root: str | Path) -> None:
    """Write what each stage is into run folders that lack it, and the sweep's description into its folder.

    Safe to repeat and to run from several drivers at once; of a finished stage only how.json is brought up to date.
    """
    for stage in plan.stages.values():
        lay(stage, root)
    folder = sweep_path(Path(root), plan.name)
    if (folder / "sweep.json").exists() and (older := read_sweep(root, plan.name).format) < FORMAT:
        kept = files.aside(folder, f"{plan.name}.format{older}")  # it stays to be read and reported
        print(f"note: the sweep's records of before are of format {older}; they are called {kept} from now on.")
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.with_name(kept).glob(driver.PATTERN):  # the commands at work stay with the sweep
            os.rename(path, folder / path.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in plan.files.items():
        _write(folder / name, text)


def digest_on_disk(root: str | Path, name: str) -> str:
    """`Plan.digest` of the plan that lies in a sweep's folder; empty where none does."""
    try:
        return _digest((sweep_path(Path(root), name) / file).read_bytes() for file in ("sweep.json", "manifest.jsonl"))
    except FileNotFoundError:
        return ""


def keep_file(plan: Plan, root: str | Path) -> Path:
    """Write what the sweep file says, as it was planned, into the sweep's folder, where edits do not reach it."""
    folder = sweep_path(Path(root), plan.name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"planned.{_digest([plan.file.encode()])}.yaml"
    _write(path, plan.file)
    return path


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def lay(stage: Stage, root: str | Path) -> None:
    """Write what a stage is into its run folder, where that lacks it."""
    folder = run_path(Path(root), stage.kind, stage.id)
    folder.mkdir(parents=True, exist_ok=True)
    way = {"how": dict(stage.how), "uses": [list(used) for used in stage.uses]}
    before = read_json(folder / "how.json")["ways"] if (folder / "how.json").exists() else []
    ways = [way, *(one for one in before if one != way)]  # another sweep, which may be running, planned it another way
    _write(folder / "how.json", json.dumps({"ways": ways[:MOST_WAYS]}) + "\n")
    if (folder / "result.json").exists():
        return
    if not (folder / "config.yaml").exists():
        _write(folder / "config.yaml", f"# {stage.title}\n{yaml(stage.config)}\n")
    if not (folder / "identity.json").exists():
        _write(folder / "identity.json", json.dumps(stage.identity, ensure_ascii=False) + "\n")


def yaml(value: Any, indent: str = "") -> str:
    """Write nested mappings as readable YAML: blocks for mappings, JSON (which YAML contains) for the rest."""
    if not isinstance(value, Mapping) or not value:
        return PLAIN.encode(value)
    lines = []
    for key, part in value.items():
        nested = isinstance(part, Mapping) and part
        lines.append(f"{indent}{key}:" + (f"\n{yaml(part, indent + '  ')}" if nested else f" {PLAIN.encode(part)}"))
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """Write beside and rename, and leave alone what is already there and equal."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    files.replace(path, text.encode(), durable=False)


def parents_of(run: RunFolder) -> dict[str, RunFolder]:
    """Folders of the stages that a planned stage starts from, by role."""
    return _folders(run, run.identity()["parents"])


def uses_of(run: RunFolder) -> dict[str, RunFolder]:
    """Folders of the stages that a planned stage uses without being another for it, by role."""
    return _folders(run, way(run)["uses"])


def way(run: RunFolder) -> dict[str, Any]:
    """The way to make a stage that was planned last, of those for which all is there that it uses, if there is one."""
    ways = read_json(run.path / "how.json")["ways"]
    return next((way for way in ways if all(one.done for one in _folders(run, way["uses"]).values())), ways[0])


def _folders(run: RunFolder, roles: Iterable[tuple[str, str]]) -> dict[str, RunFolder]:
    """The folders of stages by role; of one that is gone the folder in which it would not be done."""
    return {role: find(run.root, id) or RunFolder(run.root, role.partition("/")[0], id) for role, id in roles}
