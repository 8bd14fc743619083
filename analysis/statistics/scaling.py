"""Fit losses against size and data: L(N), L(N, D), and the competition between modalities (docs/paper.md, section 9.1).

    size:         L(N)    = E + A / N^alpha
    size and data: L(N, D) = E + A / N^alpha + B / D^beta
    competition:  L(N, D_i, D_j) = [L_i(N, D_i) + L_j(N, D_j)] / 2 - C + A / N^alpha + B / (D_i + D_j)^beta

Only likelihoods of fixed targets (held-out text, fixed speech codes) may be fitted: learned codes change the entropy
of the targets from run to run, and a contrastive loss is no likelihood. Three sizes give a curve, not a law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

DELTA = 1e-3
"""Residual of log L at which the Huber loss turns from quadratic to linear."""


@dataclass(frozen=True)
class Fit:
    """A fitted law: its parameters by name, its error, and the law itself as a function of its inputs."""

    parameters: dict[str, float]
    residual: float
    """Root mean square of log L − log L-hat."""
    predict: Callable[..., np.ndarray]

    def __getitem__(self, name: str) -> float:
        return self.parameters[name]


def fit_size(n: np.ndarray, loss: np.ndarray, near: Fit | None = None) -> Fit:
    """Fit L(N) = E + A / N^alpha, from many starts, or from the fit `near` alone.

    Raises ValueError if there are no more points than parameters, or too few different sizes for the exponent.
    """
    n, loss = _checked(3, {"N": n}, loss)
    grid = product((0.05, 0.3, 0.6, 0.9), (0.1, 0.3, 0.6, 1.0))

    def law(p: np.ndarray, n: np.ndarray) -> np.ndarray:
        return np.exp(p[0]) + _power(p[1], p[2], n)

    starts = [[np.log(share * loss.min()), _level(loss, share, n, alpha), alpha] for share, alpha in grid]
    p, residual = _search(law, (n,), loss, _from(near) or starts, [(-30, 30), (-60, 60), (1e-3, 4)])
    values = {"E": np.exp(p[0]), "A": np.exp(p[1]), "alpha": p[2]}
    return Fit({k: float(v) for k, v in values.items()}, residual, lambda n: law(p, np.asarray(n, float)))


def fit_size_and_data(n: np.ndarray, d: np.ndarray, loss: np.ndarray, near: Fit | None = None) -> Fit:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta; sizes and amounts of data must vary. Raises as `fit_size`."""
    n, d, loss = _checked(5, {"N": n, "D": d}, loss)

    def law(p: np.ndarray, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return np.exp(p[0]) + _power(p[1], p[2], n) + _power(p[3], p[4], d)

    starts = [
        [np.log(share * loss.min()), _level(loss, share, n, alpha), alpha, _level(loss, share, d, beta), beta]
        for share, alpha, beta in product((0.3, 0.7, 0.9), (0.1, 0.3, 0.6), (0.1, 0.3, 0.6))
    ]
    bounds = [(-30, 30), (-60, 60), (1e-3, 4), (-60, 60), (1e-3, 4)]
    p, residual = _search(law, (n, d), loss, _from(near) or starts, bounds)
    values = {"E": np.exp(p[0]), "A": np.exp(p[1]), "alpha": p[2], "B": np.exp(p[3]), "beta": p[4]}
    return Fit(
        {k: float(v) for k, v in values.items()},
        residual,
        lambda n, d: law(p, np.asarray(n, float), np.asarray(d, float)),
    )


def fit_competition(
    n: np.ndarray,
    d_i: np.ndarray,
    d_j: np.ndarray,
    loss: np.ndarray,
    single_i: Fit,
    single_j: Fit,
    near: Fit | None = None,
) -> Fit:
    """Fit synergy and competition of two modalities trained together, given each one's own `fit_size_and_data`.

    `loss` is the mean of the two modalities' losses in the joint runs. The fitted law takes (N, D_i, D_j). A positive
    C − A / N^alpha − B / (D_i + D_j)^beta means that the modalities help each other. Raises as `fit_size`.
    """
    n, d_i, d_j, loss = _checked(5, {"N": n, "D_i + D_j": d_i, "": d_j}, loss)

    def law(p: np.ndarray, n: np.ndarray, d_i: np.ndarray, d_j: np.ndarray) -> np.ndarray:
        alone = (single_i.predict(n, d_i) + single_j.predict(n, d_j)) / 2
        return np.maximum(alone - p[0] + _power(p[1], p[2], n) + _power(p[3], p[4], d_i + d_j), 1e-9)

    alone = (single_i.predict(n, d_i) + single_j.predict(n, d_j)) / 2
    spread = max(float(np.abs(loss - alone).max()), 1e-3)
    size, data, height = np.log(n).mean(), np.log(d_i + d_j).mean(), np.log(spread)
    starts = [
        [c * spread, height + alpha * size, alpha, height + beta * data, beta]
        for c, alpha, beta in product((-1.0, 0.5, 2.0), (0.1, 0.3, 0.6), (0.1, 0.3, 0.6))
    ]
    bounds = [(-100, 100), (-60, 60), (1e-3, 4), (-60, 60), (1e-3, 4)]
    p, residual = _search(law, (n, d_i, d_j), loss, _from(near) or starts, bounds)
    values = {"C": p[0], "A": np.exp(p[1]), "alpha": p[2], "B": np.exp(p[3]), "beta": p[4]}
    return Fit(
        {k: float(v) for k, v in values.items()},
        residual,
        lambda n, d_i, d_j: law(p, np.asarray(n, float), np.asarray(d_i, float), np.asarray(d_j, float)),
    )


def bootstrap(
    fit: Callable[..., Fit], inputs: tuple[np.ndarray, ...], loss: np.ndarray, near: Fit, draws: int = 40, seed: int = 0
) -> list[Fit]:
    """Refit to runs drawn with replacement, each fit starting from `near`, the fit to all runs; draws with too few
    different sizes are left out.
    """
    rng, fits = np.random.default_rng(seed), []
    for _ in range(draws):
        which = rng.integers(len(loss), size=len(loss))
        try:
            fits.append(fit(*(x[which] for x in inputs), loss[which], near=near))
        except ValueError:
            continue
    return fits


def _from(fit: Fit | None) -> list[list[float]]:
    """A fit's parameters as the search uses them, with factors and E as logarithms; no start without a fit."""
    if fit is None:
        return []
    logs = {name: float(np.log(max(value, 1e-12))) for name, value in fit.parameters.items() if name in "EAB"}
    return [[logs.get(name, value) for name, value in fit.parameters.items()]]


def _power(log_factor: float, exponent: float, x: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(log_factor - exponent * np.log(x), -700, 50))


def _level(loss: np.ndarray, share: float, x: np.ndarray, exponent: float) -> float:
    """Log factor with which a power term explains `share` of the smallest loss at the middle of the data."""
    return float(np.log(np.maximum(loss.mean() - share * loss.min(), 1e-6)) + exponent * np.log(x).mean())


def _checked(parameters: int, inputs: dict[str, np.ndarray], loss: np.ndarray) -> list[np.ndarray]:
    """Check that arrays have one length, enough points, and only positive values."""
    arrays = [np.asarray(x, dtype=float) for x in (*inputs.values(), loss)]
    if len({len(x) for x in arrays}) != 1:
        raise ValueError(f"inputs and losses differ in number: {[len(x) for x in arrays]}; give one of each per run.")
    points = len(arrays[-1])
    if points <= parameters:
        raise ValueError(
            f"a law of {parameters} parameters needs more than {parameters} runs, found {points}; "
            "train more sizes or amounts of data, or show the curve without a fit."
        )
    for name, x in zip(inputs, arrays):
        if name and len(np.unique(x)) < 3:
            raise ValueError(
                f"an exponent of {name} needs at least 3 different values, found {len(np.unique(x))}; "
                "vary it in the sweep, or fit a law without it."
            )
    if any((x <= 0).any() or not np.isfinite(x).all() for x in arrays):
        raise ValueError("sizes, amounts of data and losses must be positive numbers; leave unfinished runs out.")
    return arrays


def _search(law, inputs: tuple, loss: np.ndarray, starts: list, bounds: list) -> tuple[np.ndarray, float]:
    """Minimise the Huber loss on log L: coarsely from every start (L-BFGS), then to convergence from the three best."""
    from scipy.optimize import minimize

    target = np.log(loss)

    def cost(p: np.ndarray) -> float:
        gap = np.abs(np.log(law(p, *inputs)) - target) / DELTA
        return float(np.where(gap <= 1, 0.5 * gap**2, gap - 0.5).mean())

    rough, fine = {"maxiter": 60}, {"maxiter": 2000, "maxfun": 5_000, "ftol": 1e-12, "gtol": 1e-9}
    results = [minimize(cost, start, method="L-BFGS-B", bounds=bounds, options=rough) for start in starts]
    results = sorted(results, key=lambda result: result.fun)[:3]
    results = [minimize(cost, one.x, method="L-BFGS-B", bounds=bounds, options=fine) for one in results]
    best = min(results, key=lambda result: result.fun).x
    gaps = np.log(law(best, *inputs)) - target
    return best, float(np.sqrt((gaps**2).mean()))
