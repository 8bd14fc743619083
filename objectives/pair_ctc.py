"""CTC of a pair's transcript on its speech alone (mSLAM, Bapna et al. 2022; a departure from SLAM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from encoders.batch import Batch, Pair, Text, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Probability, Size
from objectives.ctc import count, ctc_loss, least
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, ViewContext, ViewSpec
from objectives.padded import segments
from objectives.views import Clean, SpeechMask


@dataclass(frozen=True, kw_only=True)
class SpokenPair(ViewSpec):
    """The speech of pairs, with their texts (without special tokens) as the reference "transcript"; the encoder sees no
    text.

    In a pass over both, the visible text would give the answer away (docs/paper.md, section 10.3).
    """

    mask: SpeechMask | None = None
    """Spans of speech to mask, or None for no masking."""

    def build(self, batch: Batch, context: ViewContext) -> View:
        pair = batch.inputs
        assert isinstance(pair, Pair), "SpokenPair reads pairs"
        transcript = without_specials(pair.text, context.vocabulary)
        return (self.mask or Clean()).build(Batch(pair.speech, {"transcript": transcript}), context)


def without_specials(text: Text, vocabulary: Vocabulary) -> Text:
    """The texts without special tokens; a text may become empty."""
    kept_S = text.ids_S >= vocabulary.specials
    lengths = tuple(int(kept.sum()) for kept in kept_S.split(list(text.lengths)))
    return replace(text, ids_S=text.ids_S[kept_S], lengths=lengths)


@dataclass(frozen=True)
class Softmax:
    """Weights of an output layer, with the names that `nn.Linear` uses."""

    weight: Tensor
    bias: Tensor

    @property
    def out_features(self) -> int:
        return len(self.bias)


class PairCTC(AbstractObjective):
    """-log p(transcript | speech) from the joint encoding of a pair's speech, counted in pieces as in `CTC`.

    The classes are the encoder's own vocabulary, followed by the blank. Utterances with fewer positions than their
    transcript needs contribute neither loss nor count; the metric `infeasible` is the share of such utterances.
    """

    reads: ClassVar[str] = "pair"
    term_weights: Mapping[str, float] = {"ctc": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """Clean speech and an output layer of its own."""

        tag: ClassVar[str] = "pair_ctc"

        prob: Probability = 0.0
        """Probability that a speech position starts a masked span (w2v-BERT: .065); 0 masks nothing."""
        span: Size = 10
        """Positions in a masked span."""
        tied: bool = False
        """Use the encoder's token embedding as the weights of the output layer, except for the blank."""

        def __post_init__(self) -> None:
            self.spoken()

        @property
        def shown(self) -> tuple[str, ...]:
            return ("speech",)

        def spoken(self) -> SpokenPair:
            """The view these fields describe."""
            return SpokenPair(mask=SpeechMask(prob=self.prob, span=self.span) if self.prob else None)

        def build(self, ports: Ports) -> PairCTC:
            return PairCTC(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.view = config.spoken()
        if config.tied and ports.embedding is None:
            raise ValueError("Tied CTC needs an encoder that reads text; this one has no token embedding.")
        own = nn.Linear(ports.width, 1 if config.tied else ports.vocabulary.size + 1)
        self.weight_VD, self.bias_V = own.weight, own.bias
        if config.tied:
            self.bias_V = nn.Parameter(torch.zeros(ports.vocabulary.size + 1))
        self._tied = (ports.embedding,) if config.tied else ()  # in a tuple: the encoder's parameter, not one of ours

    def output(self, measured: bool) -> Softmax:
        """The output layer; if the loss is only `measured`, the embedding gets no gradient."""
        tied = [embedding.weight.detach() if measured else embedding.weight for embedding in self._tied]
        return Softmax(torch.cat([*tied, self.weight_VD]), self.bias_V)

    def least(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        kept = ids >= Vocabulary.specials  # as `without_specials`
        before, ends = np.concatenate([[0], np.cumsum(kept)]), np.cumsum(lengths)
        return least(ids[kept], before[ends] - before[ends - lengths])

    def counts(self, view: View) -> Mapping[str, float]:
        return {"ctc": count(view.references["transcript"], view.speech_lengths)[0]}

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        labels = view.references["transcript"]
        x_TD, lengths = segments(encoding, "speech")
        total = ctc_loss(x_TD, self.output(measured=not x_TD.requires_grad), lengths, labels)
        infeasible = count(labels, lengths)[1]
        return {"ctc": Term(total, {"infeasible": (float(infeasible), float(len(lengths)))})}
