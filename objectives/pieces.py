"""A view in pieces: a few of its sequences at a time, with the masks and pairings that they have in the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from encoders.batch import Inputs, Pair, Speech, Text, View


def pieces(view: View, sizes: Sequence[float], most: float) -> tuple[View, ...]:
    """Cut a view into views of consecutive sequences, filled as shards are: until the next would exceed `most`.

    `sizes` are those of the view's sequences. Masked positions and false pairs stay as they were drawn for the whole
    view, so summed losses of single sequences (and of single pairs) add up to that of the whole. The number of masked
    spans (`text_spans`) is not known of a piece, and 0. A view of another class, or with references that are no texts,
    stays whole.
    """
    if type(view) is not View or not all(isinstance(text, Text) for text in view.references.values()):
        return (view,)
    bounds, held = [0], 0.0
    for place, size in enumerate(sizes):
        if place > bounds[-1] and held + size > most:
            bounds.append(place)
            held = 0.0
        held += size
    return tuple(_cut(view, a, b) for a, b in pairwise([*bounds, len(sizes)])) if len(bounds) > 1 else (view,)


def _cut(view: View, a: int, b: int) -> View:
    """The sequences from `a` to `b`, exclusive."""
    changed = {
        "inputs": _inputs(view.inputs, a, b),
        "references": {name: _text(text, a, b) for name, text in view.references.items()},
        "speech_lengths": view.speech_lengths[a:b],
        "speech_masked_B": view.speech_masked_B[a:b],
        "text_spans": (0, 0),
    }
    if view.speech_masked_I is not None:
        changed["speech_masked_I"] = view.speech_masked_I[_within(view.speech_masked_I, view.speech_lengths, a, b)]
        changed["speech_masked_I"] = changed["speech_masked_I"] - sum(view.speech_lengths[:a])
    if view.text_masked_I is not None:
        lengths = view.inputs.text.lengths
        chosen = _within(view.text_masked_I, lengths, a, b)
        changed["text_masked_I"] = view.text_masked_I[chosen] - sum(lengths[:a])
        changed["text_targets_I"] = view.text_targets_I[chosen]
    if view.matched_B is not None:
        changed["matched_B"] = view.matched_B[a:b]
    return replace(view, **changed)


def _within(index_I: Tensor, lengths: Sequence[int], a: int, b: int) -> Tensor:
    """Which of these packed positions lie in the sequences from `a` to `b`."""
    return (index_I >= sum(lengths[:a])) & (index_I < sum(lengths[:b]))


def _inputs(inputs: Inputs, a: int, b: int) -> Inputs:
    if isinstance(inputs, Pair):
        return Pair(_speech(inputs.speech, a, b), _text(inputs.text, a, b))
    return _speech(inputs, a, b) if isinstance(inputs, Speech) else _text(inputs, a, b)


def _speech(speech: Speech, a: int, b: int) -> Speech:
    return Speech(_rows(speech.mel_FM, speech.lengths, a, b), speech.lengths[a:b], speech.keys[a:b])


def _text(text: Text, a: int, b: int) -> Text:
    return Text(_rows(text.ids_S, text.lengths, a, b), text.lengths[a:b], text.keys[a:b])


def _rows(packed: Tensor, lengths: Sequence[int], a: int, b: int) -> Tensor:
    return packed[sum(lengths[:a]) : sum(lengths[:b])]
