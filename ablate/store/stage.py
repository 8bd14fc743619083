"""Stages and plans as plain data, and what is written of them into run folders.

Drivers handle only these objects; they do not plan or train.
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
from ablate.store import declared, driver, files, identity
from ablate.store.record import FORMAT, read_json, read_sweep, run_path, sweep_path
from ablate.store.run import RunFolder, find

MOST_WAYS = 8  # most ways to make one stage that how.json keeps
PLAIN = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class Stage:
    """A piece of work. Kind, version, config and parents identify it; other fields are for people and schedulers."""

    kind: str
    config: dict[str, Any]
    """Canonical form of the typed config (see `ablate.store.identity`)."""
    parents: tuple[tuple[str, str], ...]
    """(role, stage id) of the stages that it starts from. Roles: table/NAME and tokens/NAME (of a table and split),
    tokenizer, pretrain, finetune, targets (a task's own tokenizer) and targets-tokens/NAME, tune, finetune/N (what
    tuning chooses from), and kmeans/NAME (the fit of the speech targets called NAME)."""
    id: str
    title: str = ""
    steps: int = 0
    """Expected units of progress; 0 if it has none."""
    cost: float = 0.0
    """Estimated seconds of its process, or of its processes together."""
    doubt: float = 1.0
    """How far `cost` may be off by comparison with one that is counted from operations."""
    alike: tuple[str, ...] = ()
    """Groups of stages that are estimated alike, each within the one before it; by default its kind alone."""
    memory: float = 0.0
    """Estimated bytes of memory of each process; 0 if unknown."""
    disk: float = 0.0
    """Expected bytes that it leaves on disk; 0 if unknown."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the config outside its canonical form, which only say how the stage runs: dotted path → value."""
    uses: tuple[tuple[str, str], ...] = ()
    """(role, stage id) of stages that must be finished before it runs but do not enter its id: recordings (of a table),
    and continues (a shorter trunk that this one continues)."""
    version: int = 1
    """Version of the code of its kind."""
    trains: bool = False
    """Whether it trains a model: several processes may then share it."""
    recomputes: bool = False
    """Whether activations may be computed twice to save memory."""

    @property
    def name(self) -> str:
        """What it is called: its kind and its title, which may begin with the kind."""
        return self.title if self.title.startswith(f"{self.kind} ") else f"{self.kind} {self.title}"

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """All stages that must be finished before it runs."""
        return (*self.parents, *self.uses)

    def awaits(self, stages: Mapping[str, Any]) -> list[str]:
        """Return the ids of those of `stages` that must be finished before it runs, each once."""
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
    """All stages that a sweep needs, as plain data that can be sent to another process."""

    name: str
    sweep: dict[str, Any]
    """The resolved sweep as the analysis reads it (sweep.json)."""
    manifest: list[dict[str, Any]]
    """One line per row, axis point and seed, with the ids of its stages."""
    stages: dict[str, Stage]
    """Stages by id; parents come before their children."""
    resolved: dict[str, dict[str, Any]]
    """Every setting of each row at the first axis point, defaults included."""
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Notes on each row, at the first axis point, about what its settings do not show."""
    notes: tuple[str, ...] = ()
    """Notes for the user that are not errors."""
    root: str = "runs"
    cluster: str = ""
    """Name of the cluster kind; empty if the sweep does not name one."""
    workers: int | None = None
    budget: float | None = None
    """The most work, in seconds, that --until-decided may come to; None for no limit."""
    attention: str = "auto"
    """What computes attention, by name."""
    resources: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, bool] = field(default_factory=dict)
    """All kinds of stages, and whether they train a model."""
    plugins: dict[str, str] = field(default_factory=dict)
    """Plugin modules, with their versions."""
    absent: str = ""
    """Why this plan can be shown but not run; empty if it can be run."""
    file: str = ""
    """The sweep file with overrides, interpolations and all that it extends: planning it gives the same plan."""

    @property
    def files(self) -> dict[str, str]:
        """The sweep's description and its manifest by file name, as written into its folder."""
        return {
            "sweep.json": json.dumps({"format": FORMAT, **self.sweep}, indent=1, ensure_ascii=False) + "\n",
            "manifest.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.manifest),
        }

    @cached_property
    def digest(self) -> str:
        """Digest of what the sweep is and of its stages. How it runs does not count."""
        return _digest(text.encode() for text in self.files.values())

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in table order."""
        return list(self.sweep["rows"])

    def lines(self, row: str) -> list[dict[str, Any]]:
        """Return the manifest lines of a row. Raises UserError with the nearest name for an unknown one."""
        if row not in self.rows:
            raise UserError(f"No row '{row}' in sweep '{self.name}'; {nearest(row, self.rows)}")
        return [line for line in self.manifest if line["row"] == row]

    def only(self, rows: Iterable[str]) -> Plan:
        """Return the plan with only the stages that these rows need; the sweep's description and manifest stay whole.

        Raises UserError for an unknown row.
        """
        needed: set[str] = set()
        open_ids = [id for row in rows for line in self.lines(row) for id in stage_ids(line)]
        while open_ids:
            id = open_ids.pop()
            if id not in needed:
                needed.add(id)
                open_ids += self.stages[id].awaits(self.stages)
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in needed})

    def without_idle(self, finished: Collection[str], asked: Collection[str] = ()) -> Plan:
        """Return the plan without unfinished stages that only finished stages need.

        Such are recordings of finished tables, and stages that were removed by hand. Stages that no other starts from
        always stay, and so do those in `asked`.
        """
        started = {id for stage in self.stages.values() for _, id in stage.needs}
        wanted = {*finished, *asked} | (self.stages.keys() - started)
        for id, stage in reversed(self.stages.items()):  # children come after their parents
            if id in wanted and id not in finished:
                wanted.update(one for one in stage.awaits(self.stages))
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in wanted})

    def settings(self, row: str) -> dict[str, Any]:
        """Return every setting of a row by dotted path. Raises UserError with the nearest name for an unknown row."""
        self.lines(row)
        return identity.flat(self.resolved[row])

    def show(self, row: str, origins: Mapping[str, str] = MappingProxyType({})) -> str:
        """Describe a row: every setting as YAML with its origin, and the differences from its reference row.

        Raises UserError for an unknown row.
        """
        reference, said = self.reference(row), self.settings(row)
        text = yaml(self.resolved[row])
        lines = [f"# {row}", *_beside(text, [origins.get(path, "") for path in said])]
        lines += [f"# note: {remark}" for remark in self.remarks.get(row, ())]
        if row != reference:
            lines += [f"# difference from {reference}", *self.between(reference, row)]
        return "\n".join(lines)

    def between(self, one: str, other: str) -> list[str]:
        """Return the settings in which two rows differ, as "path: of one → of the other"; ["none"] if they do not.

        Raises UserError for an unknown row.
        """
        return changes(self.settings(one), self.settings(other)) or ["none"]

    def reference(self, row: str) -> str:
        """Return the row that `row` is compared with: that of its first block in the table, else the first row."""
        blocks = self.sweep["table"]["blocks"]
        return next((b["reference"] for b in blocks if row in b["rows"] and b.get("reference")), self.rows[0])


def _beside(text: str, comments: Iterable[str]) -> Iterator[str]:
    """Yield lines of YAML, with a comment after each that has a value."""
    left = iter(comments)
    for line in text.split("\n"):
        comment = "" if line.endswith(":") else next(left, "")
        yield f"{line:<47} # {comment}" if comment else line


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how settings by dotted path differ, as "path: before → now"."""
    changed = [path for path in {**before, **now} if now.get(path, ...) != before.get(path, ...)]
    return [f"{path}: {_side(before, path)} → {_side(now, path)}" for path in changed]


def _side(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "(absent)"


def stage_ids(line: Mapping[str, Any]) -> list[str]:
    """Return all stage ids of a manifest line."""
    return list(dict.fromkeys(places(line["stages"]).values()))


def places(stages: Any, at: str = "") -> dict[str, str]:
    """Return the stage ids in "stages" of a manifest line by place, such as "leaf", "trunks/0" or "score/asr/test"."""
    if isinstance(stages, str):
        return {at: stages}
    by_place: dict[str, str] = {}
    for key, part in enumerate(stages) if isinstance(stages, list) else stages.items():
        by_place |= places(part, f"{at}/{key}" if at else key)
    return by_place


def materialise(plan: Plan, root: str | Path) -> None:
    """Write the identity of each stage into run folders that lack it, and the sweep's description and what it declares
    into its folder.

    Safe to repeat and to run from several drivers at once. For a finished stage only how.json is updated.
    """
    for stage in plan.stages.values():
        lay(stage, root)
    folder = sweep_path(Path(root), plan.name)
    if (folder / "sweep.json").exists() and (older := read_sweep(root, plan.name).format) < FORMAT:
        kept = files.aside(folder, f"{plan.name}.format{older}")  # reports can still be made of it
        print(f"note: the sweep's earlier records are of format {older}; their folder is called {kept} from now on.")
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.with_name(kept).glob(driver.PATTERN):  # files of running commands move back
            os.rename(path, folder / path.name)
    folder.mkdir(parents=True, exist_ok=True)
    declared.declare(folder, plan.sweep)
    for name, text in plan.files.items():
        _write(folder / name, text)


def digest_on_disk(root: str | Path, name: str) -> str:
    """Return the `Plan.digest` of the plan in a sweep's folder; empty if there is none."""
    try:
        return _digest((sweep_path(Path(root), name) / file).read_bytes() for file in ("sweep.json", "manifest.jsonl"))
    except FileNotFoundError:
        return ""


def keep_file(plan: Plan, root: str | Path) -> Path:
    """Write a copy of the planned sweep file into the sweep's folder, which edits do not affect; return its path."""
    folder = sweep_path(Path(root), plan.name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"planned.{_digest([plan.file.encode()])}.yaml"
    _write(path, plan.file)
    return path


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def lay(stage: Stage, root: str | Path) -> None:
    """Write the identity of a stage into its run folder, if that lacks it."""
    folder = run_path(Path(root), stage.kind, stage.id)
    folder.mkdir(parents=True, exist_ok=True)
    way = {"how": dict(stage.how), "uses": [list(used) for used in stage.uses]}
    before = read_json(folder / "how.json")["ways"] if (folder / "how.json").exists() else []
    ways = [way, *(one for one in before if one != way)]  # another sweep may be running it in another way
    _write(folder / "how.json", json.dumps({"ways": ways[:MOST_WAYS]}) + "\n")
    if (folder / "result.json").exists():
        return
    if not (folder / "config.yaml").exists():
        _write(folder / "config.yaml", f"# {stage.title}\n{yaml(stage.config)}\n")
    if not (folder / "identity.json").exists():
        _write(folder / "identity.json", json.dumps(stage.identity, ensure_ascii=False) + "\n")


def yaml(value: Any, indent: str = "") -> str:
    """Format nested mappings as readable YAML: blocks for mappings, JSON (which YAML contains) for the rest."""
    if not isinstance(value, Mapping) or not value:
        return PLAIN.encode(value)
    lines = []
    for key, part in value.items():
        nested = isinstance(part, Mapping) and part
        lines.append(f"{indent}{key}:" + (f"\n{yaml(part, indent + '  ')}" if nested else f" {PLAIN.encode(part)}"))
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """Replace a file unless it has this content already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    files.replace(path, text.encode(), durable=False)


def parents_of(run: RunFolder) -> dict[str, RunFolder]:
    """Return the folders of the stages that a planned stage starts from, by role."""
    return _folders(run, run.identity()["parents"])


def uses_of(run: RunFolder) -> dict[str, RunFolder]:
    """Return the folders of the stages that a planned stage uses although its id does not depend on them, by role."""
    return _folders(run, way(run)["uses"])


def way(run: RunFolder) -> dict[str, Any]:
    """Return the last planned way whose used stages are all done; if there is none, the last planned way."""
    ways = read_json(run.path / "how.json")["ways"]
    return next((way for way in ways if all(one.done for one in _folders(run, way["uses"]).values())), ways[0])


def _folders(run: RunFolder, roles: Iterable[tuple[str, str]]) -> dict[str, RunFolder]:
    """Return the folders of stages by role. A missing stage gets a folder that does not exist."""
    return {role: find(run.root, id) or RunFolder(run.root, role.partition("/")[0], id) for role, id in roles}
