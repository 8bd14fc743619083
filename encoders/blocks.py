"""Transformer and Conformer blocks over packed sequences, with shared or per-modality parts.

Convolution and its normalisation work on segments, not on sequences: in a pair, only attention crosses between speech
and text. Every part maps (x_ND, packing) to x_ND.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoders import seeds
from encoders.attention import attention
from encoders.batch import Layout
from encoders.convolution import depthwise, segment_group_norm
from encoders.positions import RelativePositions, rotary_table, rotate

PARTS = ("attention", "ffn", "conv", "norms")  # parts that can have one copy per modality
NORMS = ("group", "layer", "batch")


@dataclass(frozen=True)
class Shape:
    """Settings shared by all blocks of a stack; parts named in `apart` have one copy per modality in `copies`."""

    width: int
    heads: int
    ffn: int
    kernel: int
    conv_norm: str
    groups: int
    positions: str
    dropout: float
    apart: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    def part(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """Make a part: one for all modalities, or one for each if `name` is in `apart`."""
        return PerModality(make, self.copies) if name in self.apart and len(self.copies) > 1 else make()


@dataclass(frozen=True)
class Packing:
    """A layout and what layers derive from it, computed once per pass; `key` seeds dropout."""

    layout: Layout
    head_width: int
    key: int = 0

    @cached_property
    def lengths(self) -> Tensor:
        """Lengths of segments, int64."""
        return torch.tensor(self.layout.lengths, device=self.layout.device)

    @cached_property
    def rotations(self) -> Tensor:
        return rotary_table(self.layout.position_N, self.head_width)

    @cached_property
    def by_modality(self) -> dict[str, Packing]:
        """The segments of each modality, each as a sequence by itself (for parts without attention)."""
        layout = self.layout
        chosen = {name: [] for name in layout.modalities}
        for length, name in zip(layout.lengths, layout.modalities):
            chosen[name].append(length)
        layouts = {name: Layout(tuple(n), (name,) * len(n), 1, layout.device) for name, n in chosen.items()}
        return {name: replace(self, layout=layout) for name, layout in layouts.items()}


class PerModality(nn.Module):
    """One copy of a part per modality; each segment passes through its own."""

    def __init__(self, make: Callable[[], nn.Module], modalities: tuple[str, ...]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({name: make() for name in modalities})

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        layout = packing.layout
        if len(packing.by_modality) == 1:
            return self.copies[layout.modalities[0]](x_ND, packing)
        segments = x_ND.split(layout.lengths)
        results = {}
        for name, own in packing.by_modality.items():
            own_ND = torch.cat([x for x, modality in zip(segments, layout.modalities) if modality == name])
            results[name] = iter(self.copies[name](own_ND, own).split(own.layout.lengths))
        return torch.cat([next(results[modality]) for modality in layout.modalities])


class Linear(nn.Module):
    """An affine map of each position (Xavier-uniform weights: unit variance in, unit variance out when square)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        return F.linear(x_ND, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer normalisation of each position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        return F.layer_norm(x_ND.to(self.weight.dtype), self.weight.shape, self.weight, self.bias)


class GroupNorm(nn.Module):
    """Group normalisation of each segment over time and the channels of a group (the paper's choice)."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        segment_N, lengths_B = packing.layout.segment_N, packing.lengths
        return segment_group_norm(x_ND, self.weight, self.bias, self.groups, segment_N, lengths_B)


class BatchNorm(nn.Module):
    """Batch normalisation over all positions of the shard: only here do training results depend on neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.momentum = 0.1

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        x_ND = x_ND.to(self.weight.dtype)
        return F.batch_norm(x_ND, self.mean, self.variance, self.weight, self.bias, self.training, self.momentum)


class FeedForward(nn.Module):
    """Two linear maps with a swish between them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.rise, self.fall = Linear(shape.width, shape.ffn), Linear(shape.ffn, shape.width)

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        return self.fall(F.silu(self.rise(x_ND, packing)), packing)


class Attention(nn.Module):
    """Multi-head self-attention within sequences; with copies, projections are per modality, positions are shared."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = shape.part("attention", lambda: Linear(shape.width, 3 * shape.width))
        self.out = shape.part("attention", lambda: Linear(shape.width, shape.width))
        self.rotary = shape.positions == "rotary"
        self.relative = RelativePositions(shape.width, shape.heads) if shape.positions == "relative" else None

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        q_NHE, k_NHE, v_NHE = self.qkv(x_ND, packing).unflatten(1, (3, self.heads, -1)).unbind(1)
        biases = None
        if self.rotary:
            q_NHE, k_NHE = rotate(q_NHE, packing.rotations), rotate(k_NHE, packing.rotations)
        if self.relative is not None:
            q_NHE, biases = self.relative(q_NHE, packing.layout)
        return self.out(attention(q_NHE, k_NHE, v_NHE, packing.layout, biases).flatten(1), packing)


class Convolution(nn.Module):
    """The Conformer's convolution: pointwise and GLU, depthwise over each segment, norm, swish, pointwise."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        makes = {
            "group": lambda: GroupNorm(shape.width, shape.groups),
            "layer": lambda: LayerNorm(shape.width),
            "batch": lambda: BatchNorm(shape.width),
        }
        self.rise, self.fall = Linear(shape.width, 2 * shape.width), Linear(shape.width, shape.width)
        bound = shape.kernel**-0.5
        self.weight_KD = nn.Parameter(torch.empty(shape.kernel, shape.width).uniform_(-bound, bound))
        make = makes[shape.conv_norm]
        self.norm = make() if "conv" in shape.apart else shape.part("norms", make)  # a copied module copies its norm

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        layout = packing.layout
        x_ND = F.glu(self.rise(x_ND, packing))
        x_ND = depthwise(x_ND, self.weight_KD, layout.segment_N, len(layout.lengths))
        return self.fall(F.silu(self.norm(x_ND, packing)), packing)


class Block(nn.Module, ABC):
    """A layer of a stack: pre-norm branches added to their input."""

    final_norm: ClassVar[bool]  # whether a stack of such blocks ends with an additional norm
    parts: ClassVar[tuple[str, ...]]  # which of PARTS it has

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        self.index, self.dropout = index, shape.dropout

    @abstractmethod
    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        """Return x_ND with the same layout."""

    def drop(self, x_ND: Tensor, packing: Packing, branch: int) -> Tensor:
        """Dropout on a branch's result; depends only on the pass's key, the layer and the branch."""
        if not self.training or self.dropout == 0:
            return x_ND
        key = seeds.key(packing.key, "dropout", self.index, branch)
        generator = torch.Generator(x_ND.device).manual_seed(key)
        keep = 1 - self.dropout
        return x_ND * torch.empty_like(x_ND, requires_grad=False).bernoulli_(keep, generator=generator).div_(keep)


class Transformer(Block):
    """Attention and feed-forward."""

    final_norm = True
    parts = ("attention", "ffn", "norms")

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__(shape, index)
        self.attention_norm = shape.part("norms", lambda: LayerNorm(shape.width))
        self.attention = Attention(shape)
        self.ffn_norm = shape.part("norms", lambda: LayerNorm(shape.width))
        self.ffn = shape.part("ffn", lambda: FeedForward(shape))

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        x_ND = x_ND + self.drop(self.attention(self.attention_norm(x_ND, packing), packing), packing, 0)
        return x_ND + self.drop(self.ffn(self.ffn_norm(x_ND, packing), packing), packing, 1)


class Conformer(Block):
    """Half a feed-forward, attention, convolution, half a feed-forward, norm (Gulati et al. 2020)."""

    final_norm = False
    parts = PARTS

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__(shape, index)
        for name in ("first", "attention", "conv", "second", "last"):
            self.add_module(f"{name}_norm", shape.part("norms", lambda: LayerNorm(shape.width)))
        self.first = shape.part("ffn", lambda: FeedForward(shape))
        self.attention = Attention(shape)
        self.conv = shape.part("conv", lambda: Convolution(shape))
        self.second = shape.part("ffn", lambda: FeedForward(shape))

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        first = self.first(self.first_norm(x_ND, packing), packing)
        x_ND = torch.add(x_ND, self.drop(first, packing, 0), alpha=0.5)
        x_ND = x_ND + self.drop(self.attention(self.attention_norm(x_ND, packing), packing), packing, 1)
        x_ND = x_ND + self.drop(self.conv(self.conv_norm(x_ND, packing), packing), packing, 2)
        second = self.second(self.second_norm(x_ND, packing), packing)
        return self.last_norm(torch.add(x_ND, self.drop(second, packing, 3), alpha=0.5), packing)


BLOCKS: dict[str, type[Block]] = {"conformer": Conformer, "transformer": Transformer}


class Stack(nn.Module):
    """Blocks one after another; with none, the identity.

    With `checkpointing`, only the blocks' inputs are kept for the backward pass and the rest is recomputed: less
    memory, the same result.
    """

    def __init__(self, block: type[Block], shape: Shape, layers: int, first_index: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(shape, first_index + i) for i in range(layers))
        self.norm = shape.part("norms", lambda: LayerNorm(shape.width)) if layers and block.final_norm else None
        self.checkpointing = False

    def forward(self, x_ND: Tensor, packing: Packing) -> Tensor:
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                # dropout draws from keys, so no generator state needs to be kept
                contexts = lambda block=block: (nullcontext(), _frozen_statistics(block))  # noqa: E731
                x_ND = checkpoint(
                    block, x_ND, packing, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
                )
            else:
                x_ND = block(x_ND, packing)
        return x_ND if self.norm is None else self.norm(x_ND, packing)

    def scopes(self) -> dict[str, list[str]]:
        """Names of the parameters that are not copied per modality, by scope: layer ("layer_0"), part of a layer
        ("layer_0.ffn"), and "norm" for the one after the last layer.
        """
        by_scope: dict[str, list[str]] = {}
        for name, _ in self.named_parameters():
            if "copies" in name.split("."):
                continue
            top, number, part, *_ = (*name.split("."), "")
            scope = f"layer_{number}" if top == "blocks" else "norm"
            by_scope.setdefault(scope, []).append(name)
            if top == "blocks":
                part = "norms" if part.endswith("_norm") else {"first": "ffn", "second": "ffn"}.get(part, part)
                by_scope.setdefault(f"{scope}.{part}", []).append(name)
        return by_scope


@contextmanager
def _frozen_statistics(block: Block):
    """While a block is recomputed, its batch norms must not count the batch a second time."""
    norms = [module for module in block.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:  # recomputation ends with an exception as soon as it has what it needs
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
