"""A layer of a Transformer decoder over a padded encoding, and the positions of its output."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Memory(NamedTuple):
    """What a decoder layer attends to in the encoding: keys and values [B, H, L, E], and which positions are real."""

    k_BHLE: Tensor
    v_BHLE: Tensor
    real_B11L: Tensor


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoding, and feed-forward, each a pre-norm residual branch."""

    def __init__(self, width: int, heads: int, ffn: int, memory: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(memory, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.up = nn.Linear(width, ffn)
        self.down = nn.Linear(ffn, width)
        self.dropout = nn.Dropout(dropout)

    def memory(self, x_BLD: Tensor, real_BL: Tensor) -> Memory:
        """Project the padded encoding once for all steps."""
        k, v = rearrange(self.kv(x_BLD), "B L (two H E) -> two B H L E", two=2, H=self.heads)
        return Memory(k, v, real_BL[:, None, None])

    def forward(self, x_RUD: Tensor, memory: Memory, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode; returns the output and the keys and values so far, [2, R, H, U, E], for the next step.

        Without `past`, all U positions at once under a causal mask; with it, one position that follows it. R may be
        a multiple of B (hypotheses of one sequence are adjacent): they share that sequence's memory.
        """
        qkv = rearrange(self.qkv(self.norms[0](x_RUD)), "R U (three H E) -> three R H U E", three=3, H=self.heads)
        q_RHUE, now = qkv[0], qkv[1:]
        if past is not None:
            now = torch.cat([past, now], 3)
        y_RHUE = F.scaled_dot_product_attention(q_RHUE, now[0], now[1], is_causal=past is None)
        x_RUD = x_RUD + self.dropout(self.self_out(rearrange(y_RHUE, "R H U E -> R U (H E)")))
        # The hypotheses of a sequence become queries of one attention, so its memory is never copied.
        B = memory.k_BHLE.shape[0]
        q_BHQE = rearrange(self.q(self.norms[1](x_RUD)), "(B K) U (H E) -> B H (K U) E", B=B, H=self.heads)
        y_BHQE = F.scaled_dot_product_attention(q_BHQE, memory.k_BHLE, memory.v_BHLE, attn_mask=memory.real_B11L)
        y_RUD = rearrange(y_BHQE, "B H (K U) E -> (B K) U (H E)", U=x_RUD.shape[1])
        x_RUD = x_RUD + self.dropout(self.cross_out(y_RUD))
        return x_RUD + self.dropout(self.down(F.relu(self.up(self.norms[2](x_RUD))))), now


def sinusoids(start: int, length: int, width: int) -> Tensor:
    """Sine and cosine positions [length, width], from position `start` (Vaswani et al. 2017)."""
    angle = torch.arange(start, start + length)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    )
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
