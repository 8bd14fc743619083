"""What goes into an encoder: packed batches, their layout, and views of them.

Nothing is padded: the frames (or tokens) of all sequences lie in one packed tensor, with their lengths beside it.

Shape letters, used in names everywhere (`x_ND` is a tensor of N packed positions with width D):

    N packed positions    B sequences        F mel frames        T speech positions (after subsampling)
    S packed subwords     M mel bins         D model width       V vocabulary or codebook entries
    G codebook groups     K distractors      H heads             E head width
    I masked positions (an index list into N, T or S)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Vocabulary:
    """What objectives need to know about a tokenizer: its size, its special ids, and how often each id occurs.

    `counts_V` are unigram counts over the training text (0 for specials); `starts_word_V` says which pieces
    begin a word (for whole-word masking).
    """

    size: int
    counts_V: tuple[int, ...]
    starts_word_V: tuple[bool, ...]
    pad: int = 0
    unk: int = 1
    bos: int = 2
    eos: int = 3
    cls: int = 4
    sep: int = 5
    mask: int = 6
    specials: int = 7  # ids below this are special tokens: never masked, never drawn

    @cached_property
    def unigram_V(self) -> np.ndarray:
        """Cumulative share of each id in the training text, to sample by frequency (uniform if all counts are 0)."""
        counts = np.asarray(self.counts_V, dtype=np.float64)
        if not counts.any():
            counts[self.specials :] = 1
        return np.cumsum(counts) / counts.sum()

    @cached_property
    def word_starts_V(self) -> np.ndarray:
        """`starts_word_V` as an array."""
        return np.asarray(self.starts_word_V, dtype=bool)


@dataclass(frozen=True)
class Layout:
    """Where sequences and segments lie in a packed tensor.

    A *segment* is a run of positions of one modality; a *sequence* is `per_sequence` consecutive segments
    (two in a pair, which attend to each other). Nothing crosses a sequence border.
    """

    lengths: tuple[int, ...]  # of segments, in packed order
    modalities: tuple[str, ...]  # "speech" or "text", one per segment
    per_sequence: int = 1
    device: torch.device = torch.device("cpu")

    @staticmethod
    def of(modality: str, lengths: tuple[int, ...], device: torch.device) -> Layout:
        """Layout of sequences of one modality, one segment each."""
        return Layout(lengths, (modality,) * len(lengths), 1, device)

    def __post_init__(self) -> None:
        assert len(self.lengths) == len(self.modalities) and len(self.lengths) % self.per_sequence == 0
        assert all(n > 0 for n in self.lengths), "an empty segment"

    @cached_property
    def sequence_lengths(self) -> tuple[int, ...]:
        p = self.per_sequence
        return tuple(sum(self.lengths[i : i + p]) for i in range(0, len(self.lengths), p))

    @cached_property
    def total(self) -> int:
        return sum(self.lengths)

    def derived(self, make: Callable[[Layout], Any]) -> Any:
        """What a function makes of this layout (a mask, say), made once."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    @cached_property
    def _made(self) -> dict[Callable[[Layout], Any], Any]:
        return {}

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """Sequence borders [B + 1], int32."""
        lengths = torch.tensor((0, *self.sequence_lengths), dtype=torch.int32)
        return lengths.cumsum(0, dtype=torch.int32).to(self.device)

    @cached_property
    def segment_N(self) -> Tensor:
        """The index of each position's segment."""
        counts = torch.tensor(self.lengths)
        return torch.repeat_interleave(torch.arange(len(counts)), counts, output_size=self.total).to(self.device)

    @cached_property
    def sequence_N(self) -> Tensor:
        """The index of each position's sequence."""
        return self.segment_N // self.per_sequence

    @cached_property
    def position_N(self) -> Tensor:
        """For each position, its index within its segment."""
        return torch.cat([torch.arange(n) for n in self.lengths]).to(self.device)

    @cached_property
    def is_speech_N(self) -> Tensor:
        speech = torch.tensor([m == "speech" for m in self.modalities], device=self.device)
        return speech[self.segment_N]

    def positions(self, modality: str) -> Tensor:
        """Indices into N of all positions of `modality`, in packed order."""
        return (self.is_speech_N if modality == "speech" else ~self.is_speech_N).nonzero().squeeze(1)

    @cached_property
    def starts_B(self) -> Tensor:
        """Index into N of the first position of each sequence (a text sequence begins with CLS)."""
        return self.cu_seqlens[:-1].long()


@dataclass(frozen=True)
class Speech:
    """Packed log-mel frames of B utterances; `keys` is one random key per utterance."""

    kind: ClassVar[str] = "speech"

    mel_FM: Tensor
    lengths: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def speech(self) -> Speech:
        return self

    @property
    def text(self) -> None:
        return None


@dataclass(frozen=True)
class Text:
    """Packed token ids of B texts (each `CLS ... SEP`); `keys` is one random key per text."""

    kind: ClassVar[str] = "text"

    ids_S: Tensor
    lengths: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def speech(self) -> None:
        return None

    @property
    def text(self) -> Text:
        return self


@dataclass(frozen=True)
class Pair:
    """B utterances and their B texts, in the same order."""

    kind: ClassVar[str] = "pair"

    speech: Speech
    text: Text


Inputs = Speech | Text | Pair
"""`kind` says which of the three it is; `speech` and `text` are its parts, or None."""


@dataclass(frozen=True)
class Batch:
    """One shard as it comes from the loader: inputs, and for supervised objectives their references by name.

    `ids` are the names of the sequences in their table, for messages.
    """

    inputs: Inputs
    references: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """What the encoder is shown of a batch, and what of it is masked.

    `inputs` are as the encoder reads them: token ids are already replaced by the view's rule, pairs already shuffled.
    The encoder applies speech masks *after* its front end, filling with noise drawn from the utterances' keys, or
    before it, to the frames under the masked positions.
    Index lists are sorted, and None if the view masks nothing of that modality.
    """

    inputs: Inputs
    references: Mapping[str, Any] = field(default_factory=dict)
    speech_masked_I: Tensor | None = None  # into packed speech positions T (after subsampling)
    speech_masked_B: tuple[int, ...] = ()  # number of masked positions in each utterance
    hides: str = "features"  # what noise replaces at masked speech positions: "features", or "frames" of log-mel
    speech_lengths: tuple[int, ...] = ()  # speech positions per utterance (after subsampling)
    text_masked_I: Tensor | None = None  # into packed subwords S
    text_targets_I: Tensor | None = None  # true ids at text_masked_I
    text_spans: tuple[int, int] = (0, 0)  # number of masked units (pieces or words), and of spans they were drawn in
    matched_B: Tensor | None = None  # 1 where speech and text are a true pair (matching views)
    noise_key: int = 0  # for dropout and for sampled codes
    text_first: bool = True  # order of a pair's segments
    apart: bool = False  # pairs as 2B separate sequences: same items and masks, no attention between the two


def side_by_side(parts: Mapping[str, Tensor], layouts: Mapping[str, Layout], view: View) -> tuple[Tensor, Layout]:
    """Pack the modalities that are present, x_TD or x_SD, each with its layout. A single modality stays as it is; for
    both, each pair's two segments are adjacent, as one sequence, or as two if `view.apart`.
    """
    if len(parts) == 1:
        return (*parts.values(), *layouts.values())
    order = ("text", "speech") if view.text_first else ("speech", "text")
    pieces = zip(*(parts[m].split(layouts[m].lengths) for m in order), strict=True)
    x_ND = torch.cat([segment for pair in pieces for segment in pair])
    lengths = tuple(n for pair in zip(*(layouts[m].lengths for m in order)) for n in pair)
    return x_ND, Layout(lengths, order * (len(lengths) // 2), 1 if view.apart else 2, x_ND.device)
