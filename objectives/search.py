"""Beam search over alignments: hypotheses are label sequences, and paths with the same labels are summed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Ids = tuple[int, ...]
NONE = -math.inf


def ctc_prefixes(log_p_TV: np.ndarray, blank: int, beam: int, specials: int) -> list[int]:
    """Most probable labels under CTC: prefix search (Graves 2006; Hannun 2014) that keeps `beam` hypotheses at each
    position.

    Labels below `specials` are never output. Only the 2 `beam` best labels of a position are tried: with few
    hypotheses, others do not survive.
    """
    log_p_TV = np.array(log_p_TV, dtype=np.float64)
    log_p_TV[:, :specials] = NONE
    tried = min(2 * beam, log_p_TV.shape[1] - 1)
    beams: dict[Ids, tuple[float, float]] = {(): (0.0, NONE)}  # log-probability of ending in blank, and in a label
    for log_p_V in log_p_TV:
        labels = [v for v in np.argpartition(-log_p_V, tried)[: tried + 1].tolist() if v != blank and log_p_V[v] > NONE]
        grown: dict[Ids, list[float]] = {}
        for ids, (ends_blank, ends_label) in beams.items():
            total = np.logaddexp(ends_blank, ends_label)
            same = grown.setdefault(ids, [NONE, NONE])
            same[0] = np.logaddexp(same[0], total + log_p_V[blank])
            if ids:
                same[1] = np.logaddexp(same[1], ends_label + log_p_V[ids[-1]])
            for v in labels:
                # The same label again is a new one only after a blank.
                before = ends_blank if ids and v == ids[-1] else total
                longer = grown.setdefault((*ids, v), [NONE, NONE])
                longer[1] = np.logaddexp(longer[1], before + log_p_V[v])
        best = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))[:beam]
        beams = {ids: (ends[0], ends[1]) for ids, ends in best}
    return list(max(beams, key=lambda ids: np.logaddexp(*beams[ids])))


def transducer(
    positions: int,
    log_p: Callable[[int, Sequence[Any]], np.ndarray],
    predict: Callable[[Sequence[tuple[Any, int]]], Sequence[Any]],
    start: Any,
    blank: int,
    beam: int,
    most: int,
) -> list[int]:
    """Most probable labels of a transducer: position by position, with `beam` hypotheses and at most `most` labels per
    position.

    `log_p(t, states)` is [hypotheses, V] at position t, -inf for what must not be output; `predict` gives the state of
    the label predictor after each (state, label); `start` is the state before any label.
    """
    at_rest: dict[Ids, tuple[float, Any]] = {(): (0.0, start)}
    for t in range(positions):
        moved: dict[Ids, tuple[float, Any]] = {}
        here: Mapping[Ids, tuple[float, Any]] = at_rest
        for emitted in range(most + 1):
            names = list(here)
            log_p_KV = np.asarray(log_p(t, [here[ids][1] for ids in names]), dtype=np.float64)
            scores_K = np.array([here[ids][0] for ids in names])
            for ids, score in zip(names, scores_K + log_p_KV[:, blank]):
                old = moved.get(ids, (NONE, None))[0]
                moved[ids] = float(np.logaddexp(old, score)), here[ids][1]
            # Extending a hypothesis only lowers its score: one that is outside the beam cannot come back.
            kept = sorted((score for score, _ in moved.values()), reverse=True)
            bar = kept[beam - 1] if len(kept) >= beam else NONE
            total_KV = scores_K[:, None] + log_p_KV
            total_KV[:, blank] = NONE
            best = np.argsort(-total_KV, axis=None, kind="stable")[:beam]
            chosen = [(k, v) for k, v in zip(*np.unravel_index(best, total_KV.shape)) if total_KV[k, v] > bar]
            if emitted == most or not chosen:
                break
            states = predict([(here[names[k]][1], int(v)) for k, v in chosen])
            here = {(*names[k], int(v)): (float(total_KV[k, v]), s) for (k, v), s in zip(chosen, states, strict=True)}
        at_rest = dict(sorted(moved.items(), key=lambda item: -item[1][0])[:beam])
    return list(max(at_rest, key=lambda ids: at_rest[ids][0]))
