"""What the encoder is shown: clean input, masked speech or text, masked pairs, true and false pairs.

A spec is frozen and hashable; objectives with equal specs share one view and one encoder pass. Masks come from the
sequences' own keys, pairings from the shard's key. Views are built on the CPU, from batches on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from encoders import seeds
from encoders.batch import Batch, Pair, Speech, Text, View
from encoders.choices import check_choices
from encoders.ranges import OneOf
from objectives.masking import TextRule, mismatch, permuted, speech_spans
from objectives.objective import ViewContext, ViewSpec, check_share

HIDDEN = ("features", "frames")  # what noise replaces at masked positions of speech
PAIRS = ("together", "apart", "shuffled")  # how pairs are shown


@dataclass(frozen=True, kw_only=True)
class Clean(ViewSpec):
    """Everything unmasked, for any stream."""

    text_first: bool = True
    """Order of a pair's segments."""

    def build(self, batch: Batch, context: ViewContext) -> View:
        return View(
            inputs=batch.inputs,
            references=batch.references,
            speech_lengths=context.speech_lengths,
            noise_key=seeds.key(context.key, "noise"),
            text_first=self.text_first,
        )


@dataclass(frozen=True, kw_only=True)
class SpeechMask(ViewSpec):
    """Speech with random masked spans (w2v-BERT; docs/paper.md, section 2).

    Starts with probability .065 and spans of 10 mask 49 % of a long utterance.
    """

    prob: float = 0.065
    """Probability that a position (40 ms at 4x subsampling) starts a span."""
    span: int = 10
    """Positions in a span."""
    hides: Annotated[str, OneOf(HIDDEN)] = "features"
    """What noise replaces at masked positions: their "features", or the "frames" of log-mel under them."""

    def __post_init__(self) -> None:
        check_share("Probability of starting a speech span", self.prob)
        check_choices(self)
        if self.span < 1:
            raise ValueError(f"A speech span is {self.span} positions; expected at least 1.")

    def build(self, batch: Batch, context: ViewContext) -> View:
        assert isinstance(batch.inputs, Speech), "SpeechMask reads speech"
        view = _with_speech_mask(Clean().build(batch, context), batch.inputs, self.prob, self.span)
        return replace(view, hides=self.hides)


@dataclass(frozen=True, kw_only=True)
class TextMask(ViewSpec):
    """Text with random masked spans (SpanBERT; docs/paper.md, section 2)."""

    rule: TextRule = TextRule()
    """Which pieces are masked, and what replaces them."""

    def build(self, batch: Batch, context: ViewContext) -> View:
        assert isinstance(batch.inputs, Text), "TextMask reads text"
        clean = Clean().build(batch, context)
        return _with_text_mask(clean, batch.inputs, self.rule, context)


@dataclass(frozen=True, kw_only=True)
class PairMask(ViewSpec):
    """Pairs with both modalities masked (TLM; docs/paper.md, section 2): half of the text, and 75 % of the speech.

    With `pairs` "apart" the same items have the same masks as separate sequences; with "shuffled" each utterance has
    the text of another one of similar length. Both are controls for the benefit of pairing.
    """

    text: TextRule = TextRule(share=0.5)
    """How the text is masked."""
    prob: float = 0.129
    """Probability that a speech position starts a span."""
    span: int = 10
    """Speech positions in a span."""
    pairs: Annotated[str, OneOf(PAIRS)] = "together"
    """"together", "apart" or "shuffled"."""
    text_first: bool = True
    """Order of the segments."""

    def __post_init__(self) -> None:
        check_share("Probability of starting a speech span", self.prob)
        check_choices(self)

    def build(self, batch: Batch, context: ViewContext) -> View:
        pair = batch.inputs
        assert isinstance(pair, Pair), "PairMask reads pairs"
        if self.pairs == "shuffled":
            order = mismatch(pair.text, pair.speech.lengths, 1.0, context.key)
            pair = replace(pair, text=permuted(pair.text, order))
        view = Clean(text_first=self.text_first).build(replace(batch, inputs=pair), context)
        return replace(_with_pair_masks(view, pair, self, context), apart=self.pairs == "apart")


@dataclass(frozen=True, kw_only=True)
class Matching(ViewSpec):
    """Pairs of which some are false: their text is that of another pair of nearest length.

    This is STM's view (docs/paper.md, sections 2 and 10.2). Texts are exchanged within a shard, so each text and each
    utterance appears once, and neither modality alone gives a hint. A false text is never identical to the true one. A
    shard of one pair has no false one.
    """

    negatives: float = 0.5
    """Share of the pairs that are false."""
    masks: PairMask | None = None
    """Masks as in TLM, or None for no masking."""
    text_first: bool = True
    """Order of the segments."""

    def __post_init__(self) -> None:
        check_share("Share of false pairs", self.negatives)

    def build(self, batch: Batch, context: ViewContext) -> View:
        pair = batch.inputs
        assert isinstance(pair, Pair), "Matching reads pairs"
        order = mismatch(pair.text, pair.speech.lengths, self.negatives, context.key)
        pair = replace(pair, text=permuted(pair.text, order))
        view = Clean(text_first=self.text_first).build(replace(batch, inputs=pair), context)
        if self.masks:
            view = _with_pair_masks(view, pair, self.masks, context)
        return replace(view, matched_B=torch.from_numpy(order == np.arange(len(order))).long())


def _with_speech_mask(view: View, speech: Speech, prob: float, span: int) -> View:
    hidden, per_utterance = speech_spans(speech.keys, view.speech_lengths, prob, span)
    return replace(view, speech_masked_I=torch.from_numpy(hidden), speech_masked_B=per_utterance)


def _with_text_mask(view: View, text: Text, rule: TextRule, context: ViewContext) -> View:
    seen, masked_I, targets_I, spans = rule.apply(text, context.vocabulary)
    return replace(view, inputs=seen, text_masked_I=masked_I, text_targets_I=targets_I, text_spans=spans)


def _with_pair_masks(view: View, pair: Pair, masks: PairMask, context: ViewContext) -> View:
    view = _with_speech_mask(view, pair.speech, masks.prob, masks.span)
    view = _with_text_mask(view, pair.text, masks.text, context)
    return replace(view, inputs=replace(pair, text=view.inputs))
