"""Representations over layers: alignment of speech and text, linear probes, and where speech begins to tell about text."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import figures
from analysis.compare import over_seeds
from analysis.frame import DONE, Records

TITLES = {
    "cka": "speech–text CKA", "recall@1": "retrieval, recall@1 (%)", "phone": "phone probe, accuracy (%)",
    "word": "word probe, area under ROC (%)", "voice": "voice probe, accuracy (%)",
    "loss_drop": "text loss drop (nats)",
}  # fmt: skip
COLUMNS = ["task", "metric", "layer", "row", "point", "mean", "low", "high", "n"]
STACKS = ("speech", "text", "shared")


def by_layer(records: Records) -> pd.DataFrame:
    """Means over seeds of every metric called "metric/layer", one line per row and point; columns `COLUMNS`."""
    s = records.scores[(records.scores.status == DONE) & records.scores.metric.str.contains("/", regex=False)]
    names = s.metric.str.rsplit("/", n=1, expand=True)
    if s.empty or names.shape[1] != 2:
        return pd.DataFrame(columns=COLUMNS)
    s = s.assign(metric=names[0], layer=names[1])
    s = s[s.layer.str.fullmatch(r"(speech|text|shared)_\d+") & s.metric.isin(list(TITLES))]
    lines = []
    for key, own in s.groupby(["task", "metric", "layer", "row", "point"], sort=False):
        found = over_seeds(own.value)
        lines.append([*key, found.mean, found.low, found.high, found.n])
    return pd.DataFrame(lines, columns=COLUMNS)


def order(layers: list[str]) -> list[str]:
    """Layers from the bottom to the top: each modality's own, then the shared ones."""
    return sorted(set(layers), key=lambda name: (STACKS.index(name.split("_")[0]), int(re.search(r"\d+", name)[0])))


def draw(frame: pd.DataFrame, axes: Axes, styles: dict[str, dict]) -> None:
    """Draw one metric over layers, a line per row, with intervals where there are seeds."""
    layers = order(list(frame.layer))
    for row, own in frame.groupby("row", sort=False):
        own = own.set_index("layer").reindex(layers)
        x, look = np.arange(len(layers))[own["mean"].notna()], styles[row]
        own = own.dropna(subset=["mean"])  # layers that another row has
        axes.plot(x, own["mean"], **look, lw=1.2, ms=4, mec="white", mew=0.5)
        axes.fill_between(x, own.low.astype(float), own.high.astype(float), color=look["color"], alpha=0.1, lw=0)
    axes.set_xticks(range(len(layers)), [_name(layer) for layer in layers], size=7)
    axes.margins(x=0.08)


def _name(layer: str) -> str:
    stack, number = layer.split("_")
    return f"{stack}\n{number}" if number == "0" else number


def figure(records: Records) -> Figure | None:
    """Draw every by-layer metric, a panel each, a line of panels per point of the axes; None without any."""
    frame = by_layer(records)
    if frame.empty:
        return None
    metrics = [name for name in TITLES if name in set(frame.metric)]
    points = [point for point in records.points if point in set(frame.point)]
    rows = [row for row in records.rows if row in set(frame.row)]
    styles = figures.row_styles(records.rows)
    if len(points) == 1:
        whole, panels = figures.grid(len(metrics), min(3, len(metrics)), 2.4, 1.9)
        pairs = list(zip(panels, [(metric, points[0]) for metric in metrics]))
    else:
        whole, grid = figures.plt.subplots(
            len(metrics), len(points), figsize=(0.6 + 1.9 * len(points), 0.9 + 1.35 * len(metrics)), squeeze=False,
            layout="constrained", sharey="row",
        )  # fmt: skip
        pairs = [(grid[y][x], (m, p)) for y, m in enumerate(metrics) for x, p in enumerate(points)]
    for axes, (metric, point) in pairs:
        own = frame[(frame.metric == metric) & (frame.point == point)]
        draw(own, axes, styles)
        _baseline(records, own, metric, axes)
        title = TITLES[metric] if point == points[0] else ""
        above = f"\n{point.partition('=')[2]}" if len(points) > 1 and metric == metrics[0] else ""
        axes.set_title(f"{title}{above}", size=8.5)
    keys = [figures.plt.Line2D([], [], **styles[row], lw=1.2, ms=4, label=records.label(row)) for row in rows]
    whole.legend(handles=keys, loc="outside lower center", ncols=min(3, len(keys)))
    return whole


def _baseline(records: Records, frame: pd.DataFrame, metric: str, axes: Axes) -> None:
    """A grey line at the strongest shallow baseline, where the picture reaches it."""
    b = records.baselines
    found = b[b.task.isin(frame.task) & (b.metric == metric)].value
    low, high = axes.get_ylim()
    if len(found) and low - (high - low) < found.max() < high + (high - low):
        axes.axhline(found.max(), color=figures.GREY, lw=0.8, ls=(0, (1, 1)), zorder=0)
