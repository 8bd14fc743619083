"""Simulations of the statistics on planted data, as sheets: every figure beside its bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from analysis.statistics import simulate
from analysis.statistics.simulate import ERRORS, Figure, Line, Watch
from analysis.tables.sheet import Sheet


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """One table; pairs are of the whole version and of the quick one."""

    title: str
    run: Callable[[int, bool, Watch], list[Line]]
    settings: tuple[str, ...]
    figures: tuple[str, ...]
    note: str
    draws: tuple[int, int]
    """For each cell."""
    seconds: tuple[float, float]
    """Roughly, on one core."""


SIMULATIONS = {
    "clusters": Simulation(
        title="Clusters: share of intervals that cover the truth",
        run=simulate.clusters,
        settings=("seeds", "cells"),
        figures=("least", "most", "mean", "least over seeds alone"),
        note="Two rows, 300 test items in unequal clusters (Dirichlet 3); cells are 5, 8, 14 and 40 clusters, "
        "intraclass correlation 0, .02, .055 and .1, spread between leaves .3, 1 and 3 times the error through "
        "independent items, a fifth, half and four fifths of an item's variance each model's own.",
        draws=(2000, 800),
        seconds=(90, 3),
    ),
    "nested": Simulation(
        title="Several fine-tunings of a leaf: share of intervals that cover the truth, and their width",
        run=simulate.nested,
        settings=("seeds", "fine-tunings"),
        figures=("least", "most", "width at ratio 1", "at ratio 2", "at ratio 4"),
        note="Ratio: standard deviation between fine-tunings of one leaf over that between pre-trainings, which is the "
        "error through independent items. Width: mean half-width over that of one fine-tuning. 14 clusters, intraclass "
        "correlation .02.",
        draws=(4000, 800),
        seconds=(20, 2),
    ),
    "pairs": Simulation(
        title="Pairs by design and Welch: share of intervals that cover the truth",
        run=simulate.pairs,
        settings=("seeds", "correlation"),
        figures=("paired", "Welch", "width paired / Welch"),
        note="Correlation of the two rows' leaves of one seed through their trunk. At correlation 0 a pair is one by "
        "seed number alone: the width is what that would cost. Spread between leaves is 4 times the error through "
        "independent items; 14 clusters, intraclass correlation .055.",
        draws=(4000, 1000),
        seconds=(7, 2),
    ),
    "looks": Simulation(
        title="Looks: share of families with any false verdict",
        run=simulate.several,
        settings=("claims", "true effects"),
        figures=("looks at 5 and 8", "8 seeds at once", "3, 5 and 8, each at full level"),
        note="Claims that rows are above one reference, with a margin of 2 standard deviations between leaves, or, at "
        "the edge, within ± 3. False are a difference at 0 or of the other sign, and “equivalent” at the margin or "
        "edge. Mixed: 0, at the margin, 6 and at the edge, in turn.",
        draws=(10000, 1000),
        seconds=(90, 3),
    ),
    "until": Simulation(
        title="--until-decided against eight seeds at once",
        run=simulate.until,
        settings=("rows", "claims", "effect"),
        figures=("any false", "power at once", "power", "power lost", "seeds saved", "given up at 3", "at 5"),
        note="Effect in standard deviations between leaves, of every claim of the family; all rows against one "
        "reference, paired with trunks that correlate by .5. Power: true verdicts. Margin 3: unpaired, with that "
        "margin: “equivalent” is true at effect 0 and false at 3. Seeds: of all rows.",
        draws=(5000, 1000),
        seconds=(70, 2),
    ),
}


def sheet(name: str, quick: bool = False, watch: Watch = lambda done, cells: None) -> tuple[Sheet, bool]:
    """Run one simulation; return what was found, and whether all its bars were kept."""
    about = SIMULATIONS[name]
    draws = about.draws[quick]
    lines = about.run(draws, quick, watch)
    columns = [[line.figures[at] for line in lines] for at in range(len(about.figures))]
    bars = [{_bar(figure) for figure in column} for column in columns]
    heads = [
        f"{head} ({next(iter(of))})" if of != {""} and len(of) == 1 else head for head, of in zip(about.figures, bars)
    ]
    error = max(figure.error for column in columns for figure in column if figure.barred)
    values = []
    for line in lines:
        setting = "; ".join(f"{name} {value}" for name, value in zip(about.settings, line.setting))
        for head, figure in zip(about.figures, line.figures):
            ends = (bar if math.isfinite(bar) else None for bar in (figure.least, figure.most))
            kept = figure.kept if figure.barred else None
            values.append([name, setting, head, figure.value, figure.error, *ends, kept, draws])
    return Sheet(
        name=f"simulated_{name}",
        title=about.title,
        heads=(*about.settings, *heads, "kept"),
        lines=[
            [
                *line.setting,
                *(_text(figure, shown=len(of) > 1) for figure, of in zip(line.figures, bars)),
                "yes" if line.inside else "within error" if line.kept else "NO",
            ]
            for line in lines
        ],
        note=f"{about.note} {draws:,} draws a cell. In brackets the bars. Within error: beyond one by no more than "
        f"{ERRORS:g} Monte-Carlo standard errors, of which the largest here is {_number(error)}.",
        fields=("simulation", "setting", "figure", "value", "standard_error", "least", "most", "kept", "draws"),
        values=values,
    ), all(line.kept for line in lines)


def _text(figure: Figure, shown: bool) -> str:
    """A figure and, if it is to be shown, its bar in brackets."""
    return _number(figure.value) + (f" ({_bar(figure)})" if shown and figure.barred else "")


def _bar(figure: Figure) -> str:
    bars = ((sign, bar) for sign, bar in (("≥", figure.least), ("≤", figure.most)) if math.isfinite(bar))
    return ", ".join(f"{sign} {bar:g}".replace("0.", ".", 1) for sign, bar in bars)


def _number(value: float) -> str:
    """Three decimals, and no zero before the point."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.2f}"
