"""A frontier: how rows trade one measure for another; the sweep file names both measures (`table.frontier`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.records.frame import Records, measure
from analysis.records.scores import DONE
from analysis.statistics.compare import level

COLUMNS = ["row", "x", "x_low", "x_high", "y", "y_low", "y_high"]


def frontier(records: Records) -> pd.DataFrame:
    """Means of both measures with their intervals over seeds, a line per row; empty where the file names no
    measures.
    """
    what = (records.sweep.get("table") or {}).get("frontier")
    if not what:
        return pd.DataFrame(columns=COLUMNS)
    lines = []
    for row in what["rows"]:
        numbers = []
        for axis in ("x", "y"):
            s = records.of(measure(records, what[axis]))
            value = level(s[s.row == row])
            numbers += [value.mean, value.low, value.high]
        lines.append([row, *numbers])
    return pd.DataFrame(lines, columns=COLUMNS)


def figure(records: Records) -> Figure | None:
    """Draw the frontier, better towards the upper right, with single-modality rows as lines to beat; None without a
    frontier.
    """
    frame = frontier(records)
    if frame.empty or frame[["x", "y"]].isna().all(axis=None):
        return None
    named = records.sweep["table"]["frontier"]
    x, y = (measure(records, named[axis]) for axis in ("x", "y"))
    whole, (axes,) = look.grid(1, 2.3)
    axes.plot(frame.x, frame.y, "-", color="0.6", lw=0.8, zorder=1)
    for (row, style), line in zip(look.row_styles(frame.row).items(), frame.itertuples()):
        axes.plot([line.x_low, line.x_high], [line.y] * 2, color=style["color"], lw=0.8)
        axes.plot([line.x] * 2, [line.y_low, line.y_high], color=style["color"], lw=0.8)
        axes.plot(
            line.x,
            line.y,
            style["marker"],
            color=style["color"],
            ms=5.5,
            mec="white",
            mew=0.5,
            label=records.label(row),
            zorder=2,
        )
    for what, line, dash in ((x, axes.axvline, (4, 2)), (y, axes.axhline, (1, 1.5))):
        s = records.of(what)
        alone = [row for row, about in records.rows.items() if len({"speech", "text"} & set(about["reads"])) == 1]
        for row in alone:
            value = level(s[s.row == row]).mean
            if not np.isnan(value):
                line(value, color="0.3", lw=0.8, ls=(0, dash), zorder=0, label=f"{records.label(row)} (line)")
    axes.set_xlabel(f"{records.task_label(x.task)}, {look.metric_name(x)}")
    axes.set_ylabel(f"{records.task_label(y.task)}, {look.metric_name(y)}")
    if x.sign < 0:
        axes.invert_xaxis()
    if y.sign < 0:
        axes.invert_yaxis()
    axes.set_title("upper right is better" + ("" if len(records.seeds) > 1 else "; one seed"))
    done = pd.concat([records.of(x), records.of(y)])
    counts = (
        done[done.row.isin(frame.row) & (done.status == DONE)]
        .groupby(["task", "split", "metric", "row"])
        .seed.nunique()
    )
    said = f"lines at a mark: {look.over_how_many(records, counts)}" if len(records.seeds) > 1 else ""
    look.legend(whole, axes.get_legend_handles_labels()[0], said)
    return whole
