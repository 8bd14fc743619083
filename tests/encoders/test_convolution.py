"""Packed convolution and group normalisation against PyTorch's own, segment by segment."""

import pytest
import torch
from torch import nn

from encoders.batch import Layout
from encoders.convolution import _depthwise_kernel, depthwise, segment_group_norm

LENGTHS = (1, 6, 2, 9, 3)
LAYOUT = Layout(LENGTHS, ("text",) * 5)


def _both(mine, reference, inputs):
    torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(mine)
    for a, b in zip(torch.autograd.grad(mine, inputs, weight), torch.autograd.grad(reference, inputs, weight)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5, 31])
def test_depthwise_equals_conv1d_on_each_segment(kernel):
    x, w = torch.randn(sum(LENGTHS), 6, requires_grad=True), torch.randn(kernel, 6, requires_grad=True)
    convolved = [
        nn.functional.conv1d(s.t(), w.t()[:, None], padding=kernel // 2, groups=6).t() for s in x.split(LENGTHS)
    ]
    _both(depthwise(x, w, LAYOUT.segment_N, 5), torch.cat(convolved), (x, w))


def test_depthwise_of_one_segment_of_one_position_uses_the_middle_tap():
    x, w = torch.tensor([[3.0]]), torch.tensor([[5.0], [7.0], [11.0]])
    assert depthwise(x, w, torch.tensor([0]), 1).item() == 21


def test_the_path_for_accelerators_equals_the_shifted_products():
    x, w = torch.randn(sum(LENGTHS), 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    index = torch.arange(len(x)) + LAYOUT.segment_N * 2
    _both(_depthwise_kernel(x, w, index, len(x) + 8), depthwise(x, w, LAYOUT.segment_N, 5), (x, w))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_group_norm_equals_nn_group_norm_on_each_segment(groups):
    norm = nn.GroupNorm(groups, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (torch.randn(sum(LENGTHS), 6) * 3 + 5).requires_grad_()
    reference = torch.cat([norm(s.t()[None])[0].t() for s in x.split(LENGTHS)])
    mine = segment_group_norm(x, norm.weight, norm.bias, groups, LAYOUT.segment_N, torch.tensor(LENGTHS))
    _both(mine, reference, (x, norm.weight, norm.bias))


def test_a_group_of_a_single_value_becomes_the_bias():
    weight, bias, lengths = torch.ones(3), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2])
    x = torch.randn(3, 3, requires_grad=True)
    normal = segment_group_norm(x, weight, bias, 3, torch.tensor([0, 1, 1]), lengths)
    assert torch.equal(normal[0], bias)
    assert torch.equal(torch.autograd.grad(normal[0].sum(), x)[0][0], torch.zeros(3))


def test_gradients_are_those_of_finite_differences():
    x, w = torch.randn(6, 4, dtype=torch.double, requires_grad=True), torch.randn(3, 4, dtype=torch.double)
    segment = torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda x, w: depthwise(x, w, segment, 2), (x, w.requires_grad_()))
