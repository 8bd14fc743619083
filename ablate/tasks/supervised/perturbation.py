"""Perturbation of training speech: speed, vocal tract length, noise; applied to log-mel, because features are
stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ablate.errors import UserError
from encoders import seeds
from encoders.batch import Speech
from encoders.ranges import Fraction, NonNegative, Within

_POINTS = 6  # support points of the curve that `filter` adds
_LOW, _HIGH = (2595 * np.log10(1 + hz / 700) for hz in (20, 8000))  # the range of the mel filters


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """Random changes to each training utterance, drawn from its own key; with the defaults there are none."""

    tag: ClassVar[str] = "perturbation"

    speeds: tuple[Annotated[float, Within(0.2, 5)], ...] = ()
    """Speed factors, one drawn for each utterance: at 1.1 it is a tenth shorter and every pitch a tenth higher (Ko et
    al. 2015 use 0.9, 1, 1.1 on the waveform; here log-mel is interpolated). Empty: the speed stays.
    """
    vocal_tract: Annotated[float, Within(0, 0.5)] = 0.0
    """Frequencies are scaled by a factor drawn from 1 - this to 1 + this; the duration stays (Jaitly and Hinton
    2013).
    """
    noise: NonNegative = 0.0
    """Gaussian noise is added to the normalised log-mel, with a standard deviation drawn from 0 to this."""
    edges: tuple[int, int] = (0, 0)
    """Minimum and maximum number of frames of silence (each bin's minimum) added at either end, drawn separately; a
    negative number of frames is cut off instead. This also changes where utterances are cropped, and which four frames
    share a position.
    """
    floor: NonNegative = 0.0
    """Every bin gets a floor, as from steady noise under the speech: it lies below the bin's loudest frame by a
    distance drawn from 1 to this, in units of the normalised log-mel (2 nats if `data.normalisation` is level or
    speaker; then 6 is 50 dB). 0: no floor.
    """
    contrast: Fraction = 0.0
    """Log-mel is multiplied by a factor drawn from 1 - this to 1 + this, which changes the dynamic range."""
    filter: NonNegative = 0.0
    """A curve over the mel bins is added, through six points drawn from a normal distribution with this standard
    deviation (FilterAugment, Nam et al. 2022).
    """

    def __post_init__(self) -> None:
        if self.edges[0] > self.edges[1]:
            raise UserError(f"edges are {list(self.edges)}, expected the fewest frames and the most, such as [-3, 12].")
        if 0 < self.floor < 1:
            raise UserError(f"floor is {self.floor}, expected 1 or more, or 0 for none.")

    def apply(self, speech: Speech, centred: bool = True) -> Speech:
        """Perturb every utterance; the result for each depends only on its key.

        If each utterance's bins had mean 0 (`centred`), the mean is removed again after silence or a floor changed it.
        """
        if self == Perturbation():
            return speech
        mels = [
            self._one(mel_FM, seeds.rng(seeds.key(key, "perturbation")), centred)
            for mel_FM, key in zip(speech.mel_FM.split(list(speech.lengths)), speech.keys, strict=True)
        ]
        return replace(speech, mel_FM=torch.cat(mels), lengths=tuple(map(len, mels)))

    def _one(self, mel_FM: Tensor, rng: np.random.Generator, centred: bool) -> Tensor:
        speed = float(rng.choice(self.speeds)) if self.speeds else 1.0
        warp = speed * (1 + self.vocal_tract * rng.uniform(-1, 1))
        if warp != 1:
            mel_FM = mel_FM @ warped(warp, mel_FM.shape[1])
        if speed != 1:
            mel_FM = faster(mel_FM, speed)
        if self.noise:
            spread = self.noise * rng.random()
            mel_FM = mel_FM + torch.from_numpy(spread * rng.standard_normal(tuple(mel_FM.shape), dtype=np.float32))
        if self.edges != (0, 0):
            before, behind = (int(n) for n in rng.integers(self.edges[0], self.edges[1] + 1, 2))
            mel_FM = framed(mel_FM, before, behind)
        if self.floor:
            mel_FM = lifted(mel_FM, rng.uniform(1, self.floor))
        if centred and (self.floor or self.edges != (0, 0)):
            mel_FM = mel_FM - mel_FM.mean(0)
        if self.contrast:
            mel_FM = mel_FM * (1 + self.contrast * rng.uniform(-1, 1))
        if self.filter:
            mel_FM = mel_FM + torch.from_numpy(curve(self.filter * rng.standard_normal(_POINTS), mel_FM.shape[1]))
        return mel_FM


def curve(points: np.ndarray, bins: int) -> np.ndarray:
    """Values at `bins` bins, linear between `points`, which are spread evenly from the first bin to the last."""
    places = np.linspace(0, len(points) - 1, bins)
    return np.interp(places, np.arange(len(points)), points).astype(np.float32)


def framed(mel_FM: Tensor, before: int, behind: int) -> Tensor:
    """Add `before` and `behind` frames of each bin's minimum, or cut frames off if negative; at least one frame
    stays.
    """
    soft_1M = mel_FM.amin(0, keepdim=True)
    first = min(max(0, -before), len(mel_FM) - 1)
    kept_FM = mel_FM[first : max(first + 1, len(mel_FM) + min(0, behind))]
    return torch.cat([soft_1M.expand(max(0, before), -1), kept_FM, soft_1M.expand(max(0, behind), -1)])


def lifted(mel_FM: Tensor, depth: float) -> Tensor:
    """Add to each bin the energy of steady noise `depth` below its loudest frame (energy is exp of twice the
    log-mel).
    """
    return torch.logaddexp(2 * mel_FM, 2 * (mel_FM.amax(0, keepdim=True) - depth)) / 2


def faster(mel_FM: Tensor, speed: float) -> Tensor:
    """Resample frames to `speed` times the speed by linear interpolation: round(F / speed) frames, at least one."""
    last = len(mel_FM) - 1
    place_F = (torch.arange(max(1, round(len(mel_FM) / speed)), dtype=torch.float64) * speed).clamp(max=last)
    below_F = place_F.long()
    share_F1 = (place_F - below_F).to(mel_FM.dtype)[:, None]
    return torch.lerp(mel_FM[below_F], mel_FM[(below_F + 1).clamp(max=last)], share_F1)


def warped(factor: float, bins: int) -> Tensor:
    """Matrix [bins, bins] that, multiplied from the right, turns log-mel into that of a sound whose frequencies are
    `factor` times as high: each bin is read at its frequency before scaling, interpolated between the two nearest bins;
    the end bins are repeated.
    """
    centre_M = np.linspace(_LOW, _HIGH, bins + 2)[1:-1]
    hz_M = 700 * (10 ** (centre_M / 2595) - 1) / factor
    place_M = (2595 * np.log10(1 + hz_M / 700) - centre_M[0]) / (centre_M[1] - centre_M[0])
    place_M = place_M.clip(0, bins - 1)
    below_M = np.minimum(place_M.astype(int), bins - 2)
    matrix_MM, column = np.zeros((bins, bins), np.float32), np.arange(bins)
    matrix_MM[below_M, column] = 1 - (place_M - below_M)
    matrix_MM[below_M + 1, column] += place_M - below_M
    return torch.from_numpy(matrix_MM)
