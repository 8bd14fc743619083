"""Chosen log-probabilities and their gradient against the whole softmax."""

from __future__ import annotations

import torch

from objectives import log_softmax
from objectives.log_softmax import log_softmax_at


def test_equals_the_whole_softmax_over_several_chunks(monkeypatch):
    monkeypatch.setattr(log_softmax, "CHUNK", 4)
    torch.manual_seed(0)
    output, x_ND = torch.nn.Linear(5, 9).double(), torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    index_NK = torch.randint(9, (11, 3))
    index_NK[0] = 2  # one class several times
    ours, plain = log_softmax_at(x_ND, output, index_NK), output(x_ND).log_softmax(1).gather(1, index_NK)
    assert torch.allclose(ours, plain, atol=1e-12)
    weights_NK, wanted = torch.randn(11, 3).double(), (x_ND, *output.parameters())
    for a, b in zip(
        torch.autograd.grad((ours * weights_NK).sum(), wanted), torch.autograd.grad((plain * weights_NK).sum(), wanted)
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_gradient():
    torch.manual_seed(0)
    output, x_ND = torch.nn.Linear(3, 6).double(), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_softmax_at(x, output, torch.tensor([[0, 5]] * 4)), (x_ND,))
