"""Parameters and operations of an encoder of these blocks, from shapes alone, by part.

A multiplication and an addition are two operations. The counts include matrix products, attention and convolutions of a
forward pass; a backward pass takes twice as many. Norms, activations and additions are left out, as in torch's flop
counter.
"""

from __future__ import annotations

from torch import nn

from encoders.blocks import Attention, Convolution, Linear
from encoders.encoder import AbstractEncoder, Count, Work
from encoders.frontend import BINS, STRIDE
from encoders.positions import RelativePositions

NAMES = {"first": "feed-forward", "second": "feed-forward", "ffn": "feed-forward", "conv": "convolution"}


def parts(encoder: AbstractEncoder, work: Work) -> dict[tuple[str, ...], Count]:
    """Count the parts of an encoder by place, such as ("speech", "layers", "attention"), all layers of a stack
    together.
    """
    counted: dict[tuple[str, ...], Count] = {}
    for name, module in encoder.named_modules():
        for own, parameter in module.named_parameters(prefix=name, recurse=False):
            names = tuple(own.split("."))
            counted.setdefault(_place(names), Count()).parameters[_owner(names)] += parameter.numel()
        names = tuple(name.split("."))
        flops = _flops(names, module, work, encoder.width)
        if flops:
            counted.setdefault(_place(names), Count()).flops += flops
    return counted


def _owner(names: tuple[str, ...]) -> str:
    """The modality whose name is part of a path (a tower, or a copy of a part); the embedding belongs to text."""
    return next((m for m in ("speech", "text") if m in names), "text" if names[0] == "embedding" else "shared")


def _place(names: tuple[str, ...]) -> tuple[str, ...]:
    top, *below = names
    if top in ("embedding", "segments"):
        return (top,)
    if "blocks" in below:
        start = below.index("blocks")
        part = below[start + 2]  # after the index of the block
        return (top, *below[:start], "norms" if part.endswith("norm") else NAMES.get(part, part))
    if top == "shared" or below[0] == "layers":
        return (top, "norms") if top == "shared" else (top, "layers", "norms")
    return (top, below[0])


def _flops(names: tuple[str, ...], module: nn.Module, work: Work, width: int) -> int:
    """Operations of a module itself, without its children. Raises NotImplementedError for an unknown kind of module."""
    owner = _owner(names)
    segments = work.segments(owner)
    positions, distances = sum(segments), max(0, 2 * max(segments, default=0) - 1)
    if isinstance(module, Linear):
        return 2 * positions * module.weight.numel()
    if isinstance(module, Attention):
        return 4 * width * sum(n * n for n in work.sequences(owner))
    if isinstance(module, RelativePositions):
        return 2 * distances * width * (positions + width)
    if isinstance(module, Convolution):
        return 2 * positions * module.weight_KD.numel()
    if isinstance(module, nn.Conv2d):
        slots = positions + len(segments)  # a gap of one position after each utterance
        outputs = 2 * slots * BINS // 2 if names[-1] == "first" else slots * BINS // STRIDE
        return 2 * outputs * module.weight.numel()
    if isinstance(module, nn.Linear):  # of a front end; relative positions count their own linear map
        return 0 if "relative" in names else 2 * positions * module.weight.numel()
    if any(p.dim() > 1 for p in module.parameters(recurse=False)) and not isinstance(module, nn.Embedding):
        raise NotImplementedError(f"Operations of {type(module).__name__} ({'.'.join(names)}) are not known here.")
    return 0
