"""How much a code says about a label: mutual information from counts, corrected for the bias of small counts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def entropy(counts: np.ndarray) -> float:
    """Entropy, in nats, of the distribution estimated by counts (of any shape)."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def perplexity(codes_N: np.ndarray) -> float:
    """Perplexity of the codes: the number of equally frequent codes with the same entropy."""
    return float(np.exp(entropy(np.bincount(codes_N))))


def explained(codes_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Share of the labels' entropy that the codes explain, I(code; label) / H(label): HuBERT's normalisation.

    Codes and labels are small whole numbers, and the labels are not all equal.
    """
    shape = codes_N.max() + 1, labels_N.max() + 1
    joint = np.bincount(codes_N * shape[1] + labels_N, minlength=shape[0] * shape[1]).reshape(shape)
    of_labels = entropy(joint.sum(0))
    return (entropy(joint.sum(1)) + of_labels - entropy(joint)) / of_labels


def adjusted(codes_N: np.ndarray, labels_N: np.ndarray, shuffled: Iterable[np.ndarray]) -> float:
    """`explained`, rescaled so that 1 stays 1 and its mean over shuffled labels becomes 0.

    Counts of few observations overestimate information; labels shuffled so that they keep their own structure show by
    how much. If shuffled labels are explained completely, nothing can be concluded, and the result is 0.
    """
    chance = float(np.mean([explained(codes_N, other_N) for other_N in shuffled]))
    return (explained(codes_N, labels_N) - chance) / (1 - chance) if 1 - chance > 1e-9 else 0.0
