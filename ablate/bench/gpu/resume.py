"""Save, kill, resume: nano is trained on made-up batches, killed after a checkpoint, and goes on in a new process."""

from __future__ import annotations

import importlib.util
import multiprocessing
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ablate.bench.gpu import made
from ablate.bench.gpu.report import Report, Skipped
from ablate.store.run import RunFolder
from ablate.training import distributed, numerics
from ablate.training.loop import Loop
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders.batch import Batch
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

SAME = 1e-5  # bound of the first loss after the checkpoint: the same weights on the same batch, relative
SOON = 1e-3  # bound of the few losses up to the kill: the same moments, too
DRIFT = 5e-2  # bound of the losses to the end, on CUDA: sums of many threads differ in their order, updates add that up
WORDS = made.vocabulary(400)

Losses = dict[int, float]  # by update


@dataclass(frozen=True)
class Plan:
    """How many updates there are, after how many the checkpoint is written, and after how many the kill comes."""

    updates: int
    saved: int
    killed: int


FULL, SMALL = Plan(30, 15, 20), Plan(9, 4, 6)


def run(device: torch.device, report: Report) -> None:
    """Compare three runs: one without an interruption, one that is killed, and one that resumes that."""
    if importlib.util.find_spec("safetensors") is None:
        raise Skipped("safetensors is not installed, and checkpoints are written with it")
    plan, exact = (FULL, False) if device.type == "cuda" else (SMALL, True)
    with tempfile.TemporaryDirectory() as folder:
        whole = losses(Path(folder) / "whole", plan)
        killed = losses(Path(folder) / "killed", plan, kill=True)
        resumed = losses(Path(folder) / "killed", plan)
    report.equal("updates before the kill", [min(killed), max(killed)], [0, plan.killed - 1])
    report.equal("updates after it", [min(resumed), max(resumed)], [plan.saved, plan.updates - 1])
    first = {plan.saved: killed[plan.saved]}
    compared = (
        ("two runs that begin alike", whole, killed, DRIFT),
        ("first loss after the checkpoint, of killed and resumed run", first, resumed, SAME),
        ("losses up to the kill, of killed and resumed run", killed, resumed, SOON),
        ("losses to the end, of uninterrupted and resumed run", whole, resumed, DRIFT),
    )
    for name, one, other, bound in compared:
        report.value(name, apart(one, other), "apart", at_most=0.0 if exact else bound)
    report.value("bit-equal to an uninterrupted run", all(whole[step] == loss for step, loss in resumed.items()))


def apart(one: Losses, other: Losses) -> float:
    """The largest relative difference of two runs' losses, over the updates that both made."""
    return max(abs(one[step] - other[step]) / abs(one[step]) for step in one.keys() & other.keys())


def losses(root: Path, plan: Plan, kill: bool = False) -> Losses:
    """Train in a process of its own, and if asked to kill it (SIGKILL) at the plan's update; return its losses."""
    context = multiprocessing.get_context("fork")  # torch is loaded; nothing was computed here yet, nor CUDA started
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(theirs, root, plan))
    process.start()
    theirs.close()
    told: Losses = {}
    try:
        while not kill or len(told) < plan.killed:
            step, loss = ours.recv()
            told[step] = loss
    except EOFError:  # it ended
        process.join()
        if process.exitcode or kill:
            raise RuntimeError(f"The process that trains ended with status {process.exitcode}.") from None
    process.kill()
    process.join()
    return told


def _tell(connection: Connection, root: Path, plan: Plan) -> None:
    for said in train(root, plan):
        connection.send(said)


def train(root: Path, plan: Plan) -> Iterator[tuple[int, float]]:
    """Train the run under `root` from where its checkpoint is; yield each update's number and loss."""
    folder = RunFolder(root, "pretrain", "0" * 12)
    numerics.begin()
    with folder.lock() as held:
        targets = {"learned": TARGETS["learned"]}
        heads = {name: config.build for name, config in OBJECTIVES.items()}
        model = made.model(PRESETS["nano"], heads, targets, WORDS, distributed.device())
        loop = Loop(
            model=model.train(),
            optimizer=FlatAdamW({"all": (model.named_parameters(), 2e-3)}, OptimizerConfig()),
            run=held,
            vocabulary=WORDS,
            seed=0,
            first=0,
            last=plan.updates,
            update=lambda step, cursors: ([batches(step)], {"speech": step + 1}),
            factor=lambda step: min(1.0, (step + 1) / 10),
            fraction=lambda step: {"learned": step / plan.updates},
        )
        first, _ = loop.resume()
        for step in range(first, plan.updates):
            _, _, metrics = loop.one_update(step)
            if step + 1 == plan.saved:
                loop.save(plan.saved)
            yield step, metrics["loss"][0]


def batches(step: int) -> dict[str, Batch]:
    """The shard of an update."""
    frames, tokens = [120, 157, 194], [9, 14, 21]
    return {
        "speech": Batch(made.speech(frames, 2 * step)),
        "text": Batch(made.text(tokens, WORDS, 2 * step)),
        "pair": Batch(made.pair(frames, tokens, WORDS, 2 * step)),
    }
