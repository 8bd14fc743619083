"""What joint training costs or gains each task, in the metric's own points: positive is harm.

A joint row is compared with the single-modality row that saw the same data of its own modality:

    total = single − joint = dilution (single − placebo) + interference (placebo − joint)        (in the good direction)

The placebo row trains on a stream with nothing to learn: it pays for the shared update but learns nothing from the
other modality. Its placebo stream replaces text: it splits the harm to speech tasks, and says nothing about text tasks.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import look
from analysis.records.frame import Measure, Records, decimals, measure
from analysis.records.manifest import finetuned
from analysis.records.scores import IMPOSSIBLE
from analysis.statistics import wording
from analysis.statistics.compare import effect_over_seeds

DEFAULT = {"speech": {"single": "speech_only", "placebo": "joint_placebo"}, "text": {"single": "text_only"}}
PARTS = {  # part -> (colour, marker)
    "dilution": ("#0173b2", "o"),
    "interference": ("#d55e00", "s"),
    "total": ("0.25", "D"),
}
LABEL = 1.3
"""Inches reserved for a row's name beside the panels."""
AT_MOST = 12
"""Maximum number of rows in the figure: those with the largest harm or gain."""
COLUMNS = ["task", "row", "part", "single", "matched", "mean", "low", "high", "n"]


@functools.lru_cache(maxsize=1)
def harm(records: Records) -> pd.DataFrame:
    """Harm per task, joint row and part; one line per triple that can be compared, NaN where its runs are missing.

    `matched` is False where the joint row has other pre-training steps than its single-modality row. Which rows are
    single-modality and placebo rows is `table.interference` of the sweep file, by default `DEFAULT`. A joint row named
    *contrastive* is compared with {modality}_contrastive where there is such a row. Measures of a leaf without
    fine-tuning are not included.
    """
    named = roles(records)
    taken = {role for of_modality in named.values() for role in of_modality.values()}
    lines = []
    for task in records.sweep["tasks"]:
        role = named.get(records.reads(task))
        if role is None or not any(task in finetuned(line) for line in records.manifest):
            continue
        what = measure(records, task)
        cells = records.of(what)
        without = set(cells[cells.status == IMPOSSIBLE].row)
        for row, about in records.rows.items():
            if row in taken | without or not {"speech", "text"} <= set(about["reads"]) or not about["steps"]:
                continue
            for part, (start, end, single) in parts_of(records, row, role, records.reads(task)).items():
                effect = effect_over_seeds(records, {start: 1.0, end: -1.0}, what)
                matched = about["steps"] == records.rows[single]["steps"]
                lines.append([task, row, part, single, matched, effect.mean, effect.low, effect.high, effect.n])
    return pd.DataFrame(lines, columns=COLUMNS)


def roles(records: Records) -> dict[str, dict[str, str]]:
    """Which rows are single-modality and placebo rows, per modality: the sweep file's `table.interference`, or
    `DEFAULT`.
    """
    return DEFAULT | ((records.sweep.get("table") or {}).get("interference") or {})


def parts_of(records: Records, row: str, role: dict[str, str], modality: str) -> dict[str, tuple[str, str, str]]:
    """Which rows each part of the harm compares: part -> (from, to, single-modality row)."""
    rows = records.rows
    single, placebo = role["single"], role.get("placebo")
    own = f"{modality}_contrastive"
    if "contrastive" in row and own in rows:
        single, placebo = own, None
    if single not in rows:
        return {}
    parts = {}
    if placebo in rows and rows[placebo]["steps"] == rows[row]["steps"] == rows[single]["steps"]:
        parts = {"dilution": (single, placebo, single), "interference": (placebo, row, single)}
    return {**parts, "total": (single, row, single)}


def drawparts_of(frame: pd.DataFrame, axes: Axes, what: Measure, labels: dict[str, str], title: str) -> None:
    """Draw one task: harm of the step-matched joint rows, split where there is a placebo; `frame` is `harm`'s lines."""
    top, ticks, digits = 0.0, [], decimals(frame["mean"].abs().max(), digits=2)
    for row, own in frame.groupby("row", sort=False):
        name = look.wrapped(labels[row], LABEL)
        height = _height(own, name)
        ticks.append((top + height / 2, name))
        positions = top + (height - len(own) + 1) / 2 + np.arange(len(own))
        for position, line in zip(positions, own.itertuples()):
            colour, marker = PARTS[line.part]
            if np.isnan(line.mean):
                axes.text(0, position, " not finished", va="center", color=look.GREY, style="italic")
            else:
                axes.plot([0, line.mean], [position] * 2, color=colour, lw=2.5, alpha=0.3, solid_capstyle="butt")
                if not np.isnan(line.low):
                    axes.plot([line.low, line.high], [position] * 2, color=colour, lw=1.0)
                axes.plot(line.mean, position, marker, color=colour, ms=4, mec="white", mew=0.4)
                axes.annotate(
                    wording.number(line.mean, digits, signed=True),
                    (1, position),
                    xycoords=("axes fraction", "data"),
                    xytext=(24, 0),
                    textcoords="offset points",
                    va="center",
                    ha="right",
                    color=colour,
                )
        top += height + 0.4
    axes.axvline(0, color="0.3", lw=0.6, zorder=0)
    axes.set_yticks([y for y, _ in ticks], [text for _, text in ticks])
    axes.set_ylim(top - 0.3, -0.1)
    reach = np.nanmax(np.abs(frame[["mean", "low", "high"]].to_numpy(float)), initial=5 * 10.0**-digits) * 1.1
    axes.set_xlim(-reach, reach)
    axes.axvspan(0, reach, color="0.94", lw=0, zorder=-1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"{title}: {wording.units(what)}", loc="center")


def _height(frame: pd.DataFrame, name: str) -> float:
    """Text lines that one row needs, for its parts and its name."""
    return max(float(len(frame)), 0.8 * (name.count("\n") + 1))


def draw_heat(frame: pd.DataFrame, axes: Axes, labels: dict[str, str], tasks: dict[str, str]) -> None:
    """Draw total harm, task × joint row, as signed numbers in the task's own points.

    The colour is relative to each task's largest harm; in greyscale it shows size only, and the number shows the sign.
    """
    total = frame[frame.part == "total"]
    rows = list(dict.fromkeys(total.row))
    table = total.pivot(index="row", columns="task", values="mean").reindex(index=rows, columns=list(tasks))
    asked = (
        total.assign(asked=1)
        .pivot(index="row", columns="task", values="asked")
        .reindex(index=rows, columns=list(tasks))
        .notna()
    )
    relative = table / table.abs().max().replace(0, 1)
    digits = {task: decimals(table[task].abs().max(), digits=2) for task in table}
    text = table.apply(
        lambda c: c.map(lambda v: "—" if np.isnan(v) else wording.number(v, digits[c.name], signed=True))
    )
    cells = look.heat(axes, relative.to_numpy(float), text.where(asked, "n/a").to_numpy(), "RdBu_r")
    unmatched = set(total[~total.matched.astype(bool)].row)
    clear = total[(total.low > 0) | (total.high < 0)]
    for row, task in zip(clear.row, clear.task):
        cells[rows.index(row), list(tasks).index(task)].set_fontweight("bold")
    names = [look.wrapped(labels[row] + ("\u00a0*" if row in unmatched else ""), LABEL) for row in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, rotation=0)
    axes.set_xticks(np.arange(len(tasks)) + 0.5, list(tasks.values()), rotation=35, ha="right", rotation_mode="anchor")
    axes.set_title("total harm: joint − single", loc="center")


def _heat_note(frame: pd.DataFrame) -> str:
    total = frame[frame.part == "total"]
    note = "+ (red) worse than alone, − (blue) better; shade relative to the task's largest, in its metric's points"
    note += "; bold: the interval excludes 0" if ((total.low > 0) | (total.high < 0)).any() else ""
    star = "\n* other pre-training steps than the single-modality row: not a matched comparison"
    return note + (star if not total.matched.astype(bool).all() else "")


def figure(records: Records) -> Figure | None:
    """Draw the interference figure; None for a sweep without joint rows that have a single-modality counterpart."""
    frame = harm(records)
    if frame.empty:
        return None
    every = frame.row.nunique()
    frame = frame[frame.row.isin(_most_different(frame))]
    labels = {row: records.label(row) for row in records.rows}
    measures = {task: measure(records, task) for task in dict.fromkeys(frame.task)}
    tasks = {task: f"{records.task_label(task)}, {wording.metric(what.metric)}" for task, what in measures.items()}
    matched = frame[frame.matched.astype(bool)]
    shown = [task for task in measures if task in set(matched.task)]
    heat = frame.row.nunique() > 1
    names = {row: look.wrapped(label, LABEL) for row, label in labels.items()}
    heights = [
        0.34
        + sum(0.14 * _height(part, names[row]) + 0.056 for row, part in matched[matched.task == task].groupby("row"))
        for task in shown
    ]
    heights += [0.75 + (0.07 + 0.1 * max(names[row].count("\n") + 1 for row in frame.row)) * frame.row.nunique()] * heat
    whole, axes = look.plt.subplots(
        len(heights), 1, figsize=(look.COLUMN, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for panel, task in zip(axes.flat, shown):
        drawparts_of(matched[matched.task == task], panel, measures[task], labels, records.task_label(task))
    if shown:
        _explain(whole, matched)
    if heat:
        draw_heat(frame, axes[-1, 0], labels, tasks)
    about = [
        _intervals(records, matched) if shown else "",
        _heat_note(frame) if heat else "",
        look.left_out(frame.row.nunique(), every, "most different"),
    ]
    look.note(whole, "\n".join(part for part in about if part))
    return whole


def _most_different(frame: pd.DataFrame) -> list[str]:
    """The rows whose total harm, relative to a task's largest, is largest on any task; all rows where they are few
    enough to be readable.
    """
    total = frame[frame.part == "total"]
    size = total["mean"].abs()
    largest = (size / size.groupby(total.task).transform("max")).groupby(total.row, sort=False).max().fillna(0.0)
    return list(largest.sort_values(ascending=False, kind="stable").index[:AT_MOST])


def _explain(whole: Figure, frame: pd.DataFrame) -> None:
    """Legend of the parts that are drawn."""
    texts = {
        "dilution": "dilution: placebo − single",
        "interference": "interference: joint − placebo",
        "total": "total: joint − single",
    }
    keys = [
        Line2D([], [], color=colour, marker=marker, lw=1.5, ms=4, label=texts[part])
        for part, (colour, marker) in PARTS.items()
        if part in set(frame.part)
    ]
    look.legend(whole, keys, "what joint training costs a task; shaded side: harm", "upper")


def _intervals(records: Records, frame: pd.DataFrame) -> str:
    """Explain the intervals, and why some tasks are not split."""
    said = look.over_how_many(records, frame.n)
    note = f"Lines: {said}." if len(records.seeds) > 1 else "One seed: no intervals."
    split = set(frame[frame.part == "dilution"].task)
    if split and split != set(frame.task):
        note += " Tasks without a placebo show the total only: the placebo stream replaces text."
    return note
