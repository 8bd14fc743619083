"""How every figure looks: theme, one look per row in all figures, and how figures are saved.

A figure is as wide as one column of a paper, at printed size. Lines differ in dash or marker, so that they can be told
apart without colour. Colour maps are monotone in brightness, or show signed numbers.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.text import Text

from ablate.store import files
from analysis.figures import fonts
from analysis.records.frame import Measure, Records
from analysis.statistics import wording

COLUMN = 3.3
"""Width of every figure in inches: one column of a two-column paper, without scaling."""
SMALLEST = 6.0
"""Smallest font size in a figure, in points."""
DPI = 300
LINE = 0.125
"""Height of a line of a legend or a note, in inches."""
GREY = "0.4"
AT_MOST = 16
"""Maximum number of rows in a figure: more cannot be told apart. The data beside the figure have all."""
DASHES = ("-", "--", "-.", ":", (0, (7, 1.5)), (0, (4, 1, 1, 1, 1, 1)), (0, (1, 2.5)), (0, (3, 1, 3, 1, 1, 1)))
MARKERS = "osD^vPX<>*"
COLOURS = ("#0173b2", "#c77a00", "#02865f", "#c04f00", "#b35fa5", "#7a5230", "#c2557f", "#857900", "#2b86c0")
"""Seaborn's "colorblind", the light ones darkened: each has a contrast of at least 3 to 1 on white, also in greyscale.
"""


def theme(letters: frozenset[str] = frozenset()) -> None:
    """Set the look of all figures: fonts and lines for one column, colours that colour-blind readers can tell apart.

    Nothing of the user's own matplotlibrc counts: figures look the same for everybody. Of `letters`, those that the
    usual font lacks are taken from other installed fonts.
    """
    matplotlib.rcdefaults()
    sns.set_theme(
        context="paper",
        style="ticks",
        palette=COLOURS,
        rc={
            "font.family": [fonts.USUAL, *fonts.fallbacks(letters)[0]],
            "font.size": 6.5,
            "axes.titlesize": 7,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 3,
            "axes.labelsize": 6.5,
            "axes.labelpad": 2,
            "xtick.labelsize": 6.2,
            "ytick.labelsize": 6.2,
            "legend.fontsize": 6.5,
            "legend.title_fontsize": 6.5,
            "figure.labelsize": 6.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.major.size": 2,
            "ytick.major.size": 2,
            "xtick.major.pad": 1.5,
            "ytick.major.pad": 1.5,
            "lines.linewidth": 1.0,
            "lines.markersize": 3.2,
            "legend.frameon": False,
            "figure.constrained_layout.h_pad": 0.025,
            "figure.constrained_layout.w_pad": 0.025,
            "savefig.dpi": DPI,
            "pdf.fonttype": 42,
            "axes.unicode_minus": True,
            "axes.formatter.useoffset": False,
            "text.parse_math": False,  # "$" is a dollar
        },
    )


def readable(records: Records, rows: Iterable[str], at_most: int = AT_MOST) -> list[str]:
    """Rows for a figure, in their order: all up to `at_most`, else the table's references and then the first others."""
    rows, about = list(rows), records.sweep.get("table") or {}
    references = [about.get("compare_with"), *(block.get("reference") for block in about.get("blocks") or ())]
    shown = set(list(dict.fromkeys([*(row for row in references if row in rows), *rows]))[:at_most])
    return [row for row in rows if row in shown]


def left_out(shown: int, rows: int, which: str = "references and first") -> str:
    """Say how many rows a figure leaves out; "" where it shows all."""
    return f"{which} {shown} of {rows} rows; the data beside this figure have all" if shown < rows else ""


def over_how_many(records: Records, counts: Iterable[float], what: str = "95 % intervals") -> str:
    """Say over how many seeds intervals or means are taken; `counts` are the numbers of finished seeds of what is
    shown.
    """
    if len(records.seeds) == 1:
        return "one seed: no intervals" if what.endswith("intervals") else ""
    numbers, of = sorted({int(n) for n in counts if n > 0}) or [0], len(records.seeds)
    if numbers == [of]:
        return f"{what} over {of} seeds"
    return f"{what} over {numbers[0]}{f' to {numbers[-1]}' if len(numbers) > 1 else ''} of {of} seeds"


def row_styles(rows: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give every row a colour, a dash and a marker; neighbours differ in all three, so greyscale prints stay
    readable.
    """
    looks = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS))
    return {row: {"color": c, "linestyle": d, "marker": m} for row, (c, d, m) in zip(rows, looks)}


def looks(records: Records, rows: Sequence[str], points: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """A look per row and point of the axes: with several points, the marker shows the point, colour and dash the row.

    In a sweep with few enough rows, a row looks the same in all figures, whichever rows they show.
    """
    several = len(points) > 1
    distinct = len(DASHES) if several else math.lcm(len(DASHES), len(MARKERS))
    styles = row_styles(records.rows if len(records.rows) <= distinct else rows)
    marks = [{"marker": mark} if several else {} for _, mark in zip(points, cycle(MARKERS))]
    return {(row, point): styles[row] | mark for row in rows for point, mark in zip(points, marks)}


def keys(records: Records, rows: Sequence[str], points: Sequence[str]) -> list[Line2D]:
    """Legend entries of `looks`: a line per row and, with several points, a marker per point."""
    own, several = looks(records, rows, points), len(points) > 1
    lines = [
        Line2D([], [], **own[row, points[0]] | ({"marker": ""} if several else {}), label=records.label(row))
        for row in rows
    ]
    marks = [own[rows[0], point]["marker"] for point in points] if several else []
    return lines + [
        Line2D([], [], color="0.3", ls="none", marker=mark, label=point.replace("=", " "))
        for point, mark in zip(points, marks)
    ]


def metric_name(what: Measure) -> str:
    """Axis label of a metric, with its direction."""
    arrow = {"lower": " ↓", "higher": " ↑", "": ""}[what.better]
    return f"{wording.metric(what.metric)}{f' ({what.unit})' if what.unit else ''}{arrow}"


def grid(panels: int, height: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Make a figure of `panels` axes, each `height` inches high, `columns` side by side where there are several."""
    columns = min(columns, panels)
    lines = -(-panels // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(COLUMN, lines * height), squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for spare in flat[panels:]:
        spare.set_axis_off()
    for used in flat[:panels]:
        used.locator_params(nbins=4)
    return figure, flat[:panels]


def apart(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis, at least a hundredth of the larger one apart, or 0.1 around 0: closer ones would be told apart
    by digits that nobody reads.
    """
    least = 0.01 * max(abs(low), abs(high)) or 0.1
    if high - low >= least:
        return low, high
    middle = (low + high) / 2
    return middle - least / 2, middle + least / 2


def below(panels: Sequence[Axes], columns: int = 2) -> Sequence[Axes]:
    """The panels of a `grid` that have none below them: they carry the label of the shared x axis."""
    return panels[-min(columns, len(panels)) :]


def wide(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches."""
    return _wide(text, size, weight, tuple(matplotlib.rcParams["font.family"]))


@functools.lru_cache(maxsize=4096)
def _wide(text: str, size: float, weight: str, families: tuple[str, ...]) -> float:
    font = get_font([findfont(FontProperties(family=[family], weight=weight)) for family in families])
    font.set_size(size, DPI)
    font.set_text(text)
    return font.get_width_height()[0] / 64 / DPI


def wrapped(text: str, width: float, size: float = 6.5, weight: str = "normal") -> str:
    """Break text so that each line is at most `width` inches wide: between words, a longer word anywhere."""
    lines = []
    for line in text.splitlines():
        lines.append("")
        for number, word in enumerate(line.split(" ")):
            if number and wide(f"{lines[-1]} {word}", size, weight) <= width:
                lines[-1] += f" {word}"
                continue
            lines += [""] * bool(number)
            if wide(word, size, weight) <= width:
                lines[-1] += word
                continue
            for letter in word:
                if lines[-1] and wide(lines[-1] + letter, size, weight) > width:
                    lines.append("")
                lines[-1] += letter
    return "\n".join(lines)


def title(axes: Axes, text: str, width: float = COLUMN / 2 - 0.32) -> None:
    """Title a panel, on several lines where one is not wide enough."""
    axes.set_title(wrapped(text, width, 7, "bold"))


def legend(figure: Figure, handles: Sequence[Line2D], note: str = "", where: str = "lower") -> None:
    """Add one legend for all panels, below or above ("upper") them, with a note in grey.

    It has as many columns of entries as fit.
    """
    handle, gap = 2.6 * 6.5 / 72, 0.05
    for key in handles:
        label = key.get_label()
        shown = f" {label}" if label.startswith("_") else label  # matplotlib leaves out those that begin with "_"
        key.set_label(wrapped(shown, COLUMN - handle - 0.2))
    entry = handle + gap + max(wide(line, 6.5) for key in handles for line in key.get_label().splitlines())
    columns = min(len(handles), max(1, int((COLUMN + 0.05) / (entry + 0.1))))
    lines = -(-len(handles) // columns) + max(key.get_label().count("\n") for key in handles)
    note = wrapped(note, COLUMN - 0.25)
    made = figure.legend(
        handles=handles,
        loc=f"outside {where} center",
        ncols=columns,
        handlelength=2.6,
        columnspacing=1.0,
        handletextpad=0.5,
        labelspacing=0.25,
        borderpad=0.1,
        title=note or None,
        borderaxespad=0.2,
    )
    made.get_title().set(color=GREY, multialignment="center")
    _taller(figure, lines + (note.count("\n") + 1 if note else 0))


def note(figure: Figure, text: str) -> None:
    """Add a note in grey below the panels of a figure that has no legend there, wrapped to the column."""
    text = wrapped(text, COLUMN - 0.25)
    figure.supxlabel(text, color=GREY, size=6.5)
    _taller(figure, text.count("\n") + 1)


def heat(axes: Axes, values: np.ndarray, texts: np.ndarray, cmap: str) -> dict[tuple[int, int], Text]:
    """Draw cells by their values between −1 and 1, each with its signed number; return these numbers by (line, column).

    In greyscale both ends are dark: the shade shows the size, the number the sign. Text is dark on all shades.
    """
    sns.heatmap(
        np.nan_to_num(values),
        annot=texts,
        fmt="",
        cmap=cmap,
        vmin=-2,
        vmax=2,
        cbar=False,
        ax=axes,
        linewidths=0.6,
        xticklabels=False,
        yticklabels=False,
        annot_kws={"size": 6.5, "color": "0.15"},
    )
    axes.tick_params(length=0)
    return dict(zip(np.ndindex(*texts.shape), axes.texts))


def _taller(figure: Figure, lines: int) -> None:
    """Make a figure taller by a number of text lines, so that the panels keep their height."""
    figure.set_figheight(figure.get_figheight() + lines * LINE + 0.04)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF and close it; the PDF carries no date, so equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", name)
    paths = [folder / f"{stem}.png", folder / f"{stem}.pdf"]
    figure.set_dpi(DPI)
    figure.canvas.draw()  # `savefig` would draw each file twice, and lay out again for the PDF
    with files.beside(paths[0], durable=False) as part:
        imsave(part, figure.canvas.buffer_rgba(), format="png", dpi=DPI)
    figure.set_layout_engine("none")
    with files.beside(paths[1], durable=False) as part:
        FigureCanvasPdf(figure).print_pdf(part, metadata={"CreationDate": None})
    plt.close(figure)
    return paths
