"""What clusters of test items contribute to a score: the jackknife, from per-item counts alone, whatever the metric."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ablate.store.record import read_jsonl
from analysis.records.frame import Measure, Records
from analysis.records.index import Key, Parts

Seeds = Sequence[Mapping[str, float]]
"""For each seed, the factor of each score run in the seed's value."""


class Sampled(NamedTuple):
    """What clusters of test items contribute to groups of seeds, by group."""

    parts: list[np.ndarray]
    """[seeds, clusters]."""
    effective: float
    """Effective number of clusters."""
    by: str
    """What the clusters are, as "items" or "voices"."""
    each: list[np.ndarray]
    """What each item contributes by itself, [seeds, items]; the parts where the clusters are the items."""


def of_groups(records: Records, what: Measure, groups: Sequence[tuple[Seeds, np.ndarray]]) -> Sampled | None:
    """Return what clusters of test items contribute to the values of groups of seeds.

    A group is the runs of its seeds, and the values that these give. None where this would not be valid: a record has
    no counts for this metric, the counts do not reproduce the recorded score, or runs were scored on different items.
    """
    found, alone, first = [], [], None
    for seeds, values in groups:
        own = [[(times, _parts(records, run, what)) for run, times in of_seed.items()] for of_seed in seeds]
        for _, entry in (one for of_seed in own for one in of_seed):
            first = first or entry
            if entry is None or entry.ids != first.ids:
                return None
        for of_seed, value in zip(own, values, strict=True):
            level = sum(times * entry.level for times, entry in of_seed)
            scale = max(1.0, sum(abs(times) for times, _ in of_seed))
            if abs(level - value) > 0.01 * max(1.0, abs(value)) * scale:
                return None
        found.append(np.array([sum(times * e.parts.astype(float) for times, e in of_seed) for of_seed in own]))
        alone.append(np.array([sum(times * e.each.astype(float) for times, e in of_seed) for of_seed in own]))
    if first is None:
        return None
    return Sampled(found, first.effective, first.by, alone if first.each.size else found)


def _parts(records: Records, run: str, what: Measure) -> Parts | None:
    """One score's contributions of clusters, from the index or from its items; None without counts for it."""
    key = (records.results.digest(records.kind(what.task), run), what.split, what.metric)
    records.index.together((what.task, what.split, what.metric), lambda: _read_together(records, what))
    return records.index.entries[key]


def _read_together(records: Records, what: Measure) -> dict[Key, Parts | None]:
    """Read the items of all scores of a measure that the index lacks, on all their splits.

    Items of a score that names no clusters (it was made before they had names) have those that another score names.
    """
    kind, known = records.kind(what.task), records.index.entries
    runs = [run for drawn, _ in records.finished(what).values() for run in drawn]
    paths = {run: records.files(kind, run) / "items.jsonl" for run in runs}
    keys = {run: (records.results.digest(kind, run), what.split, what.metric) for run in paths}
    new = [run for run, key in keys.items() if key not in known]
    named = next(filter(None, (_named(paths[run]) for run in new)), {})
    if named:
        new += [run for run, key in keys.items() if key in known and known[key] and known[key].by == "items"]
    made: dict[Key, Parts | None] = {}
    for run in new:
        lines: dict[str, list[dict]] = {what.split: []}
        for line in read_jsonl(paths[run]):
            cluster = line.get("cluster") or named.get((line["split"], line["id"]), {})
            lines.setdefault(line["split"], []).append(line | {"cluster": cluster})
        for split, own in lines.items():
            counts = read_counts(own, what.metric)
            made[keys[run][0], split, what.metric] = counts.parts() if counts else None
    return made


def _named(path: Path) -> dict[tuple[str, Any], dict[str, str]]:
    """The clusters of a score's items, by split and id; empty if its first item has none."""
    named = {}
    for line in read_jsonl(path):
        if not line.get("cluster"):
            break
        named[line["split"], line["id"]] = line["cluster"]
    return named


class Counts:
    """Additive counts of a test set, one line per cluster of items, and the metric as a function of their sums.

    `sizes` is each cluster's part of what the metric is out of, in any unit. `each` has a line for every item where the
    clusters are not the items.
    """

    def __init__(
        self,
        ids: list,
        counts: np.ndarray,
        score: Callable[[np.ndarray], np.ndarray],
        sizes: np.ndarray,
        by: str = "items",
        each: np.ndarray | None = None,
    ):
        self.ids, self.sums, self.score, self.sizes, self.by, self.each = ids, counts, score, sizes, by, each
        self.name = hashlib.blake2b("\n".join(map(str, ids)).encode(), digest_size=8).hexdigest()
        """Digest of the ids in order."""

    def value(self, weights: np.ndarray) -> np.ndarray:
        """Metric under weights of the clusters: (draws × clusters) -> (draws)."""
        return self.score(weights @ self.sums)

    def parts(self) -> Parts:
        """Metric over all clusters, and what each contributes.

        A cluster contributes the metric over all less that without it, centred: the delete-one-cluster jackknife
        (Efron and Stein 1981), which needs no more than sums, for any metric.
        """
        total = self.sums.sum(axis=0, keepdims=True)
        level = float(self.score(total)[0])

        def left_out(sums: np.ndarray) -> np.ndarray:
            parts = level - self.score(total - sums) if len(sums) > 1 else np.zeros(len(sums))
            return (parts - parts.mean()).astype(np.float32)

        effective = float(self.sizes.sum() ** 2 / max(np.square(self.sizes).sum(), 1e-12))
        each = np.zeros(0, np.float32) if self.each is None else left_out(self.each)
        return Parts(self.name, level, left_out(self.sums), effective, self.by, each)


def read_counts(lines: list[dict], metric: str) -> Counts | None:
    """Find the counts behind `metric` in lines of items.jsonl; None when they are not there.

    A field with the metric's name that holds [sum, count] serves any metric that is a ratio of sums over the items.
    Lines of the same cluster are summed, as are lines with the same id (the two directions of retrieval).
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
    sums = np.asarray(counts, dtype=np.float64)
    sizes = sums[:, 1] if score in (_rate, _ratio, bleu) else np.ones(len(sums))
    by, names = _clusters(lines)
    ids, alone = list(dict.fromkeys(names)), None
    if len(ids) < len(names):
        place = {id: number for number, id in enumerate(ids)}
        at = [place[id] for id in names]
        each, sums = sums, np.zeros((len(ids), sums.shape[1]))
        np.add.at(sums, at, each)
        alone = None if by == "items" else each
        sizes = np.bincount(at, sizes, len(ids))
    return Counts(ids, sums, score, sizes, by, alone)


def _clusters(lines: list[dict]) -> tuple[str, list]:
    """What the items are clustered by, and each line's cluster: a line's "cluster" is {"speaker": "84"}, else its id.

    Of several clusterings the one with the fewest clusters is taken, the first of equals. One that puts all items
    together says nothing of others, and one that puts each by itself is none.
    """
    of = [line.get("cluster") or {} for line in lines]
    ids = [line["id"] for line in lines]
    named = {by: [cluster[by] for cluster in of] for by in of[0] if all(by in cluster for cluster in of)}
    counted = {by: len(set(names)) for by, names in named.items()}
    some = [by for by, count in counted.items() if 1 < count < len(set(ids))]
    if not some:
        return "items", ids
    by = min(some, key=counted.__getitem__)
    return f"{by}s", named[by]


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
