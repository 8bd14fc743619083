"""Sequence to sequence: a Transformer decoder that reads the encoding and outputs text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import View, Vocabulary
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import Fraction, NonNegative, OneOf, Probability, Share, Size
from objectives.copying import Pointer, Source, runs
from objectives.ctc import CTC
from objectives.decoder import DecoderLayer, Memory, sinusoids
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, ViewSpec
from objectives.padded import Rectangle, segments
from objectives.supervised_views import SpecAugment
from objectives.views import Clean


class Sequence(AbstractObjective):
    """-log p(target | encoding), summed, counted in target tokens and one end per sequence; smoothed in training only.

    Reads `references["target"]`: a `Text` of target ids without special tokens; with several languages, also
    `references["language"]`, a name for each sequence. With `ctc` there is a second term on speech: CTC on
    `references["transcript"]` in the encoder's vocabulary, without which small models do not learn to translate at all.
    The source is the speech or the text of the encoding; the paper's decoder has 4 layers of 384 (docs/paper.md,
    section 4).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """A pre-norm decoder with sinusoidal positions and one embedding for input and output."""

        tag: ClassVar[str] = "attention_decoder"

        reads: Annotated[str, OneOf(("speech", "text"))] = "text"
        """What the decoder attends to: "speech" or "text"."""
        width: Size = 64
        """Width of the decoder."""
        heads: Size = 4
        """Attention heads."""
        ffn: Size = 128
        """Width of the feed-forward layers."""
        layers: Size = 2
        """Decoder layers."""
        dropout: Probability = 0.1
        """Dropout on every residual branch and on the embedding."""
        smoothing: Share = 0.1
        """Label smoothing: share of probability spread over the vocabulary."""
        copying: Fraction = 0.0
        """Initial probability of copying a token of the input instead of using the softmax: the decoder starts as a
        copy of the input, whose tokens must be the target's (text only). 0: no copying.
        """
        ctc: NonNegative = 0.0
        """Weight of CTC on the transcript; 0 leaves it out (speech only)."""
        view: SpecAugment = SpecAugment()
        """Augmentation of the encoder's speech input in training; text is unchanged."""

        def __post_init__(self) -> None:
            check_choices(self)
            if self.ctc and self.reads != "speech":
                raise ValueError(f"ctc is {self.ctc} on {self.reads}, but CTC needs speech; set ctc to 0.")
            if self.copying and self.reads != "text":
                raise ValueError(
                    f"copying is {self.copying} on {self.reads}, but only text can be copied; set copying to 0."
                )
            if self.width % (2 * self.heads):
                raise ValueError(f"width is {self.width}, expected a multiple of twice the {self.heads} heads.")

        def build(self, ports: Ports, targets: Vocabulary | None = None, languages: tuple[str, ...] = ()) -> Sequence:
            """Make the decoder for `targets`, or for the encoder's vocabulary; with several target languages, each has
            a token with which the output starts.
            """
            return Sequence(self, ports, targets or ports.vocabulary, languages)

    def __init__(self, config: Config, ports: Ports, vocabulary: Vocabulary, languages: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.languages = languages
        self.reads = config.reads
        self.augmented: ViewSpec = config.view if config.reads == "speech" else Clean()
        self.smoothing = config.smoothing
        self.vocabulary = vocabulary
        self.term_weights = {"sequence": 1.0, "ctc": config.ctc} if config.ctc else {"sequence": 1.0}
        self.ctc = CTC.Config(dropout=config.dropout).build(ports) if config.ctc else None
        self.embedding = nn.Embedding(vocabulary.size, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.starts = nn.Embedding(len(languages), config.width) if languages else None
        self.bias_V = nn.Parameter(torch.zeros(vocabulary.size))
        self.layers = nn.ModuleList(
            DecoderLayer(config.width, config.heads, config.ffn, ports.width, config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.pointer = Pointer(config.width, ports.width, config.copying) if config.copying else None
        self.dropout = nn.Dropout(config.dropout)

    @property
    def view(self) -> ViewSpec:
        """Augmented in training, clean in evaluation."""
        return self.augmented if self.training else Clean()

    def counts(self, view: View) -> Mapping[str, float]:
        lengths = view.references["target"].lengths
        counts = {"sequence": float(sum(lengths) + len(lengths))}
        return counts | self.ctc.counts(view) if self.ctc else counts

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        x_BUD, ids_BU, wanted = self.teacher_forced(view.references, encoding)
        logits_NV, wanted_N = self._logits(wanted.pack(x_BUD)), wanted.pack(self._ends(ids_BU))
        smoothing = self.smoothing if self.training else 0.0  # an evaluation loss is a plain likelihood
        if self.pointer:
            total, metrics = self._copying(view, encoding, x_BUD, ids_BU, wanted, logits_NV, smoothing)
        else:
            total = F.cross_entropy(logits_NV, wanted_N, reduction="sum", label_smoothing=smoothing)
            metrics = {"accuracy": ((logits_NV.argmax(1) == wanted_N).sum(), float(len(wanted_N)))}
        terms = {"sequence": Term(total, metrics)}
        return terms | self.ctc(view, encoding, targets) if self.ctc else terms

    def _copying(
        self,
        view: View,
        encoding: Encoding,
        x_BUD: Tensor,
        ids_BU: Tensor,
        wanted: Rectangle,
        logits_NV: Tensor,
        smoothing: float,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss if tokens may be copied; smoothing applies only to the softmax."""
        source, log_p_NV = Source(view.inputs, self.vocabulary, x_BUD.device), logits_NV.log_softmax(1)
        ends_BU = self._ends(ids_BU)
        made_BU = wanted.pad(log_p_NV.gather(1, wanted.pack(ends_BU)[:, None]).squeeze(1))
        y_BUD = self.norm(x_BUD)
        attention_BUL = self.pointer.attention(y_BUD, self._keys(encoding), runs(source, ids_BU), source.real_BL)
        log_p_N = wanted.pack(self.pointer.wanted(y_BUD, attention_BUL, made_BU, source, ends_BU))
        copied_N = wanted.pack(self.pointer.gates(y_BUD)[0].squeeze(2)).exp()
        total = -(1 - smoothing) * log_p_N.sum() - smoothing * log_p_NV.mean(1).sum()
        return total, {"copied": (copied_N.sum().detach(), float(len(copied_N)))}

    def teacher_forced(self, references: Mapping[str, Any], encoding: Encoding) -> tuple[Tensor, Tensor, Rectangle]:
        """Decoded vectors [B, U, D] of each target token given those before it, the decoder's input there [B, U] (the
        start, then the tokens), and which of these positions are real; each sequence has one more for its end.
        """
        target, device = references["target"], self.bias_V.device
        ids_BU = Rectangle(target.lengths, device).pad(target.ids_S.to(device).long(), self.vocabulary.eos)
        ids_BU = F.pad(ids_BU, (1, 0), value=self.vocabulary.bos)
        x_BUD = self._embed(ids_BU, 0, self._starts(references))
        x_BUD, _ = self._decoded(x_BUD, encoding, self._memories(encoding), [None] * len(self.layers))
        return x_BUD, ids_BU, Rectangle(tuple(n + 1 for n in target.lengths), device)

    def _decoded(
        self, x_RUD: Tensor, encoding: Encoding, memories: list[Memory], pasts: list[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Vectors after all layers, and what these keep for the next step."""
        kept = []
        with encoding.products():
            for layer, memory, past in zip(self.layers, memories, pasts, strict=True):
                x_RUD, now = layer(x_RUD, memory, past)
                kept.append(now)
        return x_RUD, kept

    def _ends(self, ids_BU: Tensor) -> Tensor:
        """The target after each input of `ids_BU`: the next token, or the end."""
        return F.pad(ids_BU[:, 1:], (0, 1), value=self.vocabulary.eos)

    @torch.no_grad()
    def decode(
        self, encoding: Encoding, beam: int = 1, penalty: float = 0.6, most: int = 64, view: View | None = None
    ) -> list[list[int]]:
        """Best hypothesis of each sequence, as ids without special tokens, at most `most` long; beam 1 is greedy
        search.

        A decoder that copies, or that has several output languages, must be given the `view` that was encoded.

        All sequences advance together with cached keys and values. A sequence is finished when `beam` hypotheses have
        ended and no unfinished one is better; the best has the highest log-probability divided by ((5 + length) / 6)
        ** penalty, where length includes the end.
        """
        memories = self._memories(encoding)
        B, V, device = len(encoding.layout.sequence_lengths), self.vocabulary.size, self.bias_V.device
        allowed_V = self._allowed()
        ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(B)]
        searched = set(range(B))
        score_BK = torch.full((B, beam), -math.inf, device=device)
        score_BK[:, 0] = 0  # all hypotheses start equal: only one may be extended
        ids_BKU = torch.full((B, beam, 1), self.vocabulary.bos, device=device)
        pasts: list[Tensor | None] = [None] * len(self.layers)
        first_B1 = torch.arange(B, device=device)[:, None] * beam
        copier = _Copier(self, encoding, view, beam) if self.pointer else None
        start_BD = self._starts(view.references if view else {})
        start_RD = None if start_BD is None else start_BD.repeat_interleave(beam, 0)
        for length in range(1, most + 1):
            x_R1D = self._embed(ids_BKU[:, :, -1].reshape(-1, 1), length - 1, start_RD if length == 1 else None)
            x_R1D, pasts = self._decoded(x_R1D, encoding, memories, pasts)
            logits_RV = self._logits(x_R1D.squeeze(1))
            if copier:
                logits_RV = copier.next(x_R1D, logits_RV, ids_BKU[:, :, -1].flatten())
            log_p_RV = (logits_RV + allowed_V).log_softmax(1)
            total_BKV = score_BK[:, :, None] + log_p_RV.view(B, beam, V)
            best_BC, at_BC = total_BKV.flatten(1).topk(2 * beam, 1)  # enough for `beam` unfinished ones
            ends_BC = at_BC % V == self.vocabulary.eos
            scale = ((5 + length) / 6) ** penalty
            for b, c in ends_BC[:, :beam].nonzero().tolist():
                if b in searched and best_BC[b, c] > -math.inf:
                    ids = ids_BKU[b, at_BC[b, c] // V, 1:].tolist()
                    ended[b].append((float(best_BC[b, c]) / scale, ids))
            goes_on_B = (best_BC.masked_fill(ends_BC, -math.inf).amax(1) / scale).tolist()
            searched -= {b for b in searched if len(ended[b]) >= beam and max(ended[b])[0] >= goes_on_B[b]}
            if not searched:
                break
            score_BK, chosen_BK = best_BC.masked_fill(ends_BC, -math.inf).topk(beam, 1)
            at_BK = at_BC.gather(1, chosen_BK)
            parent_BK = at_BK // V
            ids_BKU = torch.cat([ids_BKU.gather(1, parent_BK[..., None].expand_as(ids_BKU)), (at_BK % V)[..., None]], 2)
            if beam > 1:
                row_R = (first_B1 + parent_BK).flatten()
                pasts = [past[:, row_R] for past in pasts]
                if copier:
                    copier.run_RL = copier.run_RL[row_R]
        return [max(done)[1] if done else ids[1:] for done, ids in zip(ended, ids_BKU[:, 0].tolist())]

    def _allowed(self) -> Tensor:
        """0 for what a search may output, -inf for special tokens, of which only the end may be output: [V]."""
        allowed_V = torch.zeros(self.vocabulary.size, device=self.bias_V.device)
        allowed_V[: self.vocabulary.specials] = -math.inf
        allowed_V[self.vocabulary.eos] = 0
        return allowed_V

    def _starts(self, references: Mapping[str, Any]) -> Tensor | None:
        """Vector that turns each sequence's start into the token of its language: [B, D]."""
        if self.starts is None:
            return None
        numbers = [self.languages.index(name) for name in references["language"]]
        return self.starts(torch.tensor(numbers, device=self.bias_V.device))

    def _embed(self, ids_RU: Tensor, start: int, start_RD: Tensor | None = None) -> Tensor:
        width = self.embedding.embedding_dim
        x_RUD = self.embedding(ids_RU) * width**0.5
        if start_RD is not None:
            x_RUD = torch.cat([x_RUD[:, :1] + start_RD[:, None], x_RUD[:, 1:]], 1)
        return self.dropout(x_RUD + sinusoids(start, ids_RU.shape[1], width).to(x_RUD))

    def _memories(self, encoding: Encoding) -> list[Memory]:
        x_ND, lengths = segments(encoding, self.reads)
        rectangle = Rectangle(lengths, x_ND.device)
        x_BLD = rectangle.pad(x_ND)
        with encoding.products():
            return [layer.memory(x_BLD, rectangle.mask_BL) for layer in self.layers]

    def _keys(self, encoding: Encoding) -> Tensor:
        x_ND, lengths = segments(encoding, self.reads)
        return Rectangle(lengths, x_ND.device).pad(self.pointer.key(x_ND))

    def _logits(self, x_ND: Tensor) -> Tensor:
        return F.linear(self.norm(x_ND), self.embedding.weight, self.bias_V).float()


class _Copier:
    """The state of a search that may copy from the input."""

    def __init__(self, decoder: Sequence, encoding: Encoding, view: View | None, beam: int) -> None:
        if view is None:
            raise ValueError("A decoder that copies needs the view of its input; give it to decode.")
        self.decoder, self.key_BLD = decoder, decoder._keys(encoding)
        self.source = Source(view.inputs, decoder.vocabulary, self.key_BLD.device)
        self.run_RL = torch.zeros_like(self.source.ids_BL).repeat_interleave(beam, 0)

    def next(self, x_R1D: Tensor, logits_RV: Tensor, last_R: Tensor) -> Tensor:
        """Log-probability of every next token after `last`, by the softmax or as a copy: [R, V]."""
        pointer, y_R1D = self.decoder.pointer, self.decoder.norm(x_R1D)
        self.run_RL = self.source.follows(self.run_RL, last_R)
        attention_R1L = pointer.attention(y_R1D, self.key_BLD, self.run_RL[:, None], self.source.real_BL)
        return pointer.everything(y_R1D, attention_R1L, logits_RV.log_softmax(1), self.source)
