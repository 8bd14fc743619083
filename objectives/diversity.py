"""How evenly learned codes are used: a term that keeps a codebook from collapsing (wav2vec 2.0, section 2).

The term is a function of mean code probabilities. Over the few masked frames of a shard their perplexity is
underestimated: for 64 equally used codes, with one code per frame, diversity is .42 over 67 frames and should be 0.
`MovingUse` averages over many updates instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def diversity(mean_GV: Tensor) -> Tensor:
    """(GV - perplexity) / GV of mean code probabilities: 0 if codes are used equally, (V - 1) / V at collapse."""
    perplexity = torch.special.entr(mean_GV.clamp_min(1e-12)).sum(1).exp().sum()
    return 1 - perplexity / mean_GV.numel()


class MovingUse(nn.Module):
    """Mean code probabilities over the masked frames of past updates, with exponentially decaying weights.

    The weight of a frame is exp(-1) after `HORIZON` further frames per entry, so that equally used codes have a
    diversity of at most .013. The average is a buffer, so part of a checkpoint. It adds an update's frames, of all
    shards and ranks, only when the update is over, so that the loss does not depend on how it is divided into shards.
    """

    HORIZON = 20

    def __init__(self, groups: int, entries: int) -> None:
        super().__init__()
        self.register_buffer("sum_GV", torch.zeros(groups, entries))
        self.register_buffer("frames", torch.zeros(()))
        self.fresh = torch.zeros(groups * entries + 1)  # of this update's shards so far: sums, and number of frames

    def mean(self) -> Tensor:
        """The average so far [G, V]; before the first frame, equal use of all codes."""
        return torch.where(self.frames > 0, self.sum_GV / self.frames.clamp_min(1e-12), 1 / self.sum_GV.shape[1])

    def forward(self, mean_GV: Tensor, frames: int) -> Tensor:
        """Diversity of the average, with its gradient applied to the shard's own mean probabilities.

        A plain moving average would scale the gradient down to the shard's share of the average.
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
        """End an update: add its frames, summed over ranks by `sum_`."""
        fresh = sum_(self.fresh.to(self.sum_GV.device))
        frames = fresh[-1]
        kept = torch.exp(-frames / (self.HORIZON * self.sum_GV.shape[1]))
        self.sum_GV.mul_(kept).add_(fresh[:-1].view_as(self.sum_GV))
        self.frames.mul_(kept).add_(frames)
        self.fresh = torch.zeros_like(fresh)
