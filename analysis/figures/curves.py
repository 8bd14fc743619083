"""Training curves: pre-training objectives along each row's chain of trunks, and dev scores while fine-tuning."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.records import manifest
from analysis.records.frame import Records, point_name
from analysis.statistics import wording

AT_MOST = 12
"""Maximum number of panels in the pre-training figure; losses come first."""
CONFLICT = "conflict/"
"""Prefix of what the gradient probe logs: diagnostics, not training curves."""
LINES = 100
"""Number of lines in a panel above which seeds are averaged."""
WINDOW = 9
"""Number of logged values in the running mean, centred."""
CURVES = ["row", "point", "seed", "task", "stage", "step", "metric", "value"]


@functools.lru_cache(maxsize=1)
def pretraining_curves(records: Records) -> pd.DataFrame:
    """Pre-training metrics by step along each row's trunks, oldest first, then its leaf; columns `CURVES`."""
    chains = [
        (line, "", "pretrain", [id for id in dict.fromkeys([*manifest.trunks(line), manifest.leaf(line)]) if id])
        for line in records.manifest
    ]
    return _curves(records, chains)


@functools.lru_cache(maxsize=1)
def finetuning_curves(records: Records) -> pd.DataFrame:
    """Fine-tuning metrics by step for every row and task; columns `CURVES`."""
    chains = [
        (line, task, "finetune", [id]) for line in records.manifest for task, id in manifest.finetuned(line).items()
    ]
    return _curves(records, chains)


def of_metrics(frame: pd.DataFrame, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """Lines whose metric name passes `wanted`."""
    return frame[frame.metric.isin([name for name in frame.metric.unique() if wanted(name)])]


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Average curves over seeds where there would be more than `LINES` lines; `stage` is then the first seed's."""
    if len(frame[["row", "point", "seed"]].drop_duplicates()) <= LINES or frame.seed.nunique() == 1:
        return frame
    keys = ["row", "point", "task", "metric", "step"]
    mean = frame.groupby(keys, sort=False).agg(
        value=("value", "mean"), stage=("stage", "first"), seed=("seed", "first")
    )
    return mean.reset_index()[CURVES]


def _curves(records: Records, chains: Iterable[tuple[dict, str, str, list[str]]]) -> pd.DataFrame:
    parts = [
        (line, task, id, log)
        for line, task, kind, ids in chains
        for id in ids
        if len((log := records.logs(kind, id)).steps)
    ]
    if not parts:
        return pd.DataFrame(columns=CURVES)
    lines, tasks, ids, logs = zip(*parts)
    lengths = np.array([len(log.steps) for log in logs])

    def repeated(texts: Iterable[str]) -> pd.Series:
        codes, unique = pd.factorize(np.array(list(texts), dtype=object))
        return pd.Series(unique, dtype="str").take(np.repeat(codes, lengths)).reset_index(drop=True)

    return pd.DataFrame(
        {
            "row": repeated(line["row"] for line in lines),
            "point": repeated(point_name(line["point"]) for line in lines),
            "seed": np.repeat([line["seed"] for line in lines], lengths),
            "task": repeated(tasks),
            "stage": repeated(ids),
            "step": np.concatenate([log.steps for log in logs]),
            "metric": pd.Series(records.logs.names, dtype="str")
            .take(np.concatenate([log.metrics for log in logs]))
            .reset_index(drop=True),
            "value": np.concatenate([log.values for log in logs]),
        }
    )[CURVES]


def draw(frame: pd.DataFrame, axes: Axes, looks: dict[tuple[str, str], dict], smooth: bool = True) -> None:
    """Draw one metric over steps, a line per row and point: the mean at steps that all its seeds have, as a running
    mean if `smooth`.

    Each seed is drawn faintly behind it or, with one seed, the raw values. A stage that several rows share is drawn
    once, for the first of them: the others branch from it. Values that are not finite are left out.
    """
    drawn: set[str] = set()
    frame = frame[np.isfinite(frame.value)]
    for number, ((row, point), own) in enumerate(frame.groupby(["row", "point"], sort=False)):
        new = own[~own.stage.isin(drawn)]
        drawn |= set(own.stage)
        if new.empty:
            continue
        raw = own.pivot_table(index="step", columns="seed", values="value")
        table = raw.rolling(WINDOW, center=True, min_periods=1).mean().where(raw.notna()) if smooth else raw
        first = new.step.min()
        steps = [
            *raw.index[raw.index < first][-1:],
            *np.sort(new.step.unique()),
        ]  # a continuation starts where its parent ended
        look, behind = looks[row, point], table if raw.shape[1] > 1 else raw
        if raw.shape[1] > 1 or smooth:
            axes.plot(behind.loc[first:], color=look["color"], lw=0.5, alpha=0.25)
        mean = table.loc[steps].dropna().mean(axis=1)
        every = max(1, len(mean) // 5)
        axes.plot(mean, **look, lw=1.0, ms=3, mec="white", mew=0.3, markevery=(number * every // 4 % every, every))
    axes.margins(x=0.03)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)  # steps


def pretraining(records: Records) -> Figure | None:
    """Draw every objective's metrics over pre-training steps; None when nothing was logged."""
    frame = averaged(pretraining_curves(records))
    names = [n for n in frame.metric.unique() if "/" in n and not n.startswith(CONFLICT)]
    names = [n for n in names if frame[frame.metric == n].value.nunique() > 1]
    parts = {}
    for name in sorted(names, key=_rank)[:AT_MOST]:
        objective, _, metric = name.partition("/")
        title = f"{objective}: {'loss' if metric == objective else metric}".replace("_", " ")
        parts[title] = frame[frame.metric == name]
    return _panels(records, pretraining_curves(records), parts, smooth=True)


def finetuning(records: Records) -> Figure | None:
    """Draw the dev metric over fine-tuning steps, a panel per task; None when nothing was logged."""
    frame = averaged(finetuning_curves(records))
    frame = of_metrics(frame, lambda name: name.startswith("dev/"))
    parts = {}
    for task, metric in dict.fromkeys(zip(frame.task, frame.metric)):
        name = metric.removeprefix("dev/")
        title = f"{records.task_label(task)}: dev {wording.metric(name)}"
        parts[title] = frame[(frame.task == task) & (frame.metric == metric)]
    return _panels(records, finetuning_curves(records), parts, smooth=False)


def _panels(records: Records, every: pd.DataFrame, parts: dict[str, pd.DataFrame], smooth: bool) -> Figure | None:
    """Draw a panel per title that has finite values, with one legend of the rows shown; None without panels. `every`
    has all seeds, averaged or not.
    """
    parts = {title: part for title, part in parts.items() if np.isfinite(part.value).any()}
    if not parts:
        return None
    names = set().union(*(part.row.unique() for part in parts.values()))
    rows = [row for row in records.rows if row in names]
    points = [point for point in records.points if any(point in set(part.point) for part in parts.values())]
    shown = look.readable(records, rows, look.AT_MOST if len(points) == 1 else len(look.DASHES))
    parts = {title: part[part.row.isin(shown)] for title, part in parts.items()}
    parts = {title: part for title, part in parts.items() if np.isfinite(part.value).any()}
    figure, panels = look.grid(len(parts), 0.98)
    looks = look.looks(records, shown, points)
    for (title, part), axes in zip(parts.items(), panels):
        draw(part, axes, looks, smooth)
        look.title(axes, title)
        _limit(axes, part.value)
    for axes in look.below(panels):
        axes.set_xlabel("step")
    counts = every[every.row.isin(shown)].groupby(["row", "point"]).seed.nunique()
    single = any(part.seed.nunique() > 1 for part in parts.values())
    about = [
        look.over_how_many(records, counts, "mean"),
        "faint: single seeds" * single,
        look.left_out(len(shown), len(rows)),
    ]
    look.legend(figure, look.keys(records, shown, points), "; ".join(part for part in about if part))
    return figure


def _rank(name: str) -> int:
    """Sort key: losses (named like their objective) first, then accuracies, then other metrics."""
    metric = name.partition("/")[2]
    return 1 if "accuracy" in metric else 2 if "_" in metric or metric in ("distractors", "span") else 0


def _limit(axes: Axes, values: pd.Series) -> None:
    """Let a few extreme first steps run out of the panel, so that they do not flatten the rest. Equal values lie in the
    middle of a panel with plain numbers.
    """
    low, high = np.quantile(values[np.isfinite(values)], [0.0, 0.99])
    low, high = look.apart(low, high)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
