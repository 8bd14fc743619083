"""Runs some units of a stage (updates, or batches of scoring) under a watch: in a folder that is thrown away, with the
stage's own data and models where they are there.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablate.bench.gpu import made
from ablate.bench.items import WORKLOADS
from ablate.bench.watch import BACKWARD, DATA, Enough, Watch, unit
from ablate.data.loader import Loader
from ablate.errors import UserError, close, nearest
from ablate.planning.plan import Rows, plan_file
from ablate.planning.size import vocabulary
from ablate.stages import evaluate
from ablate.stages.kind import restored
from ablate.stages.pretrain import PretrainStage, assembled
from ablate.stages.registry import KINDS
from ablate.store import plugins
from ablate.store.run import RunFolder, find
from ablate.store.stage import Stage, lay, parents_of, places
from ablate.tasks.task import AbstractScored
from ablate.training import distributed, loop, numerics
from ablate.training.loop import Loop, Shard
from ablate.training.optim import FlatAdamW
from encoders.batch import Batch, Vocabulary
from encoders.encoder import AbstractEncoder
from objectives.mixture import Mixture

PIECES = 6  # of made-up text, for each second of the speech that it is paired with
TABLES = ("table/", "tokens/")
MADE_UP = "noise, in the lengths of python -m ablate.bench"


@dataclass
class Staged:
    """A planned stage in a folder of its own, and the stages that it starts from, by role, done or not."""

    run: RunFolder
    parents: Mapping[str, RunFolder]
    how: str = "run the sweep"
    """How to make what is missing."""

    @property
    def kind(self) -> Any:
        return KINDS[self.run.kind]

    @property
    def name(self) -> str:
        about = self.run.identity()
        return f"{about['title']} ({self.run.kind} {self.run.id})"

    @property
    def unit(self) -> str:
        return "update" if self.kind.trains else "batch"


def of_row(file: str, overrides: list[str], row: str, place: str, root: Path, scratch: Path) -> Staged:
    """Find the stage at a place of a sweep file's row with the first seed: trunk, leaf, asr (its fine-tuning),
    score/asr/test. Raises UserError.
    """
    plan = plan_file(file, [*overrides, f"root={root}"], root, rows=Rows((row,)))
    there = {at: id for at, id in places(plan.lines(row)[0]["stages"]).items() if runs_model(plan.stages[id].kind)}
    there |= {at.removeprefix("finetune/"): id for at, id in there.items() if at.startswith("finetune/")}
    if place not in there:
        raise UserError(f"Row '{row}' has no stage '{place}' that runs a model; {nearest(place, there)}")
    stage: Stage = plan.stages[there[place]]
    for one in (stage, *(plan.stages[id] for _, id in stage.parents)):
        lay(one, scratch)
    staged = of_folder(RunFolder(scratch, stage.kind, stage.id), root, scratch)
    staged.how = f"run python -m ablate.sweep {file} --only {row}"
    return staged


def of_id(id: str, root: Path, scratch: Path) -> Staged:
    """Find a stage by its id, the first letters of it, or its folder. Raises UserError."""
    if (folder := Path(id)).joinpath("identity.json").exists():
        root, id = folder.resolve().parents[2], folder.resolve().name
    known = {path.parent.name: path.parents[2].name for path in root.glob("*/??/*/identity.json")}
    begin = [one for one in known if one.startswith(id)]
    if len(begin) != 1 and id not in known:
        near = close(id, known)
        found = f"did you mean '{near}'?" if near else f"python -m ablate.store ls {root} SWEEP lists a sweep's."
        found = f"{len(begin)} begin so." if begin else found
        raise UserError(f"No stage '{id}' is planned under '{root}', and there is no sweep file of that name; {found}")
    id = id if id in known else begin[0]
    run = RunFolder(root, known[id], id)
    plugins.load()
    if run.kind not in KINDS or not runs_model(run.kind):
        wanted = ", ".join(filter(runs_model, KINDS))
        raise UserError(f"Stage {id} is of the kind '{run.kind}', which runs no model; expected one of {wanted}.")
    shutil.copytree(run.path, scratch / run.path.relative_to(root), ignore=lambda _, names: set(names) - KEPT)
    return of_folder(RunFolder(scratch, run.kind, id), root, scratch)


KEPT = {"identity.json", "how.json", "config.yaml"}


def of_folder(run: RunFolder, root: Path, scratch: Path) -> Staged:
    """The stage in a folder of `scratch`; what it starts from lies below `root`."""
    of = {role: find(root, parent.id) or parent for role, parent in parents_of(run).items()}
    return Staged(Watched(scratch, run.kind, run.id), of)


def runs_model(kind: str) -> bool:
    """Whether stages of a kind train or score a model; those of plugins may."""
    return KINDS[kind].trains or KINDS[kind].settings is not None or kind in ("score", "heldout")


class Watched(RunFolder):
    """A run folder that says when the stage reports progress."""

    told: Any = staticmethod(lambda: None)

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        self.told()


def watched(staged: Staged, watch: Watch) -> str:
    """Run the stage until all units were watched; return what its data were. Raises UserError."""
    config = restored(staged.run, staged.kind.config)
    numerics.begin()
    absent = [role for role, parent in staged.parents.items() if not parent.done]
    fresh = ["pretrain"] if staged.kind.trains and "pretrain" in absent else []  # it may begin with fresh weights
    lacking = [role for role in absent if role not in fresh]
    with watch.phases(phases()), contextlib.suppress(Enough):
        if lacking and not isinstance(config, PretrainStage):
            raise UserError(f"{staged.name} starts from {', '.join(lacking)}, not there yet; {staged.how}.")
        if lacking:
            synthetic(config, staged, watch)
        elif staged.kind.trains:
            _train(config, staged, fresh, watch)
        else:
            _score(config, staged, watch)
    if lacking:
        return f"{MADE_UP} ({', '.join(lacking)} not there)"
    return "its own" + ", fresh weights (no pretrain there)" * bool(fresh)


def phases() -> list[tuple[Any, str, str]]:
    """The functions whose time counts as a phase's: (owner, name, phase)."""
    found = [
        (Loader, "update", DATA),
        (loop, "prepare", DATA),
        (Mixture, "backward", "forward"),
        (torch.autograd, "backward", BACKWARD),
        (FlatAdamW, "zero", "optimizer"),
        (FlatAdamW, "step", "optimizer"),
        (evaluate, "take", DATA),
    ]
    methods = [(AbstractEncoder, "forward", "forward"), (AbstractScored, "inputs", DATA)]
    for base, name, phase in [*methods, (AbstractScored, "predict", "prediction")]:
        found += [(one, name, phase) for one in _subclasses(base) if name in vars(one)]
    return found


def _subclasses(of: type) -> set[type]:
    """All classes that are derived from one."""
    return {found for one in of.__subclasses__() for found in (one, *_subclasses(one))}


def _train(config: Any, staged: Staged, fresh: list[str], watch: Watch) -> None:
    """Updates from the middle of the stage on, where whatever was frozen at first no longer is."""

    def fit(self: Loop, step: int) -> None:
        updates(self, (self.first + self.last) // 2, watch)

    own, Loop.fit = Loop.fit, fit
    try:
        with staged.run.lock():
            staged.kind.run(config, {k: v for k, v in staged.parents.items() if k not in fresh}, staged.run)
    finally:
        Loop.fit = own
    raise UserError(f"{staged.name} runs no update: nothing is trained in it.")


def updates(own: Loop, step: int, watch: Watch) -> None:
    """Run updates from a step on. Raises Enough."""
    own.model.train()
    watch.precision = own.model.encoder.precision
    for number in itertools.count(step):
        watch.begin()
        unit(partial(own.one_update, number))
        watch.end()


def _score(config: Any, staged: Staged, watch: Watch) -> None:
    """Batches of a stage that trains nothing: from where one is taken, or the last report of progress, to a report."""
    taking = False

    def told() -> None:
        watch.end()
        if not taking:
            watch.begin()

    def take(*arguments: Any, **named: Any) -> Any:
        nonlocal taking
        taking = True
        watch.begin()
        return own(*arguments, **named)

    own, evaluate.take = evaluate.take, take
    try:
        _repeated(config, staged, watch, told)
    finally:
        evaluate.take = own


def _repeated(config: Any, staged: Staged, watch: Watch, told: Callable[[], None]) -> None:
    """Run a stage again and again. Raises Enough."""
    watch.precision = getattr(getattr(config, "encoder", None), "precision", "fp32")
    staged.run.told = told
    while True:
        before = watch.done
        with staged.run.lock():
            try:
                unit(lambda: staged.kind.run(config, staged.parents, staged.run))
            finally:
                watch.drop()
        if watch.done == before:
            raise UserError(f"{staged.name} reports no progress by which its work could be divided.")


def synthetic(config: PretrainStage, staged: Staged, watch: Watch) -> None:
    """Pre-train on noise: as much as an update holds, in the lengths that `python -m ablate.bench` uses."""
    words = vocabulary(staged.parents["tokenizer"].identity()["config"]["tokenizer"]["size"])
    model = assembled(config, words)
    for name, one in config.targets.items():
        if one.fitted:
            width = model.encoder.stacked if one.input == "stacked" else model.encoder.width
            model.mixture.targets[name].use(torch.randn(one.entries, width), None)
    model.to(distributed.device())

    def update(step: int, cursors: dict[str, int]) -> tuple[list[Shard], dict[str, int]]:
        return [noise(config, model.mixture.streams, words, step)], cursors

    updates(
        Loop(
            model=model,
            optimizer=FlatAdamW({"all": (list(model.named_parameters()), 1e-4)}, config.optimizer),
            run=staged.run,
            vocabulary=words,
            seed=0,
            first=0,
            last=0,
            factor=lambda step: 1.0,
            fraction=lambda step: dict.fromkeys(config.targets, 0.5),
            update=watch.marked(update, DATA),
        ),
        0,
        watch,
    )


def noise(config: PretrainStage, streams: frozenset[str], words: Vocabulary, step: int) -> dict[str, Batch]:
    """One shard of an update, by stream."""
    of = config.update
    seconds, tokens = (list(WORKLOADS[name].lengths()) for name in ("speech", "text"))

    def taken(lengths: list[float], budget: float) -> list[float]:
        whole: list[float] = []
        for place in range(step, step + 10_000):
            if whole and sum(whole) >= budget:
                break
            whole.append(min(lengths[place % len(lengths)], max(budget - sum(whole), budget / 50)))
        return whole

    speech = [int(100 * s) for s in taken(seconds, of.speech / of.shards)]
    text = [max(3, int(n)) for n in taken(tokens, of.text / of.shards)]
    paired = [int(100 * seconds[(step + i) % len(seconds)]) for i in range(max(1, of.pairs // of.shards))]
    pieces = [max(3, PIECES * n // 100) for n in paired]
    batches = {
        "speech": lambda: made.speech(speech, step),
        "text": lambda: made.text(text, words, step),
        "pair": lambda: made.pair(paired, pieces, words, step),
    }
    return {name: Batch(batches[name]()) for name in streams}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="ablate-profile-") as folder:
        yield Path(folder)
