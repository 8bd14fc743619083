"""The systems by workload; what each needs is imported in its own process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.clusters.cluster import function_named


@dataclass(frozen=True)
class System:
    """A system under measurement; peers are measured on unsorted and on bucketed batches."""

    name: str
    function: str  # "module:function" of this package that makes the training step for a shape
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""  # the package it comes from; "" for ours
    dtype: str = "float32"  # of its matrix products

    def make(self, shape: str) -> Callable[[list[int]], object]:
        """Make the function that trains on a batch of items, given by number."""
        return function_named(f"ablate.bench.{self.function}")(shape=shape, **self.arguments)


HF, ESPNET = "transformers", "espnet2"
SPEECH, TEXT = {"workload": "speech"}, {"workload": "text", "block": "transformer"}
SYSTEMS: dict[str, tuple[System, ...]] = {  # ratios are to the first of each list
    "speech": (
        System("ablate Conformer", "systems:ours", SPEECH),
        System("ablate Conformer, bf16", "systems:ours", SPEECH | {"precision": "bf16"}, dtype="bfloat16"),
        System("ablate Conformer, conv2d front end", "systems:ours", SPEECH | {"frontend": "conv2d"}),
        System("HF Wav2Vec2BertModel at 25 Hz, our objective", "peers:encoder", {"name": "Wav2Vec2Bert"}, HF),
        System("HF Wav2Vec2ConformerForPreTraining", "peers:wav2vec2_conformer", {}, HF),
        System("ESPnet ConformerEncoder, our objective", "peers:encoder", {"name": "ESPnet"}, ESPNET),
    ),
    "text": (
        System("ablate Transformer", "systems:ours", TEXT),
        System("ablate Transformer, bf16", "systems:ours", TEXT | {"precision": "bf16"}, dtype="bfloat16"),
        System("ablate Conformer", "systems:ours", {"workload": "text"}),
        System("HF BertForMaskedLM", "peers:bert", {}, HF),
        System("HF ModernBertForMaskedLM", "peers:modernbert", {}, HF),
    ),
}
