"""Representations by layer: alignment of speech and text, linear probes, and from which layer speech helps to predict
text.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.records.frame import Records
from analysis.records.scores import DONE
from analysis.statistics.compare import level

TITLES = {
    "cka": "speech–text CKA",
    "recall@1": "retrieval, recall@1 (%)",
    "phone": "phone probe, accuracy (%)",
    "word": "word probe, area under ROC (%)",
    "voice": "voice probe, accuracy (%)",
    "loss_drop": "text loss drop (nats)",
}
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
        estimate = level(own)
        lines.append([*key, estimate.mean, estimate.low, estimate.high, estimate.n])
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
        own = own.dropna(subset=["mean"])  # layers that only another row has
        axes.plot(x, own["mean"], **look, lw=1.0, ms=3.2, mec="white", mew=0.3)
        axes.fill_between(x, own.low.astype(float), own.high.astype(float), color=look["color"], alpha=0.1, lw=0)
    stacks = [layer.split("_")[0] for layer in layers]
    axes.set_xticks(range(len(layers)), [layer.split("_")[1] for layer in layers])
    names = list(dict.fromkeys(stacks))
    middles = [float(np.mean([x for x, stack in enumerate(stacks) if stack == name])) for name in names]
    axes.xaxis.remove_overlapping_locs = False
    axes.set_xticks(middles, names, minor=True)  # below the numbers of their layers
    axes.tick_params(axis="x", which="minor", length=0, pad=9.5)
    axes.margins(x=0.08)


def figure(records: Records) -> Figure | None:
    """Draw every by-layer metric, a panel each, one row of panels per point of the axes; None without such metrics."""
    frame = by_layer(records)
    if frame.empty:
        return None
    metrics = [name for name in TITLES if name in set(frame.metric)]
    points = [point for point in records.points if point in set(frame.point)]
    every = [row for row in records.rows if row in set(frame.row)]
    rows = look.readable(records, every)
    looks = look.looks(records, rows, points[:1])
    styles = {row: looks[row, points[0]] for row in rows}
    beside = 1 < len(points) <= 3  # one row of panels per metric
    columns = len(points) if beside else 2
    pairs, grey = [(metric, point) for metric in metrics for point in points], []
    whole, panels = look.grid(len(pairs), 1.0, columns)
    for number, (axes, (metric, point)) in enumerate(zip(panels, pairs)):
        own = frame[(frame.metric == metric) & (frame.point == point) & frame.row.isin(rows)]
        if beside and number % columns:
            axes.sharey(panels[number - number % columns])
            axes.tick_params(labelleft=False)
        elif beside:
            axes.set_ylabel(look.wrapped(TITLES[metric], 0.95))
        draw(own, axes, styles)
        grey += [_baseline(records, own, metric, axes)]
        names = [] if beside else [TITLES[metric]]
        look.title(axes, "\n".join(names + [point.partition("=")[2]] * (len(points) > 1)), look.COLUMN / columns - 0.3)
    about = [
        "shaded: " * (len(records.seeds) > 1) + look.over_how_many(records, frame[frame.row.isin(rows)].n),
        "; ".join(dict.fromkeys(filter(None, grey))),
        look.left_out(len(rows), len(every)),
    ]
    look.legend(whole, look.keys(records, rows, points[:1]), "; ".join(filter(None, about)))
    return whole


def _baseline(records: Records, frame: pd.DataFrame, metric: str, axes: Axes) -> str:
    """Draw a grey line at the strongest shallow baseline if it lies within the panel; else return where it lies."""
    b = records.baselines
    candidates = b[b.task.isin(frame.task) & (b.metric == metric)]
    low, high = axes.get_ylim()
    if candidates.empty:
        return ""
    best = candidates.loc[candidates.value.idxmax()]
    if not low - (high - low) < best.value < high + (high - low):
        return f"beyond the picture: {TITLES[metric]} of {best['name']}, {best.value:.2g}"
    axes.axhline(best.value, color=look.GREY, lw=2.2, alpha=0.5, zorder=0)
    return "grey: strongest shallow baseline"
