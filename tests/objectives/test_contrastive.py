"""The contrastive loss against hand-computed values and explicit loops; diversity by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from pretraining import FakeEncoder, coder, ports, speech, view

from objectives.contrastive import Contrastive, code_perplexity, info_nce
from objectives.diversity import diversity
from objectives.quantizer import Codes
from objectives.targets import TARGETS


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_three_frames_by_hand():
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    total, metrics = info_nce(c, q, torch.tensor([[0], [1], [2]]), (3,), (1,), 100, 0.5)
    first = math.log(math.exp(2) + math.exp(0) + math.exp(-2)) - 2
    second = math.log(math.exp(0) + math.exp(2) + math.exp(0)) - 2
    third = math.log(math.exp(2) + math.exp(0) + math.exp(-2)) + 2
    assert total.item() == pytest.approx(first + second + third, rel=1e-5)
    assert [float(x) for x in metrics["accuracy"]] == [2, 3]
    assert [float(x) for x in metrics["distractors"]] == [6, 3]


def naive(c, q, ids, masked, kappa, allowed=None):
    """Loops over frames; `allowed(i, j)` says whether j is among the distractors drawn for i."""
    total, start, right, scored, used = c.new_zeros(()), 0, 0, 0, 0
    for n in masked:
        for i in range(start, start + n):
            distractors = [
                j
                for j in range(start, start + n)
                if j != i and not torch.equal(ids[i], ids[j]) and (allowed is None or allowed(i, j))
            ]
            scores = torch.stack([c[i] @ q[j] / kappa for j in [i, *distractors]])
            total = total + scores.logsumexp(0) - scores[0]
            used += len(distractors)
            if distractors:
                scored += 1
                right += int(scores[0] > scores[1:].max())
        start += n
    return total, right, scored, used


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", [(5, 1, 9, 2), (7,), (1, 1), (3, 0, 4)])
def test_equals_explicit_loops_with_gradients(masked, groups):
    size = sum(masked)
    ids = torch.randint(0, 3, (size, groups), generator=torch.Generator().manual_seed(4))
    c, q = unit(size, 6).requires_grad_(), unit(size, 6, seed=1).requires_grad_()
    total, metrics = info_nce(c, q, ids, masked, tuple(range(len(masked))), 100, 0.1)
    got = torch.autograd.grad(total, (c, q))
    expected, right, scored, used = naive(c, q, ids, masked, 0.1)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    assert [float(x) for x in metrics["accuracy"]] == [right, scored]
    assert float(metrics["distractors"][0]) == used
    wanted = torch.autograd.grad(expected, (c, q), allow_unused=True)
    for one, other in zip(got, wanted):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=1e-4, atol=1e-5)


def drawn(masked, keys, negatives):
    """Which (frame, distractor) couples are drawn: those whose code receives gradient from that frame's loss."""
    size = sum(masked)
    q = unit(size, 8, seed=1)
    couples = set()
    for i in range(size):
        one = torch.zeros(size, 8)
        one[i] = unit(8, seed=i + 50)
        leaf = q.clone().requires_grad_()
        total, _ = info_nce(one, leaf, torch.arange(size)[:, None], masked, keys, negatives, 1.0)
        hit = torch.autograd.grad(total, leaf)[0].abs().sum(1) > 0
        couples |= {(i, j) for j in hit.nonzero().squeeze(1).tolist() if j != i}
    return couples


def test_a_limited_number_of_distractors_is_drawn_without_replacement_within_the_utterance():
    masked, keys = (12, 3, 7), (5, 6, 7)
    couples = drawn(masked, keys, 4)
    utterance = [u for u, n in enumerate(masked) for _ in range(n)]
    assert all(utterance[i] == utterance[j] and i != j for i, j in couples)
    for i, u in enumerate(utterance):
        assert sum(a == i for a, _ in couples) == min(4, masked[u] - 1)
    assert drawn(masked, keys, 4) == couples and drawn(masked, (8, 9, 10), 4) != couples
    c, q, ids = unit(22, 6), unit(22, 6, seed=1), torch.randint(0, 4, (22, 1))
    total, _ = info_nce(c, q, ids, masked, keys, 4, 0.1)
    expected, *_ = naive(c, q, ids, masked, 0.1, allowed=lambda i, j: (i, j) in couples)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)


def test_every_other_frame_is_drawn_equally_often():
    counts = torch.zeros(7, 7)
    for key in range(300):
        for i, j in drawn((7,), (key,), 2):
            counts[i, j] += 1
    off = counts[~torch.eye(7, dtype=torch.bool)]
    assert counts.diagonal().sum() == 0
    assert ((off - 100).abs() < 40).all()  # binomial(300, 1/3): five standard deviations


def test_equal_codes_are_no_distractors_and_collapse_gives_zero_not_nan():
    c, q = unit(6, 4).requires_grad_(), unit(6, 4, seed=1).requires_grad_()
    total, metrics = info_nce(c, q, torch.zeros(6, 1, dtype=torch.long), (6,), (1,), 100, 0.1)
    grads = torch.autograd.grad(total, (c, q))
    assert total.item() == 0 and all((g == 0).all() for g in grads)
    assert [float(x) for x in metrics["accuracy"]] == [0, 0] and float(metrics["distractors"][0]) == 0


def test_counts_are_frames_that_can_have_a_negative():
    head = Contrastive.Config().build(ports(FakeEncoder()))
    seen = view(head.view, speech(400, 4, 300))  # the second utterance has a single position
    n = seen.speech_masked_B
    assert n[1] == 1
    assert head.counts(seen) == {"contrastive": n[0] + n[2], "diversity": sum(n)}


def test_diversity_by_hand():
    V = 8
    assert diversity(torch.full((1, V), 1 / V)).item() == pytest.approx(0, abs=1e-6)
    assert diversity(F.one_hot(torch.tensor([3]), V).float()).item() == pytest.approx((V - 1) / V, abs=1e-6)
    half = torch.tensor([[0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    assert diversity(half).item() == pytest.approx((8 - 6) / 8, abs=1e-6)


def test_diversity_gradient_spreads_the_codes():
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0]], requires_grad=True)
    diversity(logits.softmax(1)).backward()
    assert logits.grad[0, 0] > 0 and (logits.grad[0, 1:] < 0).all()


def test_code_perplexity_counts_codes_in_use():
    ids = torch.tensor([[0, 1], [0, 2], [3, 1], [3, 2]])
    assert code_perplexity(Codes(ids, ids, ids, torch.zeros(4, 2))).item() == pytest.approx(2.0)


@pytest.mark.parametrize("at", ["speech_tower", "joint"])
@pytest.mark.parametrize("targets", ["learned", "random_projection", "kmeans"])
def test_objective_scores_the_named_stage(at, targets):
    encoder = FakeEncoder()
    build = ports(encoder)
    objective = Contrastive.Config(at=at, targets=targets).build(build)
    codebook = coder(TARGETS[targets], build)
    seen = view(objective.view, speech(400, 300, 120))
    encoding = encoder(seen)
    terms = objective(seen, encoding, {targets: codebook(seen, encoding, 0.5)})
    assert set(terms) == set(objective.counts(seen)) == set(objective.term_weights)
    assert ("diversity" in terms) == (targets == "learned")
    terms["contrastive"].total.backward()
    assert (encoder.top.weight.grad is not None) == (at == "joint")
    trained = codebook.logits.weight.grad.abs().sum() > 0 if targets == "learned" else True
    assert trained and all(p.grad.isfinite().all() for p in objective.parameters())


def test_config_faults():
    with pytest.raises(ValueError, match="did you mean 'joint'"):
        Contrastive.Config(at="joints")
