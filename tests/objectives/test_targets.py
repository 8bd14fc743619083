"""Learned (Gumbel) codes and random-projection codes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pretraining import FakeEncoder, coder, ports, speech, view

from objectives.kmeans import KMeans, nearest
from objectives.objective import Ports
from objectives.quantizer import Learned
from objectives.targets import TARGETS, RandomProjection, of
from objectives.views import SpeechMask

X = torch.randn(500, 16, generator=torch.Generator().manual_seed(3))


def learned(seed=0, width=16, **fields):
    torch.manual_seed(seed)
    return Learned.Config(**fields).build(replace(ports(FakeEncoder()), width=width))


def test_codes_are_a_function_of_key_and_progress():
    quantizer = learned()
    one, same, other = quantizer.codes(X, 1, 0.5), quantizer.codes(X, 1, 0.5), quantizer.codes(X, 2, 0.5)
    assert torch.equal(one.vectors_ID, same.vectors_ID) and torch.equal(one.ids_IG, same.ids_IG)
    assert not torch.equal(one.ids_IG, other.ids_IG) and torch.equal(one.best_IG, other.best_IG)


def test_temperature_falls_geometrically_with_the_fraction_of_training():
    quantizer = learned()
    assert [quantizer.temperature(p) for p in (0, 0.5, 1)] == pytest.approx([2.0, 0.2**0.5, 0.1])
    assert quantizer.temperature(1.7) == pytest.approx(0.1)


def test_vectors_are_exactly_the_codebook_entries_of_their_ids():
    quantizer = learned(groups=2, dim=8, entries=5)
    codes = quantizer.codes(X, 1, 0.3)
    parts = [quantizer.codebook_GVE[g][codes.ids_IG[:, g]] for g in range(2)]
    torch.testing.assert_close(codes.vectors_ID, torch.cat(parts, 1), rtol=0, atol=0)


def test_sampled_ids_follow_the_softmax_of_the_logits():
    """The Gumbel-max trick: frequencies of ids are the noise-free probabilities, whatever the temperature."""
    quantizer = learned(entries=4)
    with torch.no_grad():
        quantizer.logits.weight.mul_(0.3)
    x = X[:1].expand(40_000, -1)
    p_V = quantizer.logits(F.layer_norm(x[:1], (16,))).softmax(1)[0]
    codes = quantizer.codes(x, 5, 0.9)
    share_V = torch.bincount(codes.ids_IG[:, 0], minlength=4) / 40_000
    torch.testing.assert_close(share_V, p_V, atol=0.01, rtol=0)
    torch.testing.assert_close(codes.mean_GV[0], p_V)


def test_straight_through_gradient_is_that_of_the_soft_choice():
    quantizer = learned(entries=6, dim=4)
    out = torch.randn(500, 4)
    codes = quantizer.codes(X, 7, 0.25)
    (codes.vectors_ID * out).sum().backward()
    got = quantizer.logits.weight.grad.clone(), quantizer.codebook_GVE.grad.clone()
    quantizer.zero_grad()

    logits_IV = quantizer.logits(F.layer_norm(X, (16,)))
    noise = -torch.empty(500, 1, 6).exponential_(generator=torch.Generator().manual_seed(7)).log()
    soft_IV = ((logits_IV + noise[:, 0]) / quantizer.temperature(0.25)).softmax(1)
    (soft_IV @ quantizer.codebook_GVE[0].detach() * out).sum().backward()
    torch.testing.assert_close(got[0], quantizer.logits.weight.grad)
    assert torch.equal(codes.ids_IG[:, 0], soft_IV.argmax(1))
    expected = torch.zeros(6, 4).index_add(0, codes.ids_IG[:, 0], out)
    torch.testing.assert_close(got[1][0], expected)


def test_two_draws_mostly_agree_from_the_start():
    """N(0, 1) weights at width 64 give 72 % agreement of two draws, a default Linear 2 %.

    Measured: docs/paper.md, section 10.3.
    """
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0)) * 0.05  # the input's scale does not matter
    quantizer = learned(width=64)
    agree = (quantizer.codes(x, 1, 0).ids_IG == quantizer.codes(x, 2, 0).ids_IG).float().mean()
    assert agree > 0.6


def test_evaluation_is_noise_free_and_predictions_may_be():
    quantizer = learned().eval()
    codes = quantizer.codes(X, 1, 0.0)
    assert torch.equal(codes.ids_IG, codes.best_IG) and torch.equal(codes.targets_IG, codes.best_IG)
    sampled, argmax = learned(), learned(predict="argmax")
    assert torch.equal(sampled.codes(X, 1, 0).targets_IG, sampled.codes(X, 1, 0).ids_IG)
    assert torch.equal(argmax.codes(X, 1, 0).targets_IG, argmax.codes(X, 1, 0).best_IG)
    assert not torch.equal(argmax.codes(X, 1, 0).ids_IG, argmax.codes(X, 1, 0).best_IG)


@pytest.mark.parametrize("name", TARGETS)
def test_only_masked_positions_are_coded_from_unmasked_input(name):
    encoder = FakeEncoder()
    targets = coder(TARGETS[name], ports(encoder)).eval()
    seen = view(SpeechMask(), speech(400, 80))
    encoding = encoder(seen)
    codes = targets(seen, encoding, 0.5)
    assert codes.ids_IG.shape == (len(seen.speech_masked_I), 1)
    whole = targets.codes(encoding.stages[targets.config.input], 0, 0.5)
    assert torch.equal(codes.ids_IG, whole.ids_IG[seen.speech_masked_I])


def test_learned_codes_train_the_front_end_and_detached_ones_nothing():
    encoder = FakeEncoder()
    quantizer = TARGETS["learned"].build(ports(encoder))
    seen = view(SpeechMask(), speech(400))
    codes = quantizer(seen, encoder(seen), 0.5)
    assert not codes.detached().vectors_ID.requires_grad and not codes.detached().mean_GV.requires_grad
    (codes.vectors_ID.pow(2).sum() + codes.mean_GV.pow(2).sum()).backward()
    assert encoder.front.weight.grad.abs().sum() > 0


def test_random_projection_is_fixed_by_its_seed_alone():
    builds = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        builds.append(TARGETS["random_projection"].build(ports(FakeEncoder())))
    assert torch.equal(builds[0].projection_CD, builds[1].projection_CD)
    other = RandomProjection.Config(seed=1).build(ports(FakeEncoder()))
    assert not torch.equal(builds[0].projection_CD, other.projection_CD)
    assert not list(builds[0].parameters()) and set(builds[0].state_dict()) == {"projection_CD", "codebook_GVE"}


def test_random_projection_finds_the_nearest_normalised_entry():
    targets = RandomProjection.Config(groups=2, entries=9, dim=6).build(ports(FakeEncoder()))
    x = torch.randn(50, 320)
    codes = targets.codes(x, 0, 0)
    for i in range(50):
        z = x[i] @ targets.projection_CD
        for g in range(2):
            book = F.normalize(targets.codebook_GVE[g], dim=1)
            nearest = (book - F.normalize(z[3 * g : 3 * g + 3], dim=0)).norm(dim=1).argmin()
            assert codes.ids_IG[i, g] == nearest
            torch.testing.assert_close(codes.vectors_ID[i, 3 * g : 3 * g + 3], book[nearest])
    torch.testing.assert_close(targets.codes(x * 7, 0, 0).ids_IG, codes.ids_IG)


def test_kmeans_codes_are_nearest_centroids_and_fixed():
    targets = KMeans.Config(entries=9, dim=6).build(ports(FakeEncoder()))
    with pytest.raises(AssertionError, match="without centroids"):
        targets.codes(torch.zeros(1, 320), 0, 0)
    centroids, x = torch.randn(9, 320) * 2, torch.randn(200, 320)
    targets.use(centroids)
    codes = targets.codes(x, 0, 0)
    assert torch.equal(codes.ids_IG[:, 0], torch.cdist(x, centroids).argmin(1)) and len(codes.ids_IG.unique()) > 2
    assert codes.mean_GV is None and torch.equal(codes.targets_IG, codes.ids_IG)
    torch.testing.assert_close(codes.vectors_ID.norm(dim=1), torch.ones(200))
    assert torch.equal(codes.vectors_ID, targets.codebook_VE[codes.ids_IG[:, 0]])
    assert not list(targets.parameters()) and not targets.state_dict()  # each stage is given its own fit again
    again = KMeans.Config(entries=9, dim=6).build(ports(FakeEncoder()))
    assert torch.equal(again.codebook_VE, targets.codebook_VE)


def test_distances_are_those_to_the_nearest():
    x, centroids = torch.randn(200, 320), torch.randn(9, 320)
    ids, distance = nearest(x, centroids)
    torch.testing.assert_close(distance, torch.cdist(x, centroids).min(1).values ** 2, rtol=1e-4, atol=1e-3)


def test_unknown_targets_are_named():
    with pytest.raises(ValueError, match="did you mean 'learned'"):
        of(ports(FakeEncoder()), "learnt")
    with pytest.raises(ValueError, match="valid: none"):
        of(Ports(16, None, None), "learned")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Learned.Config(groups=3, dim=64), "multiple"),
        (lambda: Learned.Config(input="feature"), "did you mean 'features'"),
        (lambda: Learned.Config(cold=3.0), "cold <= hot"),
        (lambda: Learned.Config(predict="best"), "sampled"),
        (lambda: KMeans.Config(groups=2), "one codebook"),
        (lambda: KMeans.Config(entries=100, positions=99), "no more than positions"),
        (lambda: KMeans.Config(input="features"), "of: ROW"),
    ],
)
def test_impossible_configs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
