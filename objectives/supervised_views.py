"""Augmented input for supervised objectives in training: SpecAugment at the rate of encoder positions, or text with
masked tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch

from encoders import seeds
from encoders.batch import Batch, Speech, Text, View
from encoders.ranges import Natural, Share, Size, Within
from objectives.objective import ViewContext, ViewSpec
from objectives.views import Clean


@dataclass(frozen=True, kw_only=True)
class SpecAugment(ViewSpec):
    """Mask spans of time and bands of frequency of each utterance (Park et al. 2019).

    Time spans are masked after the front end, as in pre-training; bands are set to 0, the mean of normalised log-mel.
    Draws come from the utterance's own key, independent of its neighbours. All zero gives the clean view.
    """

    tag: ClassVar[str] = "spec_augment"

    time: Share = 0.1
    """Share of an utterance's positions to mask (at most: spans may overlap)."""
    span: Size = 4
    """Positions in a span."""
    bands: Natural = 1
    """Number of frequency bands to mask per utterance."""
    band: Annotated[int, Within(0, 80)] = 12
    """Maximum width of a band in mel bins; widths are drawn from 0 to this."""

    def build(self, batch: Batch, context: ViewContext) -> View:
        speech = batch.inputs
        assert isinstance(speech, Speech), "SpecAugment reads speech"
        masked: list[int] = []
        counts: list[int] = []
        mel_FM = speech.mel_FM.clone() if self.bands else speech.mel_FM
        frame = position = 0
        for frames, positions, key in zip(speech.lengths, context.speech_lengths, speech.keys, strict=True):
            rng = seeds.rng(seeds.key(key, "spec_augment"))
            hidden: set[int] = set()
            for _ in range(int(self.time * positions / self.span + rng.random())):
                start = int(rng.integers(max(1, positions - self.span + 1)))
                hidden.update(range(start, min(positions, start + self.span)))
            for _ in range(self.bands):
                width = int(rng.integers(self.band + 1))
                low = int(rng.integers(mel_FM.shape[1] - width + 1))
                mel_FM[frame : frame + frames, low : low + width] = 0
            masked.extend(position + i for i in sorted(hidden))
            counts.append(len(hidden))
            frame, position = frame + frames, position + positions
        clean = Clean().build(replace(batch, inputs=replace(speech, mel_FM=mel_FM)), context)
        if not masked:
            return clean
        index_I = torch.tensor(masked, device=mel_FM.device)
        return replace(clean, speech_masked_I=index_I, speech_masked_B=tuple(counts))


@dataclass(frozen=True, kw_only=True)
class TokenDropout(ViewSpec):
    """Replace each token, except special tokens, by [MASK] with some probability, so that no output depends on a single
    word.

    Draws come from the text's own key.
    """

    prob: float = 0.1
    """Probability that a token is masked; 0 gives the clean view."""

    def __post_init__(self) -> None:
        if not 0 <= self.prob < 1:
            raise ValueError(f"The probability of hiding a token is {self.prob}; expected from 0 to below 1.")

    def build(self, batch: Batch, context: ViewContext) -> View:
        text = batch.inputs
        assert isinstance(text, Text), "TokenDropout reads text"
        hidden_S = torch.from_numpy(seeds.uniform(text.keys, "token_dropout", np.array(text.lengths)) < self.prob)
        hidden_S &= text.ids_S >= context.vocabulary.specials
        ids_S = torch.where(hidden_S, context.vocabulary.mask, text.ids_S)
        return Clean().build(replace(batch, inputs=replace(text, ids_S=ids_S)), context)
