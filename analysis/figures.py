"""How every figure looks: theme, one look per row in all figures, and how figures are saved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from analysis.frame import Measure, Records

DPI = 130
GREY = "0.45"
AT_MOST = 16
"""Rows in a figure: more than these cannot be told apart. The data beside the figure have all."""
NAMES = {"wer": "WER", "cer": "CER", "ser": "SER", "bleu": "BLEU", "chrf": "chrF"}


def theme() -> None:
    """Set the look of all figures: small type, thin axes, colours that colour-blind readers tell apart."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc={
        "font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "xtick.major.width": 0.7,
        "ytick.major.width": 0.7, "legend.frameon": False, "savefig.dpi": DPI, "pdf.fonttype": 42,
    })  # fmt: skip


def readable(records: Records, rows: Iterable[str]) -> list[str]:
    """Rows for a figure, in their order: all up to `AT_MOST`, else the table's references and then the first of the rest."""
    rows, about = list(rows), records.sweep.get("table") or {}
    references = [about.get("compare_with"), *(block.get("reference") for block in about.get("blocks") or ())]
    shown = set(list(dict.fromkeys([*(row for row in references if row in rows), *rows]))[:AT_MOST])
    return [row for row in rows if row in shown]


def left_out(shown: int, rows: int, which: str = "references and first") -> str:
    """What a figure that shows some of its rows says of the others; "" where it shows all."""
    return f"{which} {shown} of {rows} rows; the data beside this figure have all" if shown < rows else ""


def row_styles(rows: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give every row a colour, a dash and a marker; neighbours differ in all three, so grey prints stay readable."""
    colours, dashes, markers = sns.color_palette("colorblind", 10), ["-", "--", "-.", ":"], "osD^vPX<>*"
    looks = zip(cycle([c for k, c in enumerate(colours) if k != 7]), cycle(dashes), cycle(markers))
    return {row: {"color": c, "linestyle": d, "marker": m} for row, (c, d, m) in zip(rows, looks)}


def metric_name(what: Measure) -> str:
    """Name of a metric as an axis says it, with its direction."""
    name = NAMES.get(what.metric, what.metric.replace("_", " "))
    arrow = {"lower": " ↓", "higher": " ↑", "": ""}[what.better]
    return f"{name}{f' ({what.unit})' if what.unit else ''}{arrow}"


def grid(panels: int, columns: int, width: float, height: float) -> tuple[Figure, list]:
    """Make a figure with `panels` axes in rows of at most `columns`, each `width` x `height` inches."""
    columns = min(columns, panels)
    lines = -(-panels // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(columns * width, lines * height), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for spare in flat[panels:]:
        spare.set_axis_off()
    return figure, flat[:panels]


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF and close it; the PDF carries no date, so equal figures are equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", name)
    paths = [folder / f"{stem}.png", folder / f"{stem}.pdf"]
    figure.savefig(paths[0])
    figure.set_layout_engine("none")  # keep the layout just made: making it again for the PDF takes as long as drawing
    figure.savefig(paths[1], metadata={"CreationDate": None})
    plt.close(figure)
    return paths
