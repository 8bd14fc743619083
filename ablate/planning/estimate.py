"""Estimates time and memory of training stages on the requested machines, and checks that the memory is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ablate.clusters.resources import Resources
from ablate.data.streams import STREAMS
from ablate.errors import UserError
from ablate.planning import cost
from ablate.planning.size import length, short
from ablate.sweepfile.row import Row, owner
from ablate.tasks.task import TaskConfig
from encoders.encoder import EncoderConfig

LEFT_OUT = {
    "shared_parameters": "gradients of objectives are not compared",
    "parts": "the memory of an update is not estimated",
    "recompute": "a stage that runs out of memory is not retried with less",
}


class Estimator:
    """Estimates seconds and bytes of training stages. Memory is estimated only for clusters that request resources."""

    def __init__(self, resources: Resources):
        self.wants = None
        if resources.asks:
            self.wants = {kind: resources.wanted(kind) for kind in ("pretrain", "finetune")}

    def pretrain(self, row: Row, streams: Sequence[str], steps: int, title: str) -> tuple[float, float]:
        """Return seconds, and bytes of memory per process, of `steps` updates with one pass for each of `streams`.

        Raises UserError if the memory exceeds what the sweep requests.
        """
        update = row.update
        holds = [(name, STREAMS[name].of(update)) for name in streams]
        seconds = cost.pretrain(row.encoder, streams, update, steps)
        fix = f"cut an update into more pieces (pretrain.update.shards, now {update.shards})"
        return self._sized("pretrain", row, holds if steps else (), update.shards, steps, seconds, title, fix)

    def finetune(self, row: Row, task: TaskConfig, title: str) -> tuple[float, float]:
        """Return seconds, and bytes of memory per process, of a task's fine-tuning.

        Raises UserError if the memory exceeds what the sweep requests.
        """
        reads = owner(task).reads
        holds = [(reads, task.items * length(reads, *row.data.lengths()))]
        fix = f"train on fewer items at a time (tasks.{task.table}.items, now {task.items})"
        return self._sized("finetune", row, holds, 1, task.steps, cost.finetune(row.encoder, task, reads), title, fix)

    def kept(self, row: Row, goes_on: bool) -> float:
        """Return the bytes of a model on disk, its heads not counted.

        If training `goes_on` from it, the moments of the optimizer are included.
        """
        if owner(row.encoder).offers("parts"):
            from ablate.planning import size

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

    def _sized(
        self,
        kind: str,
        row: Row,
        holds: Iterable[tuple[str, float]],
        shards: int,
        steps: int,
        seconds: float,
        title: str,
        fix: str,
    ) -> tuple[float, float]:
        if self.wants is None or not holds or not owner(row.encoder).offers("parts"):
            return seconds, 0.0
        from ablate.planning import size

        wants = self.wants[kind]
        update = size.update(row.encoder, pieces(row), tuple(holds), shards, *row.data.lengths())
        _fits(update.bytes, update.parameters, wants, f"{kind} {title}", fix)
        gpus = wants.get("gpus", 0) * wants.get("nodes", 1)
        if gpus and "gpu_tflops" in wants:
            seconds = cost.START + steps * update.flops / (1e12 * wants["gpu_tflops"] * min(gpus, shards))
        else:
            seconds /= min(shards, wants.get("tasks", 1) * wants.get("nodes", 1))
        return seconds, update.bytes


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
