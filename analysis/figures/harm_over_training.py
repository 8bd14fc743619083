"""Harm over training: what joint training costs a task, by fine-tuning step, and a loss, by pre-training step."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.figures.curves import WINDOW, finetuning_curves, of_metrics, pretraining_curves
from analysis.figures.interference import PARTS, harm, parts_of, roles
from analysis.records.frame import Records, measure
from analysis.statistics import wording
from analysis.statistics.compare import over_seeds

COLUMNS = ["part", "step", "mean", "low", "high", "n"]
LOSS = "masked_text/loss"
"""The one pre-training loss that both rows have and whose targets do not depend on the other objectives."""


def over_steps(table: pd.DataFrame, steps: dict[str, tuple[str, str, str]], sign: float) -> pd.DataFrame:
    """Harm of every part at every step that both of its rows have; `table` holds values as (step, seed) × row."""
    lines = []
    for part, (start, end, _) in steps.items():
        if not {start, end} <= set(table.columns):
            continue
        gap = sign * (table[start].to_numpy() - table[end].to_numpy())
        there = ~np.isnan(gap)
        shared, first = np.unique(table.index.get_level_values("step")[there], return_index=True)
        for step, own in zip(shared, np.split(gap[there], first[1:])):
            mean = over_seeds(own)
            lines.append([part, step, mean.mean, mean.low, mean.high, mean.n])
    return pd.DataFrame(lines, columns=COLUMNS)


@functools.lru_cache(maxsize=1)
def curves(records: Records) -> dict[str, tuple[pd.DataFrame, str]]:
    """Panels by title: lines of harm (row, part, step, mean, low, high, n) and the axis label.

    Only step-matched joint rows, at the first point of the axes. During fine-tuning the harm is in the best dev score
    so far, so that a run that stopped early keeps its best.
    """
    matched = harm(records)
    matched = matched[matched.matched.astype(bool) & (matched.part == "total")]
    first, panels = records.points[0], {}
    tuned = of_metrics(finetuning_curves(records), lambda name: name.startswith("dev/"))
    tuned = tuned[tuned.point == first]
    for task in dict.fromkeys(matched.task):
        what, role = measure(records, task), roles(records)[records.reads(task)]
        own = tuned[tuned.task == task]
        name = own.metric.iloc[0].removeprefix("dev/") if len(own) else what.metric
        sign = -1.0 if name == "loss" else what.sign  # some tasks select on their training loss
        best = _best_so_far(own, sign)
        frames = (
            [
                over_steps(best, parts_of(records, row, role, records.reads(task)), sign).assign(row=row)
                for row in matched[matched.task == task].row
            ]
            if len(best)
            else []
        )
        if frames and len(whole := pd.concat(frames)):
            panels[f"{records.task_label(task)}, fine-tuning"] = whole, f"harm in dev {wording.metric(name)}"
    trained = pretraining_curves(records)
    trained = trained[(trained.metric == LOSS) & (trained.point == first)]
    if "text" in roles(records) and len(trained):
        smooth = trained.groupby(["row", "seed"]).value.rolling(WINDOW, center=True, min_periods=1).mean()
        trained = trained.assign(value=smooth.droplevel(["row", "seed"]))
        table = trained.pivot_table(index=["step", "seed"], columns="row", values="value")
        rows = dict.fromkeys(matched.row)
        frames = [
            over_steps(table, parts_of(records, row, roles(records)["text"], "text"), -1.0).assign(row=row)
            for row in rows
        ]
        if frames and len(whole := pd.concat(frames)):
            panels["masked text, pre-training"] = whole, "harm in nats"
    return panels


def _best_so_far(frame: pd.DataFrame, sign: float) -> pd.DataFrame:
    """Dev scores made monotone, (step, seed) × row; each run keeps its best up to the last step that any run
    reached.
    """
    if frame.empty:
        return frame
    table = frame.pivot_table(index=["seed", "step"], columns="row", values="value")
    table = table.reindex(pd.MultiIndex.from_product(table.index.levels, names=["seed", "step"]))
    by_seed = table.groupby(level="seed")
    best = by_seed.cummin() if sign < 0 else by_seed.cummax()
    return best.groupby(level="seed").ffill().swaplevel().sort_index()


def figure(records: Records) -> Figure | None:
    """Draw harm over training, a panel per task and one for pre-training; None without matched joint rows."""
    panels = curves(records)
    if not panels:
        return None
    whole, axes = look.grid(len(panels), 1.0)
    names = set().union(*(frame.row for frame, _ in panels.values()))
    every = [row for row in records.rows if row in names]
    rows = look.readable(records, every)
    parts = [part for part in PARTS if any(part in set(frame.part) for frame, _ in panels.values())]
    if len(parts) > 1:  # a part is a colour and a marker, a row is a dash
        rows = rows[: len(look.DASHES)]
        dashes = look.row_styles(rows)
        looks = {
            (row, part): {"color": PARTS[part][0], "marker": PARTS[part][1], "linestyle": dashes[row]["linestyle"]}
            for row in rows
            for part in parts
        }
        keys = [
            look.plt.Line2D([], [], color=PARTS[part][0], marker=PARTS[part][1], ls="none", label=part)
            for part in parts
        ]
        keys += [
            look.plt.Line2D([], [], color="0.2", ls=dashes[row]["linestyle"], label=records.label(row)) for row in rows
        ]
    else:
        looks = {(row, parts[0]): style for (row, _), style in look.looks(records, rows, records.points[:1]).items()}
        keys = look.keys(records, rows, records.points[:1])
    for panel, (title, (frame, unit)) in zip(axes, panels.items()):
        draw(frame[frame.row.isin(rows)], panel, looks)
        look.title(panel, title, look.COLUMN / 2 - 0.5)
        panel.set_ylabel(look.wrapped(unit, 0.95))
    for panel in look.below(axes):
        panel.set_xlabel("step")
    seen = pd.concat([frame[frame.row.isin(rows)] for frame, _ in panels.values()])
    about = [
        "above 0: worse than alone",
        "lines: " * (len(records.seeds) > 1) + look.over_how_many(records, seen.n),
        look.left_out(len(rows), len(every)),
    ]
    look.legend(whole, keys, "; ".join(filter(None, about)))
    return whole


def draw(frame: pd.DataFrame, axes: Axes, looks: dict[tuple[str, str], dict]) -> None:
    """Draw harm over steps, a line per row and part, with an interval at each marker where there are seeds."""
    groups = list(frame.groupby(["row", "part"], sort=False))
    reach = np.ptp(frame.step) if len(frame) else 0
    for number, (key, own) in enumerate(groups):
        own = own.sort_values("step")
        every = max(1, len(own) // 6)
        marked = slice(number * every // len(groups), None, every)
        axes.plot(own.step, own["mean"], **looks[key], markevery=marked, ms=3, mec="white", mew=0.3, lw=1.0)
        aside = (number - (len(groups) - 1) / 2) * 0.012 * reach  # intervals at the same step stand side by side
        seen = own.iloc[marked].dropna(subset=["low"])
        axes.vlines(
            seen.step + aside,
            seen.low.astype(float),
            seen.high.astype(float),
            color=looks[key]["color"],
            lw=0.6,
            alpha=0.8,
        )
    axes.axhline(0, color="0.3", lw=0.6, zorder=0)
    axes.margins(x=0.03)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)  # steps
