"""The transducer (Graves 2012): a label predictor and a joint network over the lattice of positions and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from encoders.batch import Text, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Probability, Size
from objectives import search
from objectives.log_softmax import log_softmax_at
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, ViewSpec
from objectives.padded import Rectangle, segments
from objectives.supervised_views import SpecAugment
from objectives.views import Clean

MOST_PER_POSITION = 4  # labels that greedy search may emit per position, so that it ends for an untrained model


class Transducer(AbstractObjective):
    """-log p(labels | speech), summed over utterances, counted in labels plus one end per utterance.

    Reads `references["transcript"]`: a `Text` of label ids without special tokens. The blank is the class after the
    vocabulary, and also the predictor's first input. Any length is feasible. The predictor is an LSTM (docs/paper.md,
    section 4).
    """

    reads: ClassVar[str] = "speech"
    term_weights: Mapping[str, float] = {"transducer": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """LSTM predictor and joint network on the joint stage; w2v-BERT's has 2 layers of 640."""

        tag: ClassVar[str] = "transducer"

        hidden: Size = 64
        """Width of the predictor and of the joint network."""
        layers: Size = 1
        """LSTM layers of the predictor."""
        dropout: Probability = 0.1
        """Dropout on the predictor's embedding and on the encoding."""
        view: SpecAugment = SpecAugment()
        """Augmentation of the encoder's input in training."""

        def build(self, ports: Ports, targets: Vocabulary | None = None) -> Transducer:
            return Transducer(self, ports, targets or ports.vocabulary)

    def __init__(self, config: Config, ports: Ports, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.augmented = config.view
        self.vocabulary = vocabulary
        self.blank = vocabulary.size
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Embedding(vocabulary.size + 1, config.hidden)
        self.predictor = nn.LSTM(config.hidden, config.hidden, config.layers, batch_first=True)
        self.from_speech = nn.Linear(ports.width, config.hidden)
        self.from_labels = nn.Linear(config.hidden, config.hidden, bias=False)
        self.output = nn.Linear(config.hidden, vocabulary.size + 1)

    @property
    def view(self) -> ViewSpec:
        """Augmented in training, clean in evaluation."""
        return self.augmented if self.training else Clean()

    def counts(self, view: View) -> Mapping[str, float]:
        lengths = view.references["transcript"].lengths
        return {"transducer": float(sum(lengths) + len(lengths))}

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        labels: Text = view.references["transcript"]
        x_TD, lengths = segments(encoding, "speech")
        speech = Rectangle(lengths, x_TD.device)
        ids_BU = Rectangle(labels.lengths, x_TD.device).pad(labels.ids_S.to(x_TD.device).long(), self.blank)
        start_B1 = ids_BU.new_full((len(ids_BU), 1), self.blank)
        predicted_BUH, _ = self.predictor(self.dropout(self.embedding(torch.cat([start_B1, ids_BU], 1))))
        blank_BTU, emit_BTU = self._lattice(
            speech.pad(self._spoken(self.dropout(x_TD), encoding)),
            self.from_labels(predicted_BUH),
            torch.cat([ids_BU, start_B1], 1),
            speech.lengths_B,
            torch.tensor(labels.lengths, device=x_TD.device),
        )
        log_p_B = log_likelihood(blank_BTU, emit_BTU, lengths, labels.lengths)
        return {"transducer": Term(-log_p_B.sum())}

    def _lattice(
        self, x_BTH: Tensor, y_BUH: Tensor, next_BU: Tensor, lengths_B: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of moving on and of the next label at each point of the lattice, 0 outside it.

        Only real points pass through the vocabulary-sized layer: on average half of the rectangle.
        """
        (B, T, _), U = x_BTH.shape, y_BUH.shape[1]
        inside_BT = torch.arange(T, device=x_BTH.device) < lengths_B[:, None]
        inside_BU = torch.arange(U, device=x_BTH.device) <= labels_B[:, None]
        point_L = (inside_BT[:, :, None] & inside_BU[:, None]).flatten().nonzero().squeeze(1)
        row_L, u_L = point_L // U, point_L % U
        label_L = row_L // T * U + u_L
        hidden_LH = torch.tanh(x_BTH.flatten(0, 1)[row_L] + y_BUH.flatten(0, 1)[label_L])
        next_L = next_BU.flatten()[label_L]
        log_p_L2 = log_softmax_at(hidden_LH, self.output, torch.stack([torch.full_like(next_L, self.blank), next_L], 1))
        blank_L, emit_L = log_p_L2.unbind(1)
        empty = blank_L.new_zeros(B * T * U)
        return empty.index_copy(0, point_L, blank_L).view(B, T, U), empty.index_copy(0, point_L, emit_L).view(B, T, U)

    @torch.no_grad()
    def decode(self, encoding: Encoding, beam: int = 1) -> list[list[int]]:
        """Greedy search over all utterances at once (each emits its best label or moves to its next position); or beam
        search, one utterance at a time.
        """
        if beam > 1:
            x_TD, lengths = segments(encoding, "speech")
            return [self._search(x_TH, beam) for x_TH in self._spoken(x_TD, encoding).split(lengths)]
        x_TD, lengths = segments(encoding, "speech")
        starts_B = torch.tensor((0, *lengths[:-1]), device=x_TD.device).cumsum(0)
        ends_B = starts_B + torch.tensor(lengths, device=x_TD.device)
        x_TH = self._spoken(x_TD, encoding)
        ids: list[list[int]] = [[] for _ in lengths]
        last_B = torch.full_like(starts_B, self.blank)
        state = None
        y_BH, state = self._predict(last_B, state)
        at_B, emitted_B = starts_B.clone(), torch.zeros_like(starts_B)
        while bool((at_B < ends_B).any()):
            active_B = at_B < ends_B
            hidden_BH = torch.tanh(x_TH[at_B.clamp(max=len(x_TH) - 1)] + y_BH)
            best_B = self.output(hidden_BH).argmax(1)
            emits_B = active_B & (best_B != self.blank) & (emitted_B < MOST_PER_POSITION)
            at_B = at_B + (active_B & ~emits_B).long()
            emitted_B = torch.where(emits_B, emitted_B + 1, 0)
            if not bool(emits_B.any()):
                continue
            for b in emits_B.nonzero().squeeze(1).tolist():
                ids[b].append(int(best_B[b]))
            new_BH, new_state = self._predict(torch.where(emits_B, best_B, last_B), state)
            last_B = torch.where(emits_B, best_B, last_B)
            y_BH = torch.where(emits_B[:, None], new_BH, y_BH)
            state = tuple(torch.where(emits_B[None, :, None], new, old) for new, old in zip(new_state, state))
        return [[i for i in line if i >= self.vocabulary.specials] for line in ids]

    def _search(self, x_TH: Tensor, beam: int) -> list[int]:
        """Beam search over one utterance; a state is the predictor's output with the LSTM's own state."""

        def log_p(t: int, states: Sequence[Any]) -> np.ndarray:
            hidden_KH = torch.tanh(x_TH[t] + torch.stack([y_H for y_H, _ in states]))
            log_p_KV = self.output(hidden_KH).float().log_softmax(1)
            log_p_KV[:, : self.vocabulary.specials] = -torch.inf
            return log_p_KV.cpu().numpy()

        def predict(steps: Sequence[tuple[Any, int]]) -> list[Any]:
            before = tuple(torch.stack(parts, 1) for parts in zip(*(state for (_, state), _ in steps)))
            return states(torch.tensor([label for _, label in steps], device=x_TH.device), before)

        def states(last_K: Tensor, before: Any) -> list[Any]:
            y_KH, after = self._predict(last_K, before)
            return [(y_H, tuple(part[:, k] for part in after)) for k, y_H in enumerate(y_KH)]

        (start,) = states(torch.tensor([self.blank], device=x_TH.device), None)
        return search.transducer(len(x_TH), log_p, predict, start, self.blank, beam, MOST_PER_POSITION)

    def _spoken(self, x_TD: Tensor, encoding: Encoding) -> Tensor:
        """Vectors of the speech for the joint network; those of the labels are few, and stay in float32."""
        with encoding.products():
            return self.from_speech(x_TD).float()

    def _predict(self, last_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_B1H, state = self.predictor(self.embedding(last_B)[:, None], state)
        return self.from_labels(y_B1H.squeeze(1)), state


def log_likelihood(blank_BTU: Tensor, emit_BTU: Tensor, positions: tuple[int, ...], labels: tuple[int, ...]) -> Tensor:
    """Sum over all alignments, in log space: [B].

    `blank` and `emit` are the log-probabilities of moving on and of emitting label u + 1 at point (t, u), u = 0 .. U.
    One row of the lattice at a time: alpha(t, u) sums, over u' <= u, alpha(t-1, u') blank(t-1, u') emit(t, u' .. u):
    a cumulative log-sum-exp after dividing out the products of emissions. Double precision, because sums get long.
    """
    blank_BTU, emit_BTU = blank_BTU.double(), emit_BTU.double()
    path_BTU = emit_BTU.cumsum(2).roll(1, 2)
    path_BTU = torch.cat([torch.zeros_like(path_BTU[:, :, :1]), path_BTU[:, :, 1:]], 2)
    enter_TBU = (blank_BTU[:, :-1] - path_BTU[:, 1:]).unbind(1)
    paths_TBU = path_BTU.unbind(1)
    rows = [paths_TBU[0]]
    for enter_BU, path_BU in zip(enter_TBU, paths_TBU[1:]):
        rows.append((rows[-1] + enter_BU).logcumsumexp(1) + path_BU)
    b = torch.arange(len(labels), device=blank_BTU.device)
    t = torch.tensor(positions, device=blank_BTU.device) - 1
    u = torch.tensor(labels, device=blank_BTU.device)
    return torch.stack(rows, 1)[b, t, u] + blank_BTU[b, t, u]
