"""Stages and plans as plain data, and the one entry by which every kind of worker executes a stage.

Only the standard library is imported here: drivers plan nothing and train nothing, they move these objects about.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablate import identity
from ablate.errors import UserError, nearest
from ablate.record import read_json, run_path, sweep_path
from ablate.run import RunFolder


@dataclass(frozen=True)
class Kind:
    """A kind of stage: the version of its code, raised by hand when results change, and its function."""

    version: int
    function: str  # "module:name"


KINDS = {
    "corpus": Kind(2, "ablate.prepare:corpus"),
    "tokenizer": Kind(2, "ablate.prepare:tokenizer"),
    "kmeans": Kind(1, "ablate.kmeans:run"),
    "pretrain": Kind(2, "ablate.pretrain:run"),
    "tune": Kind(1, "ablate.tune:run"),
    "finetune": Kind(3, "ablate.finetune:run"),
    "score": Kind(3, "ablate.score:run"),
}
PARENT_KINDS = {kind: kind for kind in KINDS} | {"targets": "tokenizer"}  # by role, up to a slash


@dataclass(frozen=True)
class Stage:
    """A piece of work with an identity; everything below the first four fields is for people and schedulers."""

    kind: str
    config: dict[str, Any]
    """Canonical form of the typed config (see `ablate.identity`)."""
    parents: tuple[tuple[str, str], ...]
    """(role, stage id); roles: corpus, tokenizer, pretrain, finetune, targets (a task's own tokenizer), tune, finetune/N (what
    tuning chooses from), and kmeans/NAME (the fit of the speech targets called NAME)."""
    id: str
    title: str = ""
    steps: int = 0
    """Expected units of progress; 0 when there are none."""
    cost: float = 0.0
    """Estimated seconds of its process, or of its processes together when it has several."""
    memory: float = 0.0
    """Estimated bytes of each of its processes; 0 where that is not known."""
    restore: Mapping[str, Any] = field(default_factory=dict)
    """What restoring the config takes beside its canonical form: {"modules": {tag: module}, "how": {path: value}}."""

    @property
    def identity(self) -> dict[str, Any]:
        """Content of identity.json."""
        parents = [list(parent) for parent in self.parents]
        version = KINDS[self.kind].version
        return {"kind": self.kind, "version": version, "config": self.config, "parents": parents, "id": self.id,
                "title": self.title}  # fmt: skip


def make(
    kind: str, config: Any, parents: Iterable[tuple[str, str]], title: str, forms: identity.Forms | None = None, **expected: Any
) -> Stage:  # fmt: skip
    """Make the stage of a typed config and its parents; equal arguments make the same id.

    `forms` remembers what it made of the parts of configs, for many stages of few parts.
    """
    form, parents = (forms or identity.Forms()).of(config, type(config)), tuple(parents)
    return Stage(
        kind, form.plain, parents, identity.hashed(kind, KINDS[kind].version, form.text, parents), title, **expected,
        restore={"modules": dict(form.modules), "how": dict(form.how)},
    )  # fmt: skip


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
    notes: tuple[str, ...] = ()
    """Things to tell the user that are no errors."""
    root: str = "runs"
    cluster: str = "local"
    workers: int | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    absent: str = ""
    """Why this plan can only be looked at; empty when it can be run."""

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
                open_ids += [parent for _, parent in self.stages[id].parents]
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in needed})

    def show(self, row: str) -> str:
        """Describe a row: every setting as YAML, then how it differs from its reference row."""
        self.lines(row)
        reference = self.reference(row)
        ours, theirs = identity.flat(self.resolved[row]), identity.flat(self.resolved[reference])
        lines = [f"# {row}", yaml(self.resolved[row])]
        if reference != row:
            lines.append(f"# difference from {reference}")
            changed = [path for path in {**theirs, **ours} if ours.get(path, ...) != theirs.get(path, ...)]
            lines += [f"{p}: {_side(theirs, p)} → {_side(ours, p)}" for p in changed] or ["none"]
        return "\n".join(lines)

    def reference(self, row: str) -> str:
        """The row that `row` is compared with: of its first table block, else the first row."""
        blocks = self.sweep["table"]["blocks"]
        return next((b["reference"] for b in blocks if row in b["rows"] and b.get("reference")), self.rows[0])


def _side(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "(absent)"


def stage_ids(line: Mapping[str, Any]) -> list[str]:
    """All stage ids of a manifest line."""
    found: list[str] = []
    for value in line["stages"].values():
        found += value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    return list(dict.fromkeys(found))


def yaml(value: Any, indent: str = "") -> str:
    """Write nested mappings as readable YAML: blocks for mappings, JSON (which YAML contains) for the rest."""
    if not isinstance(value, Mapping) or not value:
        return PLAIN.encode(value)
    lines = []
    for key, part in value.items():
        nested = isinstance(part, Mapping) and part
        lines.append(f"{indent}{key}:" + (f"\n{yaml(part, indent + '  ')}" if nested else f" {PLAIN.encode(part)}"))
    return "\n".join(lines)


PLAIN = json.JSONEncoder(ensure_ascii=False)


def materialise(plan: Plan, root: str | Path) -> None:
    """Write what each stage is into run folders that lack it, and the sweep's description into its folder.

    Safe to repeat and to run from several drivers at once; a finished stage's identity is never touched.
    """
    for stage in plan.stages.values():
        folder = run_path(Path(root), stage.kind, stage.id)
        if (folder / "result.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.yaml").exists():
            _write(folder / "config.yaml", f"# {stage.title}\n{yaml(stage.config)}\n")
        _write(folder / "how.json", json.dumps(stage.restore) + "\n")
        if not (folder / "identity.json").exists():
            _write(folder / "identity.json", json.dumps(stage.identity, ensure_ascii=False) + "\n")
    folder = sweep_path(Path(root), plan.name)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "sweep.json", json.dumps(plan.sweep, indent=1, ensure_ascii=False) + "\n")
    _write(folder / "manifest.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plan.manifest))


def _write(path: Path, text: str) -> None:
    """Write beside and rename, and leave alone what is already there and equal."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def restored(run: RunFolder) -> Any:
    """Make the typed config of a planned stage again, from what `materialise` wrote into its run folder."""
    restore = read_json(run.path / "how.json")
    return identity.restore(run.identity()["config"], restore["modules"], restore["how"])


def parents_of(run: RunFolder) -> dict[str, RunFolder]:
    """Folders of the stages that a planned stage starts from, by role."""
    kinds = {role: PARENT_KINDS[role.partition("/")[0]] for role, _ in run.identity()["parents"]}
    return {role: RunFolder(run.root, kinds[role], id) for role, id in run.identity()["parents"]}


def _claimed(run: RunFolder) -> RunFolder:
    """Claim a stage, together with the other processes that work on it if the launcher started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return run.claim()
    from ablate import distributed

    return distributed.claim(run)


def execute(stage_id: str, root: str | Path) -> None:
    """Run one planned stage to its end in this process; returns at once if it is done.

    Under a launcher that set RANK and WORLD_SIZE this process is one of several, which share the shards of every update.
    Raises UserError if it was never planned under `root` or lacks a parent, `run.Busy` if another process has it,
    `run.Stopped` if it was asked to stop (run it again to continue), `run.Lost` if another process took it over, and
    whatever the stage itself raises.
    """
    root = Path(root)
    kind = next((k for k in KINDS if (run_path(root, k, stage_id) / "identity.json").exists()), None)
    if kind is None:
        raise UserError(f"No stage '{stage_id}' is planned under '{root}'; run the sweep command with this root.")
    run = RunFolder(root, kind, stage_id, rank=int(os.environ.get("RANK", "0")))
    if run.done:
        run.tidy()
        return
    what = run.identity()
    if what["version"] != KINDS[kind].version:
        raise UserError(
            f"Stage {stage_id} was planned as version {what['version']} of '{kind}', this code is version "
            f"{KINDS[kind].version}; run the sweep command again to plan it anew."
        )
    with _claimed(run):
        if run.done:  # another process finished it while this one came here
            return
        parents = parents_of(run)
        for role, parent in parents.items():
            if not parent.done:
                raise UserError(f"Stage {stage_id} starts from {role} {parent.id}, not done yet; run the sweep.")
        module, _, name = KINDS[kind].function.partition(":")
        function = getattr(importlib.import_module(module), name)
        with run.writing():
            result = function(restored(run), parents, run)
        run.finish(result)
