"""Gradient interference between objectives: do two losses pull the shared layers in the same direction?

Measured on fixed probe batches of the training data, in evaluation mode, over the parameters that all modalities share,
per layer and module: the raw gradient of each objective with its own weight, and the same gradient as Adam scales it,
divided by the root of its second moment (docs/paper.md, section 9.2). Gradient noise biases a plain cosine toward 0, so
every inner product is taken between two halves of the probe that share no item: the noise of g_i(a) and that of g_j(b)
are independent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.training.loop import Model, prepare
from ablate.training.optim import FlatAdamW
from encoders import seeds
from encoders.batch import View, Vocabulary
from encoders.encoder import AbstractEncoder
from objectives.mixture import Prepared
from objectives.pieces import pieces

EVERY = 400  # updates between two probes: under 2 % of training time
CEILING = 0.1  # below this share of reproducible gradient a cosine is meaningless and omitted
SMALL = 2**19  # positions times width that are encoded at a time in any case: pieces would save little and cost time

Gradients = Mapping[str, Mapping[str, Tensor]]  # objective -> parameter -> gradient


def similarities(
    a: Gradients,
    b: Gradients,
    scopes: Mapping[str, list[str]],
    scale: Callable[[str], Tensor] | None = None,
) -> dict[str, float]:
    """Compare objectives by their gradients on two halves of a probe, over the parameters of each scope that have one.
    `scale(parameter)`, if given, divides the gradients.

    Returns for every scope and two names "scope/i~j/cosine" = <i, j> / sqrt(<i, i> <j, j>) and "scope/i~j/magnitude" =
    2 |i| |j| / (|i|² + |j|²) (1 = equal norms; Yu et al. 2020), inner products across halves, and "scope/i/ceiling",
    the cosine of an objective's gradient with itself on the other half. Pairs with a ceiling below `CEILING` are
    omitted, and so is a scope in which fewer than two objectives have a gradient.
    """
    names = list(a)
    inner: dict[str, Tensor] = {}  # parameter -> [O, O] products across halves; + [O, 2] squared norms of the halves
    for parameter in a[names[0]] if names else ():
        one, two = (torch.stack([side[name][parameter].reshape(-1) for name in names]) for side in (a, b))
        if scale is not None:
            one, two = (side / scale(parameter).reshape(-1) for side in (one, two))
        squares = torch.stack([one.square().sum(1), two.square().sum(1)], 1)
        inner[parameter] = torch.cat([one @ two.T, squares], 1)
    values: dict[str, float] = {}
    for scope, parameters in scopes.items():
        own = [inner[p] for p in parameters if p in inner]
        if not own:
            continue
        summed = torch.stack(own).double().sum(0).tolist()
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
    """Two halves of fixed batches, made once; `measure` compares the objectives' gradients on them.

    A measurement needs no more of the device's memory than an update: objectives go one by one, each in pieces of a
    half, and their gradients are summed where an update sums its own. They are compared on the CPU, which holds 8 · O ·
    P bytes meanwhile, for O objectives and P shared parameters.
    """

    def __init__(
        self,
        model: Model,
        feeds: Mapping[str, Any],
        budgets: Mapping[str, float],
        most: Mapping[str, float],
        vocabulary: Vocabulary,
    ):
        """`feeds` are streams by name; `budgets` how much of each one half holds, if the stream has twice as much;
        `most` how much of it is encoded at a time: what a shard of training holds.

        Masks and false pairs are drawn for the half, so pieces change nothing in sums over sequences. A loss that
        compares the sequences of a shard, or averages over them, sees as many as in training.
        """
        self.model = model
        self.scopes = scopes(model.encoder)
        own = dict(model.encoder.named_parameters())
        self.parameters = {name: own[name] for name in self.scopes.get("all", ())}
        self.halves: list[dict[str, list[Prepared]]] = []  # of each half, the pieces by objective
        cursors = dict.fromkeys(feeds, 0)
        for half in range(2):
            shard = {}
            for name, feed in feeds.items():
                (shard[name],), cursors[name] = feed.next_update(
                    cursors[name], min(budgets[name], feed.sizes.sum() / 2)
                )
            views = prepare(model, shard, vocabulary, lambda name, half=half: seeds.key(0, f"probe/{name}", half))
            self.halves.append(self._pieces(views, most))

    def _pieces(self, half: Prepared, most: Mapping[str, float]) -> dict[str, list[Prepared]]:
        """Pieces of a half for each objective that trains; their counts are those of the half."""
        mixture, cut = self.model.mixture, {}
        for view, names in half.views:
            reads = mixture.objectives[names[0]].reads
            parts = (view,) if self._small(view) else pieces(view, sizes(reads, view), most[reads])
            trained = [name for name in names if mixture.weights[name] > 0]
            cut |= {name: [Prepared(((part, (name,)),), half.counts) for part in parts] for name in trained}
        return cut

    def _small(self, view: View) -> bool:
        positions = sum(view.speech_lengths) + (sum(view.inputs.text.lengths) if view.inputs.text else 0)
        return positions * self.model.encoder.width <= SMALL

    def measure(self, progress: Mapping[str, float], optimizer: FlatAdamW) -> dict[str, float]:
        """Return the similarities, "conflict/raw/..." and "conflict/adam/..."; nothing without two objectives.

        `optimizer` trains the whole model; its second moments scale the gradients of both halves, and what it holds of
        the last update's gradient is overwritten.
        """
        training = self.model.training
        self.model.eval()
        one, two = self.halves
        a = {name: self._gradient(name, one[name], progress, optimizer) for name in one if name in two}
        a = {name: own for name, own in a.items() if any(bool(g.any()) for g in own.values())}
        b = {name: self._gradient(name, two[name], progress, optimizer) for name in a} if len(a) > 1 else {}
        optimizer.zero()
        self.model.train(training)
        if not b:
            return {}
        values = {f"conflict/raw/{name}": value for name, value in similarities(a, b, self.scopes).items()}
        moments = {name: optimizer.second_moment(f"encoder.{name}") for name in next(iter(a.values()))}
        if all(moment is not None for moment in moments.values()):

            def scale(name: str) -> Tensor:
                return moments[name].sqrt().cpu() + optimizer.config.eps

            values |= {f"conflict/adam/{n}": value for n, value in similarities(a, b, self.scopes, scale).items()}
        return values

    def _gradient(
        self, name: str, parts: Sequence[Prepared], progress: Mapping[str, float], optimizer: FlatAdamW
    ) -> dict[str, Tensor]:
        """The gradient of an objective's weighted mean loss over its pieces, for each shared parameter that any loss
        reaches, in the memory of the CPU.
        """
        mixture, reached = self.model.mixture, {n: p for n, p in self.parameters.items() if p.grad is not None}
        weights = mixture.objectives[name].term_weights
        optimizer.zero()
        for part in parts if reached else ():
            ((_, terms),) = mixture.terms(self.model.encoder, part, progress)
            loss = mixture.weights[name] * sum(
                weights[t] * term.total / part.counts[f"{name}/{t}"]
                for t, term in terms.items()
                if part.counts[f"{name}/{t}"]
            )
            if isinstance(loss, Tensor) and loss.requires_grad:
                torch.autograd.backward(loss, inputs=list(reached.values()))
        return {n: p.grad.to("cpu", copy=True) for n, p in reached.items()}


def sizes(reads: str, view: View) -> Sequence[float]:
    """Sizes of a view's sequences in the unit of the stream's budgets: frames, tokens or pairs."""
    packed = view.inputs.speech or view.inputs.text
    return packed.lengths if reads in ("speech", "text") else [1.0] * len(packed.lengths)
