"""The systems by workload and name; imports of what each needs happen in its own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system under measurement: `make(shape)` gives its training step; peers are also measured on bucketed batches."""

    name: str
    make: Callable[[str], Callable[[list[int]], object]]
    needs: str = ""  # the package it comes from; "": ours
    dtype: str = "float32"


def _ours(workload: str, **changed) -> Callable[[str], Callable]:
    def make(shape: str):
        from ablate.bench import systems

        return systems.ours(workload, shape, **changed)

    return make


def _encoder(name: str) -> Callable[[str], Callable]:
    def make(shape: str):
        from ablate.bench import peers

        return peers.with_our_objective(getattr(peers, name)(shape))

    return make


def _model(name: str) -> Callable[[str], Callable]:
    def make(shape: str):
        from ablate.bench import peers

        return getattr(peers, name)(shape)

    return make


SYSTEMS: dict[str, tuple[System, ...]] = {  # ratios are to the first of each list
    "speech": (
        System("ablate Conformer", _ours("speech")),
        System("ablate Conformer, bf16", _ours("speech", precision="bf16"), dtype="bfloat16"),
        System("ablate Conformer, conv2d front end", _ours("speech", frontend="conv2d")),
        System("HF Wav2Vec2BertModel at 25 Hz, our objective", _encoder("Wav2Vec2Bert"), "transformers"),
        System("HF Wav2Vec2ConformerForPreTraining", _model("wav2vec2_conformer"), "transformers"),
        System("ESPnet ConformerEncoder, our objective", _encoder("ESPnet"), "espnet2"),
    ),
    "text": (
        System("ablate Transformer", _ours("text", block="transformer")),
        System("ablate Transformer, bf16", _ours("text", block="transformer", precision="bf16"), dtype="bfloat16"),
        System("ablate Conformer", _ours("text")),
        System("HF BertForMaskedLM", _model("bert"), "transformers"),
        System("HF ModernBertForMaskedLM", _model("modernbert"), "transformers"),
    ),
}
