"""The decoder: causal, packed like one by one, smoothed as written, and searched without mistakes."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from supervision import encoding, part, ports, text, view

from objectives.sequence import Sequence

LENGTHS, LINES = (6, 3, 8), [[7, 8, 9, 10], [11], [9, 9]]


def decoder(reads: str = "text", **fields) -> Sequence:
    torch.manual_seed(2)
    made = Sequence.Config(reads=reads, width=16, heads=2, ffn=32, **fields).build(ports()).eval()
    return made.requires_grad_(False)


@cache
def half_learnt(words: int = 5) -> Sequence:
    """A decoder that has begun to write what it was shown, with doubts: searches have something to find."""
    torch.manual_seed(3)
    made = Sequence.Config(width=16, heads=2, ffn=32).build(ports(size=7 + words)).eval()
    lines = [torch.randint(7, 7 + words, (n,)).tolist() for n in (4, 2, 3, 1)]
    seen = view({"target": text(*lines, [8, 7, 7], [7])}, ())
    shown = encoding((6, 3, 8, 5, 3, 5), "text", seed=6)
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(25):
        optimizer.zero_grad()
        (made(seen, shown, {})["sequence"].total / 19).backward()
        optimizer.step()
    return made.requires_grad_(False)


def forced(objective: Sequence, target, shown) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, V] and the tokens [N] they are for."""
    x_BUD, ids_BU, wanted = objective.teacher_forced({"target": target}, shown)
    return objective._logits(wanted.pack(x_BUD)), wanted.pack(objective._ends(ids_BU))


def chain(objective: Sequence, one, most: int) -> list[int]:
    """Greedy search by teacher forcing everything again for every token."""
    ids: list[int] = []
    for _ in range(most):
        logits_V = forced(objective, text(ids), one)[0][-1].clone()
        logits_V[[i for i in range(7) if i != objective.vocabulary.eos]] = -torch.inf
        best = int(logits_V.argmax())
        if best == objective.vocabulary.eos:
            break
        ids.append(best)
    return ids


def test_a_token_sees_only_those_before_it():
    objective, one = decoder(), encoding((5,), "text")
    with torch.no_grad():
        a, _ = forced(objective, text([7, 8, 9, 10]), one)
        b, _ = forced(objective, text([7, 8, 11, 10]), one)
    assert torch.allclose(a[:3], b[:3], atol=1e-6)
    assert not torch.allclose(a[3], b[3], atol=1e-3)


def test_packed_equals_one_by_one():
    objective, whole = decoder(), encoding(LENGTHS, "text")
    with torch.no_grad():
        logits_NV, wanted_N = forced(objective, text(*LINES), whole)
        apart = [forced(objective, text(ids), part(whole, b)) for b, ids in enumerate(LINES)]
    assert torch.allclose(logits_NV, torch.cat([logits for logits, _ in apart]), atol=1e-5)
    assert wanted_N.tolist() == [7, 8, 9, 10, 3, 11, 3, 9, 9, 3]


def test_counts_and_term():
    objective, seen = decoder(), view({"target": text(*LINES, [])}, ())
    term = objective(seen, encoding((*LENGTHS, 2), "text"), {})["sequence"]
    assert objective.counts(seen) == {"sequence": 11.0}
    assert term.metrics["accuracy"][1] == 11.0


def test_label_smoothing_by_hand_and_only_in_training():
    objective, one = decoder(dropout=0.0, smoothing=0.2), encoding((4,), "text")
    seen = view({"target": text([7, 8])}, ())
    log_p_NV = forced(objective, text([7, 8]), one)[0].log_softmax(1)
    nll = -(log_p_NV[0, 7] + log_p_NV[1, 8] + log_p_NV[2, 3])
    spread = -log_p_NV.mean(1).sum()
    assert float(objective(seen, one, {})["sequence"].total) == pytest.approx(float(nll), rel=1e-5)
    smoothed = objective.train()(seen, one, {})["sequence"].total
    assert float(smoothed) == pytest.approx(float(0.8 * nll + 0.2 * spread), rel=1e-5)


def test_cached_greedy_search_equals_the_teacher_forced_chain():
    objective, whole = half_learnt(), encoding((6, 3, 8, 5), "text", seed=6)
    expected = [chain(objective, part(whole, b), 10) for b in range(4)]
    assert objective.decode(whole, most=10) == expected
    assert len({tuple(ids) for ids in expected}) > 2, "all outputs are alike: the test shows little"


def log_p(objective: Sequence, ids: list[int], one) -> float:
    """Log-probability of a finished hypothesis among those that search allows."""
    logits_NV, wanted_N = forced(objective, text(ids), one)
    logits_NV[:, [i for i in range(7) if i != objective.vocabulary.eos]] = -torch.inf
    return float(logits_NV.log_softmax(1).gather(1, wanted_N[:, None]).sum())


def test_a_wide_beam_finds_the_best_of_all_hypotheses():
    objective, whole = half_learnt(2), encoding((3, 5, 6), "text", seed=8)  # two words and an end
    wide = objective.decode(whole, beam=40, penalty=0.0, most=5)
    everything = [list(p) for n in range(5) for p in itertools.product((7, 8), repeat=n)]
    for b in range(3):
        one = part(whole, b)
        assert wide[b] == max(everything, key=lambda ids: log_p(objective, ids, one))
        greedy = objective.decode(one, most=5)[0]
        assert log_p(objective, wide[b], one) >= log_p(objective, greedy, one) - 1e-6
    assert any(wide)


def test_beams_of_a_pack_equal_beams_one_by_one():
    objective, whole = half_learnt(), encoding((6, 3, 8, 5), "text", seed=6)
    packed = objective.decode(whole, beam=3, most=8)
    assert packed == [objective.decode(part(whole, b), beam=3, most=8)[0] for b in range(4)]
    assert any(packed)


def test_length_penalty_prefers_longer_output():
    objective, whole = half_learnt(2), encoding((3, 5, 6), "text", seed=8)
    short = objective.decode(whole, beam=40, penalty=0.0, most=5)
    long = objective.decode(whole, beam=40, penalty=3.0, most=5)
    assert all(len(a) <= len(b) for a, b in zip(short, long)) and short != long


def test_of_one_input_each_language_gets_its_own_output():
    torch.manual_seed(0)
    objective = Sequence.Config(width=16, heads=2, ffn=32).build(ports(), languages=("ca", "de")).eval()
    shown = encoding((5, 5), "text")
    shown.stages["joint"][5:] = shown.stages["joint"][:5]
    learnt = view({"target": text([7, 8], [9]), "language": ("ca", "de")}, ())
    optimizer = torch.optim.Adam(objective.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        objective(learnt, shown, {})["sequence"].total.backward()
        optimizer.step()
    for beam in (1, 2):
        for languages, expected in ((("ca", "de"), [[7, 8], [9]]), (("de", "de"), [[9], [9]])):
            assert objective.decode(shown, beam, most=6, view=view({"language": languages}, ())) == expected


def test_ctc_beside_the_decoder():
    objective = decoder("speech", ctc=0.5)
    seen = view({"target": text(*LINES), "transcript": text([7], [8], [9, 10])}, LENGTHS)
    terms = objective(seen, encoding(LENGTHS), {})
    assert set(terms) == {"sequence", "ctc"} and objective.term_weights["ctc"] == 0.5
    assert objective.counts(seen) == {"sequence": 10.0, "ctc": 4.0}
    with pytest.raises(ValueError, match="CTC needs speech"):
        Sequence.Config(reads="text", ctc=0.5)


def test_nothing_special_is_ever_written():
    objective = decoder()
    with torch.no_grad():
        objective.bias_V[:7] += 50
        objective.bias_V[objective.vocabulary.eos] -= 1000
    (ids,) = objective.decode(encoding((4,), "text"), most=6)
    assert len(ids) == 6 and min(ids) >= 7
