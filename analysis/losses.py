"""Held-out losses that may be compared and fitted: likelihoods of targets that are the same in every run.

Text, and speech codes that are fixed beforehand. Learned codes change the entropy of what is predicted from run to run,
and a contrastive loss is no likelihood (SCIENCE 8): neither is read here.
"""

from __future__ import annotations

from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import figures
from analysis.capacity import apart, count
from analysis.compare import over_seeds
from analysis.frame import Records, point_name
from analysis.scaling import Fit, bootstrap, fit_competition, fit_size, fit_size_and_data

COLUMNS = ["row", "point", "seed", "loss", "modality", "value", "parameters", "active", "positions", "other"]
RATE = 25 * 3600
"""Speech positions an hour, beside which text tokens are counted."""
DRAWS = 40
"""Bootstrap draws of a fit's interval."""
SIZES = 4
"""Different sizes below which no law is drawn: three give a curve."""
AMOUNTS = 3
"""Different amounts of data below which no competition between modalities is fitted."""
ALONE, JOINT = {"text_only": "text", "speech_only": "speech"}, "joint"
"""Rows that the competition is fitted to: each modality alone, and both together."""


def held_out(records: Records) -> pd.DataFrame:
    """Final held-out losses of fixed targets, one line per run and loss; columns `COLUMNS`.

    `positions` are what the run was shown of the loss's modality (repeats counted), `other` of the other one.
    """
    lines = []
    for line in records.manifest:
        result, objectives = records.result("pretrain", line["stages"]["leaf"]), records.rows[line["row"]]["objectives"]
        if result is None:
            continue
        shown = exposure(result.get("exposure", {}))
        counts = result["parameters"]
        for name, about in objectives.items():
            modality = _modality(name, about)
            value = result.get("final", {}).get(f"{name}/loss")
            if modality is None or value is None:
                continue
            total = counts["total"] - counts["embedding"]
            active = counts[f"{modality}_only"] + counts["shared"]
            other = shown["text" if modality == "speech" else "speech"]
            lines.append([line["row"], point_name(line["point"]), line["seed"], name, modality, value, total, active,
                          shown[modality], other])  # fmt: skip
    return pd.DataFrame(lines, columns=COLUMNS)


def exposure(of: dict[str, dict[str, float]]) -> dict[str, float]:
    """Positions shown: of speech from hours, of text from tokens; 0 for what was not drawn."""
    return {"speech": of.get("speech", {}).get("hours", 0.0) * RATE, "text": of.get("text", {}).get("tokens", 0.0)}


def _modality(name: str, about: dict) -> str | None:
    """What a loss is a likelihood of; None for targets that a run makes itself, and for placebos."""
    if "targets" in about and "negatives" not in about and "text_span" not in about:
        return None if about["targets"] == "learned" else "speech"
    return "text" if about.get("text") == "true" else None


def figure(records: Records) -> Figure | None:
    """Draw each loss against active parameters, with a law where there are sizes enough; None with one size."""
    frame = held_out(records)
    names = [name for name, own in frame.groupby("loss", sort=False) if own.active.nunique() > 1]
    if not names:
        return None
    rows = [row for row in records.rows if row in set(frame[frame.loss.isin(names)].row)]
    styles = figures.row_styles(records.rows)
    columns = min(3, len(names))
    whole, panels = figures.grid(len(names), 3, 3.1, 2.6 + 0.17 * -(-len(rows) // columns))
    for axes, name in zip(panels, names):
        draw(frame[frame.loss == name], axes, styles)
        axes.set_title(f"{name.replace('_', ' ')}, held out")
        axes.set_ylabel("loss (nats)")
        axes.set_xlabel("active parameters, without embeddings")
    keys = [figures.plt.Line2D([], [], **styles[row], lw=1.3, ms=5, label=records.label(row)) for row in rows]
    whole.legend(handles=keys, loc="outside upper center", ncols=columns)
    note = (_words(frame) + _competition_words(frame)).splitlines()
    note = "\n".join(part for line in note for part in wrap(line, 58 * columns))
    whole.supxlabel(note, size=7.5, color=figures.GREY)
    return whole


def draw(frame: pd.DataFrame, axes: Axes, styles: dict[str, dict]) -> None:
    """Draw one loss by row: means over seeds with intervals and, where `SIZES` suffice, the fitted law and its band."""
    for row, own in frame.groupby("row", sort=False):
        look = styles[row]
        for size, runs in own.groupby("active"):
            found = over_seeds(runs.value)
            axes.vlines(size, found.low, found.high, color=look["color"], lw=1.0)
        means = own.groupby("active").value.mean()
        law = law_of_size(own)
        axes.plot(means.index, means, **(look | ({"linestyle": "none"} if law else {})), lw=1.3, ms=5, mec="white", mew=0.6)
        if law:
            fit, low, high, grid = law
            axes.plot(grid, fit.predict(grid), color=look["color"], ls=look["linestyle"], lw=1.3)
            axes.fill_between(grid, low, high, color=look["color"], alpha=0.12, lw=0)
    axes.set_xscale("log")
    sizes = np.sort(frame.active.unique())
    ticks = apart(sizes)
    axes.set_xticks(ticks, [count(size) for size in ticks])
    axes.minorticks_off()


def law_of_size(frame: pd.DataFrame) -> tuple[Fit, np.ndarray, np.ndarray, np.ndarray] | None:
    """L(N) of one row at one amount of data with a 95 % bootstrap band over a grid; None where it cannot be told."""
    if frame.active.nunique() < SIZES or frame.positions.nunique() > 1:
        return None
    n, loss = frame.active.to_numpy(float), frame.value.to_numpy(float)
    grid = np.geomspace(n.min(), n.max(), 40)
    whole = fit_size(n, loss)
    draws = [fit.predict(grid) for fit in bootstrap(fit_size, (n,), loss, whole, DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0) if draws else (np.full(40, np.nan),) * 2
    return whole, low, high, grid


def missing(frame: pd.DataFrame) -> list[str]:
    """What `competition` still lacks, in words: rows, sizes and amounts of data; empty where it can be told."""
    lacks = []
    for row, modality in ALONE.items():
        own = frame[(frame.row == row) & (frame.modality == modality)]
        for column, least, word in (("active", SIZES, "size"), ("positions", AMOUNTS, "amount")):
            more = least - own[column].nunique()
            if more > 0:
                lacks.append(f"{more} more {word}{'s' * (more > 1)} of {modality}")
    return lacks


def competition(frame: pd.DataFrame) -> dict[str, tuple[float, float, float]] | None:
    """Synergy and competition (PAPER §9.1) of `JOINT` against each modality's own law, with 95 % intervals.

    `frame` is of `held_out`. None where sizes or amounts of data are too few to tell: `missing` says how many.
    """
    both = frame[frame.row == JOINT].pivot_table(index=["point", "seed"], columns="modality", values=["value", "parameters", "positions"])
    both = both.dropna()
    if missing(frame) or len(both) < 6:
        return None
    alone = {m: frame[(frame.row == row) & (frame.modality == m)] for row, m in ALONE.items()}
    fits = {m: fit_size_and_data(*(own[c].to_numpy(float) for c in ("active", "positions", "value"))) for m, own in alone.items()}
    n = both["parameters"]["text"].to_numpy(float)
    inputs = n, both["positions"]["text"].to_numpy(float), both["positions"]["speech"].to_numpy(float)
    loss = both["value"].mean(axis=1).to_numpy(float)

    def fit(n, i, j, loss, near=None) -> Fit:
        return fit_competition(n, i, j, loss, fits["text"], fits["speech"], near)

    whole = fit(*inputs, loss)
    draws = bootstrap(fit, inputs, loss, whole, DRAWS)
    return {
        name: (whole[name], *np.quantile([draw[name] for draw in draws], [0.025, 0.975])) if draws else (whole[name], np.nan, np.nan)
        for name in whole.parameters
    }  # fmt: skip


def table(records: Records) -> pd.DataFrame:
    """What the figure shows: `held_out` and, where it is fitted, a line per parameter of `competition` with low and high."""
    frame = held_out(records)
    lines = [
        {"row": JOINT, "loss": f"competition {name}", "value": value, "low": low, "high": high}
        for name, (value, low, high) in (competition(frame) or {}).items()
    ]
    return pd.concat([frame, pd.DataFrame(lines)]) if lines else frame


def _words(frame: pd.DataFrame) -> str:
    if frame.groupby("loss").active.nunique().max() < SIZES:
        return f"fewer than {SIZES} sizes: a curve, no law; at equal steps a larger model may only be less trained"
    return "lines: L(N) = E + A / N^α with 95 % bootstrap bands over runs"


def _competition_words(frame: pd.DataFrame) -> str:
    """The fitted competition, or what it takes; nothing for a sweep without the three rows it compares."""
    if not {*ALONE, JOINT} <= set(frame.row):
        return ""
    found = competition(frame)
    if found is None:
        return "\nsynergy and competition are not fitted: " + (", ".join(missing(frame)) or "6 joint runs") + " needed"
    values = "   ".join(f"{name} {value:.3g} [{low:.3g}, {high:.3g}]" for name, (value, low, high) in found.items())
    return f"\njoint: mean of both laws alone − C + A / N^α + B / D^β, with 95 % intervals:\n{values}"
