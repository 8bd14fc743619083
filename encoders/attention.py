"""Block-diagonal self-attention over packed sequences; the only file that knows xformers.

On CUDA this is one xformers call with a block-diagonal mask; elsewhere one SDPA call per sequence, which is faster on a
CPU than padding or a dense mask, and makes a sequence's result bit-equal whatever its neighbours are. (Looping over the
fused CPU kernels in an autograd function of our own was measured at the smallest shapes and gained nothing.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.batch import Layout


def attention(
    q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout, bias_HLL: Sequence[Tensor] | None = None
) -> Tensor:
    """Attend within each sequence of `layout`; returns x_NHE.

    `bias_HLL` holds one [H, L, L] per sequence, added to the scaled scores; with it, SDPA runs on every device.
    """
    if q_NHE.is_cuda and bias_HLL is None:
        return _block_diagonal(q_NHE, k_NHE, v_NHE, layout)
    # split, not narrow: one backward op for all sequences, instead of a full-size tensor of zeros for each
    q, k, v = (x.transpose(0, 1)[None].split(layout.sequence_lengths, dim=2) for x in (q_NHE, k_NHE, v_NHE))
    biases = bias_HLL if bias_HLL is not None else (None,) * len(q)
    attended = [
        F.scaled_dot_product_attention(*qkv, attn_mask=bias) for *qkv, bias in zip(q, k, v, biases, strict=True)
    ]
    return torch.cat(attended, dim=2)[0].transpose(0, 1)


def _block_diagonal(q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout) -> Tensor:
    from xformers.ops import memory_efficient_attention

    width = q_NHE.shape[2]
    q, k, v = q_NHE[None], k_NHE[None], v_NHE[None]
    if width % 8:  # the kernels need multiples of 8
        q, k, v = (F.pad(x, (0, -width % 8)) for x in (q, k, v))
    mask = block_diagonal_mask(layout.sequence_lengths, q_NHE.device)
    return memory_efficient_attention(q, k, v, attn_bias=mask, scale=width**-0.5)[0, ..., :width]


@lru_cache(maxsize=32)  # every layer of a pass uses the same mask
def block_diagonal_mask(lengths: tuple[int, ...], device: torch.device):
    """The xformers mask with which each of consecutive sequences of `lengths` attends only to itself."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    return BlockDiagonalMask.from_seqlens(list(lengths), device=device)
