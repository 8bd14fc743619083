"""Gradient interference between objectives: do two losses pull the shared layers in the same direction?

Measured on fixed probe batches of the training data, in evaluation mode, over the parameters that all modalities share,
per layer and module: the raw gradient of each objective with its own weight, and the same gradient as Adam scales it,
divided by the root of its second moment (docs/paper.md, section 9.2). Gradient noise biases a plain cosine toward 0, so
every inner product is taken between two halves of the probe that share no item: the noise of g_i(a) and that of g_j(b)
are independent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ablate.training.loop import Model, prepare
from ablate.training.optim import FlatAdamW
from encoders import seeds
from encoders.encoder import AbstractEncoder

EVERY = 400  # updates between two probes: under 2 % of training time
CEILING = 0.1  # below this share of reproducible gradient a cosine is meaningless and omitted

Gradients = Mapping[str, Mapping[str, Tensor]]  # objective -> parameter -> gradient


def similarities(a: Gradients, b: Gradients, scopes: Mapping[str, list[str]]) -> dict[str, float]:
    """Compare objectives by their gradients on two halves of a probe, over the parameters of each scope.

    Returns for every scope and two names "scope/i~j/cosine" = <i, j> / sqrt(<i, i> <j, j>) and "scope/i~j/magnitude" =
    2 |i| |j| / (|i|² + |j|²) (1 = equal norms; Yu et al. 2020), inner products across halves, and "scope/i/ceiling",
    the cosine of an objective's gradient with itself on the other half. Pairs with a ceiling below `CEILING` are
    omitted, and so is a scope in which fewer than two objectives have a gradient.
    """
    names = list(a)
    inner: dict[str, Tensor] = {}  # parameter -> [O, O] products across halves; + [O, 2] squared norms of the halves
    for parameter in a[names[0]] if names else ():
        one, two = (torch.stack([side[name][parameter].reshape(-1) for name in names]) for side in (a, b))
        squares = torch.stack([one.square().sum(1), two.square().sum(1)], 1)
        inner[parameter] = torch.cat([one @ two.T, squares], 1)
    values: dict[str, float] = {}
    for scope, parameters in scopes.items():
        summed = torch.stack([inner[p] for p in parameters]).double().sum(0).tolist()
        plain = [(row[-2] * row[-1]) ** 0.5 for row in summed]
        ceilings = [row[i] / plain[i] if plain[i] > 0 else 0.0 for i, row in enumerate(summed)]
        if sum(norm > 0 for norm in plain) < 2:
            continue
        values |= {f"{scope}/{name}/ceiling": c for name, c, norm in zip(names, ceilings, plain) if norm > 0}
        for i in range(len(names)):
            for j in range(i + 1, len(names)):
                if min(ceilings[i], ceilings[j]) >= CEILING:
                    both = (summed[i][i] * summed[j][j]) ** 0.5
                    cosine = (summed[i][j] + summed[j][i]) / 2 / both
                    pair = f"{scope}/{names[i]}~{names[j]}"
                    values[f"{pair}/cosine"] = max(-1.0, min(1.0, cosine))
                    values[f"{pair}/magnitude"] = 2 * both / (summed[i][i] + summed[j][j])
    return values


def scopes(encoder: AbstractEncoder) -> dict[str, list[str]]:
    """Names of the shared parameters by scope: "all", and the encoder's own scopes, from first to last layer."""
    own = encoder.shared_parameters()
    named = {name for names in own.values() for name in names}
    everything = [name for name, _ in encoder.named_parameters() if name in named]
    return {"all": everything, **{scope: own[scope] for scope in sorted(own, key=_order)}} if named else {}


def _order(scope: str) -> tuple[int, str]:
    number = re.search(r"\d+", scope)
    return int(number[0]) if number else 10**6, scope


class Probe:
    """Two halves of fixed batches, made once; `measure` compares the objectives' gradients on them."""

    def __init__(self, model: Model, feeds: Mapping[str, Any], budgets: Mapping[str, float], vocabulary: Any):
        """`feeds` are streams by name; `budgets` how much of each one half holds, if the stream has twice as much."""
        self.model, self.halves = model, []
        self.scopes = scopes(model.encoder)
        own = dict(model.encoder.named_parameters())
        self.parameters = {name: own[name] for name in self.scopes.get("all", ())}
        cursors = dict.fromkeys(feeds, 0)
        for half in range(2):
            shard = {}
            for name, feed in feeds.items():
                (shard[name],), cursors[name] = feed.next_update(
                    cursors[name], min(budgets[name], feed.sizes.sum() / 2)
                )
            self.halves.append(
                prepare(model, shard, vocabulary, lambda name, half=half: seeds.key(0, f"probe/{name}", half))
            )

    def measure(self, progress: Mapping[str, float], optimizer: FlatAdamW) -> dict[str, float]:
        """Return the similarities, "conflict/raw/..." and "conflict/adam/..."; nothing without two objectives.

        `optimizer` trains the whole model; its second moments scale the gradients of both halves.
        """
        training = self.model.training
        self.model.eval()
        a, b = (self._gradients(half, progress) for half in self.halves)
        self.model.train(training)
        if len(a) < 2 or a.keys() != b.keys():
            return {}
        values = {f"conflict/raw/{name}": value for name, value in similarities(a, b, self.scopes).items()}
        moments = optimizer.state()
        if all(f"exp_avg_sq/encoder.{name}" in moments for name in self.parameters):
            scale = {
                name: moments[f"exp_avg_sq/encoder.{name}"].sqrt() + optimizer.config.eps for name in self.parameters
            }
            a, b = ({o: {n: g / scale[n] for n, g in own.items()} for o, own in side.items()} for side in (a, b))
            values |= {f"conflict/adam/{name}": value for name, value in similarities(a, b, self.scopes).items()}
        return values

    def _gradients(self, half: Any, progress: Mapping[str, float]) -> dict[str, dict[str, Tensor]]:
        """Each objective's gradient of its weighted mean loss over the shared parameters."""
        mixture, gradients = self.model.mixture, {}
        if not self.parameters:
            return gradients
        for name, terms in mixture.terms(self.model.encoder, half, progress):
            weights = mixture.objectives[name].term_weights
            loss = mixture.weights[name] * sum(
                weights[t] * term.total / half.counts[f"{name}/{t}"]
                for t, term in terms.items()
                if half.counts[f"{name}/{t}"]
            )
            if not (isinstance(loss, Tensor) and loss.requires_grad):
                continue  # weight 0, or nothing to sum
            parts = torch.autograd.grad(loss, list(self.parameters.values()), retain_graph=True, allow_unused=True)
            if any(part is not None for part in parts):
                gradients[name] = {
                    key: torch.zeros_like(p) if part is None else part.detach()
                    for (key, p), part in zip(self.parameters.items(), parts)
                }
        return gradients
