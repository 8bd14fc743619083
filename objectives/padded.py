"""Packed to padded and back, for the few scores whose library kernels need a rectangle."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from encoders.encoding import Encoding


class Rectangle:
    """Where each packed position lies in a [B, longest] rectangle."""

    def __init__(self, lengths: tuple[int, ...], device: torch.device) -> None:
        self.lengths = lengths
        self.shape = (len(lengths), max(lengths, default=0))
        self.lengths_B = torch.tensor(lengths, dtype=torch.long, device=device)
        columns = torch.arange(self.shape[1], device=device)
        self.mask_BL = columns < self.lengths_B[:, None]
        # from lengths on the CPU, which know how many there are: no GPU is waited for
        inside = np.arange(self.shape[1]) < np.array(lengths, dtype=np.int64)[:, None]
        self.index_N = torch.from_numpy(np.flatnonzero(inside)).to(device)

    def pad(self, x_ND: Tensor, fill: float = 0) -> Tensor:
        """x_ND -> x_BLD, with `fill` beyond each sequence's end (x_N -> x_BL likewise)."""
        flat = x_ND.new_full((self.shape[0] * self.shape[1], *x_ND.shape[1:]), fill)
        return flat.index_copy(0, self.index_N, x_ND).view(*self.shape, *x_ND.shape[1:])

    def pack(self, x_BLD: Tensor) -> Tensor:
        """x_BLD -> x_ND."""
        return x_BLD.flatten(0, 1)[self.index_N]


def segments(encoding: Encoding, modality: str) -> tuple[Tensor, tuple[int, ...]]:
    """Joint vectors of one modality, packed, and the lengths of its segments."""
    layout = encoding.layout
    lengths = tuple(n for n, m in zip(layout.lengths, layout.modalities) if m == modality)
    if len(lengths) == len(layout.lengths):
        return encoding.stages["joint"], lengths
    return encoding.of(modality), lengths
