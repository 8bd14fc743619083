"""Resample test items: the paired bootstrap from per-item counts, without knowing how a metric was computed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ablate.record import read_run
from analysis.frame import DONE, Measure, Records

RESAMPLES = 1000


def bootstrap(
    records: Records, effect: Mapping[str, float], what: Measure, seeds: list[int], points: Sequence[str] | None = None
) -> np.ndarray | None:
    """Draw test items anew `RESAMPLES` times, the same for every row and seed; return each draw's mean effect.

    Points of the axes (by default all) are averaged. Positive is good. None where that cannot be honest: no seed has
    all rows, a record has no counts for this metric, the counts do not reproduce the score on record, or the rows were
    tested on different items.
    """
    s = records.of(what)
    s = s[(s.status == DONE) & s.row.isin(list(effect)) & s.seed.isin(seeds) & s.point.isin(points or records.points)]
    if s.empty:
        return None
    found = [_counts(records.root, run, what.split, what.metric) for run in s.run]
    if any(f is None or f.ids != found[0].ids for f in found):
        return None
    if any(abs(f.value(np.ones((1, len(f.ids))))[0] - v) > 0.01 * max(1.0, abs(v)) for f, v in zip(found, s.value)):
        return None
    draws = _draws(len(found[0].ids))
    cells = s.groupby(["point", "seed"]).ngroups
    factors = what.sign * s.row.map(effect).to_numpy() / cells
    return sum(factor * f.value(draws) for f, factor in zip(found, factors))


@functools.lru_cache(maxsize=8)
def _draws(size: int) -> np.ndarray:
    """How often each of `size` items was drawn: (draws × items)."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(np.float64)


class Counts:
    """Additive counts of a test set, one line per item, and the metric as a function of their sums."""

    def __init__(self, ids: list, counts: np.ndarray, score: Callable[[np.ndarray], np.ndarray]):
        self.ids = ids
        self._counts, self._score = counts, score

    def value(self, weights: np.ndarray) -> np.ndarray:
        """Metric under item weights: (draws × items) -> (draws)."""
        return self._score(weights @ self._counts)


def read_counts(lines: list[dict], metric: str) -> Counts | None:
    """Find the counts behind `metric` in lines of items.jsonl; None when they are not there.

    A field named as the metric, holding [sum, count], serves any metric that is a ratio of sums over the items.
    Lines with one id (the two directions of retrieval) are one item: they are drawn together.
    """
    fields = set(lines[0]) if lines else set()
    score = _rate
    if metric == "wer" and "words" in fields:
        counts = [[x["substitutions"] + x["deletions"] + x["insertions"], x["words"]] for x in lines]
    elif metric == "cer" and "characters" in fields:
        counts = [[x["character_errors"], x["characters"]] for x in lines]
    elif metric in ("accuracy", "ser") and "correct" in fields:
        counts = [[x["correct"] if metric == "accuracy" else 1 - x["correct"], 1] for x in lines]
    elif metric.startswith("recall@") and "rank" in fields:
        counts = [[x["rank"] <= int(metric.removeprefix("recall@")), 1] for x in lines]
    elif metric == "bleu" and "matches" in fields:
        counts, score = [[x["sys_len"], x["ref_len"], *x["matches"], *x["totals"]] for x in lines], bleu
    elif metric in ("f1", "matthews") and "hits" in fields:
        counts, score = [x["hits"] for x in lines], f1 if metric == "f1" else matthews
    elif metric == "pearson" and "moments" in fields:
        counts, score = [[*x["moments"], 1] for x in lines], pearson
    elif lines and isinstance(lines[0].get(metric), list):
        counts, score = [x[metric] for x in lines], _ratio
    else:
        return None
    ids = list(dict.fromkeys(x["id"] for x in lines))
    place = {id: number for number, id in enumerate(ids)}
    sums = np.zeros((len(ids), len(counts[0])))
    np.add.at(sums, [place[x["id"]] for x in lines], np.asarray(counts, dtype=np.float64))
    return Counts(ids, sums, score)


def _ratio(sums: np.ndarray) -> np.ndarray:
    """Mean, from (draws × [sum, of how many])."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def _rate(sums: np.ndarray) -> np.ndarray:
    """Events per hundred, from (draws × [events, of how many])."""
    return 100 * _ratio(sums)


def f1(sums: np.ndarray) -> np.ndarray:
    """F1, of 100, from summed (draws × [true positives, false positives, false negatives, true negatives])."""
    tp, fp, fn, _ = sums.T
    return 100 * 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def matthews(sums: np.ndarray) -> np.ndarray:
    """Matthews correlation, of 100, from the counts that `f1` takes; 0 where one side is constant."""
    tp, fp, fn, tn = sums.T
    scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return 100 * (tp * tn - fp * fn) / np.where(scale > 0, scale, 1)


def pearson(sums: np.ndarray) -> np.ndarray:
    """Linear correlation, of 100, from summed (draws × [x, y, x², y², xy, items]); 0 where one side is constant."""
    x, y, xx, yy, xy, n = sums.T
    scale = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return 100 * (n * xy - x * y) / np.where(scale > 0, scale, 1)


def bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU from summed counts (draws × [sys_len, ref_len, matches…, totals…]), exponential smoothing.

    As sacrebleu computes it: an order without matches gets precision 1/(2^k · total), k counting such orders; no
    match of any order is 0.
    """
    length, reference = sums[:, 0], sums[:, 1]
    matches, totals = np.split(sums[:, 2:], 2, axis=1)
    empty = matches == 0
    smoothed = np.where(empty, 0.5 ** np.cumsum(empty, axis=1), matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_precision = np.log(smoothed / totals).mean(axis=1)
        brevity = np.minimum(0.0, 1 - reference / length)
    value = 100 * np.exp(log_precision + brevity)
    return np.where((matches.sum(axis=1) == 0) | (totals.min(axis=1) == 0), 0.0, value)


@functools.lru_cache(maxsize=4096)
def _counts(root: Path, run: str, split: str, metric: str) -> Counts | None:
    lines = read_run(root, "score", run).items()
    return read_counts([line for line in lines if line["split"] == split], metric)
