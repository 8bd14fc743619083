"""The `kmeans` stage: centroids of unlabelled speech; the nearest centroid is a possible target of masked
prediction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ablate.data.packing import Order, speech
from ablate.data.table import Table
from ablate.data.tokenizer import Tokenizer
from ablate.errors import UserError
from ablate.stages.kind import restored
from ablate.stages.prepare import opened
from ablate.store.run import RunFolder
from ablate.training import checkpoint, distributed
from encoders import seeds
from encoders.batch import Speech, View, Vocabulary
from encoders.encoder import EncoderConfig
from encoders.frontend import stack
from objectives.kmeans import KMeans, Layer, nearest
from objectives.mixture import moved

ITEMS = 16  # number of utterances that are encoded at a time
MAX_FRAMES = 1600  # longer utterances are cropped, as in pre-training


@dataclass(frozen=True, kw_only=True)
class KMeansStage:
    """Identity of a kmeans stage."""

    tag: ClassVar[str] = "kmeans_fit"

    entries: int
    """Centroids."""
    positions: int
    """Maximum number of positions that centroids are fitted to."""
    iterations: int
    """Maximum number of rounds of Lloyd's algorithm."""
    input: str
    """What is clustered: "stacked", or the name of an encoding stage of `encoder`."""
    seed: int
    encoder: EncoderConfig | None = None
    """Encoder of the parent leaf that gives the input; None for log-mel."""

    @classmethod
    def of(cls, targets: KMeans.Config, encoder: EncoderConfig | None = None) -> KMeansStage:
        """The fit that speech targets need; `encoder` is that of the leaf they are computed from."""
        fields = {name: getattr(targets, name) for name in ("entries", "positions", "iterations", "input", "seed")}
        return cls(**fields, encoder=encoder)


def stage(config: KMeansStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict[str, Any]:
    """Fit centroids to the corpus's unlabelled training speech; write them, and the encoder whose layer is
    clustered.
    """
    began = time.monotonic()
    run.truncate(-1)  # an interrupted fit starts again from the beginning
    weights: dict[str, Tensor] = {}
    layer: Layer = stacked
    if config.encoder is not None:
        weights = checkpoint.part(checkpoint.of(parents["pretrain"]).weights, "encoder.")
        layer, weights = frozen(config, Tokenizer(parents["tokenizer"].sound()).vocabulary, weights)
    x_NC = vectors(opened(parents["table/speech"], "speech.train"), config, layer)

    def report(done: int, distance: float) -> None:
        run.check()
        run.log(done, {"distance": distance})
        run.progress(done, config.iterations, loss=distance)

    centroids_VC = fit(x_NC, config.entries, config.iterations, seeds.key(config.seed, "kmeans/start"), report)
    kept = {"centroids_VC": centroids_VC} | {f"encoder/{name}": x for name, x in weights.items()}

    def write() -> None:
        with run.writing() as files:
            checkpoint.save(files, 0, kept, {}, {}, last=True)

    run.patiently(write, checkpoint.size(kept))
    ids_N, distance_N = nearest(x_NC, centroids_VC)
    share_V = torch.bincount(ids_N, minlength=config.entries) / len(ids_N)
    variance = float(x_NC.var(0, correction=0).sum())
    return {
        "positions": len(x_NC),
        "distance": float(distance_N.mean()),
        "explained": 1 - float(distance_N.mean()) / variance,
        "perplexity": float(torch.special.entr(share_V).sum().exp()),
        "busy_seconds": time.monotonic() - began,
    }


def load(run: RunFolder, vocabulary: Vocabulary) -> tuple[Tensor, Layer | None]:
    """The centroids of a finished fit, and the layer that was clustered (None for log-mel)."""
    config = restored(run, KMeansStage)
    tensors = checkpoint.of(run).weights
    if config.encoder is None:
        return tensors["centroids_VC"], None
    return tensors["centroids_VC"], frozen(config, vocabulary, checkpoint.part(tensors, "encoder/"))[0]


def frozen(
    config: KMeansStage, vocabulary: Vocabulary, weights: Mapping[str, Tensor]
) -> tuple[Layer, dict[str, Tensor]]:
    """The clustered layer of the encoder, as a function of unmasked speech (wherever that lies, the result is on this
    rank's device); and those of `weights` that it uses.

    Only the modules that process speech are built, so the vocabulary has no effect.
    """
    encoder = replace(config.encoder, reads=("speech",)).build(vocabulary)
    taken = {name: weights[name] for name in encoder.state_dict()}
    encoder.load_state_dict(taken)
    encoder.eval().requires_grad_(False).to(distributed.device())

    def layer(utterances: Speech) -> Tensor:
        with torch.no_grad():
            view = View(inputs=utterances, speech_lengths=encoder.subsampled(utterances.lengths))
            return encoder(moved(view, distributed.device())).stages[config.input]

    return layer, taken


def stacked(utterances: Speech) -> Tensor:
    """Log-mel with four frames stacked per position, like the encoding stage "stacked"."""
    return stack(utterances.mel_FM, utterances.lengths)


def vectors(table: Table, config: KMeansStage, layer: Layer) -> Tensor:
    """Vectors x_NC of `config.positions` positions (or all, if there are fewer) of utterances in random order.

    On the CPU: sums there have one order, so that equal vectors give equal centroids whatever computed them.
    """
    order, parts, count = Order(len(table), config.seed, "kmeans"), [], 0
    for first in range(0, len(table), ITEMS):
        draws = [(slot, order.index(slot)) for slot in range(first, min(len(table), first + ITEMS))]
        parts.append(layer(speech(table, draws, config.seed, MAX_FRAMES)).cpu())
        count += len(parts[-1])
        if count >= config.positions:
            break
    return torch.cat(parts)[: config.positions]


def fit(
    x_NC: Tensor, entries: int, iterations: int, key: int, report: Callable[[int, float], None] = lambda *_: None
) -> Tensor:
    """Centroids [entries, C] of k-means (Lloyd's algorithm from a k-means++ start); a pure function of its arguments.

    A centroid that loses all its rows moves to the row farthest from its own centroid. `report` is called before every
    round with the rounds done and the mean squared distance. Raises UserError if there are fewer distinct rows than
    entries.
    """
    centroids_VC = _start(x_NC, entries, key)
    before_N = None
    for done in range(iterations):
        ids_N, distance_N = nearest(x_NC, centroids_VC)
        report(done, float(distance_N.mean()))
        count_V = torch.bincount(ids_N, minlength=entries)
        if before_N is not None and torch.equal(ids_N, before_N) and count_V.all():
            break
        before_N = ids_N
        centroids_VC = torch.zeros_like(centroids_VC).index_add_(0, ids_N, x_NC) / count_V.clamp_min(1).unsqueeze(1)
        empty_J = (count_V == 0).nonzero().squeeze(1)
        centroids_VC[empty_J] = x_NC[distance_N.topk(len(empty_J)).indices]
    return centroids_VC


def _start(x_NC: Tensor, entries: int, key: int) -> Tensor:
    """k-means++: each next centroid is a row drawn with probability proportional to its squared distance
    (Arthur 2007).
    """
    rng = seeds.rng(key)
    chosen = [int(rng.integers(len(x_NC)))]
    distance_N = (x_NC - x_NC[chosen[0]]).square().sum(1)
    while len(chosen) < entries:
        reached_N = distance_N.double().cumsum(0)
        if not reached_N[-1] > 0:
            raise UserError(
                f"K-means needs {entries} entries, but the speech it is fitted to has {len(chosen)} distinct "
                f"positions; set pretrain: {{targets: {{kmeans: {{entries: {len(chosen)}}}}}}} or less."
            )
        chosen.append(int(torch.searchsorted(reached_N, float(rng.random()) * reached_N[-1], right=True)))
        distance_N = torch.minimum(distance_N, (x_NC - x_NC[chosen[-1]]).square().sum(1))
    return x_NC[chosen]
