"""Sinusoids by hand; rotary and relative positions by their defining properties."""

import math

import torch

from encoders.batch import Layout
from encoders.positions import RelativePositions, rotary_table, rotate, sinusoids

LAYOUT = Layout((4, 3, 5), ("text", "speech", "text"))


def test_sinusoids_by_hand():
    x_ND = sinusoids(torch.tensor([0, 2, -2]), 4)
    expected = [[0, 0, 1, 1], *([s * math.sin(2), s * math.sin(0.02), math.cos(2), math.cos(0.02)] for s in (1, -1))]
    torch.testing.assert_close(x_ND, torch.tensor(expected, dtype=torch.float32))
    assert sinusoids(torch.arange(3), 5).shape == (3, 5)


def test_rotation_keeps_norms_and_depends_on_the_difference_only():
    q, k = torch.randn(2, 8)
    q_NHE, k_NHE = q.expand(10, 1, 8), k.expand(10, 1, 8)
    table = rotary_table(torch.arange(10), 8)
    q_NHE, k_NHE = rotate(q_NHE, table), rotate(k_NHE, table)
    torch.testing.assert_close(q_NHE.norm(dim=2), q.norm().expand(10, 1))
    scores = torch.einsum("nhe,mhe->nm", q_NHE, k_NHE)
    for d in range(-3, 4):
        diagonal = scores.diagonal(d)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores[0, 0], scores[0, 3])


def test_rotation_by_hand():
    table = rotary_table(torch.tensor([1]), 2)
    x = rotate(torch.tensor([[[1.0, 0.0]]]), table).flatten()
    torch.testing.assert_close(x, torch.tensor([math.cos(1), math.sin(1)]))


def test_relative_bias_is_query_times_distance_vector():
    relative = RelativePositions(width=6, heads=2)
    torch.nn.init.normal_(relative.v_HE)
    torch.nn.init.normal_(relative.u_HE)
    q_NHE = torch.randn(LAYOUT.total, 2, 3)
    content, biases = relative(q_NHE, LAYOUT)
    torch.testing.assert_close(content, q_NHE + relative.u_HE)
    start = 0
    for length, bias in zip(LAYOUT.lengths, biases, strict=True):
        for i in range(length):
            for j in range(length):
                r_HE = relative.projection(sinusoids(torch.tensor([i - j]), 6)).view(2, 3)
                expected = ((q_NHE[start + i] + relative.v_HE) * r_HE).sum(1) / 3**0.5
                torch.testing.assert_close(bias[:, i, j], expected)
        start += length


def test_positions_restart_in_each_segment_of_a_pair():
    pair = Layout((3, 3), ("text", "speech"), per_sequence=2)
    _, (bias,) = RelativePositions(4, 1)(torch.ones(6, 1, 4), pair)
    torch.testing.assert_close(bias[0, :3, :3], bias[0, 3:, :3])
    torch.testing.assert_close(bias[0, :3, :3], bias[0, :3, 3:])
