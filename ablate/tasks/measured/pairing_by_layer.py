"""From which layer on the matching speech helps to predict masked text: TLM's own effect, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ablate.data.table import Example
from ablate.tasks.measured import linear
from ablate.tasks.measured.alignment_by_layer import layered
from ablate.tasks.measured.pairing import LOSS_DROP, Losses, Pairing, Shown, beside_both, sums
from ablate.tasks.task import Dataset, Score
from ablate.training.loop import Model
from encoders.batch import Speech, Text, Vocabulary
from encoders.layers import by_layer


@dataclass(frozen=True)
class Seen:
    """Masked positions of one pair's text: vectors of each layer beside the matching and the other speech, true ids."""

    true: Mapping[str, Tensor]
    other: Mapping[str, Tensor]
    ids_I: Tensor


class PairingByLayer(Pairing):
    """`pairing`, measured at every shared layer through an affine map onto the top one (a tuned lens, Belrose et al.
    2023).

    The maps are ridge regressions, fitted with matching speech on one half of the pairs and evaluated on the other
    half, both ways; the top layer needs none. `loss_drop` is measured at the top layer, `loss_drop/shared_0` at the
    input of the shared layers, where text has not interacted with speech yet.
    """

    metrics = (LOSS_DROP,)

    @dataclass(frozen=True, kw_only=True)
    class Config(Pairing.Config):
        """Held-out pairs, as for `pairing`. Nothing of the leaf is trained."""

        tag: ClassVar[str] = "pairing_by_layer"

    @torch.no_grad()
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[dict[str, Losses]]:
        seen, head = [], None
        for text, spoken in beside_both(dataset, self.config.items):
            (head, true), (_, other) = (self._seen(model, speech, text, vocabulary) for speech in spoken)
            seen += [replace(t, other=o.true) for t, o in zip(true, other)]
        losses: list[dict[str, Losses]] = [{} for _ in seen]
        layers = list(seen[0].true)
        for layer in layers:
            for half in (0, 1):
                read = _lens(seen[1 - half :: 2], layer, layers[-1])
                for number in range(half, len(seen), 2):
                    one = seen[number]
                    ids_I, count = one.ids_I.to(next(head.parameters()).device), [len(one.ids_I)]
                    true, other = (
                        sums(head, read(side[layer]).to(ids_I.device), ids_I, count)[0] if count[0] else 0.0
                        for side in (one.true, one.other)
                    )
                    losses[number][layer] = Losses(count[0], true, other)
        return losses

    def _seen(self, model: Model, speech: Speech, text: Text, vocabulary: Vocabulary) -> tuple[Any, list[Seen]]:
        shown = Shown.of(model, speech, text, self.config.share, vocabulary)
        encoding, layers = by_layer(model.encoder, shown.view)
        masked_I = encoding.layout.positions("text").index_select(0, shown.view.text_masked_I)
        split = {
            name: x_ND.index_select(0, masked_I).float().cpu().split(shown.tokens)
            for name, x_ND in layers.items()
            if name.startswith("shared_")
        }
        ids = shown.view.text_targets_I.cpu().split(shown.tokens)
        return shown.head, [
            Seen({name: parts[b] for name, parts in split.items()}, {}, ids[b]) for b in range(len(ids))
        ]

    def score(
        self, rows: Sequence[Example], hypotheses: Sequence[Mapping[str, Losses]]
    ) -> tuple[list[Score], list[Example]]:
        layers = list(hypotheses[0])
        tokens = sum(h[layers[-1]].tokens for h in hypotheses)
        drops = {layer: [sum(h[layer].other - h[layer].true for h in hypotheses) / tokens] for layer in layers}
        hidden = f"{100 * self.config.share:g}% of the pieces hidden, {tokens} in all"
        what = f"{hidden}|other sentence of nearest duration - true"
        top = LOSS_DROP.score(drops[layers[-1]][0], len(rows), what)
        lens = [f"{what}|ridge onto the top layer, fitted on the other half"]
        return [top, *layered(self.metrics, drops, len(rows), lens)], [
            {
                "id": row["id"],
                "reference": row["text"],
                **{f"loss_drop/{layer}": [h[layer].other - h[layer].true, h[layer].tokens] for layer in layers},
            }
            for row, h in zip(rows, hypotheses, strict=True)
        ]


def _lens(taught: Sequence[Seen], layer: str, top: str):
    """The affine map of a layer's vectors onto the top layer's, fitted with matching speech; none for the top
    itself.
    """
    if layer == top:
        return lambda x_ID: x_ID
    x, y = (torch.cat([one.true[name] for one in taught]).numpy() for name in (layer, top))
    weights, start = (torch.from_numpy(part).float() for part in linear.regression(x, y))
    return lambda x_ID: x_ID @ weights + start
