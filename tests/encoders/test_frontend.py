"""Log-mel against SciPy, front ends against themselves on each utterance alone."""

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

from encoders.frontend import FRONT_ENDS, levelled, log_mel, mel_filters, normalise, stack, subsampled

FRAMES = (1, 4, 5, 11, 30, 2)


def test_log_mel_equals_scipy_spectrogram():
    wave = np.random.default_rng(0).normal(size=4000) * 0.1
    _, _, power = scipy.signal.spectrogram(
        wave, 16_000, scipy.signal.get_window("hann", 400), 400, 240, 512, detrend=False, scaling="spectrum"
    )
    power *= scipy.signal.get_window("hann", 400).sum() ** 2
    power[1:-1] /= 2  # SciPy doubles all but the ends of a one-sided spectrum
    hz = lambda m: 700 * (10 ** (m / 2595) - 1)  # noqa: E731
    edges = hz(np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 82))
    filters = np.stack([np.interp(np.linspace(0, 8000, 257), edges[i : i + 3], [0, 1, 0]) for i in range(80)])
    expected = np.log(np.maximum(filters @ power, 1e-6)).T
    mine = log_mel(torch.tensor(wave, dtype=torch.float32))
    assert mine.shape == (1 + (4000 - 400) // 160, 80)
    np.testing.assert_allclose(mine.numpy(), expected, atol=2e-3)


def test_log_mel_of_silence_short_waves_and_batches():
    assert log_mel(torch.zeros(7)).shape == (1, 80)
    torch.testing.assert_close(log_mel(torch.zeros(400)), torch.full((1, 80), 1e-6).log())
    waves = torch.randn(3, 900)
    torch.testing.assert_close(log_mel(waves)[1], log_mel(waves[1]))


def test_a_tone_peaks_in_its_own_filter():
    wave = (torch.arange(1600) * 2 * torch.pi * 1000 / 16_000).sin()
    assert log_mel(wave).mean(0).argmax() == mel_filters()[32].argmax()  # 32 bins of 31.25 Hz are 1 kHz
    assert (mel_filters() >= 0).all() and (mel_filters().sum(1)[2:255] > 0).all()


def test_rates_too_high_for_the_transform_are_refused():
    with pytest.raises(ValueError, match="48000 Hz"):
        log_mel(torch.zeros(48_000), rate=48_000)


def test_normalise_gives_mean_0_and_variance_1_per_bin():
    mel = torch.randn(50, 80) * 4 - 7
    mel[:, 3] = 2.5
    normal = normalise(mel)
    torch.testing.assert_close(normal.mean(0), torch.zeros(80), atol=1e-5, rtol=0)
    expected = torch.ones(80)
    expected[3] = 0
    torch.testing.assert_close(normal.std(0, correction=0), expected, atol=1e-4, rtol=0)
    assert torch.equal(normalise(mel[:1]), torch.zeros(1, 80))


def test_stack_pads_each_utterance_at_its_end():
    mel = torch.arange(1.0, 8)[:, None].expand(7, 80)
    stacked = stack(mel, (5, 2))
    assert subsampled((5, 2)) == (2, 1) and stacked.shape == (3, 320)
    assert stacked.view(3, 4, 80)[:, :, 0].tolist() == [[1, 2, 3, 4], [5, 0, 0, 0], [6, 7, 0, 0]]


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_utterances_do_not_leak_into_neighbours(name):
    front_end, mel = FRONT_ENDS[name](8, 3), torch.randn(sum(FRAMES), 80)
    for parameter in front_end.parameters():  # zero biases would hide rows of gaps that are not zero
        nn.init.normal_(parameter, std=0.3)
    packed = front_end(mel, FRAMES, stack(mel, FRAMES))
    assert packed.shape == (sum(subsampled(FRAMES)), 8)
    for x, alone, n in zip(packed.split(subsampled(FRAMES)), mel.split(FRAMES), FRAMES):
        torch.testing.assert_close(x, front_end(alone, (n,), stack(alone, (n,))), rtol=1e-5, atol=1e-5)


def test_conv2d_equals_plain_convolutions_on_each_utterance():
    front_end, mel = FRONT_ENDS["conv2d"](8, 3), torch.randn(sum(FRAMES), 80)
    for parameter in front_end.parameters():
        nn.init.normal_(parameter, std=0.3)
    alone = []
    for x in mel.split(FRAMES):
        x = front_end.second(front_end.first(x[None, None]).relu()).relu()
        alone.append(front_end.linear(x[0].permute(1, 2, 0).flatten(1)))
    packed = front_end(mel, FRAMES, stack(mel, FRAMES))
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_levels_keep_how_far_bins_go_up_and_down():
    mel_FM = torch.tensor([[0.0, -30.0], [4.0, -30.0], [2.0, -2.0]])
    loud = torch.tensor([[0.0, 4 - 11.5129], [4.0, 4 - 11.5129], [2.0, -2.0]])  # 50 dB are 11.51 nats of power
    assert torch.allclose(levelled(mel_FM), (loud - loud.mean(0)) / 2, atol=1e-4)
    assert torch.allclose(levelled(mel_FM + 7), levelled(mel_FM), atol=1e-5), "loudness must not matter"
