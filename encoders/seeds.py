"""Named random streams: every random number is a function of (seed, stream, step, index).

No generator state is kept, so a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch


def key(seed: int, stream: str, *indices: int) -> int:
    """Hash a seed, a stream's name and any indices (step, item, ...) to a 63-bit key."""
    text = f"{seed}/{stream}/" + "/".join(map(str, indices))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def rng(key: int) -> np.random.Generator:
    """Return a fresh NumPy generator for `key`."""
    return np.random.Generator(np.random.PCG64(key))


def torch_rng(key: int) -> torch.Generator:
    """Return a fresh CPU torch generator for `key`; draw on the CPU and move, so devices agree."""
    return torch.Generator().manual_seed(key)


def uniform(keys: Sequence[int], stream: str, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return `counts[i]` uniform numbers in [0, 1) for each key, packed: a pure function of (key, stream, index).

    One vectorised pass (SplitMix64 in counter mode) instead of one generator per key.
    """
    counts = np.asarray(counts, dtype=np.int64)
    base = _mixed(np.asarray(keys, dtype=np.uint64) ^ _stream_hash(stream))
    index = np.arange(1, counts.sum() + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = _mixed(np.repeat(base, counts) + index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(11)) * 2.0**-53


def normal(keys: Sequence[int], stream: str, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return `counts[i]` standard normal numbers for each key, packed; like `uniform`, by the Box-Muller transform."""
    radius, angle = (uniform(keys, f"{stream}/{part}", counts) for part in ("radius", "angle"))
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)


@cache
def _stream_hash(stream: str) -> np.uint64:
    return np.uint64(key(0, stream))


def _mixed(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: each output bit depends on every input bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
