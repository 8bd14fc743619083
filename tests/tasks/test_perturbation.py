"""Perturbed speech: by hand, neutral where nothing is asked, and a function of each utterance's key alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ablate.errors import UserError
from ablate.sweepfile.typed import typed
from ablate.tasks.supervised.perturbation import Perturbation, curve, faster, framed, lifted, warped
from encoders.batch import Speech

EVERYTHING = Perturbation(
    speeds=(0.9, 1.0, 1.1), vocal_tract=0.1, noise=0.5, edges=(-3, 12), floor=6, contrast=0.4, filter=0.4
)


def speech(lengths=(20, 33), keys=(5, 9)) -> Speech:
    return Speech(torch.randn(sum(lengths), 80, generator=torch.Generator().manual_seed(0)), lengths, keys)


def test_frames_are_read_faster_by_hand():
    mel_FM = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    assert faster(mel_FM, 2.0).flatten().tolist() == [0, 2, 4]
    assert faster(mel_FM, 0.75).flatten().tolist() == pytest.approx([0, 0.75, 1.5, 2.25, 3, 3.75, 4.5, 5])
    assert faster(mel_FM[:1], 3.0).shape == (1, 1)


def test_a_tone_moves_to_its_new_frequency():
    def nearest_bin(hz: float) -> int:
        edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 82)[1:-1]
        return int(np.abs(edges - 2595 * np.log10(1 + hz / 700)).argmin())

    for hz in (500, 1000, 2500):
        for factor in (0.8, 1.1, 1.25):
            tone = torch.zeros(1, 80)
            tone[0, nearest_bin(hz)] = 1
            assert abs(int((tone @ warped(factor, 80)).argmax()) - nearest_bin(hz * factor)) <= 1
    assert torch.allclose(warped(1.0, 80), torch.eye(80), atol=1e-4)
    assert torch.allclose(warped(1.2, 80).sum(0), torch.ones(80)), "what is level stays level"


def test_nothing_asked_is_nothing_done():
    given = speech()
    assert Perturbation().apply(given) is given


def test_each_utterance_depends_on_its_own_key():
    both = EVERYTHING.apply(speech())
    first, second = both.mel_FM.split(list(both.lengths))
    whole = speech()
    alone = EVERYTHING.apply(Speech(whole.mel_FM[20:], (33,), (9,)))
    assert alone.lengths == both.lengths[1:] and torch.equal(alone.mel_FM, second)
    other = EVERYTHING.apply(Speech(whole.mel_FM[:20], (20,), (6,)))
    assert other.mel_FM.shape != first.shape or not torch.equal(other.mel_FM, first)


def test_speeds_and_edges_are_all_drawn():
    def lengths(how: Perturbation, frames: int = 90) -> set[int]:
        return {how.apply(speech((frames,), (key,))).lengths[0] for key in range(30)}

    assert lengths(Perturbation(speeds=(0.9, 1.0, 1.1))) == {100, 90, 82}
    assert lengths(Perturbation(edges=(-2, 1))) == {86, 87, 88, 89, 90, 91, 92}
    assert lengths(Perturbation(edges=(-5, -5)), 7) == {1}


def test_edges_are_silence_or_cut():
    mel_FM = torch.tensor([[1.0, 5.0], [3.0, 4.0], [2.0, 6.0]])
    expected = torch.tensor([[1.0, 4.0], [1.0, 4.0], [1.0, 5.0], [3.0, 4.0], [2.0, 6.0], [1.0, 4.0]])
    torch.testing.assert_close(framed(mel_FM, 2, 1), expected)
    torch.testing.assert_close(framed(mel_FM, -1, -1), mel_FM[1:2])
    torch.testing.assert_close(framed(mel_FM, -1, 0), mel_FM[1:])


def test_a_floor_fills_what_is_soft_and_leaves_what_is_loud():
    mel_FM = torch.tensor([[0.0], [-1.0], [-20.0]])
    expected = (
        torch.tensor([1 + np.exp(-4), np.exp(-2) + np.exp(-4), np.exp(-4)]).log() / 2
    )  # the floor lies at -2: exp(2 * -2)
    torch.testing.assert_close(lifted(mel_FM, 2.0)[:, 0], expected.float())


def test_means_are_0_again_where_they_were():
    given = speech((20,), (5,))
    for how in (Perturbation(floor=6.0), Perturbation(edges=(2, 9))):
        centred_FM, left_FM = (how.apply(given, centred).mel_FM for centred in (True, False))
        assert centred_FM.mean(0).abs().max() < 1e-5 < left_FM.mean(0).abs().max()
        torch.testing.assert_close(centred_FM, left_FM - left_FM.mean(0))


def test_contrast_is_one_factor_and_a_filter_one_curve_over_bins():
    given = speech((20,), (5,))
    factor_FM = Perturbation(contrast=0.4).apply(given).mel_FM / given.mel_FM
    assert (
        torch.allclose(factor_FM, factor_FM[0, 0].expand_as(factor_FM), rtol=1e-4)
        and 0.6 <= float(factor_FM[0, 0]) <= 1.4
    )
    added_FM = Perturbation(filter=0.4).apply(given).mel_FM - given.mel_FM
    assert torch.allclose(added_FM, added_FM[0].expand_as(added_FM), atol=1e-5) and float(added_FM[0].std()) > 0.05
    assert curve(np.array([0.0, 1.0, 3.0]), 5).tolist() == [0, 0.5, 1, 2, 3]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"speeds": [1, 90.0]}, r"x\.speeds\[1\]: expected a number from 0\.2 to 5, found 90\.0\."),
        ({"vocal_tract": 2.0}, r"x\.vocal_tract: expected a number from 0 to 0\.5, found 2\.0\."),
        ({"edges": [3, 0]}, "x: edges are .*fewest frames and the most"),
        ({"edges": [3]}, r"x\.edges: expected a list of 2, found \[3\]"),
        ({"floor": 0.5}, "x: floor is 0.5"),
        ({"contrast": 1.0}, r"x\.contrast: expected a number from 0 to below 1, found 1\.0\."),
    ],
)
def test_mistakes_are_named(patch, message):
    with pytest.raises(UserError, match=message):
        typed(Perturbation(), patch, "x")
