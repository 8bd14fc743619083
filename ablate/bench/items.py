"""What every system trains on: the same utterances and documents, in random batches or batches of similar length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablate.data.audio import RATE
from encoders import seeds

VOCABULARY = 32_000


@dataclass(frozen=True)
class Workload:
    """`items` items in batches of `batch`; lengths are log-normal around `median`, clipped to [`least`, `most`]."""

    unit: str
    items: int
    batch: int
    median: float
    sigma: float
    least: float
    most: float

    def lengths(self) -> np.ndarray:
        """Lengths of the items in units; always the same."""
        drawn = self.median * np.exp(
            self.sigma * seeds.rng(seeds.key(0, f"bench/{self.unit}")).standard_normal(self.items)
        )
        return drawn.clip(self.least, self.most)

    def batches(self, bucketed: bool) -> list[list[int]]:
        """The items in batches, in the given order or grouped by length, as by a loader with length buckets."""
        order = np.argsort(self.lengths(), kind="stable") if bucketed else np.arange(self.items)
        return order.reshape(-1, self.batch).tolist()


WORKLOADS = {
    "speech": Workload("audio-s", 16, 4, 6.0, 0.6, 2.0, 16.0),
    "text": Workload("tokens", 64, 16, 90.0, 0.9, 16.0, 512.0),
}


def waves(batch: list[int]) -> list[np.ndarray]:
    """The utterances of a batch: noise with each one's length at 16 kHz, float32."""
    samples = (WORKLOADS["speech"].lengths() * RATE).astype(int)
    return [seeds.rng(seeds.key(0, "bench/wave", i)).standard_normal(samples[i], dtype=np.float32) * 0.1 for i in batch]


def documents(batch: list[int], specials: int) -> list[np.ndarray]:
    """The documents of a batch: ids with each one's length, none of them a special token."""
    tokens = WORKLOADS["text"].lengths().astype(int)
    return [seeds.rng(seeds.key(0, "bench/text", i)).integers(specials, VOCABULARY, tokens[i]) for i in batch]
