"""Resample test items: the paired bootstrap from per-item counts, without knowing how a metric was computed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ablate.store.record import read_jsonl
from analysis.records.frame import Measure, Records
from analysis.records.index import Drawn, Key

RESAMPLES = 1000
BLOCK = 64
"""Number of scores whose counts are multiplied at once: a compromise between speed and memory."""


def bootstrap(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    seeds: Sequence[int],
    points: Sequence[str] | None = None,
) -> np.ndarray | None:
    """Resample test items `RESAMPLES` times; return each draw's effect, averaged over seeds. None as in `by_seed`."""
    drawn_SD = by_seed(records, effect, what, seeds, points)
    return None if drawn_SD is None else drawn_SD.mean(axis=0)


def by_seed(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    seeds: Sequence[int],
    points: Sequence[str] | None = None,
) -> np.ndarray | None:
    """Resample test items `RESAMPLES` times, with the same draws for every row and seed; return each seed's effect
    under each draw.

    Points of the axes (by default all) are averaged. Positive is good. None where this would not be valid: no seed has
    all rows, a record has no counts for this metric, the counts do not reproduce the recorded score, or the rows were
    tested on different items.
    """
    points = points or records.points
    finished = records.finished(what)
    wanted = [[(row, point, seed) for point in points for row in effect] for seed in seeds]
    wanted = [keys for keys in wanted if all(key in finished for key in keys)]
    if not wanted:
        return None
    per_seed = [[_drawn(records, finished[key][0], what) for key in keys] for keys in wanted]
    first = per_seed[0][0]
    for keys, entries in zip(wanted, per_seed):
        for key, entry in zip(keys, entries):
            value = finished[key][1]
            if entry is None or entry.ids != first.ids or abs(entry.level - value) > 0.01 * max(1.0, abs(value)):
                return None
    factors = what.sign * np.array(list(effect.values()) * len(points)) / len(points)
    drawn = np.array([e.draws for entries in per_seed for e in entries], dtype=np.float64)
    return factors @ drawn.reshape(len(per_seed), len(factors), -1)


def shared_variance(drawn_SD: np.ndarray) -> float:
    """Variance of the mean over seeds [seeds, draws] that is due to the items being the same for all seeds; at
    least 0.

    A draw also moves the noise of single (seed, item) pairs. That part is already in the spread between seeds: it is
    the variance of single seeds around their mean, times 1 / (seeds - 1), and is subtracted. With one seed it cannot
    be estimated.
    """
    seeds, of_mean = len(drawn_SD), float(drawn_SD.mean(axis=0).var(ddof=1))
    if seeds == 1:
        return of_mean
    own = float(drawn_SD.var(axis=1, ddof=1).mean())
    return max(0.0, (seeds * of_mean - own) / (seeds - 1))


def _drawn(records: Records, run: str, what: Measure) -> Drawn | None:
    """One score's metric under every draw, from the index or from its items; None without counts for it."""
    key = (records.results.digest(records.kind(what.task), run), what.split, what.metric)
    return records.index.entry(key, lambda: _drawn_together(records, what))


def _drawn_together(records: Records, what: Measure) -> dict[Key, Drawn | None]:
    """Read the items of all scores of a measure that the index lacks, on all their splits, and compute their draws
    block by block.
    """
    kind = records.kind(what.task)
    digests = {run: records.results.digest(kind, run) for run, _ in records.finished(what).values()}
    runs = {
        run: digest for run, digest in digests.items() if (digest, what.split, what.metric) not in records.index.entries
    }
    made: dict[Key, Drawn | None] = {}
    for start in range(0, len(runs), BLOCK):
        same: dict[str, list[tuple[Key, Counts]]] = {}
        for run in list(runs)[start : start + BLOCK]:
            lines: dict[str, list[dict]] = {what.split: []}
            for line in read_jsonl(records.files(kind, run) / "items.jsonl"):
                lines.setdefault(line["split"], []).append(line)
            for split, own in lines.items():
                key, counts = (runs[run], split, what.metric), read_counts(own, what.metric)
                made[key] = None
                if counts:
                    same.setdefault(counts.name, []).append((key, counts))
        for members in same.values():
            made |= zip([key for key, _ in members], drawn([counts for _, counts in members]))
    return made


def drawn(members: Sequence[Counts]) -> list[Drawn]:
    """Each metric over all items and under every draw; all members have the same items, so one matrix product serves
    them all.
    """
    weights = np.vstack([np.ones(len(members[0].ids)), _draws(len(members[0].ids))])
    edges = np.cumsum([counts.width for counts in members])[:-1]
    sums = np.split(weights @ np.hstack([counts.sums for counts in members]), edges, axis=1)
    values = [counts.score(own) for counts, own in zip(members, sums)]
    return [Drawn(m.name, float(v[0]), v[1:].astype(np.float32)) for m, v in zip(members, values)]


@functools.lru_cache(maxsize=8)
def _draws(size: int) -> np.ndarray:
    """How often each of `size` items was drawn: (draws × items)."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(np.float64)


class Counts:
    """Additive counts of a test set, one line per item, and the metric as a function of their sums."""

    def __init__(self, ids: list, counts: np.ndarray, score: Callable[[np.ndarray], np.ndarray]):
        self.ids, self.sums, self.score = ids, counts, score
        self.name = hashlib.blake2b("\n".join(map(str, ids)).encode(), digest_size=8).hexdigest()
        """Digest of the ids in order."""

    @property
    def width(self) -> int:
        return self.sums.shape[1]

    def value(self, weights: np.ndarray) -> np.ndarray:
        """Metric under item weights: (draws × items) -> (draws)."""
        return self.score(weights @ self.sums)


def read_counts(lines: list[dict], metric: str) -> Counts | None:
    """Find the counts behind `metric` in lines of items.jsonl; None when they are not there.

    A field with the metric's name that holds [sum, count] serves any metric that is a ratio of sums over the items.
    Lines with the same id (the two directions of retrieval) are one item: they are drawn together.
    """
    fields = set(lines[0]) if lines else set()
    score = _rate
    if metric == "wer" and "words" in fields:
        errors = [x["substitutions"] + x["deletions"] + x["insertions"] for x in lines]
        counts = _beside(errors, [x["words"] for x in lines])
    elif metric == "cer" and "characters" in fields:
        counts = _beside([x["character_errors"] for x in lines], [x["characters"] for x in lines])
    elif metric in ("accuracy", "ser") and "correct" in fields:
        counts = _beside([x["correct"] if metric == "accuracy" else 1 - x["correct"] for x in lines])
    elif metric.startswith("recall@") and "rank" in fields:
        most = int(metric.removeprefix("recall@"))
        counts = _beside([x["rank"] <= most for x in lines])
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
    sums, names = np.asarray(counts, dtype=np.float64), [x["id"] for x in lines]
    ids = list(dict.fromkeys(names))
    if len(ids) < len(names):
        place = {id: number for number, id in enumerate(ids)}
        each, sums = sums, np.zeros((len(ids), sums.shape[1]))
        np.add.at(sums, [place[id] for id in names], each)
    return Counts(ids, sums, score)


def _beside(events: list, of: list | None = None) -> np.ndarray:
    """Per line, the number of events and what they are out of (by default 1). Built by columns, which is faster."""
    return np.array([events, of or [1] * len(events)], dtype=np.float64).T


def _ratio(sums: np.ndarray) -> np.ndarray:
    """Mean, from (draws × [sum, count])."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def _rate(sums: np.ndarray) -> np.ndarray:
    """Events per hundred, from (draws × [events, count])."""
    return 100 * _ratio(sums)


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 × 100, from summed (draws × [true positives, false positives, false negatives, true negatives])."""
    tp, fp, fn, _ = sums.T
    return 100 * 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def matthews(sums: np.ndarray) -> np.ndarray:
    """Matthews correlation × 100, from the counts that `f1` takes; 0 where one side is constant."""
    tp, fp, fn, tn = sums.T
    scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return 100 * (tp * tn - fp * fn) / np.where(scale > 0, scale, 1)


def pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson correlation × 100, from summed (draws × [x, y, x², y², xy, items]); 0 where one side is constant."""
    x, y, xx, yy, xy, n = sums.T
    scale = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return 100 * (n * xy - x * y) / np.where(scale > 0, scale, 1)


def bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU from summed counts (draws × [sys_len, ref_len, matches…, totals…]), exponential smoothing.

    As sacrebleu computes it: an n-gram order without matches gets precision 1/(2^k · total), where k counts such
    orders; no match of any order gives 0.
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
