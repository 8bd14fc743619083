"""Gradient interference between objectives: do two losses pull the shared layers the same way?

Measured on fixed probe batches from the dev split, in evaluation mode, with the raw gradient of each objective (its own
weight left out) over the encoder's shared layers. Gradient noise biases a plain cosine toward 0, so every inner product
is taken between two halves of the probe that share no item: <g_i(a), g_j(b)> has no noise in common.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ablate.train import Model, prepare
from encoders import seeds

EVERY = 250  # updates between two probes: some 1 % of training time
CEILING = 0.1  # below this share of reproducible gradient a cosine says nothing, and is left out


def similarities(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, float]:
    """Compare objectives by their gradients on two halves of a probe.

    Returns for every two names "i~j/cosine" = <i, j> / sqrt(<i, i> <j, j>) and "i~j/magnitude" =
    2 |i| |j| / (|i|² + |j|²) (1 = equal norms; Yu et al. 2020), inner products across halves, and "i/ceiling", the cosine
    of an objective's gradient with itself on the other half. Pairs with a ceiling under `CEILING` are left out.
    """
    norms = {name: float(a[name] @ b[name]) for name in a}
    found = {}
    for name in a:
        plain = float(a[name].norm() * b[name].norm())
        found[f"{name}/ceiling"] = norms[name] / plain if plain > 0 else 0.0
    for i, j in itertools.combinations(a, 2):
        if min(found[f"{i}/ceiling"], found[f"{j}/ceiling"]) >= CEILING:
            inner = float(a[i] @ b[j] + a[j] @ b[i]) / 2
            found[f"{i}~{j}/cosine"] = max(-1.0, min(1.0, inner / (norms[i] * norms[j]) ** 0.5))
            found[f"{i}~{j}/magnitude"] = 2 * (norms[i] * norms[j]) ** 0.5 / (norms[i] + norms[j])
    return found


class Probe:
    """Two halves of fixed batches, made once; `measure` compares the objectives' gradients on them."""

    def __init__(self, model: Model, feeds: Mapping[str, Any], budgets: Mapping[str, float], vocabulary: Any):
        """`feeds` are streams of the dev split by name, `budgets` how much of each a half holds."""
        self.model, self.halves = model, []
        cursors = dict.fromkeys(feeds, 0)
        for half in range(2):
            shard = {}
            for name, feed in feeds.items():
                (shard[name],), cursors[name] = feed.next_update(cursors[name], budgets[name])
            self.halves.append(prepare(model, shard, vocabulary, lambda name: seeds.key(0, f"probe/{name}", half)))

    def measure(self, progress: float) -> dict[str, float]:
        """Return the similarities, named "conflict/..."; nothing if there are no two objectives to compare."""
        training = self.model.training
        self.model.eval()
        a, b = (dict(self._gradients(half, progress)) for half in self.halves)
        self.model.train(training)
        if len(a) < 2 or a.keys() != b.keys():
            return {}
        return {f"conflict/{name}": value for name, value in similarities(a, b).items()}

    def _gradients(self, half: Any, progress: float) -> Iterator[tuple[str, Tensor]]:
        """Each objective's gradient of its mean loss over the shared layers, flat."""
        mixture = self.model.mixture
        shared = list(self.model.encoder.shared.parameters())
        for name, terms in mixture.terms(self.model.encoder, half, progress):
            weights = mixture.objectives[name].term_weights
            loss = sum(weights[t] * term.total / half.counts[f"{name}/{t}"] for t, term in terms.items()
                       if half.counts[f"{name}/{t}"])  # fmt: skip
            if not (isinstance(loss, Tensor) and loss.requires_grad):
                continue  # weight 0, or nothing to sum
            parts = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
            if any(part is not None for part in parts):
                filled = (torch.zeros_like(p) if part is None else part for p, part in zip(shared, parts))
                yield name, torch.cat([part.reshape(-1) for part in filled])
