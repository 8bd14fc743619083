"""Capacity: metrics, and the gap between joint and single-modality rows, against parameters (without embeddings)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.figures.interference import harm
from analysis.records.frame import Records, measure
from analysis.records.manifest import finetuned
from analysis.statistics.compare import delta, level

COLUMNS = ["task", "kind", "row", "point", "parameters", "active", "mean", "low", "high", "n"]


def sizes(records: Records) -> list[str]:
    """Points of the axes whose encoders differ in size, smallest first; empty with fewer than two sizes."""
    s = records.scores[records.scores.parameters.notna()]
    by_size = s.groupby("point").parameters.max().sort_values()
    return list(by_size.index) if by_size.nunique() > 1 else []


def measurements(records: Records) -> pd.DataFrame:
    """Every step-matched joint row and its single-modality row at every size: levels and their gap per task.

    Lines of kind "single" and "joint" hold the metric. Lines of kind "gap" hold the joint row's advantage
    (positive is good). `active` counts parameters that process the task's modality, `parameters` counts all.
    """
    lines = []
    pairs = harm(records)
    pairs = pairs[(pairs.part == "total") & pairs.matched.astype(bool)]
    for pair in pairs.itertuples():
        what = measure(records, pair.task)
        s = records.of(what)
        for point in sizes(records):
            here = s[s.point == point]
            for kind, row in (("single", pair.single), ("joint", pair.row)):
                own = here[here.row == row]
                value = level(own)
                lines.append(
                    [
                        pair.task,
                        kind,
                        row,
                        point,
                        own.parameters.max(),
                        own.active.max(),
                        value.mean,
                        value.low,
                        value.high,
                        value.n,
                    ]
                )
            joint = here[here.row == pair.row]
            gap = delta(records, what, pair.row, pair.single, point)
            lines.append(
                [
                    pair.task,
                    "gap",
                    pair.row,
                    point,
                    joint.parameters.max(),
                    joint.active.max(),
                    gap.mean,
                    gap.low,
                    gap.high,
                    gap.n,
                ]
            )
    return pd.DataFrame(lines, columns=COLUMNS).drop_duplicates(["task", "kind", "row", "point"])


def draw(frame: pd.DataFrame, axes: Axes, styles: dict[str, dict], against: str = "active") -> None:
    """Draw levels or gaps against parameters, one line per row, with intervals where there are several seeds."""
    for row, own in frame.dropna(subset=["mean", against]).groupby("row", sort=False):
        own, look = own.sort_values(against), styles[row]
        axes.plot(own[against], own["mean"], **look, lw=1.0, ms=3.6, mec="white", mew=0.4)
        seen = own.dropna(subset=["low"])
        axes.fill_between(seen[against], seen.low, seen.high, color=look["color"], alpha=0.12, lw=0)
        axes.vlines(seen[against], seen.low, seen.high, color=look["color"], lw=0.7)
    axes.set_xscale("log")
    sizes = np.sort(frame[against].dropna().unique())
    ticks = apart(sizes)
    axes.set_xticks(ticks, [count(t) for t in ticks])
    axes.minorticks_off()
    if len(sizes):
        axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not counted by modality", transform=axes.transAxes, ha="center", va="center")


def apart(sizes: np.ndarray) -> list[float]:
    """Sizes, ascending, that are far enough apart on a logarithmic axis for their labels to fit side by side."""
    ticks: list[float] = []
    for size in sizes:
        if not ticks or np.log(size / ticks[-1]) > 0.33 * np.log(sizes[-1] / sizes[0]):
            ticks.append(float(size))
    return ticks


def count(parameters: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{letter}"
    return f"{parameters:.0f}"


def figure(records: Records) -> Figure | None:
    """Draw the capacity figure, with panels per task; None for a sweep with one encoder size or without joint rows.

    Sizes are points of an axis. Without axes they are the sizes of the rows themselves, and every row is a mark of its
    own.
    """
    frame = measurements(records)
    lines = not frame.empty and frame.parameters.nunique() > 1
    if not lines:
        joint = [row for row, about in records.rows.items() if {"speech", "text"} <= set(about["reads"])]
        if _sizes_of(records.scores, joint) < 2 or _sizes_of(frame := by_row(records), joint) < 2:
            return None  # single-modality rows have fewer modules, not another size
    tasks = list(dict.fromkeys(frame.task))
    rows = [row for row in records.rows if row in set(frame.row)]
    looks = look.looks(records, rows, ("",))
    styles = {row: looks[row, ""] for row in rows}
    whole, panels = look.grid((3 if lines else 2) * len(tasks), 1.0)
    levels, gaps = panels[: 2 * len(tasks)], panels[2 * len(tasks) :]
    for k, task in enumerate(tasks):
        own, what = frame[frame.task == task], measure(records, task)
        for axes, against in zip(levels[2 * k :], ("active", "parameters")):
            draw(own[own.kind != "gap"], axes, styles, against)
        levels[2 * k].set_title(records.task_label(task))
        levels[2 * k].set_ylabel(look.metric_name(what))
        if lines:
            _draw_gap(own[own.kind == "gap"], gaps[k], styles)
            gaps[k].set_title(records.task_label(task))
            gaps[k].set_ylabel("" if k % 2 else "joint − single")
    for axes, name in zip(levels[-2:], ("active parameters", "parameters in all")):
        axes.set_xlabel(name)
    for axes in look.below(gaps):
        axes.set_xlabel("parameters in all")
    about = [
        "lines: " * (len(records.seeds) > 1) + look.over_how_many(records, frame.n),
        "without embeddings; active: those that process the task's modality",
        *["joint − single in points: above 0 joint is better"] * lines,
    ]
    look.legend(whole, look.keys(records, rows, ("",)), "; ".join(about))
    return whole


def _sizes_of(frame: pd.DataFrame, rows: list[str]) -> int:
    return frame[frame.row.isin(rows)].parameters.nunique()


def by_row(records: Records) -> pd.DataFrame:
    """Levels of fine-tuned tasks, for every row that has them, at one point; columns `COLUMNS`."""
    lines = []
    tuned = {task for line in records.manifest for task in finetuned(line)}
    for task in records.sweep["tasks"] if len(records.points) == 1 else ():
        if task not in tuned:
            continue
        for row, own in records.of(measure(records, task)).groupby("row", sort=False):
            value = level(own)
            if value.n:
                lines.append(
                    [
                        task,
                        "row",
                        row,
                        "",
                        own.parameters.max(),
                        own.active.max(),
                        value.mean,
                        value.low,
                        value.high,
                        value.n,
                    ]
                )
    return pd.DataFrame(lines, columns=COLUMNS)


def _draw_gap(frame: pd.DataFrame, axes: Axes, styles: dict[str, dict]) -> None:
    draw(frame, axes, styles, "parameters")
    reach = np.nanmax(np.abs(frame[["mean", "low", "high"]].to_numpy(float)), initial=0.5) * 1.15
    axes.set_ylim(-reach, reach)
    axes.axhspan(-reach, 0, color="0.94", lw=0, zorder=-1)
    axes.axhline(0, color="0.3", lw=0.6, zorder=0)
