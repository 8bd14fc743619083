"""Depthwise convolution and group normalisation over packed segments; each segment is treated as if it were alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

EPSILON = 1e-5


def depthwise(x_ND: Tensor, weight_KD: Tensor, segment_N: Tensor, segments: int) -> Tensor:
    """Convolve each segment over time, channel by channel, with zeros outside it ("same" size; K is odd).

    Segments are laid out with K // 2 zeros between them, so nothing leaks. On a CPU the convolution is K shifted
    products, 2.5 to 3 times faster than the depthwise kernels at widths 64 to 256 and kernels 5 and 31.
    """
    half = len(weight_KD) // 2
    index_N = torch.arange(len(x_ND), device=x_ND.device) + segment_N * half
    rows = len(x_ND) + (segments - 1) * half
    if x_ND.is_cuda:
        return _depthwise_kernel(x_ND, weight_KD, index_N, rows)
    return _ShiftedProducts.apply(x_ND.to(weight_KD.dtype), weight_KD, index_N, rows)


def _depthwise_kernel(x_ND: Tensor, weight_KD: Tensor, index_N: Tensor, rows: int) -> Tensor:
    gapped_1DR = x_ND.new_zeros(rows, x_ND.shape[1]).index_copy(0, index_N, x_ND).t()[None]
    weight_D1K = weight_KD.t()[:, None]
    convolved_1DR = F.conv1d(gapped_1DR, weight_D1K, padding=len(weight_KD) // 2, groups=len(weight_D1K))
    return convolved_1DR[0].t().index_select(0, index_N)


class _ShiftedProducts(Function):
    """y[r] = sum over k of w[k] * x[r + k - K // 2], over rows with gaps (forward and backward alike)."""

    @staticmethod
    def forward(ctx, x_ND: Tensor, weight_KD: Tensor, index_N: Tensor, rows: int) -> Tensor:
        gapped = _gapped(x_ND, weight_KD, index_N, rows)
        ctx.save_for_backward(gapped, weight_KD, index_N)
        return _correlate(gapped, weight_KD, rows).index_select(0, index_N)

    @staticmethod
    def backward(ctx, grad_ND: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gapped, weight_KD, index_N = ctx.saved_tensors
        kernel = len(weight_KD)
        rows = len(gapped) - 2 * (kernel // 2)
        grad_gapped = _gapped(grad_ND, weight_KD, index_N, rows)
        grad_x = _correlate(grad_gapped, weight_KD.flip(0), rows).index_select(0, index_N)
        grad_rows = grad_gapped[kernel // 2 : kernel // 2 + rows]
        grad_weight = torch.stack([(grad_rows * gapped[k : k + rows]).sum(0) for k in range(kernel)])
        return grad_x, grad_weight, None, None


def _gapped(x_ND: Tensor, weight_KD: Tensor, index_N: Tensor, rows: int) -> Tensor:
    half = len(weight_KD) // 2
    return x_ND.new_zeros(rows + 2 * half, x_ND.shape[1]).index_copy_(0, index_N + half, x_ND)


def _correlate(gapped: Tensor, weight_KD: Tensor, rows: int) -> Tensor:
    y = gapped[:rows] * weight_KD[0]
    for k in range(1, len(weight_KD)):
        y.addcmul_(gapped[k : k + rows], weight_KD[k])
    return y


def segment_group_norm(
    x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, groups: int, segment_N: Tensor, lengths_B: Tensor
) -> Tensor:
    """Normalise each segment over time and the channels of a group, as nn.GroupNorm does for that segment alone.

    `lengths_B` are the segments' lengths, int64. The result is float32.
    """
    return _SegmentGroupNorm.apply(x_ND.float(), weight_D, bias_D, groups, segment_N, lengths_B)


class _SegmentGroupNorm(Function):
    @staticmethod
    def forward(ctx, x_ND, weight_D, bias_D, groups, segment_N, lengths_B) -> Tensor:
        x_NGC = x_ND.unflatten(1, (groups, -1))
        mean_N = _segment_mean(x_NGC, segment_N, lengths_B)
        centred = x_NGC - mean_N[..., None]
        deviation_N = (_segment_mean(centred.square(), segment_N, lengths_B) + EPSILON).rsqrt_()[..., None]
        normal_ND = centred.mul_(deviation_N).flatten(1)
        ctx.save_for_backward(normal_ND, deviation_N, weight_D, segment_N, lengths_B)
        return torch.addcmul(bias_D, normal_ND, weight_D)

    @staticmethod
    def backward(ctx, grad_ND: Tensor):
        normal_ND, deviation_N, weight_D, segment_N, lengths_B = ctx.saved_tensors
        shape = (deviation_N.shape[1], -1)
        product = grad_ND * normal_ND
        grad_weight, grad_bias = product.sum(0), grad_ND.sum(0)
        product_mean = _segment_mean(product.mul_(weight_D).unflatten(1, shape), segment_N, lengths_B)
        grad = (grad_ND * weight_D).unflatten(1, shape)
        grad_mean = _segment_mean(grad, segment_N, lengths_B)
        grad.sub_(grad_mean[..., None]).addcmul_(normal_ND.unflatten(1, shape), product_mean[..., None], value=-1)
        return grad.mul_(deviation_N).flatten(1), grad_weight, grad_bias, None, None, None


def _segment_mean(x_NGC: Tensor, segment_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean over each segment and group, repeated at each of its positions: x_NG."""
    sums_BG = torch.segment_reduce(x_NGC.sum(2), "sum", lengths=lengths_B, unsafe=True)
    return (sums_BG / (lengths_B[:, None] * x_NGC.shape[2])).index_select(0, segment_N)
