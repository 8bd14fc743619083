"""How far a recording is from the speech that a model was trained on, judged by its features alone.

What tells speech from noise, hum, tones and music is how fast its spectrum changes over time and over frequency. A
recording is described by 13 such numbers, and compared by their Mahalanobis distance with training recordings. The
bound is learnt on held-out recordings, whose speakers are others where the corpus keeps speakers apart. NOTES.md,
2026-12-01, has what this finds on real recordings, and what was tried beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

LEAST = 12  # frames: shorter recordings are continued by their last frame
MOST = 1000  # recordings that are described, of each split
FEWEST = 30  # training recordings and dev recordings below which nothing is learnt
FLOOR = 1e-3  # of mean squares, in squared units of normalised log-mel
RIDGE = 0.01  # added to the correlations' diagonal, so that any number of recordings has an inverse
DEVIATIONS = 3.0  # of the logarithm of held-out distances above their mean: the bound


def described(mel_FM: np.ndarray) -> np.ndarray:
    """The 13 numbers of a recording's normalised log-mel frames [F > 0, 80]; float64.

    Logarithms of mean squares: of the change over 1, 2, 4 and 8 frames, of every bin and of eight bands of ten bins; of
    the change over 1, 4 and 16 bins; of the deviation over time of the mean of all bins, and of the bands. Of several
    changes the first is given as it is, the others by how much larger than the one before.
    """
    x_FM = np.asarray(mel_FM, np.float32)
    if len(x_FM) < LEAST:
        x_FM = np.pad(x_FM, ((0, LEAST - len(x_FM)), (0, 0)), mode="edge")
    band_FB = x_FM.reshape(len(x_FM), 8, 10).mean(2)
    level_F = x_FM.mean(1)

    def grown(values: Iterable[np.ndarray]) -> list[float]:
        first, *others = [_log(value) for value in values]
        return [first, *np.diff([first, *others])]

    return np.array(
        grown(x_FM[k:] - x_FM[:-k] for k in (1, 2, 4, 8))
        + grown(band_FB[k:] - band_FB[:-k] for k in (1, 2, 4, 8))
        + grown(x_FM[:, k:] - x_FM[:, :-k] for k in (1, 4, 16))
        + [_log(level_F - level_F.mean()), _log(band_FB - band_FB.mean(0))],
        np.float64,
    )


def _log(difference: np.ndarray) -> float:
    return float(np.log(np.square(difference, dtype=np.float64).mean() + FLOOR))


@dataclass(frozen=True)
class Likeness:
    """What the recordings of a training are like: mean, deviation and inverse correlations of what `described` gives,
    and the distance that counts as far.
    """

    mean: list[float]
    deviation: list[float]
    inverse: list[list[float]]
    bound: float

    def far(self, mel_FM: np.ndarray) -> float:
        """Distance of a recording's frames [F, 80], in units of the bound: above 1 it is unlike the training's."""
        return self._distance(described(mel_FM)) / self.bound

    def _distance(self, described_K: np.ndarray) -> float:
        z_K = (described_K - np.array(self.mean)) / np.array(self.deviation)
        return float(np.sqrt(z_K @ np.array(self.inverse) @ z_K))


def learnt(train: Iterable[np.ndarray], heldout: Iterable[np.ndarray]) -> Likeness | None:
    """The likeness of training recordings, with its bound from held-out ones (frames [F, 80] of each); None if either
    are too few.
    """
    train_NK, heldout_NK = np.array([*map(described, train)]), np.array([*map(described, heldout)])
    if min(len(train_NK), len(heldout_NK)) < FEWEST:
        return None
    mean_K, deviation_K = train_NK.mean(0), train_NK.std(0) + 1e-6
    correlation_KK = np.cov((train_NK - mean_K).T / deviation_K[:, None], bias=True)
    inverse_KK = np.linalg.inv(correlation_KK + RIDGE * np.eye(len(mean_K)))
    one = Likeness(mean_K.tolist(), deviation_K.tolist(), inverse_KK.tolist(), 1.0)
    log_N = np.log([one._distance(described_K) for described_K in heldout_NK])
    return Likeness(one.mean, one.deviation, one.inverse, float(np.exp(log_N.mean() + DEVIATIONS * log_N.std())))
