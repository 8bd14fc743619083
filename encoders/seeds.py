"""Named random streams: every random number is a function of (seed, stream, step, index).

Nothing keeps generator state, so a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

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
