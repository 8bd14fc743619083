"""Positions: sinusoids added to the input, rotary or content-dependent relative positions inside attention.

Positions restart in each segment, so speech and text of a pair both begin at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoders.batch import Layout

POSITIONS = ("none", "sinusoidal", "rotary", "relative")


def _angles(position_N: Tensor, half: int) -> Tensor:
    rates = 10_000.0 ** -(torch.arange(half, dtype=torch.float32, device=position_N.device) / half)
    return position_N[:, None] * rates


def sinusoids(position_N: Tensor, width: int) -> Tensor:
    """Sinusoids of (possibly negative) positions, x_ND: sines of geometrically decreasing rates, then cosines."""
    angles = _angles(position_N, (width + 1) // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def rotary_table(position_N: Tensor, head_width: int) -> Tensor:
    """Cosines and signed sines with which `rotate` turns queries and keys, x_2N1E."""
    angles = _angles(position_N, head_width // 2)
    cosines, sines = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cosines, cosines], 1), torch.cat([-sines, sines], 1)])[:, :, None]


def rotate(x_NHE: Tensor, table_2N1E: Tensor) -> Tensor:
    """Rotate each head by its position's angles: products of rotated queries and keys depend only on i - j."""
    cosines, sines = table_2N1E.to(x_NHE.dtype)
    return torch.addcmul(x_NHE * cosines, x_NHE.roll(x_NHE.shape[2] // 2, dims=2), sines)


class RelativePositions(nn.Module):
    """Content-dependent relative positions (Transformer-XL): scores (q_i + u)·k_j + (q_i + v)·r_(i-j)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.projection = nn.Linear(width, width, bias=False)
        nn.init.xavier_uniform_(self.projection.weight)
        self.u_HE = nn.Parameter(torch.zeros(heads, width // heads))
        self.v_HE = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, q_NHE: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """Return the queries for the content term and, per sequence, the bias_HLL of the position term."""
        longest = max(layout.lengths)
        distances = torch.arange(1 - longest, longest, device=q_NHE.device)
        r_RHE = self.projection(sinusoids(distances, self.width)).unflatten(1, (self.heads, -1))
        r_HER = (r_RHE * q_NHE.shape[2] ** -0.5).permute(1, 2, 0).to(q_NHE.dtype)
        q_HNE = (q_NHE + self.v_HE).to(q_NHE.dtype).transpose(0, 1)
        positions = layout.position_N.split(layout.sequence_lengths)
        biases = []
        for q_HLE, position_L in zip(q_HNE.split(layout.sequence_lengths, dim=1), positions):
            index_LL = position_L[:, None] - position_L + (longest - 1)
            biases.append(torch.bmm(q_HLE, r_HER).gather(2, index_LL.expand(self.heads, -1, -1)))
        return (q_NHE + self.u_HE).to(q_NHE.dtype), biases
