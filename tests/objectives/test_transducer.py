"""The transducer's loss against enumeration of all alignments, its gradient, and greedy search."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from supervision import encoding, part, ports, text, view

from objectives.transducer import MOST_PER_POSITION, Transducer, log_likelihood


def enumerated(blank_TU: torch.Tensor, emit_TU: torch.Tensor) -> float:
    """Log of the sum over all ways to place U labels on T positions, each position left by a blank."""
    T, U = blank_TU.shape[0], blank_TU.shape[1] - 1
    paths = []
    for places in itertools.combinations_with_replacement(range(T), U):
        total, u = 0.0, 0
        for t in range(T):
            while u < U and places[u] == t:
                total += float(emit_TU[t, u])
                u += 1
            total += float(blank_TU[t, u])
        paths.append(total)
    return math.log(sum(map(math.exp, paths)))


def lattice(B: int, T: int, U: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(-3 * torch.rand(B, T, U + 1, generator=generator, dtype=torch.float64) for _ in range(2))


def test_likelihood_is_the_sum_over_all_alignments():
    sizes = [(4, 3), (1, 2), (3, 0), (5, 1)]
    blank, emit = lattice(4, 5, 3)
    log_p_B = log_likelihood(blank, emit, tuple(t for t, _ in sizes), tuple(u for _, u in sizes))
    for b, (t, u) in enumerate(sizes):
        assert float(log_p_B[b]) == pytest.approx(enumerated(blank[b, :t, : u + 1], emit[b, :t, : u + 1]), rel=1e-10)


def test_published_value():
    """warp-transducer's small test: activations 1 x 2 x 3 x 5, labels 1, 2, blank 0, cost 4.4957."""
    acts_TUV = torch.tensor(
        [
            [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1], [0.1, 0.1, 0.2, 0.8, 0.1]],
            [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.1, 0.1], [0.7, 0.1, 0.2, 0.1, 0.1]],
        ]
    )
    log_p_TUV = acts_TUV.log_softmax(2)
    emit_TU = torch.stack([log_p_TUV[:, 0, 1], log_p_TUV[:, 1, 2], log_p_TUV[:, 2, 0]], 1)  # the last is never taken
    log_p_B = log_likelihood(log_p_TUV[None, :, :, 0], emit_TU[None], (2,), (2,))
    assert -log_p_B.item() == pytest.approx(4.495666, abs=1e-5)


def test_gradient():
    blank, emit = (x.requires_grad_() for x in lattice(2, 4, 2))
    assert torch.autograd.gradcheck(lambda a, b: log_likelihood(a, b, (4, 2), (2, 1)), (blank, emit))


def test_long_lattices_stay_finite_and_exact():
    T, U = 400, 60
    blank = torch.full((1, T, U + 1), -8.0)
    emit = torch.full((1, T, U + 1), -9.0)
    paths = math.lgamma(T + U) - math.lgamma(U + 1) - math.lgamma(T)
    assert float(log_likelihood(blank, emit, (T,), (U,))) == pytest.approx(paths - 8 * T - 9 * U, rel=1e-9)


def test_packed_equals_one_by_one_and_counts():
    torch.manual_seed(0)
    objective = Transducer.Config(hidden=16).build(ports()).eval()
    lengths, lines = (6, 2, 4), [[7, 8, 9], [10, 10, 11, 7], []]
    whole, seen = encoding(lengths), view({"transcript": text(*lines)}, lengths)
    loss = objective(seen, whole, {})["transducer"].total
    apart = [
        objective(view({"transcript": text(ids)}, (n,)), part(whole, b), {})["transducer"].total
        for b, (ids, n) in enumerate(zip(lines, lengths))
    ]
    assert loss.item() == pytest.approx(sum(apart).item(), rel=1e-5)
    assert objective.counts(seen) == {"transducer": 10.0}


def greedy(objective: Transducer, x_TD: torch.Tensor) -> list[int]:
    """The plain double loop."""
    ids: list[int] = []
    y, state = objective._predict(torch.tensor([objective.blank]), None)
    for x_D in objective.from_speech(x_TD):
        for _ in range(MOST_PER_POSITION):
            best = int(objective.output(torch.tanh(x_D + y)).argmax())
            if best == objective.blank:
                break
            ids.append(best)
            y, state = objective._predict(torch.tensor([best]), state)
    return [i for i in ids if i >= 7]


def test_batched_greedy_search_equals_the_plain_loop():
    torch.manual_seed(1)
    objective = Transducer.Config(hidden=16).build(ports()).eval()
    with torch.no_grad():
        objective.output.weight.mul_(8)
        objective.output.bias[objective.blank] += 3
    whole = encoding((6, 1, 9), seed=4)
    expected = [greedy(objective, part(whole, b).stages["joint"]) for b in range(3)]
    assert objective.decode(whole) == expected
    assert any(expected), "nothing was emitted: the test shows nothing"


def test_learns_to_write():
    torch.manual_seed(0)
    objective = Transducer.Config(hidden=24, dropout=0).build(ports())
    lines = [[7, 8, 9], [10, 7]]
    whole, seen = encoding((6, 5)), view({"transcript": text(*lines)}, (6, 5))
    optimizer = torch.optim.Adam(objective.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        objective(seen, whole, {})["transducer"].total.backward()
        optimizer.step()
    assert objective.eval().decode(whole) == lines
