"""Attention within the sequences of a packed batch, by each of the libraries that have it; the only file that knows
xformers.

Each function takes q, k and v as x_NHE and the layout, and returns x_NHE. What it derives from the layout is made once
per layout, so that no layer waits for the device.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.batch import Layout


def one_by_one(
    q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout, bias_HLL: Sequence[Tensor] | None = None
) -> Tensor:
    """A call of SDPA per sequence: on a CPU faster than padding or a dense mask, and a sequence's result is bit-equal
    whatever its neighbours are. `bias_HLL` holds one [H, L, L] per sequence, added to the scaled scores.
    """
    # split, not narrow: one backward op for all sequences, instead of a full-size tensor of zeros for each
    q, k, v = (x.transpose(0, 1)[None].split(layout.sequence_lengths, dim=2) for x in (q_NHE, k_NHE, v_NHE))
    biases = bias_HLL if bias_HLL is not None else (None,) * len(q)
    attended = [
        F.scaled_dot_product_attention(*qkv, attn_mask=bias) for *qkv, bias in zip(q, k, v, biases, strict=True)
    ]
    return torch.cat(attended, dim=2)[0].transpose(0, 1)


def padded(q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout) -> Tensor:
    """A call of SDPA per bucket of sequences of similar length, padded to the longest of the bucket."""
    padding, width = layout.derived(Padding.of), q_NHE.shape[2]

    def spread(x_NHE: Tensor) -> tuple[Tensor, ...]:
        x_NHE = _widened(x_NHE)
        rows = x_NHE.new_zeros(padding.rows, *x_NHE.shape[1:]).index_copy(0, padding.row_N, x_NHE)
        return rows.split([bucket.rows for bucket in padding.buckets])

    attended = []
    for bucket, *qkv in zip(padding.buckets, spread(q_NHE), spread(k_NHE), spread(v_NHE)):
        qkv = [x.unflatten(0, (bucket.sequences, bucket.longest)).transpose(1, 2) for x in qkv]
        x_BHLE = F.scaled_dot_product_attention(*qkv, attn_mask=bucket.real_B11L, scale=width**-0.5)
        attended.append(x_BHLE.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).index_select(0, padding.row_N)[..., :width]


def varlen(q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout) -> Tensor:
    """torch's flash attention over packed sequences."""
    from torch.nn.attention.varlen import varlen_attn

    borders, longest = layout.cu_seqlens, max(layout.sequence_lengths)
    return varlen_attn(q_NHE, k_NHE, v_NHE, borders, borders, longest, longest)


def xformers(q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout) -> Tensor:
    """xformers' attention under a block-diagonal mask."""
    from xformers.ops import memory_efficient_attention

    width, mask = q_NHE.shape[2], layout.derived(block_diagonal_mask)
    q, k, v = (_widened(x)[None] for x in (q_NHE, k_NHE, v_NHE))
    return memory_efficient_attention(q, k, v, attn_bias=mask, scale=width**-0.5)[0, ..., :width]


def block_diagonal_mask(layout: Layout):
    """The xformers mask with which each sequence attends only to itself."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    return BlockDiagonalMask.from_seqlens(list(layout.sequence_lengths), device=layout.device)


def xformers_fault() -> str:
    """Why xformers' CUDA extension does not load here; "" if it does, or if that is not known."""
    logging.getLogger("xformers").setLevel(logging.ERROR)  # it warns of what is said here
    try:
        from xformers import _cpp_lib
    except ImportError as error:
        return f"it cannot be imported ({error})"
    if (fault := _cpp_lib._cpp_library_load_exception) is None:
        return ""
    built = getattr(getattr(fault, "build_info", None), "torch_version", None)
    return f"its extension is built for torch {built}, this is {torch.__version__}" if built else str(fault)


def _widened(x_NHE: Tensor) -> Tensor:
    """Heads padded with zeros to a multiple of 8, which kernels need."""
    return F.pad(x_NHE, (0, -x_NHE.shape[2] % 8)) if x_NHE.shape[2] % 8 else x_NHE


@dataclass(frozen=True)
class Bucket:
    """Sequences that are padded to one length."""

    sequences: int
    longest: int
    real_B11L: Tensor | None
    """Which positions are real, for the attention over them; None if all are."""

    @property
    def rows(self) -> int:
        return self.sequences * self.longest


@dataclass(frozen=True)
class Padding:
    """Where the positions of a layout lie when sequences whose lengths share a power of two are padded to the longest
    of them: less than half of the rows is padding.
    """

    buckets: tuple[Bucket, ...]
    rows: int
    row_N: Tensor
    """The row of each packed position."""

    @staticmethod
    def of(layout: Layout) -> Padding:
        lengths = layout.sequence_lengths
        together: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            together.setdefault((length - 1).bit_length(), []).append(index)
        starts, buckets, rows = [0] * len(lengths), [], 0
        for _, members in sorted(together.items()):
            own = [lengths[index] for index in members]
            longest, mask = max(own), None
            if min(own) < longest:
                mask = (torch.arange(longest) < torch.tensor(own)[:, None])[:, None, None].to(layout.device)
            for index in members:
                starts[index], rows = rows, rows + longest
            buckets.append(Bucket(len(members), longest, mask))
        row_N = torch.cat([torch.arange(start, start + n) for start, n in zip(starts, lengths)])
        return Padding(tuple(buckets), rows, row_N.to(layout.device))
