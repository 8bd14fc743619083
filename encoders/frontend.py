"""From waveform to speech positions: log-mel, and front ends that subsample time by four (docs/paper.md, section 1).

All front ends give ceil(frames / 4) positions of 40 ms, so they are interchangeable and the same masks fit all of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE = 16_000  # Hz
BINS = 80
STRIDE = 4  # mel frames per position
FLOOR = 1e-6  # of mel power, for samples in [-1, 1]: silence must not become a large negative number
_FFT = 512


@lru_cache(maxsize=4)
def mel_filters(rate: int = RATE) -> Tensor:
    """Triangular filters, [257 FFT bins, 80], evenly spaced in HTK mel (2595 log10(1 + f/700)) from 20 Hz to rate/2."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (20, rate / 2))
    mels = torch.linspace(low, high, BINS + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, _FFT // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel(wave: Tensor, rate: int = RATE) -> Tensor:
    """Natural-log mel energies of samples in [-1, 1]: [..., samples] to [..., frames, 80].

    Periodic Hann windows of 25 ms every 10 ms, none extending beyond the signal: 1 + (samples - 400) // 160 frames at
    16 kHz, and one zero-padded frame for anything shorter than a window. Power spectrum of a 512-point FFT.
    """
    window, hop = rate * 25 // 1000, rate // 100
    if window > _FFT:
        raise ValueError(f"Sampling rate {rate} Hz is too high: expected at most 20480 Hz. Resample to {RATE} Hz.")
    wave = F.pad(wave, (0, max(0, window - wave.shape[-1])))
    frames = wave.unfold(-1, window, hop) * torch.hann_window(window, device=wave.device, dtype=wave.dtype)
    spectrum = torch.fft.rfft(frames, _FFT)
    power = spectrum.real.square().addcmul(spectrum.imag, spectrum.imag)
    return (power @ mel_filters(rate).to(power)).clamp(min=FLOOR).log()


def frames(samples: int, rate: int = RATE) -> int:
    """Number of frames that `log_mel` computes from `samples` samples."""
    window, hop = rate * 25 // 1000, rate // 100
    return 1 + max(0, samples - window) // hop


def normalise(mel_FM: Tensor) -> Tensor:
    """Normalise each mel bin to mean 0 and variance 1 over the utterance's frames (0 if a bin is constant)."""
    variance, mean = torch.var_mean(mel_FM, dim=-2, correction=0, keepdim=True)
    return (mel_FM - mean) * (variance + 1e-8).rsqrt()


def bounded(mel_FM: Tensor) -> Tensor:
    """Log-mel with a floor 50 dB below the utterance's maximum, in units of 2 nats; the mean is subtracted later."""
    return mel_FM.clamp(min=mel_FM.amax((-2, -1), keepdim=True) - 5 * math.log(10)) / 2


def levelled(mel_FM: Tensor) -> Tensor:
    """Normalise each mel bin of `bounded` log-mel to mean 0 over the utterance's frames, but keep its variance.

    In utterances of a single word, or in bins that contain only noise (above 4 kHz in recordings at 8 kHz), the
    variance says nothing about speech, and dividing by it makes the noise as large as the rest.
    """
    loud_FM = bounded(mel_FM)
    return loud_FM - loud_FM.mean(-2, keepdim=True)


# Applied to one recording; a speaker's mean over all recordings is subtracted when a table is read (`Table.mel`).
NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {"bins": normalise, "level": levelled, "speaker": bounded}


def subsampled(frames: tuple[int, ...]) -> tuple[int, ...]:
    """Positions per utterance: ceil(frames / 4)."""
    return tuple(-(-n // STRIDE) for n in frames)


def _slots(frames: tuple[int, ...], gap: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out utterances in slots of ceil(frames / 4) + gap positions, without overlap, each start stride-aligned.

    Returns lengths, slot sizes and slot starts, each [B], in positions except lengths, which are in frames.
    """
    lengths_B = torch.tensor(frames, device=device)
    sizes_B = (lengths_B + STRIDE - 1) // STRIDE + gap
    return lengths_B, sizes_B, sizes_B.cumsum(0) - sizes_B


def _spread(mel_FM: Tensor, frames: tuple[int, ...], gap: int) -> Tensor:
    """Move each utterance to its slot; zeros elsewhere."""
    lengths_B, sizes_B, starts_B = _slots(frames, gap, mel_FM.device)
    shifts_B = STRIDE * starts_B - (lengths_B.cumsum(0) - lengths_B)
    total = len(mel_FM)
    shifts_F = torch.repeat_interleave(shifts_B, lengths_B, output_size=total)
    index_F = torch.arange(total, device=mel_FM.device) + shifts_F
    rows = STRIDE * (sum(subsampled(frames)) + gap * len(frames))
    return mel_FM.new_zeros(rows, mel_FM.shape[1]).index_copy(0, index_F, mel_FM)


def stack(mel_FM: Tensor, frames: tuple[int, ...]) -> Tensor:
    """Concatenate each utterance's frames in groups of four, zero-padded at its end: x_TC with C = 4 * 80."""
    return _spread(mel_FM, frames, gap=0).view(-1, STRIDE * mel_FM.shape[1])


class FrontEnd(nn.Module, ABC):
    """Turns packed log-mel into packed features at a quarter of the rate, each utterance as if it were alone."""

    @abstractmethod
    def forward(self, mel_FM: Tensor, frames: tuple[int, ...], stacked_TC: Tensor) -> Tensor:
        """Return features x_TD; `stacked_TC` is `stack(mel_FM, frames)`, computed once for all uses."""


class StackedFrames(FrontEnd):
    """One linear map of four stacked frames: the cheapest by far on a CPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(STRIDE * BINS, width)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, mel_FM: Tensor, frames: tuple[int, ...], stacked_TC: Tensor) -> Tensor:
        return self.linear(stacked_TC)


class ConvSubsampling(FrontEnd):
    """Two 3x3 convolutions of stride 2 over time and mel, each with a ReLU, then a linear map.

    `second` is the second convolution, [1, channels, F/2, 40] to [1, channels, F/4, 20].
    """

    def __init__(self, width: int, channels: int, second: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = second
        self.linear = nn.Linear(channels * BINS // STRIDE, width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, mel_FM: Tensor, frames: tuple[int, ...], stacked_TC: Tensor) -> Tensor:
        # A gap of one position (four frames) separates neighbours; slots start at multiples of the stride.
        x_1CFM = _spread(mel_FM, frames, gap=1)[None, None]
        x_1CFM = F.relu(self.first(x_1CFM.contiguous(memory_format=torch.channels_last)))
        x_1CFM = self.second(x_1CFM * _inside(frames, mel_FM.device)[:, None])
        x_TD = x_1CFM[0].permute(1, 2, 0).flatten(1).relu()  # channels are last already: no copy
        return self.linear(x_TD.index_select(0, _taken(frames, mel_FM.device)))


def _inside(frames: tuple[int, ...], device: torch.device) -> Tensor:
    """After the first convolution, 1 for rows of an utterance and 0 for rows of the gaps, which must be zeroed
    again.
    """
    lengths_B, sizes_B, starts_B = _slots(frames, 1, device)
    rows = 2 * (sum(subsampled(frames)) + len(frames))
    ends_B = 2 * starts_B + (lengths_B + 1) // 2
    ends = torch.repeat_interleave(ends_B, 2 * sizes_B, output_size=rows)
    return (torch.arange(rows, device=device) < ends).float()


def _taken(frames: tuple[int, ...], device: torch.device) -> Tensor:
    """After the second convolution, the rows that are positions of utterances: all but the last of each slot."""
    positions = subsampled(frames)
    total = sum(positions)
    gaps = torch.repeat_interleave(
        torch.arange(len(frames), device=device), torch.tensor(positions, device=device), output_size=total
    )
    return torch.arange(total, device=device) + gaps


def _conv2d(width: int, channels: int) -> FrontEnd:
    return ConvSubsampling(width, channels, nn.Conv2d(channels, channels, 3, stride=2, padding=1))


def _separable(width: int, channels: int) -> FrontEnd:
    depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
    return ConvSubsampling(width, channels, nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1)))


FRONT_ENDS: dict[str, Callable[[int, int], FrontEnd]] = {  # functions of width and channels
    "stacked": lambda width, channels: StackedFrames(width),
    "conv2d": _conv2d,  # the paper's; its number of channels is unknown
    "separable": _separable,  # the second convolution is depthwise, then pointwise
}
