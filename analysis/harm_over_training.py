"""Harm over training: what joint training costs a task, step by step of fine-tuning, and a loss while pre-training."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import figures
from analysis.compare import over_seeds
from analysis.curves import WINDOW, finetuning_curves, of_metrics, pretraining_curves
from analysis.frame import Records, measure
from analysis.interference import PARTS, harm, parts_of, roles

COLUMNS = ["part", "step", "mean", "low", "high", "n"]
LOSS = "masked_text/loss"
"""The one pre-training loss whose targets are the same whatever else is trained, and that both rows have."""


def over_steps(table: pd.DataFrame, steps: dict[str, tuple[str, str, str]], sign: float) -> pd.DataFrame:
    """Harm of every part at every step that both of its rows have, from values as (step, seed) x row."""
    lines = []
    for part, (start, end, _) in steps.items():
        if not {start, end} <= set(table.columns):
            continue
        gap = sign * (table[start].to_numpy() - table[end].to_numpy())
        there = ~np.isnan(gap)
        found, first = np.unique(table.index.get_level_values("step")[there], return_index=True)
        for step, own in zip(found, np.split(gap[there], first[1:])):
            mean = over_seeds(own)
            lines.append([part, step, mean.mean, mean.low, mean.high, mean.n])
    return pd.DataFrame(lines, columns=COLUMNS)


@functools.lru_cache(maxsize=1)
def curves(records: Records) -> dict[str, tuple[pd.DataFrame, str]]:
    """Panels by title: lines of harm (row, part, step, mean, low, high, n) and what the axis says.

    Of step-matched joint rows at the first point of the axes. While fine-tuning the harm is of the best dev score so
    far, so that a run that stopped early keeps what it had.
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
        found = [
            over_steps(best, parts_of(records, row, role, records.reads(task)), sign).assign(row=row)
            for row in matched[matched.task == task].row
        ] if len(best) else []  # fmt: skip
        if found and len(whole := pd.concat(found)):
            panels[f"{records.task_label(task)}, fine-tuning"] = whole, f"harm in dev {figures.NAMES.get(name, name)}"
    trained = pretraining_curves(records)
    trained = trained[(trained.metric == LOSS) & (trained.point == first)]
    if "text" in roles(records) and len(trained):
        smooth = trained.groupby(["row", "seed"]).value.rolling(WINDOW, center=True, min_periods=1).mean()
        trained = trained.assign(value=smooth.droplevel(["row", "seed"]))
        table = trained.pivot_table(index=["step", "seed"], columns="row", values="value")
        rows = dict.fromkeys(matched.row)
        found = [
            over_steps(table, parts_of(records, row, roles(records)["text"], "text"), -1.0).assign(row=row) for row in rows
        ]  # fmt: skip
        if found and len(whole := pd.concat(found)):
            panels["masked text, pre-training"] = whole, "harm in nats"
    return panels


def _best_so_far(frame: pd.DataFrame, sign: float) -> pd.DataFrame:
    """Dev scores made monotone, (step, seed) x row; each run continued at its best to the last step that any run reached."""
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
    whole, axes = figures.grid(len(panels), 3, 2.6, 2.2)
    found = set().union(*(frame.row for frame, _ in panels.values()))
    every = [row for row in records.rows if row in found]
    rows = figures.readable(records, every)
    parts = set(pd.concat([frame for frame, _ in panels.values()]).part)
    looks = {row: {"linestyle": look["linestyle"]} for row, look in figures.row_styles(rows).items()}
    if len(parts) == 1:  # colours and markers are free to tell rows apart
        looks = figures.row_styles(records.rows)
    for panel, (title, (frame, unit)) in zip(axes, panels.items()):
        draw(frame[frame.row.isin(rows)], panel, looks)
        panel.set_title(title)
        panel.set_ylabel(unit)
        panel.set_xlabel("step")
    keys = [figures.plt.Line2D([], [], color=PARTS[p][0], marker=PARTS[p][1], ms=4, label=p) for p in PARTS if p in parts and len(parts) > 1]
    keys += [figures.plt.Line2D([], [], **({"color": "0.2", "ms": 4} | looks[row]), label=records.label(row)) for row in rows]
    whole.legend(handles=keys, loc="outside lower center", ncols=min(4, len(keys)), handlelength=2.6)
    if len(rows) < len(every):
        whole.supxlabel(figures.left_out(len(rows), len(every)), size=7.5, color=figures.GREY)
    return whole


def draw(frame: pd.DataFrame, axes: Axes, looks: dict[str, dict]) -> None:
    """Draw harm over steps: colour and marker per part, or row where it says so, dash per row, a band where there are seeds."""
    for (row, part), own in frame.groupby(["row", "part"], sort=False):
        own = own.sort_values("step")
        look = {"color": PARTS[part][0], "marker": PARTS[part][1]} | looks[row]
        every = max(1, len(own) // 8)
        axes.plot(own.step, own["mean"], **look, markevery=every, ms=3.5, lw=1.2)
        axes.fill_between(own.step, own.low.astype(float), own.high.astype(float), color=look["color"], alpha=0.12, lw=0)
    axes.axhline(0, color="0.3", lw=0.8, zorder=0)
    axes.margins(x=0.02)

