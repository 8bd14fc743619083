"""How evenly learned codes are used: a term that keeps a codebook from collapsing (wav2vec 2.0, section 2).

The term is a function of mean code probabilities. Over the few masked frames of a shard their perplexity is too low:
for 64 codes in equal use, each frame one of them, diversity is .42 over 67 frames and should be 0. `MovingUse` averages
over many updates instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def diversity(mean_GV: Tensor) -> Tensor:
    """(GV - perplexity) / GV of mean code probabilities: 0 where codes are used alike, (V - 1) / V at collapse."""
    perplexity = torch.special.entr(mean_GV.clamp_min(1e-12)).sum(1).exp().sum()
    return 1 - perplexity / mean_GV.numel()


class MovingUse(nn.Module):
    """Mean code probabilities over the masked frames of past updates, in which a frame's weight decays.

    A frame weighs exp(-1) after `HORIZON` frames an entry have followed it, so that codes in equal use have a diversity
    of .013 at most. The average is a buffer, so part of a checkpoint; it takes up an update's frames when that is over,
    those of all shards and ranks, so that what a shard is scored by does not depend on how the update was cut.
    """

    HORIZON = 20

    def __init__(self, groups: int, entries: int) -> None:
        super().__init__()
        self.register_buffer("sum_GV", torch.zeros(groups, entries))
        self.register_buffer("frames", torch.zeros(()))
        self.fresh = torch.zeros(groups * entries + 1)  # of this update's shards so far: sums, and frames

    def mean(self) -> Tensor:
        """The average so far [G, V]; before the first frame codes count as used alike."""
        return torch.where(self.frames > 0, self.sum_GV / self.frames.clamp_min(1e-12), 1 / self.sum_GV.shape[1])

    def forward(self, mean_GV: Tensor, frames: int) -> Tensor:
        """Diversity of the average, with the gradient there applied to a shard's own mean probabilities.

        A plain moving average would shrink the gradient to the share that the shard has of it.
        """
        with torch.enable_grad():
            past_GV = self.mean().requires_grad_()
            value = diversity(past_GV)
            (slope_GV,) = torch.autograd.grad(value, past_GV)
        own = (slope_GV * mean_GV).sum()
        with torch.no_grad():
            shard = torch.cat([frames * mean_GV.flatten(), mean_GV.new_tensor([float(frames)])])
            self.fresh = self.fresh.to(shard.device) + shard
        return value.detach() + own - own.detach()

    @torch.no_grad()
    def close(self, sum_: Callable[[Tensor], Tensor]) -> None:
        """End an update: take up its frames, summed over ranks by `sum_`."""
        fresh = sum_(self.fresh.to(self.sum_GV.device))
        frames = fresh[-1]
        kept = torch.exp(-frames / (self.HORIZON * self.sum_GV.shape[1]))
        self.sum_GV.mul_(kept).add_(fresh[:-1].view_as(self.sum_GV))
        self.frames.mul_(kept).add_(frames)
        self.fresh = torch.zeros_like(fresh)
