"""Linear measures of representations, in closed form: similarity of two, and classifiers on top of one."""

from __future__ import annotations

import numpy as np

RIDGE = 1e-2
"""Regularisation, as a share of the features' mean variance."""


def cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Linear centred kernel alignment of two views of the same N > 3 items; 1 for rotations and scalings, 0 by chance.

    From the unbiased estimate of HSIC (Song et al. 2012; Nguyen et al. 2021): the plain one is far from 0 for unrelated
    views unless N is far larger than the widths. May be slightly negative; 0 if a view is constant.
    """
    k_NN, l_NN = (_hollow(z - z.mean(0)) for z in (x_ND.astype(float), y_NE.astype(float)))
    own = _hsic(k_NN, k_NN) * _hsic(l_NN, l_NN)
    return float(_hsic(k_NN, l_NN) / own**0.5) if own > 1e-24 else 0.0


def _hollow(z_ND: np.ndarray) -> np.ndarray:
    gram = z_ND @ z_ND.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(k_NN: np.ndarray, l_NN: np.ndarray) -> float:
    n = len(k_NN)
    k_N, l_N = k_NN.sum(0), l_NN.sum(0)
    cross = (k_NN * l_NN).sum() + k_NN.sum() * l_NN.sum() / ((n - 1) * (n - 2)) - 2 * (k_N @ l_N) / (n - 2)
    return float(cross / (n * (n - 3)))


def regression(x_ND: np.ndarray, y_NC: np.ndarray, ridge: float = RIDGE) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression with an unpenalised intercept: (weights_DC, intercept_C)."""
    x, y = x_ND.astype(float), y_NC.astype(float)
    mean, level = x.mean(0), y.mean(0)
    x = x - mean
    penalty = ridge * len(x) * max(x.var(0).mean(), 1e-12)
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - level))
    return weights, level - mean @ weights


def discriminant(x_ND: np.ndarray, labels_N: np.ndarray, test_MD: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Classify `test_MD` by linear discriminant analysis fitted to `x_ND`: the most likely label of each."""
    x, test = x_ND.astype(float), test_MD.astype(float)
    classes, which = np.unique(labels_N, return_inverse=True)
    counts = np.bincount(which)
    means = np.stack([x[which == c].mean(0) for c in range(len(classes))])
    within = x - means[which]
    spread = within.T @ within / len(x)
    spread += ridge * max(np.trace(spread) / len(spread), 1e-12) * np.eye(len(spread))
    weights = np.linalg.solve(spread, means.T)
    scores = test @ weights - 0.5 * (means.T * weights).sum(0) + np.log(counts / counts.sum())
    return classes[scores.argmax(1)]


def area(scores_N: np.ndarray, positive_N: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half."""
    from scipy.stats import rankdata

    positive = int(positive_N.sum())
    above = rankdata(scores_N)[positive_N].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(scores_N) - positive)))
