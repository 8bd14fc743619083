"""Rows across tasks: the interquartile mean of normalised scores, the probability of improvement, and average ranks.

After Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice". A score is
normalised so that 0 is the task's strongest shallow baseline and 1 a perfect score. Tasks without either are left out,
and so are rows that lack one of the tasks: means over different tasks are no comparison.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.records.frame import Measure
from analysis.records.scores import DONE, IMPOSSIBLE
from analysis.statistics import wording
from analysis.statistics.compare import ALPHA
from analysis.tables import against
from analysis.tables.cells import Column, Table
from analysis.tables.sheet import Sheet

DRAWS = 2000
"""Number of bootstrap draws."""
SEEDS = 8
"""Fewest seeds of a row that are resampled: over fewer, intervals of the bootstrap cover too little."""
HUNDRED = ("bleu", "chrf", "chrfpp", "f1", "matthews", "pearson", "spearman")
"""Metrics without a unit of which a perfect score is 100."""
NOTE = (
    "Scores are normalised: 0 is the task's strongest shallow baseline, 1 a perfect score. Interquartile mean: of all "
    "scores of a row, over seeds and tasks, without the lowest and the highest quarter. P: probability that a seed of "
    "the row beats a seed of the other, the mean over tasks; ties count half. Rank: among the rows listed at the same "
    "point, the mean over tasks (Agarwal et al. 2021)."
)
FIELDS = (
    "row",
    "point",
    "reference",
    "seeds",
    "tasks",
    "iqm",
    "iqm_low",
    "iqm_high",
    "improvement",
    "improvement_low",
    "improvement_high",
    "rank",
    "ranked",
)
End = tuple[str, str]
"""Row and point of the axes."""
Numbers = tuple[float, float, float]
"""A value and the ends of its interval; these are NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Tasks that are compared, and the rows that have finished them all."""

    columns: list[Column]
    """The first column of each of the tasks."""
    left_out: dict[str, str]
    """Why a task is not among them, by its label."""
    scores: dict[End, np.ndarray]
    """Normalised scores, [seeds, tasks]."""
    lacking: list[End]
    """Rows without one of the tasks."""
    unfinished: list[End]
    """Rows that have the tasks, but not all of their scores yet."""


def perfect(what: Measure) -> float | None:
    """The best possible score of a metric; None where it is not known."""
    if what.unit == "%":
        return {"lower": 0.0, "higher": 100.0}.get(what.better)
    return 100.0 if what.metric in HUNDRED else None


def _lacking(column: Column) -> str:
    """Why a column cannot be normalised; "" if it can."""
    best = perfect(column.measure)
    if best is None:
        return "what is perfect is not known"
    if column.baseline is None:
        return "no baseline"
    return "the baseline is perfect" if column.baseline[1] == best else ""


def shared(table: Table) -> Shared | None:
    """Choose the tasks and rows that fill the largest rectangle: number of tasks that rows share, times these rows.

    None where that has fewer than two tasks or two rows.
    """
    records, first = table.records, {}
    for column in table.columns:
        first.setdefault(column.measure.task, column)
    left_out = {records.task_label(task): why for task, column in first.items() if (why := _lacking(column))}
    columns = {task: column for task, column in first.items() if not _lacking(column)}
    ends = list(dict.fromkeys((line.row, line.point) for line in table.lines))
    lines = {task: dict(iter(records.of(c.measure).groupby(["row", "point"]))) for task, c in columns.items()}
    able = {
        end: frozenset(task for task, of in lines.items() if end in of and (of[end].status != IMPOSSIBLE).any())
        for end in ends
    }
    candidates = {frozenset()}
    for own in {*able.values()}:
        candidates |= {own, *(own & other for other in candidates)}
    size = {tasks: len(tasks) * sum(tasks <= own for own in able.values()) for tasks in candidates}
    chosen = max(size, key=lambda tasks: (size[tasks], len(tasks), sorted(tasks)))
    kept = [column for task, column in columns.items() if task in chosen]
    left_out |= {records.task_label(task): "too few rows have it" for task in columns if task not in chosen}
    having = [end for end in ends if chosen <= able[end]]
    found = {end: _scores(kept, [lines[column.measure.task][end] for column in kept]) for end in having}
    if len(kept) < 2 or sum(scores is not None for scores in found.values()) < 2:
        return None
    return Shared(
        columns=kept,
        left_out=left_out,
        scores={end: scores for end, scores in found.items() if scores is not None},
        lacking=[end for end in ends if end not in having],
        unfinished=[end for end, scores in found.items() if scores is None],
    )


def _scores(columns: Sequence[Column], lines: Sequence[pd.DataFrame]) -> np.ndarray | None:
    """Normalised scores of a row, [seeds, tasks], from its lines of each column; seeds that led to the very same runs
    count once. None while one is not finished.
    """
    by_seed: dict[int, list[tuple[str, float]]] = {}
    for column, s in zip(columns, lines):
        if (s.status != DONE).any():
            return None
        none, best = column.baseline[1], perfect(column.measure)
        for seed, run, value in zip(s.seed, s.run, s.value):
            by_seed.setdefault(seed, []).append((run, (value - none) / (best - none)))
    by_runs = {tuple(run for run, _ in own): [value for _, value in own] for own in by_seed.values()}
    return np.array([*by_runs.values()])


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its lowest and highest quarter, each rounded down to whole scores."""
    cut = scores.shape[-1] // 4
    return np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def improvement(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each pair of seeds of two rows, scores [seeds, tasks] each, the share of tasks that the first wins; a tie is
    half a win.
    """
    first, second = own[:, None], other[None]
    return ((first > second) + 0.5 * (first == second)).mean(axis=-1)


def average_ranks(means: np.ndarray) -> np.ndarray:
    """Mean over tasks of each row's rank, 1 being the highest of `means` [rows, tasks]; ties share their mean rank."""
    above = (means[None] > means[:, None]).sum(axis=1)
    equal = (means[None] == means[:, None]).sum(axis=1)
    return (above + (equal + 1) / 2).mean(axis=-1)


def drawn(end: End, seeds: int) -> np.ndarray:
    """Bootstrap draws of a row's seeds, [draws, seeds]; a function of the row's name and point alone."""
    return np.random.default_rng([*"/".join(end).encode()]).integers(seeds, size=(DRAWS, seeds))


def spread(draws: np.ndarray, seeds: int) -> tuple[float, float]:
    """Expanded percentile interval (Hesterberg 2015): its tails are so much thinner that for a mean it is as wide as
    Student's. NaN where all draws are the same.
    """
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(-math.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, 1 - ALPHA / 2)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return (float(low), float(high)) if high > low else (math.nan, math.nan)


def row_mean(end: End, scores: np.ndarray) -> Numbers:
    """Interquartile mean of a row's scores [seeds, tasks], and its interval over seeds where these are enough.

    A draw takes seeds with all their tasks, as these share the seed's pre-training.
    """
    value, seeds = float(interquartile_mean(scores.ravel())), len(scores)
    if seeds < SEEDS:
        return value, math.nan, math.nan
    return value, *spread(interquartile_mean(scores[drawn(end, seeds)].reshape(DRAWS, -1)), seeds)


def against_reference(end: End, reference: End, scores: dict[End, np.ndarray]) -> Numbers:
    """Probability that a row is better than its reference, and its interval over seeds where both have enough."""
    wins = improvement(scores[end], scores[reference])
    if min(wins.shape) < SEEDS:
        return float(wins.mean()), math.nan, math.nan
    first, second = (
        np.apply_along_axis(np.bincount, 1, drawn(one, seeds), minlength=seeds) / seeds
        for one, seeds in zip((end, reference), wins.shape)
    )
    return float(wins.mean()), *spread(np.einsum("di,ij,dj->d", first, wins, second), min(wins.shape))


def sheet(table: Table) -> Sheet | None:
    """Print the three numbers of each row at each point; None where fewer than two rows share two tasks."""
    found = shared(table)
    if found is None:
        return None
    records, common, made = table.records, against.reference(table.records), {}
    ranks = dict(_ranks(found.scores))
    for block in table.blocks:
        for line in (line for line in block.lines if (line.row, line.point) in found.scores):
            made.setdefault((line.row, line.point, common or block.reference), line)
    mean = functools.cache(lambda end: row_mean(end, found.scores[end]))
    lines, values = [], []
    for (row, point, reference), line in made.items():
        end, other = (row, point), (reference, point)
        compared = other in found.scores and row != reference
        better = against_reference(end, other, found.scores) if compared else (math.nan,) * 3
        known = "ref." if row == reference else "—" if not compared else _text(better, 2)
        seeds, (rank, ranked) = len(found.scores[end]), ranks[end]
        of = [records.label(reference) if compared else "—"] if common is None else []
        lines.append([line.label, _text(mean(end), 3), *of, known, wording.number(rank, 1)])
        values.append([row, point, reference, seeds, len(found.columns), *mean(end), *better, rank, ranked])
    other = "reference" if common is None else records.label(common)
    return Sheet(
        name="across",
        title="Across tasks",
        heads=["", "interquartile mean", *["reference"] * (common is None), f"P(better than {other})", "average rank"],
        lines=lines,
        note=_note(table, found),
        fields=FIELDS,
        values=values,
    )


def _ranks(scores: dict[End, np.ndarray]) -> Iterator[tuple[End, tuple[float, int]]]:
    """Average rank of each row among those at its point, and their number."""
    for point in dict.fromkeys(point for _, point in scores):
        ends = [end for end in scores if end[1] == point]
        ranks = average_ranks(np.array([scores[end].mean(axis=0) for end in ends]))
        yield from ((end, (float(rank), len(ends))) for end, rank in zip(ends, ranks))


def _text(numbers: Numbers, decimals: int) -> str:
    value, low, high = numbers
    interval = "" if math.isnan(low) else f" {wording.interval(low, high, decimals, signed=False)}"
    return wording.number(value, decimals) + interval


def _note(table: Table, found: Shared) -> str:
    records, fewest = table.records, min(map(len, found.scores.values()))
    tasks = ", ".join(f"{records.task_label(c.measure.task)} {c.words}" for c in found.columns)
    parts = [f"Tasks: {tasks}.", NOTE]
    if fewest < SEEDS:
        parts.append(
            f"Descriptive: {'one seed' if fewest == 1 else f'{fewest} seeds'}, and over fewer than {SEEDS} a bootstrap "
            "covers too little, so there is no interval."
        )
    if max(map(len, found.scores.values())) >= SEEDS:
        parts.append(
            f"In brackets: 95 % interval over seeds, each drawn with all its tasks ({DRAWS:,} bootstrap draws, "
            "expanded percentiles, Hesterberg 2015); none where all draws are the same."
        )
    left_out = "; ".join(f"{task} ({why})" for task, why in found.left_out.items())
    parts += [f"Left out: {left_out}."] if left_out else []
    for why, ends in (("They lack a task", found.lacking), ("Not finished", found.unfinished)):
        parts += [f"{why}: {'; '.join(records.label(*end) for end in ends)}."] if ends else []
    return " ".join(parts)
