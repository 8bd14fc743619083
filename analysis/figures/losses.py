"""Held-out losses that may be compared and fitted: likelihoods of targets that are the same in every run.

These are text, and speech codes that are fixed beforehand. Learned codes change the entropy of the targets from run to
run, and a contrastive loss is no likelihood (docs/paper.md, section 10.1): neither is read here.

In every law N is the number of all parameters of the model without embeddings, whether it was trained on one modality
or on both, as in the paper of the mixed-modal law (docs/paper.md, section 9.1), whose models have no modality-specific
modules. So a joint run is compared with two models, each as large as itself, and the capacity that its towers take from
the other modality counts as competition. Active parameters would give one run two values of N, one per modality; they
are drawn, but not fitted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.figures.capacity import apart, count
from analysis.records import manifest
from analysis.records.frame import Records, point_name
from analysis.statistics.compare import over_seeds
from analysis.statistics.scaling import Fit, bootstrap, fit_competition, fit_size, fit_size_and_data

COLUMNS = ["row", "point", "seed", "loss", "modality", "value", "parameters", "active", "positions", "other"]
RATE = 25 * 3600
"""Speech positions per hour, to count speech on the same scale as text tokens."""
DRAWS = 40
"""Bootstrap draws for a fit's interval."""
SIZES = 4
"""Number of different sizes below which no law is drawn: three give only a curve."""
AMOUNTS = 3
"""Number of different amounts of data below which no competition between modalities is fitted."""
ALONE, JOINT = {"text_only": "text", "speech_only": "speech"}, "joint"
"""Rows that the competition is fitted to: each modality alone, and both together."""


def held_out(records: Records) -> pd.DataFrame:
    """Final held-out losses of fixed targets, one line per run and loss; columns `COLUMNS`.

    `positions` counts what the run saw of the loss's modality (with repeats), `other` of the other modality.
    """
    lines = []
    for line in records.manifest:
        result, objectives = records.result("pretrain", manifest.leaf(line)), records.rows[line["row"]]["objectives"]
        if result is None:
            continue
        shown = exposure(result.get("exposure", {}))
        counts, final = result["parameters"], (records.result(*manifest.held_out(line)) or {}).get("final", {})
        for name, about in objectives.items():
            modality = _modality(name, about)
            value = final.get(f"{name}/loss")
            if modality is None or value is None:
                continue
            total = counts["total"] - counts["embedding"]
            active = counts[f"{modality}_only"] + counts["shared"] if "shared" in counts else np.nan
            other = shown["text" if modality == "speech" else "speech"]
            lines.append(
                [
                    line["row"],
                    point_name(line["point"]),
                    line["seed"],
                    name,
                    modality,
                    value,
                    total,
                    active,
                    shown[modality],
                    other,
                ]
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def exposure(of: dict[str, dict[str, float]]) -> dict[str, float]:
    """Positions seen in training: speech from hours, text from tokens; 0 for what was not drawn."""
    return {"speech": of.get("speech", {}).get("hours", 0.0) * RATE, "text": of.get("text", {}).get("tokens", 0.0)}


def _modality(name: str, about: dict) -> str | None:
    """Modality of a loss's targets; None for targets that a run makes itself, and for placebos."""
    if "targets" in about and "negatives" not in about and "text_span" not in about:
        return None if about["targets"] == "learned" else "speech"
    return "text" if about.get("text") == "true" else None


def figure(records: Records) -> Figure | None:
    """Draw each loss against active and all parameters, with a law where there are enough sizes; None with one size."""
    frame = held_out(records)
    names = [name for name, own in frame.groupby("loss", sort=False) if own.active.nunique() > 1]
    if not names:
        return None
    rows = [row for row in records.rows if row in set(frame[frame.loss.isin(names)].row)]
    looks = look.looks(records, rows, ("",))
    styles = {row: looks[row, ""] for row in rows}
    whole, panels = look.grid(2 * len(names), 1.15)
    for k, name in enumerate(names):
        own = frame[frame.loss == name]
        for axes, against in zip(panels[2 * k :], ("active", "parameters")):
            draw(own, axes, styles, against)
        panels[2 * k].set_title(f"{name.replace('_', ' ')}, held out")
        panels[2 * k].set_ylabel("loss (nats)")
    for axes, name in zip(panels[-2:], ("active parameters", "parameters in all")):
        axes.set_xlabel(name)
    own = frame[frame.loss.isin(names)]
    counts = own.groupby(["loss", "row", "point"]).seed.nunique()
    note = "lines: " * (len(records.seeds) > 1) + look.over_how_many(records, counts)
    note += "; without embeddings; active: those that process the loss's modality; "
    note += _words(frame) + _competition_words(frame)
    look.legend(whole, look.keys(records, rows, ("",)), note)
    return whole


def draw(frame: pd.DataFrame, axes: Axes, styles: dict[str, dict], against: str) -> None:
    """Draw one loss by row: means over seeds with intervals and, against all "parameters", the law where it can be
    fitted.
    """
    for row, own in frame.groupby("row", sort=False):
        look = styles[row]
        for size, runs in own.groupby(against):
            estimate = over_seeds(runs.value)
            axes.vlines(size, estimate.low, estimate.high, color=look["color"], lw=0.7)
        means = own.groupby(against).value.mean()
        law = law_of_size(own) if against == "parameters" else None
        axes.plot(means.index, means, **(look | ({"linestyle": "none"} if law else {})), ms=3.6, mec="white", mew=0.4)
        if law:
            fit, low, high, grid = law
            axes.plot(grid, fit.predict(grid), color=look["color"], ls=look["linestyle"])
            axes.fill_between(grid, low, high, color=look["color"], alpha=0.12, lw=0)
    axes.set_xscale("log")
    ticks = apart(np.sort(frame[against].unique()))
    axes.set_xticks(ticks, [count(size) for size in ticks])
    axes.minorticks_off()


def law_of_size(frame: pd.DataFrame) -> tuple[Fit, np.ndarray, np.ndarray, np.ndarray] | None:
    """L(N) of one row at one amount of data with a 95 % bootstrap band over a grid; None where it cannot be fitted."""
    if frame.parameters.nunique() < SIZES or frame.positions.nunique() > 1:
        return None
    n, loss = frame.parameters.to_numpy(float), frame.value.to_numpy(float)
    grid = np.geomspace(n.min(), n.max(), 40)
    whole = fit_size(n, loss)
    draws = [fit.predict(grid) for fit in bootstrap(fit_size, (n,), loss, whole, DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0) if draws else (np.full(40, np.nan),) * 2
    return whole, low, high, grid


def missing(frame: pd.DataFrame) -> list[str]:
    """What `competition` still lacks, in words: rows, sizes and amounts of data; empty where it can be fitted."""
    lacks = []
    for row, modality in ALONE.items():
        own = frame[(frame.row == row) & (frame.modality == modality)]
        for column, least, word in (("parameters", SIZES, "size"), ("positions", AMOUNTS, "amount")):
            more = least - own[column].nunique()
            if more > 0:
                lacks.append(f"{more} more {word}{'s' * (more > 1)} of {modality}")
    return lacks


def competition(frame: pd.DataFrame) -> dict[str, tuple[float, float, float]] | None:
    """Synergy and competition of `JOINT` against each modality's own law, with 95 % intervals.

    The law is that of docs/paper.md, section 9.1; `frame` comes from `held_out`. None where there are too few sizes or
    amounts of data: `missing` says how many.
    """
    both = frame[frame.row == JOINT].pivot_table(
        index=["point", "seed"], columns="modality", values=["value", "parameters", "positions"]
    )
    both = both.dropna()
    if missing(frame) or len(both) < 6:
        return None
    alone = {m: frame[(frame.row == row) & (frame.modality == m)] for row, m in ALONE.items()}
    fits = {
        m: fit_size_and_data(*(own[c].to_numpy(float) for c in ("parameters", "positions", "value")))
        for m, own in alone.items()
    }
    n = both["parameters"]["text"].to_numpy(float)
    inputs = n, both["positions"]["text"].to_numpy(float), both["positions"]["speech"].to_numpy(float)
    loss = both["value"].mean(axis=1).to_numpy(float)

    def fit(n, i, j, loss, near=None) -> Fit:
        return fit_competition(n, i, j, loss, fits["text"], fits["speech"], near)

    whole = fit(*inputs, loss)
    draws = bootstrap(fit, inputs, loss, whole, DRAWS)
    return {
        name: (whole[name], *np.quantile([draw[name] for draw in draws], [0.025, 0.975]))
        if draws
        else (whole[name], np.nan, np.nan)
        for name in whole.parameters
    }


def table(records: Records) -> pd.DataFrame:
    """The data of the figure: `held_out` and, where it is fitted, a line per parameter of `competition` with its
    interval.
    """
    frame = held_out(records)
    lines = [
        {"row": JOINT, "loss": f"competition {name}", "value": value, "low": low, "high": high}
        for name, (value, low, high) in (competition(frame) or {}).items()
    ]
    return pd.concat([frame, pd.DataFrame(lines)]) if lines else frame


def _words(frame: pd.DataFrame) -> str:
    if frame.groupby(["loss", "row"]).parameters.nunique().max() < SIZES:
        return f"fewer than {SIZES} sizes: a curve, no law; at equal steps a larger model may only be less trained"
    return "lines over all parameters: L(N) = E + A / N^α with 95 % bootstrap bands over runs"


def _competition_words(frame: pd.DataFrame) -> str:
    """The fitted competition, or what it still needs; nothing for a sweep without the three rows it compares."""
    if not {*ALONE, JOINT} <= set(frame.row):
        return ""
    parameters = competition(frame)
    if parameters is None:
        return "\nsynergy and competition are not fitted: " + (", ".join(missing(frame)) or "6 joint runs") + " needed"
    values = "   ".join(
        f"{name} {value:.3g} [{low:.3g}, {high:.3g}]" for name, (value, low, high) in parameters.items()
    )
    return f"\njoint: mean of both laws alone − C + A / N^α + B / D^β, with 95 % intervals:\n{values}"
