"""Gradient interference: do two losses pull the shared layers in the same direction, and does that predict harm?

The probe of `ablate.training.conflict` omits a cosine where too little of a gradient is reproduced on the other half of
its data. Nothing is filled in here: a cell without any measurement says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import look
from analysis.figures.curves import CONFLICT, of_metrics, pretraining_curves
from analysis.figures.interference import harm
from analysis.records.frame import Records
from analysis.records.manifest import trunks
from analysis.statistics import wording

COLUMNS = ["row", "point", "seed", "step", "kind", "scope", "pair", "what", "value"]
CEILING = 0.1
"""Reproducible share of a gradient below which `ablate.training.conflict` omits its cosines."""
FEWEST = 4
"""Number of rows below which no rank correlation is reported."""


def read_probes(records: Records, curves: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every value that a probe logged, with columns `COLUMNS`; probes of a row's parents are excluded.

    `kind` is "raw" or "adam". `what` is "cosine" or "magnitude" of a `pair` "i~j", or "ceiling" of one objective.
    """
    curves = pretraining_curves(records) if curves is None else curves
    own = {(line["row"], id) for line in records.manifest for id in trunks(line)[-1:]}
    frame = of_metrics(curves, lambda name: name.startswith(CONFLICT))
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    frame = frame[np.array([pair in own for pair in zip(frame.row, frame.stage)], dtype=bool)]
    parts = frame.metric.str.removeprefix(CONFLICT).str.split("/", expand=True)
    if parts.shape[1] != 4:  # nothing logged
        return pd.DataFrame(columns=COLUMNS)
    names = dict(zip(range(4), ("kind", "scope", "pair", "what")))
    return pd.concat([frame.drop(columns="metric"), parts.rename(columns=names)], axis=1)[COLUMNS]


def crosses(pair: str) -> bool:
    """Whether a pair has one speech-only and one text-only objective, by their names."""
    sides = [_modality(name) for name in pair.split("~")]
    return sorted(sides) == ["speech", "text"]


def _modality(objective: str) -> str:
    if objective.startswith(("tlm", "stm", "pair")):
        return "pair"
    return "text" if "text" in objective else "speech"


def against_harm(records: Records, probes: pd.DataFrame) -> pd.DataFrame:
    """Per task and joint row: its mean speech–text cosine of raw gradients, and the harm to the task; `matched` as in
    `harm`.
    """
    raw = probes[(probes.kind == "raw") & (probes.scope == "all") & (probes.what == "cosine")]
    cosines = raw[raw.pair.map(crosses).astype(bool)].groupby("row").value.mean()
    done = harm(records)
    done = done[(done.part == "total") & done.row.isin(cosines.index)].dropna(subset=["mean"])
    return done.assign(cosine=done.row.map(cosines))[["task", "row", "matched", "cosine", "mean", "low", "high"]]


def figure(records: Records) -> Figure | None:
    """Draw the gradient figure: heat map over layers, cosines over steps, cosine against harm; None without probes."""
    probes = read_probes(records)
    pairs_of = probes[probes.what == "ceiling"].groupby("row").pair.nunique()
    shown = [row for row in records.rows if pairs_of.get(row, 0) > 1]
    if not shown:
        return None
    row = max(shown, key=lambda name: pairs_of[name])  # the row with most pairs; the first of equals
    own = probes[probes.row == row]
    scopes = list(dict.fromkeys(own.scope))
    maps, curves = 2 * (0.5 + 0.125 * len(scopes)), 2 * 1.4
    whole = look.plt.figure(figsize=(look.COLUMN, maps + curves), layout="constrained")
    upper, lower = whole.subfigures(2, 1, height_ratios=[maps, curves])
    (raw, adam), (steps, harms) = upper.subplots(2, 1), lower.subplots(2, 1)
    draw_layers(own[own.kind == "raw"], scopes, raw, "cosine of raw gradients")
    draw_layers(own[own.kind == "adam"], scopes, adam, "cosine as scaled by Adam")
    draw_steps(own[own.scope == "all"], steps)
    against = against_harm(records, probes)
    draw_harm(records, against, harms)
    hollow = "; hollow below: other pre-training steps than the single-modality row, not in the correlations"
    note = f"shared parameters of the row “{records.label(row)}”. {_note(own)}"
    look.note(whole, note + ("" if against.matched.astype(bool).all() else hollow))
    return whole


def _pairs(frame: pd.DataFrame) -> list[str]:
    names = list(dict.fromkeys(frame[frame.what == "ceiling"].pair))
    return [f"{i}~{j}" for k, i in enumerate(names) for j in names[k + 1 :]]


def _short(pair: str) -> str:
    return "\n".join(name.removeprefix("masked_").replace("contrastive", "contr.") for name in pair.split("~"))


def draw_layers(frame: pd.DataFrame, scopes: list[str], axes: Axes, title: str) -> None:
    """Draw mean cosines, scope × pair: in italics where some probes omitted them, a dot where all did."""
    pairs, probes = _pairs(frame), frame[["step", "seed", "point"]].drop_duplicates().shape[0]
    cosines = frame[frame.what == "cosine"].groupby(["scope", "pair"]).value
    means = cosines.mean().unstack().reindex(index=scopes, columns=pairs)
    counts = cosines.size().unstack().reindex(index=scopes, columns=pairs).fillna(0)
    numbers = means.to_numpy(float)
    texts = np.vectorize(lambda v: "·" if np.isnan(v) else wording.number(v, 2, signed=True))(numbers)
    cells = look.heat(axes, numbers, texts, "RdBu")
    for (y, x), cell in cells.items():
        if counts.iloc[y, x] < probes:
            cell.set_style("italic")
    axes.set_xticks(np.arange(len(pairs)) + 0.5, [_short(pair) for pair in pairs], rotation=0)
    axes.set_yticks(np.arange(len(scopes)) + 0.5, [_indented(scope) for scope in scopes], ha="left", rotation=0)
    axes.tick_params(axis="y", pad=44)
    axes.set_title(title)


def _indented(scope: str) -> str:
    if scope == "all":
        return "all shared"
    layer, _, part = scope.partition(".")
    return f"    {part}" if part else f"{layer.replace('_', ' ')}"


def draw_steps(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw each pair's cosine over steps, mean over seeds: raw solid, Adam's dashed and hollow; gaps are omitted
    cosines.
    """
    pairs = _pairs(frame)
    styles = look.row_styles(pairs)
    for kind, dash, fill in (("raw", "-", None), ("adam", "--", "white")):
        for pair in pairs:
            own = frame[(frame.kind == kind) & (frame.pair == pair) & (frame.what == "cosine")]
            mean = own.groupby("step").value.mean().reindex(sorted(frame.step.unique()))
            if mean.notna().any():
                label = _short(pair).replace("\n", " ~ ") if kind == "raw" else None
                style = styles[pair]
                axes.plot(
                    mean.index,
                    mean,
                    ls=dash,
                    color=style["color"],
                    marker=style["marker"],
                    mfc=fill or style["color"],
                    label=label,
                )
    axes.axhline(0, color="0.3", lw=0.6, zorder=0)
    axes.set_ylim(-1, 1)
    axes.set_xlabel("step (hollow: as scaled by Adam)")
    axes.set_title("cosine over training, all shared")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.5)
    else:
        axes.text(
            0.5,
            0.6,
            "every cosine is left out:\nno gradient is reproduced",
            transform=axes.transAxes,
            ha="center",
            color=look.GREY,
        )


def draw_harm(records: Records, frame: pd.DataFrame, axes: Axes) -> None:
    """Draw each joint row's speech–text cosine against harm, as a share of the task's largest, with rank correlations.

    Rows with other pre-training steps than the single-modality row are hollow and in no correlation: their harm also
    comes from the difference in steps.
    """
    axes.set_title("does the cosine predict harm?")
    axes.set_xlabel("mean speech–text cosine of a row")
    axes.set_ylabel("harm, of the task's largest")
    axes.axhline(0, color="0.3", lw=0.6, zorder=0)
    axes.set_ylim(-1.15, 1.15)
    styles = look.row_styles(list(dict.fromkeys(frame.task)))
    for task, own in frame.groupby("task", sort=False):
        largest, style = max(own["mean"].abs().max(), 1e-9), styles[task]
        fair = own.matched.to_numpy(bool)
        rank = spearman(own.cosine.to_numpy()[fair], own["mean"].to_numpy()[fair])
        label = look.wrapped(
            records.task_label(task) + ("" if np.isnan(rank) else f" {wording.number(rank, 2, True)}"), 1.0
        )
        y, mark = own["mean"] / largest, {"ls": "none", "marker": style["marker"], "color": style["color"]}
        axes.plot(own.cosine[fair], y[fair], **mark, ms=4, mec="white", mew=0.4, label=label)
        axes.plot(own.cosine[~fair], y[~fair], **mark, ms=3.4, mfc="white", mew=0.7)
    if frame.empty:
        axes.text(0.5, 0.6, "no row has both", transform=axes.transAxes, ha="center", color=look.GREY)
        return
    rows = frame[frame.matched.astype(bool)].row.nunique()
    if rows >= FEWEST:
        heading = f"ρ over {rows} rows\n(chance: up to ±{by_chance(rows):.1f})"
    else:
        heading = f"{rows or 'no'} matched row{'s' * (rows != 1)}:\ntoo few for a correlation"
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=0.8, title=heading)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation; NaN for fewer than `FEWEST` points or where one of the two does not vary."""
    from scipy.stats import rankdata

    if len(x) < FEWEST or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def by_chance(n: int) -> float:
    """Absolute rank correlation that `n` unrelated points exceed about once in twenty (by Student's t; at most 1)."""
    from scipy.special import stdtrit

    t = stdtrit(n - 2, 0.975)
    return float(t / np.sqrt(n - 2 + t**2))


def _note(frame: pd.DataFrame) -> str:
    """Say how many cosines were omitted, and say it first where it is nearly all of them."""
    ceilings = frame[frame.what == "ceiling"]
    objectives = ceilings.groupby(["kind", "scope", "step", "seed", "point"]).pair.nunique()
    possible = int((objectives * (objectives - 1) // 2).sum())
    measured = int((frame.what == "cosine").sum())
    share = 1 - measured / max(possible, 1)
    note = (
        f"{100 * share:.0f} % of {possible} cosines left out: under {CEILING:g} of a gradient is reproduced on "
        "other data (a dot: in every probe; italic: in some). Both raw and Adam's are corrected for noise; "
        "1 is the same direction"
    )
    return ("Nearly everything is noise at this size. " if share > 0.9 else "") + note
