"""Stages and plans as plain data, and the one entry by which every kind of worker executes a stage.

Only the standard library is imported here: drivers plan nothing and train nothing, they move these objects about.
"""

from __future__ import annotations

import importlib
import json
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablate.store import files, identity
from ablate.errors import UserError, nearest
from ablate.sweepfile.patch import yaml
from ablate.store.record import FORMAT, read_json, read_sweep, run_path, sweep_path
from ablate.store.run import RunFolder


@dataclass(frozen=True)
class Kind:
    """A kind of stage: the version of its code, raised by hand when results change, and its function.

    The type hint of the function's first parameter is the class of the stage's config, or the base of several.
    """

    version: int
    function: str  # "module:name"


KINDS = {
    "recordings": Kind(1, "ablate.stages.prepare:recordings"),
    "table": Kind(1, "ablate.stages.prepare:table"),
    "tokenizer": Kind(3, "ablate.stages.prepare:tokenizer"),
    "tokens": Kind(1, "ablate.stages.prepare:tokens"),
    "kmeans": Kind(1, "ablate.stages.kmeans:run"),
    "pretrain": Kind(3, "ablate.stages.pretrain:run"),
    "heldout": Kind(1, "ablate.stages.heldout:run"),
    "tune": Kind(1, "ablate.stages.tune:run"),
    "finetune": Kind(3, "ablate.stages.finetune:run"),
    "score": Kind(4, "ablate.stages.score:run"),
}
MOST_WAYS = 8  # to make one stage, in how.json
PARENT_KINDS = {  # by role, up to a slash
    "recordings": "recordings", "table": "table", "tokens": "tokens", "targets-tokens": "tokens",
    "tokenizer": "tokenizer", "targets": "tokenizer", "kmeans": "kmeans", "pretrain": "pretrain", "continues": "pretrain",
    "tune": "tune", "finetune": "finetune",
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A piece of work with an identity; everything below the first four fields is for people and schedulers."""

    kind: str
    config: dict[str, Any]
    """Canonical form of the typed config (see `ablate.store.identity`)."""
    parents: tuple[tuple[str, str], ...]
    """(role, stage id) of what it starts from; roles: table/NAME and tokens/NAME (of a table and split), tokenizer, pretrain,
    finetune, targets (a task's own tokenizer) and targets-tokens/NAME, tune, finetune/N (what tuning chooses from), and
    kmeans/NAME (the fit of the speech targets called NAME)."""
    id: str
    title: str = ""
    steps: int = 0
    """Expected units of progress; 0 when there are none."""
    cost: float = 0.0
    """Estimated seconds of its process, or of its processes together when it has several."""
    memory: float = 0.0
    """Estimated bytes of each of its processes; 0 where that is not known."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """What of the config is not in its canonical form, as it only says how the stage runs: dotted path → value."""
    uses: tuple[tuple[str, str], ...] = ()
    """(role, stage id) of what must be finished before it runs, but is no part of its id: recordings (of a table), continues
    (a shorter trunk that this one goes on from)."""

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """All that must be finished before it runs."""
        return (*self.parents, *self.uses)

    def awaits(self, stages: Mapping[str, Any]) -> list[str]:
        """Ids of what must be finished before it runs, each once; what it uses without being among `stages` is left out."""
        used = [id for _, id in self.uses if id in stages]
        return list(dict.fromkeys([id for _, id in self.parents] + used))

    @property
    def identity(self) -> dict[str, Any]:
        """Content of identity.json."""
        parents = [list(parent) for parent in self.parents]
        version = KINDS[self.kind].version
        return {"kind": self.kind, "version": version, "config": self.config, "parents": parents, "id": self.id,
                "title": self.title}  # fmt: skip


def make(
    kind: str, config: Any, parents: Iterable[tuple[str, str]], title: str, forms: identity.Forms | None = None, *,
    uses: Iterable[tuple[str, str]] = (), **expected: Any,
) -> Stage:  # fmt: skip
    """Make the stage of a typed config and its parents; equal arguments make the same id, whatever it `uses`.

    `forms` remembers what it made of the parts of configs, for many stages of few parts.
    """
    form, parents = (forms or identity.Forms()).of(config, type(config)), tuple(parents)
    return Stage(
        kind, form.plain, parents, identity.hashed(kind, KINDS[kind].version, form.text, parents), title, **expected,
        how=dict(form.how), uses=tuple(uses),
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
                open_ids += self.stages[id].awaits(self.stages)
        return replace(self, stages={id: stage for id, stage in self.stages.items() if id in needed})

    def without_idle(self, done: Callable[[Stage], bool]) -> Plan:
        """Leave out what only finished stages use and no row asks for: recordings of tables that are written."""
        asked = {id for line in self.manifest for id in stage_ids(line)}
        for stage in self.stages.values():
            asked.update(id for _, id in (stage.needs if stage.uses and not done(stage) else stage.parents))
        used = {id for stage in self.stages.values() for _, id in stage.uses}
        kept = {id: s for id, s in self.stages.items() if id in asked or id not in used or done(s)}
        return replace(self, stages=kept)

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
    return list(dict.fromkeys(places(line["stages"]).values()))


def places(stages: Any, at: str = "") -> dict[str, str]:
    """The stage ids in "stages" of a manifest line by their place there, such as "leaf", "trunks/0" or "score/asr/test"."""
    if isinstance(stages, str):
        return {at: stages}
    found: dict[str, str] = {}
    for key, part in enumerate(stages) if isinstance(stages, list) else stages.items():
        found |= places(part, f"{at}/{key}" if at else key)
    return found


def materialise(plan: Plan, root: str | Path) -> None:
    """Write what each stage is into run folders that lack it, and the sweep's description into its folder.

    Safe to repeat and to run from several drivers at once; of a finished stage only how.json is brought up to date.
    """
    for stage in plan.stages.values():
        folder = run_path(Path(root), stage.kind, stage.id)
        folder.mkdir(parents=True, exist_ok=True)
        way = {"how": dict(stage.how), "uses": [list(used) for used in stage.uses]}
        before = read_json(folder / "how.json")["ways"] if (folder / "how.json").exists() else []
        ways = [way, *(one for one in before if one != way)]  # another sweep, which may be running, planned it another way
        _write(folder / "how.json", json.dumps({"ways": ways[:MOST_WAYS]}) + "\n")
        if (folder / "result.json").exists():
            continue
        if not (folder / "config.yaml").exists():
            _write(folder / "config.yaml", f"# {stage.title}\n{yaml(stage.config)}\n")
        if not (folder / "identity.json").exists():
            _write(folder / "identity.json", json.dumps(stage.identity, ensure_ascii=False) + "\n")
    folder = sweep_path(Path(root), plan.name)
    if (folder / "sweep.json").exists() and (older := read_sweep(root, plan.name).format) < FORMAT:
        kept = files.aside(folder, f"{plan.name}.format{older}")  # it stays to be read and reported
        print(f"note: the sweep's records of before are of format {older}; they are called {kept} from now on.")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "sweep.json", json.dumps({"format": FORMAT, **plan.sweep}, indent=1, ensure_ascii=False) + "\n")
    _write(folder / "manifest.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plan.manifest))


def _write(path: Path, text: str) -> None:
    """Write beside and rename, and leave alone what is already there and equal."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    files.replace(path, text.encode(), durable=False)


def config_class(kind: str) -> Any:
    """The class of the configs of a kind of stage, or the base of several; the function that runs such stages says it."""
    module, _, name = KINDS[kind].function.partition(":")
    hints = typing.get_type_hints(getattr(importlib.import_module(module), name))
    return next(iter(hints.values()))


def restored(run: RunFolder) -> Any:
    """Make the typed config of a planned stage again, from what `materialise` wrote into its run folder.

    Raises UserError where the record says what this code does not know.
    """
    return identity.restore(run.identity()["config"], config_class(run.kind), _way(run)["how"])


def parents_of(run: RunFolder) -> dict[str, RunFolder]:
    """Folders of the stages that a planned stage starts from, by role."""
    return _folders(run, run.identity()["parents"])


def uses_of(run: RunFolder) -> dict[str, RunFolder]:
    """Folders of the stages that a planned stage uses without being another for it, by role."""
    return _folders(run, _way(run)["uses"])


def _way(run: RunFolder) -> dict[str, Any]:
    """The way to make a stage that was planned last, of those for which all is there that it uses, if there is one."""
    ways = read_json(run.path / "how.json")["ways"]
    return next((way for way in ways if all(one.done for one in _folders(run, way["uses"]).values())), ways[0])


def _folders(run: RunFolder, roles: Iterable[tuple[str, str]]) -> dict[str, RunFolder]:
    return {role: RunFolder(run.root, PARENT_KINDS[role.partition("/")[0]], id) for role, id in roles}


def _claimed(run: RunFolder) -> RunFolder:
    """Claim a stage, together with the other processes that work on it if the launcher started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return run.claim()
    from ablate.training import distributed

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
        for role, parent in {**uses_of(run), **parents}.items():
            if not parent.done and role != "continues":  # without the shorter trunk it is made whole
                raise UserError(f"Stage {stage_id} starts from {role} {parent.id}, not done yet; run the sweep.")
        module, _, name = KINDS[kind].function.partition(":")
        function = getattr(importlib.import_module(module), name)
        with run.writing():
            result = function(restored(run), parents, run)
        run.finish(result)
