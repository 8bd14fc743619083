"""Estimates the cost of stages in seconds, from finished stages of the same shape, else from updates and sizes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from ablate.data.streams import STREAMS
from ablate.store.record import read_json
from ablate.store.stage import Stage
from ablate.tasks.task import TaskConfig
from ablate.training.update import Update
from encoders.encoder import EncoderConfig

KERNEL, ROUNDS = 0.0105, 5  # processor seconds of what `speed` computes on that core, and how often it does
PASS = 4e-3  # fixed seconds of one forward and backward pass through one layer, added to its arithmetic
RATE = 2.6e10  # floating-point operations per second of one core
START, TOKENIZER, KMEANS, HELDOUT = 0.2, 0.5, 5.0, 0.5  # seconds
RECORDING, ROW, TEXT, ITEM = 3e-3, 2e-4, 2e-5, 1.2e-3  # seconds of one: decoded, written, as ids, decoded and scored
UNKNOWN = 1000  # rows of a table whose size is not known
BATCH = 16  # items that are scored at a time
MEASURED, COMPARED = 0.4, 0.6  # doubt of costs from finished stages of equal shape, and from those of the same sort
LENGTH = (
    "seed",
    "start",
    "steps",
    "horizon",
    "joined",
    "phase",
    "optimizer",
)  # settings of a config on which the duration of an update does not depend


@dataclass(frozen=True)
class Known:
    """What durations are estimated from, beside operations."""

    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds of finished stages, by id."""
    paces: Callable[[], Mapping[str, float]] = dict
    """Seconds per update by shape."""
    slower: Callable[[], float] = lambda: 1.0
    """How many times slower this machine is than the one for which operations were measured."""

    @staticmethod
    def of(root: Path) -> Known:
        """What the finished stages under `root` and this machine tell."""
        return Known(timings(root), lambda: paces(root), speed)


NOTHING = Known()


def speed() -> float:
    """Return how many times slower a core of this machine is than the one for which PASS and RATE were measured: by a
    tenth of a second of small products, forward and backward, in processor time, so that other work does not count.
    """
    x_ND, w_ED = torch.ones(200, 64), torch.full((256, 64), 0.01, requires_grad=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(1 + ROUNDS):  # the first makes things ready
            began = time.process_time()
            for _ in range(20):
                y_ND = torch.nn.functional.gelu(x_ND @ w_ED.T) @ w_ED
                torch.nn.functional.layer_norm(y_ND, (64,)).sum().backward()
            times.append(time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    return min(times[1:]) / KERNEL


def timings(root: Path) -> dict[str, float]:
    """Return how many seconds each finished stage under `root` took, by id."""
    results = {path.parent.name: _read(path) for path in root.glob("*/??/*/result.json")}
    return {id: result.get("seconds", 0.0) for id, result in results.items() if result}


def _read(path: Path) -> dict[str, object]:
    """Read a record; {} if it is damaged or missing. Estimates can do without it, and other readers report it."""
    try:
        return read_json(path)
    except (ValueError, FileNotFoundError):
        return {}


def paces(root: Path) -> dict[str, float]:
    """Return seconds per update by shape: the median over the finished stages under `root`."""
    by_shape: dict[str, list[float]] = {}
    for kind in ("pretrain", "finetune"):
        for path in root.glob(f"{kind}/??/*/result.json"):
            config, result = _read(path.with_name("identity.json")).get("config", {}), _read(path)
            if result and (steps := config.get("task", config).get("steps")):
                before = result.get("continued", {}).get("steps", 0)  # updates of a shorter trunk that it continued
                by_shape.setdefault(shape(kind, config), []).append(result["seconds"] / (steps - before))
    return {key: median(values) for key, values in by_shape.items()}


def shape(kind: str, config: Mapping[str, object]) -> str:
    """Return a key of what the duration of an update depends on: the config without seed, length and learning rates."""
    kept = {key: value for key, value in config.items() if key not in LENGTH}
    if "task" in kept:
        kept["task"] = {key: value for key, value in kept["task"].items() if key not in ("steps", "lr", "head_lr")}
    return kind + json.dumps(kept, sort_keys=True)


def pretrain(encoder: EncoderConfig, streams: Iterable[str], update: Update, steps: int) -> float:
    """Estimate the core-seconds of `steps` updates with one encoder pass for each of `streams`."""
    sizes = [STREAMS[name].positions_per_unit * STREAMS[name].of(update) for name in streams]
    return START + steps * sum(_pass(encoder, positions) for positions in sizes)


def finetune(encoder: EncoderConfig, task: TaskConfig, reads: str) -> float:
    """Estimate the core-seconds of all updates of fine-tuning on items of the stream `reads`."""
    return START + task.steps * _pass(encoder, task.items * STREAMS[reads].positions_per_item)


def rows(count: int, each: float) -> float:
    """Estimate the core-seconds of a stage that handles `count` rows (0: unknown), in `each` seconds a row."""
    return START + each * (count or UNKNOWN)


def score(encoder: EncoderConfig, reads: str, count: int) -> float:
    """Estimate the core-seconds of scoring `count` items (0: unknown) of the stream `reads`, without gradients."""
    batches = (count or UNKNOWN) / BATCH
    return rows(count, ITEM) + batches * _pass(encoder, BATCH * STREAMS[reads].positions_per_item) / 3


def _pass(encoder: EncoderConfig, positions: float) -> float:
    """Estimate the seconds of a forward and backward pass."""
    layers, width = encoder.layers_and_width()
    return layers * (PASS + 6 * positions * 12 * width**2 / RATE)


def scaled(stages: Mapping[str, Stage], known: Known, here: bool = False) -> dict[str, Stage]:
    """Replace the estimated costs of stages by better ones where finished stages allow it, and say how good they are.

    A finished stage gets its own time, and a stage of a known shape that shape's pace. Other costs are scaled by the
    median ratio of measured to estimated time of stages of the same sort, or else, of stages that run `here`, by how
    slow this machine is. All costs are in seconds. Stages are `alike` by whether they run a model or handle data, by
    kind, by sort and by shape.
    """
    timings = known.timings
    ratios: dict[tuple[str, str], list[float]] = {}
    for id in timings.keys() & stages.keys():
        if stages[id].cost > 0:
            ratios.setdefault(_sort(stages[id]), []).append(timings[id] / stages[id].cost)
    factors = {sort: median(values) for sort, values in ratios.items()}
    missing = stages.keys() - timings.keys()
    paces = known.paces() if missing else {}
    slower = known.slower() if here and any(_sort(stages[id]) not in factors for id in missing) else 1.0

    def better(stage: Stage) -> Stage:
        of, sort = shape(stage.kind, stage.config), _sort(stage)
        if stage.id in timings:
            cost, doubt = timings[stage.id], MEASURED
        elif stage.steps and of in paces:
            cost, doubt = paces[of] * stage.steps, MEASURED
        else:
            cost, doubt = stage.cost * factors.get(sort, slower), COMPARED if sort in factors else 1.0
        digest = hashlib.blake2b(of.encode(), digest_size=8).hexdigest()
        group = "model" if stage.steps else "data"
        return dataclasses.replace(stage, cost=cost, doubt=doubt, alike=(group, *sort, digest))

    return {id: better(stage) for id, stage in stages.items()}


def _sort(stage: Stage) -> tuple[str, str]:
    return stage.kind, stage.config.get("task", {}).get("type", "")
