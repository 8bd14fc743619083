"""Objectives trained together: views are shared, counts gathered, totals divided and weighted in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from encoders import seeds
from encoders.batch import Batch, View
from encoders.encoding import Encoding
from objectives.objective import AbstractObjective, Term, ViewContext

Metrics = dict[str, tuple[Tensor | float, Tensor | float]]  # name -> (sum, count)


@dataclass(frozen=True)
class Prepared:
    """The views of one shard, each with the names of the objectives that score it, and their counts."""

    views: tuple[tuple[View, tuple[str, ...]], ...]
    counts: Mapping[str, float]  # "objective/term" -> number of things that will be summed

    def to(self, device: torch.device | str) -> Prepared:
        """Move every tensor of the views to `device`."""
        return replace(self, views=tuple((moved(view, torch.device(device)), names) for view, names in self.views))


class Mixture(nn.Module):
    """A weighted sum of objectives on one encoder.

    Objectives that read the same stream through equal views share one encoder pass. An objective of weight 0 is only
    measured: its own head learns (with weight 1) from encodings and codes without gradient, and everything else stays
    bit-identical. If only such objectives use a view, the encoder runs without gradient and updates no running
    statistics.
    """

    def __init__(
        self,
        objectives: Mapping[str, AbstractObjective],
        weights: Mapping[str, float],
        targets: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        for name, objective in objectives.items():
            if weights[name] < 0:
                raise ValueError(f"Weight of '{name}' is {weights[name]}; expected 0 (measure only) or more.")
            for need in objective.needs:
                if need not in targets:
                    raise ValueError(f"'{name}' needs speech targets '{need}'; found: {', '.join(targets) or 'none'}.")
        self.objectives = nn.ModuleDict(objectives)
        self.targets = nn.ModuleDict(targets)
        self.weights = dict(weights)

    @property
    def streams(self) -> frozenset[str]:
        """Streams the objectives read: of "speech", "text" and "pair"."""
        return frozenset(objective.reads for objective in self.objectives.values())

    def sharing(self) -> dict[tuple[str, Any], list[str]]:
        """Names of the objectives that share each view, by the stream that is read and what makes the view of it."""
        members: dict[tuple[str, Any], list[str]] = {}
        for name, objective in self.objectives.items():
            members.setdefault((objective.reads, objective.view), []).append(name)
        return members

    def views(self, batches: Mapping[str, Batch], contexts: Mapping[str, ViewContext]) -> Prepared:
        """Build each distinct view of a shard once, and count its terms. Streams not in `batches` have count 0."""
        views, counts = [], {}
        for (reads, spec), names in self.sharing().items():
            if reads not in batches:
                continue
            view = spec.build(batches[reads], contexts[reads])
            counted = {name: self.objectives[name].counts(view) for name in names}
            counts |= {f"{name}/{term}": float(count) for name in names for term, count in counted[name].items()}
            live = tuple(name for name in names if any(counted[name].values()))  # the others have nothing to sum
            if live:
                views.append((view, live))
        return Prepared(tuple(views), counts)

    def terms(
        self, encoder: nn.Module, prepared: Prepared, progress: Mapping[str, float], key: int | None = None
    ) -> Iterator[tuple[str, Mapping[str, Term]]]:
        """Encode each view once and yield (objective, its terms), view by view.

        `progress` in [0, 1] says how far each of the speech targets, by name, is annealed; the default is 1. Dropout of
        each pass and of each head is drawn from `key` and their names, whatever else there is; without a key, from
        torch's generator in its current state.
        """
        for view, names in prepared.views:
            yield from self._scored(self._encoded(encoder, view, names, key), view, names, progress, key)

    def forward(
        self,
        encoder: nn.Module,
        prepared: Prepared,
        denominators: Mapping[str, float],
        progress: Mapping[str, float],
        key: int | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Return the shard's share of the update's loss, and metrics as name -> (sum, count).

        `denominators` are the counts summed over the update's shards. Metrics hold every term's unweighted total under
        "objective/term", and what the terms report under "objective/metric". `progress` and `key` are those of `terms`.
        """
        scored = self.terms(encoder, prepared, progress, key)
        parts, metrics = self._weighted(scored, prepared.counts, denominators)
        return summed(parts), metrics

    def backward(
        self,
        encoder: nn.Module,
        prepared: Prepared,
        denominators: Mapping[str, float],
        progress: Mapping[str, float],
        key: int | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Add the gradient of the shard's share of the update's loss to the parameters' gradients; return what
        `forward` does, without gradient.

        The activations of one view live at a time. Views go last one first, and within a view the heads before the
        encoder, as autograd goes through the sum of all views: into gradients of zero the sums are the same, bit for
        bit. An encoder with buffers (running means of batch normalisation) may depend on the order of its passes: then
        the activations of all views live together.
        """
        if next(encoder.buffers(), None) is not None:
            loss, metrics = self(encoder, prepared, denominators, progress, key)
            if loss.requires_grad:
                loss.backward()
            return loss.detach(), metrics
        parts: list[Tensor] = []
        metrics: Metrics = {}
        for view, names in reversed(prepared.views):
            own, measured = self._backward(encoder, view, names, prepared.counts, denominators, progress, key)
            parts, metrics = own + parts, measured | metrics
        return summed(parts), metrics

    def _backward(
        self,
        encoder: nn.Module,
        view: View,
        names: tuple[str, ...],
        counts: Mapping[str, float],
        denominators: Mapping[str, float],
        progress: Mapping[str, float],
        key: int | None,
    ) -> tuple[list[Tensor], Metrics]:
        """Backward through one view; when this returns, its activations are free."""
        encoding = self._encoded(encoder, view, names, key)
        outputs = {id(x): x for x in encoding.stages.values() if x.requires_grad}
        cut = {at: x.detach().requires_grad_() for at, x in outputs.items()}
        read = replace(encoding, stages={name: cut.get(id(x), x) for name, x in encoding.stages.items()})
        parts, metrics = self._weighted(self._scored(read, view, names, progress, key), counts, denominators)
        loss = summed(parts)
        if loss.requires_grad:
            loss.backward()
        reached = [at for at, x in cut.items() if x.grad is not None]
        if reached:
            torch.autograd.backward([outputs[at] for at in reached], [cut[at].grad for at in reached])
        return [part.detach() for part in parts], metrics

    def _encoded(self, encoder: nn.Module, view: View, names: tuple[str, ...], key: int | None) -> Encoding:
        trained = [name for name in names if self.weights[name] > 0]
        seeded(key, f"view/{'+'.join(trained or names)}")
        with torch.set_grad_enabled(bool(trained) and torch.is_grad_enabled()), left_alone(encoder, not trained):
            return encoder(view)

    def _scored(
        self, encoding: Encoding, view: View, names: tuple[str, ...], progress: Mapping[str, float], key: int | None
    ) -> Iterator[tuple[str, Mapping[str, Term]]]:
        trained = any(self.weights[name] > 0 for name in names)
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            needs = sorted({need for name in names for need in self.objectives[name].needs})
            codes = {need: self.targets[need](view, encoding, progress.get(need, 1.0)) for need in needs}
        for name in names:
            objective = self.objectives[name]
            seeded(key, f"head/{name}")
            if self.weights[name] > 0:
                yield name, objective(view, encoding, codes)
            else:
                detached = {need: codes[need].detached() for need in objective.needs}
                yield name, objective(view, encoding.detached(), detached)

    def _weighted(
        self,
        scored: Iterable[tuple[str, Mapping[str, Term]]],
        counts: Mapping[str, float],
        denominators: Mapping[str, float],
    ) -> tuple[list[Tensor], Metrics]:
        """The weighted terms of objectives, and their metrics."""
        parts: list[Tensor] = []
        metrics: Metrics = {}
        for name, terms in scored:
            objective, weight = self.objectives[name], self.weights[name] or 1.0
            for term, one in terms.items():
                count = counts[f"{name}/{term}"]
                factor = weight * objective.term_weights[term]
                if count and factor:
                    parts.append(one.total * (factor / denominators[f"{name}/{term}"]))
                metrics[f"{name}/{term}"] = (one.total.detach(), count)
                for metric, pair in one.metrics.items():
                    assert f"{name}/{metric}" not in metrics, f"two metrics of {name} are called {metric}"
                    metrics[f"{name}/{metric}"] = pair
        return parts, metrics

    def close(self, sum_: Callable[[Tensor], Tensor]) -> None:
        """End an update, after all its shards; `sum_` sums a tensor over ranks."""
        for objective in self.objectives.values():
            objective.close(sum_)


def summed(parts: Sequence[Tensor]) -> Tensor:
    """The sum of scalars; a plain 0 if there are none."""
    return torch.stack(parts).sum() if parts else torch.zeros(())


def seeded(key: int | None, name: str) -> None:
    """Seed torch's generators for `name`, if there is a key.

    As `torch.manual_seed` does; but that formats the stack at every call where CUDA is not in use, .5 ms each time.
    """
    if key is not None:
        torch.default_generator.manual_seed(seeds.key(key, name))
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seeds.key(key, name))


@contextmanager
def left_alone(module: nn.Module, alone: bool) -> Iterator[None]:
    """If `alone`, restore the buffers of a module (running statistics) afterwards."""
    before = [buffer.clone() for buffer in module.buffers()] if alone and module.training else []
    yield
    for buffer, value in zip(module.buffers(), before):
        buffer.data.copy_(value)  # bypasses autograd, which has saved them for earlier passes


def moved(value: Any, device: torch.device) -> Any:
    """Copy a view, or any nesting of dataclasses, mappings and tensors, with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    if is_dataclass(value):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return replace(value, **{name: moved(item, device) for name, item in held.items()})
    return value
