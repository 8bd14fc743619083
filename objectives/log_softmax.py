"""A few log-probabilities of a large softmax, without storing the softmax."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2048  # number of positions whose logits exist at one time


def log_softmax_at(x_ND: Tensor, output: nn.Linear, index_NK: Tensor) -> Tensor:
    """`log_softmax(output(x))` at K chosen classes per position: [N, K].

    Logits are computed a chunk at a time, and again in the backward pass: dynamic-programming losses need only a few
    classes of a vocabulary, and passes over [N, V] dominate their time. At least single precision, even under autocast.
    """
    x_ND = x_ND if x_ND.dtype == torch.float64 else x_ND.float()
    return _LogSoftmaxAt.apply(x_ND, output.weight, output.bias, index_NK)


class _LogSoftmaxAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, index_NK: Tensor) -> Tensor:
        chosen, norms = [], []
        with torch.autocast(x_ND.device.type, enabled=False):
            for x_CD, index_CK in zip(x_ND.split(CHUNK), index_NK.split(CHUNK)):
                logits_CV = F.linear(x_CD, weight_VD, bias_V)
                norm_C1 = logits_CV.logsumexp(1, keepdim=True)
                chosen.append(logits_CV.gather(1, index_CK) - norm_C1)
                norms.append(norm_C1)
        ctx.save_for_backward(x_ND, weight_VD, bias_V, index_NK, torch.cat(norms))
        return torch.cat(chosen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_ND, weight_VD, bias_V, index_NK, norm_N1 = ctx.saved_tensors
        to_x, to_weight_VD, to_bias_V = [], torch.zeros_like(weight_VD), torch.zeros_like(bias_V)
        parts = (x_ND, grad_NK, index_NK, norm_N1)
        for x_CD, grad_CK, index_CK, norm_C1 in zip(*(part.split(CHUNK) for part in parts)):
            to_logits_CV = F.linear(x_CD, weight_VD, bias_V).sub_(norm_C1).exp_()
            to_logits_CV.mul_(-grad_CK.sum(1, keepdim=True)).scatter_add_(1, index_CK, grad_CK)
            to_x.append(to_logits_CV @ weight_VD)
            to_weight_VD.addmm_(to_logits_CV.T, x_CD)
            to_bias_V += to_logits_CV.sum(0)
        return torch.cat(to_x), to_weight_VD, to_bias_V, None
