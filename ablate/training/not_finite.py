"""Find which objective, on which items, made an update's loss or gradient non-finite; runs only when one was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ablate.training import distributed
from encoders.batch import Batch
from objectives.mixture import Prepared

NAME = "not_finite.json"  # in the run's folder: all faults
SHOWN = 8  # number of ids in the message

Fault = dict[str, Any]  # objective, term, what ("loss" or "gradient"), shard, stream, ids, broken_input


class NotFinite(RuntimeError):
    """The loss or gradient of an update was not finite; the weights were not changed."""

    def __init__(self, step: int, faults: Sequence[Fault]):
        told: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
        for fault in faults:
            where = fault["stream"], tuple(fault["ids"]), tuple(fault["broken_input"])
            told.setdefault(where, []).append(f"{fault['what']} of {fault['objective']} ({fault['term']})")
        lines = [
            f"{', '.join(whats)} on {stream} items {_some(ids)}"
            + (f", whose input is broken in {_some(bad)}" if bad else "")
            for (stream, ids, bad), whats in told.items()
        ]
        where = "; ".join(lines) or "no single objective, only their sum"
        super().__init__(
            f"the loss or gradient of update {step} is not finite; the update was not applied. Not finite: {where}. "
            f"Look at these items (all in {NAME}), or lower the learning rate or optimizer.clip."
        )


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more


def faults(
    model: nn.Module,
    shards: Sequence[Mapping[str, Batch]],
    prepared: Sequence[Prepared],
    denominators: Mapping[str, float],
    progress: Mapping[str, float],
    dropout: Callable[[int], int],
) -> Iterator[Fault]:
    """Compute this rank's shards again, term by term, and yield every term whose loss or gradient is not finite, with
    its items.

    `dropout(number)` is the seed with which a shard was computed. Each term is trained alone, as in an update, and its
    gradient replaces that of the update: so the search needs no more memory than training.
    """
    for number, shard in distributed.mine(list(prepared)):
        for name, term, alone in _alone(model, shard):
            what = _fault(model, alone, denominators, progress, dropout(number))
            if what:
                stream = model.mixture.objectives[name].reads
                batch = shards[number][stream]
                yield {
                    "objective": name,
                    "term": term,
                    "what": what,
                    "shard": number,
                    "stream": stream,
                    "ids": list(batch.ids),
                    "broken_input": _broken(batch),
                }


def _alone(model: nn.Module, shard: Prepared) -> Iterator[tuple[str, str, Prepared]]:
    """Each objective and term of a shard, and its view with nothing else to sum."""
    for view, names in shard.views:
        for name in names:
            for term in model.mixture.objectives[name].term_weights:
                counts = {key: count * (key == f"{name}/{term}") for key, count in shard.counts.items()}
                yield name, term, Prepared(((view, names),), counts)


def _fault(
    model: nn.Module, alone: Prepared, denominators: Mapping[str, float], progress: Mapping[str, float], key: int
) -> str | None:
    model.zero_grad(set_to_none=False)
    loss, _ = model.mixture.backward(model.encoder, alone, denominators, progress, key)
    if not torch.isfinite(loss):
        return "loss"
    finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    return None if finite else "gradient"


def _broken(batch: Batch) -> list[str]:
    """Items whose log-mel is not finite."""
    speech = batch.inputs.speech
    if speech is None:
        return []
    utterances = speech.mel_FM.split(speech.lengths)
    return [id for id, mel_FM in zip(batch.ids, utterances) if not bool(mel_FM.isfinite().all())]
