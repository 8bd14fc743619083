"""Which positions are masked: spans of speech with random starts, spans of text sampled to a budget.

Everything is drawn from the sequences' own keys, vectorised over the whole pack, so that a sequence's masks do not
depend on its neighbours or on the other objectives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from encoders import seeds
from encoders.batch import Text, Vocabulary
from encoders.choices import check_choices
from encoders.ranges import OneOf
from objectives.objective import check_share

GEOMETRIC_P, GEOMETRIC_LONGEST = 0.2, 10  # SpanBERT's span lengths
REPLACE, RANDOM = 0.8, 0.1  # BERT's rule: 80 % [MASK], 10 % a random piece, the rest unchanged


def speech_spans(
    keys: tuple[int, ...], lengths: tuple[int, ...], prob: float, span: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Mask `span` positions from each start; every position is a start with probability `prob` (w2v-BERT).

    Spans may overlap and end with their utterance; an utterance without a start gets one. Returns the sorted masked
    positions in the pack, and their number in each utterance.
    """
    lengths_B = np.asarray(lengths)
    first_B = np.cumsum(lengths_B) - lengths_B
    draws_T = seeds.uniform(keys, "speech_mask", lengths)
    starts_T = draws_T < prob
    for b in np.flatnonzero(~np.logical_or.reduceat(starts_T, first_B)):
        room = max(1, lengths_B[b] - span + 1)
        starts_T[first_B[b] + np.argmin(draws_T[first_B[b] : first_B[b] + room])] = True
    started = np.concatenate(([0], np.cumsum(starts_T)))
    position_T = np.arange(len(starts_T))
    earliest_T = np.maximum(position_T - span + 1, np.repeat(first_B, lengths_B))
    hidden_T = started[position_T + 1] > started[earliest_T]
    return np.flatnonzero(hidden_T), tuple(np.add.reduceat(hidden_T, first_B, dtype=int).tolist())


def text_spans(
    keys: tuple[int, ...], units: np.ndarray, share: float, span: int, geometric: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mask spans of units (pieces or words) of each text until a budget of `share` is used up exactly.

    The budget of n units is `share * n`, rounded at random so that it is right on average, but at least 1 if there is a
    unit; the span that would exceed it is cut. Spans do not overlap; all arrangements are equally likely. Returns for
    each unit the index of its span (-1: not masked), and for each span the index of its text.
    """
    texts = np.arange(len(units))
    budget_B = np.floor(share * units + seeds.uniform(keys, "text_mask/budget", np.ones_like(units))).astype(np.int64)
    budget_B = np.minimum(np.maximum(budget_B, 1), units)
    text_J = np.repeat(texts, budget_B)  # as many candidate spans as could be needed
    if geometric:
        draws_J = seeds.uniform(keys, "text_mask/length", budget_B)
        draws_J = draws_J * (1 - (1 - GEOMETRIC_P) ** GEOMETRIC_LONGEST)  # none is longer, as SpanBERT renormalises
        length_J = np.minimum(1 + np.floor(np.log1p(-draws_J) / np.log(1 - GEOMETRIC_P)), GEOMETRIC_LONGEST).astype(int)
    else:
        length_J = np.full(len(text_J), span)
    before_J = np.cumsum(length_J) - length_J
    before_J = before_J - before_J[(np.cumsum(budget_B) - budget_B)[text_J]] if len(before_J) else before_J
    left_J = budget_B[text_J] - before_J
    needed_J = left_J > 0
    length_L, text_L = np.minimum(length_J, left_J)[needed_J], text_J[needed_J]
    # Shuffle spans among the unmasked units: each text is a row of slots, some of which hold a span.
    spans_B = np.bincount(text_L, minlength=len(units))
    slots_B = units - budget_B + spans_B
    text_K = np.repeat(texts, slots_B)
    order_K = np.lexsort((seeds.uniform(keys, "text_mask/place", slots_B), text_K))
    rank_K = np.empty(len(text_K), dtype=np.int64)
    rank_K[order_K] = np.arange(len(text_K)) - np.repeat(np.cumsum(slots_B) - slots_B, slots_B)
    span_K = np.where(rank_K < spans_B[text_K], rank_K + (np.cumsum(spans_B) - spans_B)[text_K], -1)
    size_K = np.ones(len(text_K), dtype=np.int64)
    size_K[span_K >= 0] = length_L[span_K[span_K >= 0]]
    return np.repeat(span_K, size_K), text_L


TEXTS = ("true", "drawn", "renamed")  # that masked text predicts


@dataclass(frozen=True, kw_only=True)
class TextRule:
    """How text is masked (by default as in SpanBERT); special tokens never are."""

    share: float = 0.15
    """Share of the pieces (or words) to mask; at least one span per text."""
    span: int = 5
    """Units in a span; 1 is BERT's masking of single tokens."""
    geometric: bool = False
    """Draw span lengths from a geometric distribution (p = .2, at most 10) instead."""
    whole_words: bool = False
    """Count and hide whole words rather than pieces."""
    text: Annotated[str, OneOf(TEXTS)] = "true"
    """"true", or a placebo: "drawn" by corpus frequency (nothing to learn), "renamed" by one fixed permutation."""

    def __post_init__(self) -> None:
        check_share("Share of text to hide", self.share)
        check_choices(self)
        if self.span < 1:
            raise ValueError(f"A text span is {self.span} units; expected at least 1.")

    def note(self) -> str:
        """Say what the settings do not: a span is cut, and so shorter, when the budget of its text is used up."""
        if self.span == 1 and not self.geometric:
            return ""
        if self.geometric:
            return f"a text's last span is cut when {self.share:.0%} of it is masked: spans are shorter than drawn"
        lengths = (12, 25, 50, 100)
        reached, texts = (_listed(f"{x:.3g}" for x in xs) for xs in (map(self.reached, lengths), lengths))
        return (
            f"spans of {self.span} are {reached} {'words' if self.whole_words else 'pieces'} long on average in texts "
            f"of {texts}: the last one is cut when {self.share:.0%} of the text is masked; the log has the actual mean"
        )

    def reached(self, units: int) -> float:
        """Mean length of spans of a fixed length in texts of `units` units: masked units per span drawn."""
        least, often = divmod(self.share * units, 1)  # the budget is `least`, or with probability `often` one more
        budgets = ((min(units, max(1, least + more)), p) for more, p in ((0, 1 - often), (1, often)))
        hidden, spans = zip(*((p * budget, p * -(-budget // self.span)) for budget, p in budgets))
        return sum(hidden) / sum(spans)

    def apply(self, text: Text, vocabulary: Vocabulary) -> tuple[Text, torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Return what the encoder reads, the masked positions (sorted, into S), the ids to predict there, and the
        numbers of masked units and of spans.
        """
        ids_S = text.ids_S.numpy()
        where_M = np.flatnonzero(ids_S >= vocabulary.specials)  # maskable positions
        text_S = np.repeat(np.arange(len(text.lengths)), text.lengths)
        text_M = text_S[where_M]
        pieces_B = np.bincount(text_M, minlength=len(text.lengths))
        true_S = placebo(self.text, ids_S, where_M, pieces_B, text.keys, vocabulary)
        if self.whole_words:  # words of the true text, also for a placebo
            begins_M = vocabulary.word_starts_V[ids_S[where_M]]
            begins_M[np.diff(where_M, prepend=-2) > 1] = True
            units_B = np.bincount(text_M[begins_M], minlength=len(text.lengths))
        else:
            units_B = pieces_B
        span_U, text_L = text_spans(text.keys, units_B, self.share, self.span, self.geometric)
        span_M = span_U[np.cumsum(begins_M) - 1] if self.whole_words else span_U
        hidden_I, span_I = where_M[span_M >= 0], span_M[span_M >= 0]
        action_L = seeds.uniform(text.keys, "text_mask/action", np.bincount(text_L, minlength=len(text.lengths)))
        action_I = action_L[span_I]
        seen_S = true_S.copy()
        seen_S[hidden_I[action_I < REPLACE]] = vocabulary.mask
        random_I = hidden_I[(action_I >= REPLACE) & (action_I < REPLACE + RANDOM)]
        draws_S = seeds.uniform(text.keys, "text_mask/random", text.lengths)
        seen_S[random_I] = vocabulary.specials + draws_S[random_I] * (vocabulary.size - vocabulary.specials)
        seen = replace(text, ids_S=torch.from_numpy(seen_S))
        spans = int((span_U >= 0).sum()), len(text_L)
        return seen, torch.from_numpy(hidden_I), torch.from_numpy(true_S[hidden_I]).long(), spans


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}"


def placebo(
    kind: str,
    ids_S: np.ndarray,
    where_M: np.ndarray,
    pieces_B: np.ndarray,
    keys: tuple[int, ...],
    vocabulary: Vocabulary,
) -> np.ndarray:
    """Return the ids to learn from: the text's own, drawn from unigram frequencies, or renamed.

    Text without content measures dilution (docs/paper.md, section 10.1).
    """
    if kind == "true":
        return ids_S
    changed_S = ids_S.copy()
    if kind == "drawn":
        draws_M = seeds.uniform(keys, "placebo/drawn", pieces_B)
        changed_S[where_M] = np.searchsorted(vocabulary.unigram_V, draws_M, side="right")
    else:
        names = seeds.rng(seeds.key(0, "placebo/renamed", vocabulary.size)).permutation(
            np.arange(vocabulary.specials, vocabulary.size)
        )
        changed_S[where_M] = names[ids_S[where_M] - vocabulary.specials]
    return changed_S


def mismatch(text: Text, frames: tuple[int, ...], share: float, key: int) -> np.ndarray:
    """Permute texts among pairs of nearest length, so that about `share` of the pairs are false.

    Neighbours in (pieces, frames) exchange texts in couples (one trio if the number is odd), so every text and every
    utterance is still used once, and duration tells little. Couples of identical texts are left as they are. The
    number of exchanging couples is rounded at random; a single pair cannot exchange. Returns for each utterance the
    index of the text it is shown with.
    """
    n, rng = len(text.lengths), seeds.rng(seeds.key(key, "mismatch"))
    order = np.lexsort((frames, text.lengths))
    sizes = np.full(n // 2, 2)
    if n % 2 and n > 1:
        sizes[rng.integers(len(sizes))] = 3
    groups = np.split(order, np.cumsum(sizes)[:-1]) if len(sizes) else []
    wanted = int(share * len(groups) + rng.random())
    content = [ids_S.tobytes() for ids_S in np.split(text.ids_S.numpy(), np.cumsum(text.lengths)[:-1])]
    shown = np.arange(n)
    for g in rng.permutation(len(groups)):
        group = groups[g]
        if wanted and len({content[i] for i in group}) == len(group):
            shown[group] = np.roll(group, 1)
            wanted -= 1
    return shown


def permuted(text: Text, order: np.ndarray) -> Text:
    """Return the texts in another order, keys with them."""
    parts = text.ids_S.split(list(text.lengths))
    return Text(
        ids_S=torch.cat([parts[i] for i in order]),
        lengths=tuple(text.lengths[i] for i in order),
        keys=tuple(text.keys[i] for i in order),
    )
