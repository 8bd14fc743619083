"""Estimates time and memory of training stages on the requested machines, and checks that the memory is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ablate.clusters.resources import Resources
from ablate.data.streams import STREAMS
from ablate.errors import UserError
from ablate.planning import cost, size
from ablate.planning.size import Sizes, length, short
from ablate.stages.pretrain import PretrainStage
from ablate.sweepfile.row import Row, owner
from ablate.tasks.task import TaskConfig
from encoders.encoder import EncoderConfig

if TYPE_CHECKING:  # loaded where something is traced
    from ablate.planning.step import Step

SPARE = 1.05  # of what is traced: allocators round up and leave gaps
HEADS = 1.15  # the same of fine-tuning, whose heads are not traced
LEFT_OUT = {
    "shared_parameters": "gradients of objectives are not compared",
    "parts": "the memory of an update is not estimated",
    "recompute": "a stage that runs out of memory is not retried with less",
}


@dataclass(frozen=True)
class Estimate:
    """Of a training stage."""

    seconds: float
    bytes: float = 0.0
    """Of a process; 0 if that is not estimated."""
    gpu_hours: Mapping[str, float] = field(default_factory=dict)
    """By kind of GPU; empty if not estimated."""


class Estimator:
    """Estimates seconds and bytes of training stages.

    Sizes are estimated only for clusters that request resources, and for encoders that need a GPU; then by tracing an
    update, which takes seconds.
    """

    def __init__(self, resources: Resources):
        self.wants = None
        if resources.asks:
            self.wants = {kind: resources.wanted(kind) for kind in ("pretrain", "finetune")}

    def pretrain(self, row: Row, streams: Sequence[str], of: PretrainStage, title: str) -> Estimate:
        """Estimate the updates of a stage, with one pass for each of `streams`.

        Raises UserError if the memory exceeds what the sweep requests.
        """
        update = row.update
        holds = [(name, STREAMS[name].of(update)) for name in streams]
        seconds = cost.pretrain(row.encoder, streams, update, of.steps)
        if not of.steps or not self._sized(row):
            return Estimate(seconds)
        fix = f"cut an update into more pieces (pretrain.update.shards, now {update.shards})"
        gpus = self._gpus("pretrain")
        if not gpus and not large(row.encoder):
            return self._small("pretrain", row, holds, update.shards, seconds, title, fix)
        from ablate.planning import step

        sizes = Sizes(
            update.speech / update.shards,
            max(1, round(update.text / update.shards)),
            max(1, round(update.pairs / update.shards)),
            *row.data.lengths(),
        )
        one = step.pretrain(of, pieces(row), sizes, self._cuda("pretrain"))
        return self._traced("pretrain", one, update.shards, of.steps, seconds, SPARE, title, fix)

    def finetune(self, row: Row, task: TaskConfig, title: str) -> Estimate:
        """Estimate a task's fine-tuning to its last update.

        Raises UserError if the memory exceeds what the sweep requests.
        """
        reads = owner(task).reads
        lengths = row.data.lengths()
        holds = [(reads, task.items * length(reads, *lengths))]
        seconds = cost.finetune(row.encoder, task, reads)
        if not task.steps or not self._sized(row):
            return Estimate(seconds)
        fix = f"train on fewer items at a time (tasks.{task.table}.items, now {task.items})"
        if not self._gpus("finetune") and not large(row.encoder):
            return self._small("finetune", row, holds, 1, seconds, title, fix)
        from ablate.planning import step

        utterance, document = lengths
        sizes = Sizes(task.items * utterance, task.items * document, task.items, utterance, document)
        one = step.finetune(row.encoder, pieces(row), sizes, reads, self._cuda("finetune"))
        return self._traced("finetune", one, 1, task.steps, seconds, HEADS, title, fix)

    def kept(self, row: Row, goes_on: bool) -> float:
        """Return the bytes of a model on disk, its heads not counted.

        If training `goes_on` from it, the moments of the optimizer are included.
        """
        if owner(row.encoder).offers("parts"):
            count = size.parameters(row.encoder, pieces(row))
        else:
            layers, width = row.encoder.layers_and_width()
            count = 12 * layers * width**2
        return 4.0 * count * (3 if goes_on else 1)

    def left_out(self, encoders: Iterable[EncoderConfig]) -> Iterator[str]:
        """Yield a note for each optional part that an encoder (config) lacks, with what is left out for that reason.

        Parts that matter only to clusters that request resources are noted only for these.
        """
        for cls in dict.fromkeys(map(owner, encoders)):
            for part, what in LEFT_OUT.items():
                if not cls.offers(part) and (part == "shared_parameters" or self.wants is not None):
                    yield f"Encoder {cls.__name__} has no {part}: {what}."

    def _sized(self, row: Row) -> bool:
        """Whether a stage of the row is looked into."""
        return owner(row.encoder).offers("parts") and (self.wants is not None or large(row.encoder))

    def idle(self) -> Iterator[str]:
        """Yield a note for each kind of stage that asks for more GPUs than its processes use."""
        for kind, wants in (self.wants or {}).items():
            gpus, tasks = wants.get("gpus", 0), wants.get("tasks", 1)
            if gpus > tasks:
                yield (
                    f"A {kind} stage asks for {gpus} GPUs of a node and runs as {tasks} process{'es' * (tasks > 1)}, "
                    f"each using one; set resources.{kind}.tasks to {gpus}, or resources.{kind}.gpus to {tasks}."
                )

    def _gpus(self, kind: str) -> int:
        """How many GPUs of a node a run of a kind of stage asks for."""
        return self.wants[kind].get("gpus", 0) if self.wants else 0

    def _cuda(self, kind: str) -> bool:
        """Whether to trace what a GPU would run: where one is asked for, and where nothing is asked for."""
        return self.wants is None or self._gpus(kind) > 0

    def _small(
        self,
        kind: str,
        row: Row,
        holds: Iterable[tuple[str, float]],
        shards: int,
        seconds: float,
        title: str,
        fix: str,
    ) -> Estimate:
        """On CPUs, of an encoder of which one sequence tells enough."""
        wants = self.wants[kind]
        update = size.update(row.encoder, pieces(row), tuple(holds), shards, *row.data.lengths())
        _fits(update.bytes, update.parameters, wants, f"{kind} {title}", fix)
        return Estimate(seconds / _processes(wants, shards), update.bytes)

    def _traced(
        self, kind: str, one: Step, shards: int, steps: int, seconds: float, spare: float, title: str, fix: str
    ) -> Estimate:
        """Of a traced shard."""
        from ablate.planning import roofline, step

        wants, gpus = self.wants[kind] if self.wants else {}, self._gpus(kind)
        ranks = _processes(wants, shards)  # each on a GPU of its own
        held = size.BASE + spare * (one.bytes + (4 * one.parameters if shards > ranks else 0))  # earlier shards' sum
        _fits(held, one.parameters, wants, f"{kind} {title}", fix)
        ends = step.optimizer(one.parameters)
        busy = {
            key: steps * (shards * device.seconds(one.operations) + ranks * device.seconds(ends))
            for key, device in roofline.DEVICES.items()
        }
        if gpus and "gpu_tflops" in wants:
            seconds = steps * shards * one.flops / (1e12 * wants["gpu_tflops"] * ranks)
        elif gpus:
            seconds = cost.START + busy[roofline.named(wants.get("gpu_type", ""))] / ranks
        else:
            seconds /= ranks
        hours = {key: spent / 3600 for key, spent in busy.items()} if self._cuda(kind) else {}
        return Estimate(seconds, held if self.wants else 0.0, hours)


def _processes(wants: Mapping[str, float], shards: int) -> int:
    return min(shards, wants.get("tasks", 1) * wants.get("nodes", 1))


def large(encoder: EncoderConfig) -> bool:
    """Whether an encoder is of a size that only GPUs train."""
    layers, width = encoder.layers_and_width()
    return 12 * layers * width**2 > size.SMALL


def pieces(row: Row) -> int:
    """Return an upper bound on the size of a row's vocabulary."""
    return row.tokenizer.size + 256 * row.tokenizer.bytes


def _fits(needs: float, parameters: int, wants: Mapping[str, float], what: str, fix: str) -> None:
    """Raise UserError if a process needs more memory, in bytes, than its job requests."""
    name = "gpu_gb" if wants.get("gpus") else "mem_gb"
    asked = wants.get(name, 0) * 1e9 / (1 if name == "gpu_gb" else wants.get("tasks", 1))
    if asked and needs > asked:
        raise UserError(
            f"{what} needs about {needs / 1e9:.1f} GB in each process ({short(parameters)} parameters), but "
            f"resources.{name} allows {asked / 1e9:.1f} GB; ask for more, or {fix}."
        )
