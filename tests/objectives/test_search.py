"""Beam search against the most probable labels by enumeration, which greedy search misses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from supervision import encoding, part, ports

from objectives import search
from objectives.ctc import CTC
from objectives.transducer import Transducer, log_likelihood


def best_by_enumeration(log_p_TV: np.ndarray, blank: int) -> list[int]:
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_p_TV.shape[1]), repeat=len(log_p_TV)):
        ids = tuple(v for v, _ in itertools.groupby(path) if v != blank)
        totals[ids] = totals.get(ids, 0.0) + math.exp(sum(log_p_TV[t, v] for t, v in enumerate(path)))
    return list(max(totals, key=totals.get))


def test_ctc_sums_paths_where_the_best_path_is_blank():
    p_TV = np.array([[0.4, 0.6], [0.4, 0.6]])  # blank is 1: "blank blank" is .36, but "a" in three ways is .64
    assert search.ctc_prefixes(np.log(p_TV), blank=1, beam=2, specials=0) == [0]


@pytest.mark.parametrize("seed", range(5))
def test_ctc_with_a_wide_beam_finds_the_most_probable_labels(seed):
    log_p_TV = np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.7), 5))
    assert search.ctc_prefixes(log_p_TV, 3, beam=60, specials=0) == best_by_enumeration(log_p_TV, 3)


def test_ctc_never_writes_specials():
    log_p_TV = np.log(np.array([[0.7, 0.2, 0.1]] * 3))  # class 0 is a special, 2 the blank
    assert search.ctc_prefixes(log_p_TV, 2, beam=4, specials=1) == [1]


@torch.no_grad()
def test_transducer_with_a_wide_beam_finds_the_most_probable_labels():
    torch.manual_seed(2)
    head = Transducer.Config(hidden=6).build(ports(size=10)).eval()
    head.output.weight.mul_(6)  # labels 7, 8 and 9 beside the blank, with opinions
    for seed in range(4):
        whole = encoding((3,), seed=seed)
        x_1TH = head.from_speech(whole.stages["joint"])[None]
        totals = {}
        for n in range(4):
            for ids in itertools.product((7, 8, 9), repeat=n):
                y_1UH = head.predictor(head.embedding(torch.tensor([[head.blank, *ids]])))[0]
                logits = head.output(torch.tanh(x_1TH[:, :, None] + head.from_labels(y_1UH)[:, None])).log_softmax(-1)[
                    0
                ]
                emit = torch.stack([logits[:, u, i] for u, i in enumerate((*ids, head.blank))], 1)
                totals[ids] = float(log_likelihood(logits[None, :, :, head.blank], emit[None], (3,), (n,)))
        assert tuple(head.decode(whole, beam=40)[0]) == max(totals, key=totals.get)


@pytest.mark.parametrize("head", [CTC.Config(), Transducer.Config()])
def test_a_hypothesis_does_not_depend_on_its_neighbours_and_a_narrow_beam_ends(head):
    torch.manual_seed(0)
    objective, whole = head.build(ports()).eval(), encoding((6, 3, 9))
    together = objective.decode(whole, beam=3)
    assert together == [objective.decode(part(whole, b), beam=3)[0] for b in range(3)]
    assert all(i >= 7 and i != objective.blank for ids in together for i in ids)
