"""Peak memory and seconds of an update at the paper's size: its objectives, one shard of its update."""

from __future__ import annotations

import gc
import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from ablate.bench.gpu import made
from ablate.bench.gpu.device import synchronize
from ablate.bench.gpu.report import Report
from ablate.planning.size import BYTES_PER_PARAMETER
from ablate.planning.trace import FAKE, on_cuda, traced, with_gradients
from ablate.training import numerics
from ablate.training.loop import Loop, Model, Shard
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders.batch import Batch, Vocabulary
from encoders.presets import PRESETS
from objectives.contrastive import Contrastive
from objectives.masked_speech import MaskedSpeech
from objectives.masked_text import MaskedText
from objectives.objective import ObjectiveConfig
from objectives.quantizer import Learned, TargetsConfig
from objectives.stm import STM
from objectives.tlm import TLM

# Row joint_tlm_stm of sweeps/paper.yaml, which a test holds this against.
OBJECTIVES: dict[str, ObjectiveConfig] = {
    "contrastive": Contrastive.Config(at="speech_tower", diversity=0.1, prob=0.065, span=10),
    "masked_speech": MaskedSpeech.Config(targets="learned", prob=0.065, span=10),
    "masked_text": MaskedText.Config(share=0.15, span=5),
    "tlm": TLM.Config(prob=0.129, speech_span=10, text_span=5),
    "stm": STM.Config(),
}
TARGETS: dict[str, TargetsConfig] = {"learned": Learned.Config(entries=1024, dim=1024)}
PER_SECOND = 1_048_576 / 24_576  # tokens of text beside a second of speech
SECONDS_PER_PAIR = 96.0  # of speech
CPU = torch.device("cpu")
BOUND = 40.0  # GB that the smallest shard may take in bf16: half of an A100


@dataclass(frozen=True)
class Shape:
    """The encoder, and how long what it reads is."""

    preset: str
    pieces: int
    """Of the vocabulary."""
    frames: int
    """Of an utterance, 10 ms each."""
    document: int
    """Tokens of a text."""


PAPER, SMALL = Shape("slam", 32_000, 1200, 128), Shape("nano", 400, 200, 16)


@dataclass(frozen=True)
class Variant:
    """How one update is made."""

    precision: str
    seconds: float
    """Of speech in the shard; text and pairs in the proportion of the paper's update."""
    recompute: bool = False
    bound: float | None = None
    """GB."""

    def __str__(self) -> str:
        return f"{self.precision}, {self.seconds:g} s a shard" + (", recomputed" if self.recompute else "")


VARIANTS = (
    Variant("bf16", 192, bound=BOUND),
    Variant("fp32", 192),
    Variant("bf16", 384),
    Variant("bf16", 192, recompute=True),
    Variant("fp32", 192, recompute=True),
    Variant("bf16", 384, recompute=True),
    Variant("fp32", 384),
    Variant("fp32", 384, recompute=True),
)
FORESEEN = VARIANTS[:3]
SMALL_VARIANTS = (Variant("bf16", 4), Variant("fp32", 4, recompute=True))


def run(device: torch.device, report: Report) -> None:
    """Make two updates of each variant, and measure the second. What does not fit is written down as that.

    Last, because it takes longest, what the planner foresees of some of them.
    """
    on = device.type == "cuda"
    numerics.begin()
    shape = PAPER if on else SMALL
    peaks: dict[Variant, int] = {}
    for variant in VARIANTS if on else SMALL_VARIANTS:
        with report.part(str(variant)):
            try:
                peaks[variant] = update(shape, variant, device, report)
            except torch.OutOfMemoryError:
                report.value(f"{variant}: peak", float("inf"), "GB", at_most=variant.bound)
        gc.collect()
        if on:
            torch.cuda.empty_cache()
    for variant in FORESEEN if on else SMALL_VARIANTS[:1]:
        with report.part(f"{variant}: foreseen"):
            bytes_ = foreseen(shape, variant, on)
            report.value(f"{variant}: foreseen by the planner", bytes_ / 1e9, "GB")
            if on and variant in peaks:
                report.value(f"{variant}: measured, beside what was foreseen", peaks[variant] / bytes_, "times")


def update(shape: Shape, variant: Variant, device: torch.device, report: Report) -> int:
    """Measure one variant and return its peak in bytes; on a CPU that is what the process held at its most."""
    on, words = device.type == "cuda", made.vocabulary(shape.pieces)
    model, part = built(shape, variant, words, device), shard(shape, variant.seconds, words)
    loop = Loop(
        model=model.train(),
        optimizer=FlatAdamW({"all": (model.named_parameters(), 1e-4)}, OptimizerConfig()),
        run=None,
        vocabulary=words,
        seed=0,
        first=0,
        last=2,
        update=lambda step, cursors: ([part], cursors),
        factor=lambda step: 1.0,
        fraction=lambda step: dict.fromkeys(TARGETS, 0.5),
    )
    model.encoder.recompute(variant.recompute)
    loop.one_update(0)  # makes the moments
    synchronize(device)
    if on:
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    _, waited, _ = loop.one_update(1)
    synchronize(device)
    seconds = time.perf_counter() - began
    if on:
        peak = torch.cuda.max_memory_allocated(device)
        report.value(f"{variant}: held between updates", held / 1e9, "GB")
        report.value(f"{variant}: reserved", torch.cuda.max_memory_reserved(device) / 1e9, "GB")
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.value(f"{variant}: peak", peak / 1e9, "GB", at_most=variant.bound)
    report.value(f"{variant}: an update", seconds, "s")
    report.value(f"{variant}: of that, views made on the CPU", waited, "s")
    return peak


def foreseen(shape: Shape, variant: Variant, on_gpu: bool) -> int:
    """Bytes that the planner's trace of this update holds at once, with weights, gradients and moments."""
    words = made.vocabulary(shape.pieces)
    with FAKE:
        model = built(shape, variant, words, CPU)
    views = made.prepared(with_gradients(model).train(), shard(shape, variant.seconds, words), words, CPU)
    progress = dict.fromkeys(TARGETS, 0.5)
    with on_cuda() if on_gpu else nullcontext():
        trace = traced(lambda: model.mixture.backward(model.encoder, views, views.counts, progress, key=1))
    return trace.peak + BYTES_PER_PARAMETER * sum(p.numel() for p in model.parameters())


def built(shape: Shape, variant: Variant, words: Vocabulary, device: torch.device) -> Model:
    """The encoder with the paper's objectives."""
    encoder = replace(PRESETS[shape.preset], precision=variant.precision)
    return made.model(encoder, {name: config.build for name, config in OBJECTIVES.items()}, TARGETS, words, device)


def shard(shape: Shape, seconds: float, words: Vocabulary) -> Shard:
    """A shard with so many seconds of speech."""
    utterances, texts = round(100 * seconds / shape.frames), max(1, round(seconds * PER_SECOND / shape.document))
    pairs = max(2, round(seconds / SECONDS_PER_PAIR))
    return {
        "speech": Batch(made.speech([shape.frames] * utterances, 0)),
        "text": Batch(made.text([shape.document] * texts, words, 0)),
        "pair": Batch(made.pair([shape.frames] * pairs, [shape.document] * pairs, words, 0)),
    }
