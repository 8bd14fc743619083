"""Every objective on the CPU and on the device: the same weights and batch give the same loss and gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ablate.bench.gpu import made
from ablate.bench.gpu.device import tf32
from ablate.bench.gpu.report import Report
from ablate.training.loop import Model, Shard
from encoders.batch import Batch
from encoders.blocks import BLOCKS, NORMS, PARTS
from encoders.frontend import FRONT_ENDS
from encoders.positions import POSITIONS
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.classification import Classification
from objectives.ctc import CTC
from objectives.sequence import Sequence
from objectives.targets import TARGETS
from objectives.transducer import Transducer

LOSS, COSINE = 1e-4, 0.999  # bounds in fp32: difference of the losses, relative; cosine of the gradients
WORDS = made.vocabulary(400)
CPU = torch.device("cpu")
LABELS = ("yes", "no", "perhaps")


@dataclass(frozen=True)
class Case:
    """An objective on an encoder that differs from nano in some settings."""

    name: str
    build: made.Build
    changed: Mapping[str, Any] = field(default_factory=dict)


def cases() -> Iterator[Case]:
    """Every objective, with every kind of speech targets; every supervised head; every kind of encoder part, under TLM,
    which reads speech and text.
    """
    for name, config in OBJECTIVES.items():
        yield Case(name, config.build)
    for codes in TARGETS:
        if codes not in OBJECTIVES["masked_speech"].needs:
            yield Case(f"masked_speech of {codes}", replace(OBJECTIVES["masked_speech"], targets=codes).build)
    yield Case("ctc", CTC.Config(dropout=0).build)
    yield Case("transducer", Transducer.Config(dropout=0).build)
    yield Case("decoder on text", Sequence.Config(dropout=0).build)
    yield Case("decoder that copies", Sequence.Config(dropout=0, copying=0.5).build)
    yield Case("decoder on speech, with ctc", Sequence.Config(reads="speech", dropout=0, ctc=0.5).build)
    yield Case("classification", partial(Classification.Config(dropout=0).build, labels=LABELS))
    yield Case("regression", Classification.Config(reads="speech", dropout=0).build)
    nano, tlm = PRESETS["nano"], OBJECTIVES["tlm"].build
    parts = {"frontend": FRONT_ENDS, "positions": POSITIONS, "conv_norm": NORMS, "block": BLOCKS}
    for part, kinds in parts.items():
        for kind in kinds:
            if kind != getattr(nano, part):
                yield Case(f"tlm, {part} {kind}", tlm, {part: kind})
    yield Case("tlm, parts per modality", tlm, {"per_modality": PARTS, "segment_embedding": True})


def run(device: torch.device, report: Report) -> None:
    """Compare in fp32, within bounds, and in bf16."""
    tf32(False)
    shard = batches(small=device.type == "cpu")
    for case in cases():
        with report.part(case.name):
            wanted_loss, wanted = scored(model(case, "fp32"), shard, CPU)
            for precision in ("fp32", "bf16"):
                loss, gradient = scored(model(case, precision).to(device), shard, device)
                strict = precision == "fp32"
                report.value(
                    f"{case.name}, {precision}: loss",
                    abs(loss - wanted_loss) / abs(wanted_loss),
                    "relative",
                    at_most=LOSS if strict else None,
                )
                cosine = torch.nn.functional.cosine_similarity(gradient, wanted, dim=0).item()
                report.value(
                    f"{case.name}, {precision}: gradient", cosine, "cosine", at_least=COSINE if strict else None
                )


def model(case: Case, precision: str) -> Model:
    """The model of a case on the CPU; its weights are the same in any precision."""
    encoder = replace(PRESETS["nano"], **case.changed, precision=precision)
    return made.model(encoder, {"it": case.build}, TARGETS, WORDS, CPU)


def batches(small: bool) -> Shard:
    """One shard: utterances of 1 to 6 s, texts of 8 to 60 pieces, and pairs; with all that supervised heads read."""
    count = 4 if small else 16
    frames = [120 + 37 * (i % 5) for i in range(count)] if small else [100 + 33 * i for i in range(count)]
    tokens = [8 + 7 * (i % 3) if small else 8 + 3 * i for i in range(count)]
    written = made.text([6 + i % 4 for i in range(count)], WORDS, seed=9, ends=False)
    references = {"transcript": written, "target": written}
    labels = [LABELS[i % len(LABELS)] for i in range(count)]
    return {
        "speech": Batch(made.speech(frames, 0), {**references, "label": [i / count for i in range(count)]}),
        "text": Batch(made.text(tokens, WORDS, 0), {**references, "label": labels}),
        "pair": Batch(made.pair(frames, tokens, WORDS, 0)),
    }


def scored(built: Model, shard: Shard, device: torch.device) -> tuple[float, Tensor]:
    """The loss, and the gradient of all parameters as one vector, on the CPU in double precision."""
    built.train()
    views = made.prepared(built, {name: shard[name] for name in built.mixture.streams}, WORDS, device)
    progress = dict.fromkeys(built.mixture.targets, 0.5)
    loss, _ = built.mixture(built.encoder, views, views.counts, progress, key=1)
    loss.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in built.parameters()]
    return loss.item(), torch.cat([part.flatten().double().cpu() for part in parts])
