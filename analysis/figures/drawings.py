"""Every figure of a report: what it shows, what it is drawn from, and whether it must be drawn again.

Drawing is most of the work of a report. A figure is drawn from stages of certain kinds. While their results, the plan
and the code are unchanged, its files are left as they are. Where a result has changed, the figure's data may have
changed: they are compared, and the figure is drawn again only if data, plan or code differ.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pandas import DataFrame, concat

from analysis.records.files import save_text
from analysis.records.fingerprint import fingerprint, named
from analysis.records.frame import Records


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure on disk, with the data it was drawn from."""

    name: str
    title: str
    text: str
    png: Path
    pdf: Path
    csv: Path

    @property
    def paths(self) -> list[Path]:
        return [self.png, self.pdf, self.csv]


TUNING, TRAINING, SCORES = ("pretrain", "finetune"), ("pretrain",), ("pretrain", "score")
FIGURES = {  # name -> (title, what it shows, kinds of the stages it is drawn from)
    "interference": (
        "Interference",
        "What joint training costs each task against the row trained on its own modality alone.",
        ("score",),
    ),
    "harm_over_training": (
        "Interference over training",
        "Harm by step: in the best dev score so far, and in a pre-training loss.",
        TUNING,
    ),
    "gradients": (
        "Gradient interference",
        "Cosine of the gradients of every pair of losses over the shared layers, and whether it predicts harm.",
        SCORES,
    ),
    "layers": (
        "Representation by layer",
        "Alignment of speech and text, linear probes, and what matching speech tells about masked text, by layer.",
        ("score",),
    ),
    "capacity": ("Capacity", "Metrics, and the gap between joint and single-modality rows, by encoder size.", SCORES),
    "losses": (
        "Held-out losses",
        "Likelihoods of fixed targets by encoder size, with a fitted law where there are enough sizes.",
        ("pretrain", "heldout"),
    ),
    "frontier": ("Frontier", "How rows trade one measure for another.", ("score",)),
    "pretraining": (
        "Pre-training",
        "Training metrics of each objective; a continuing row branches from its parent.",
        TRAINING,
    ),
    "finetuning": (
        "Fine-tuning",
        "Dev score over fine-tuning steps; the best step of each run is the one scored.",
        TUNING,
    ),
}
BEYOND = {"gradients", "layers", "capacity", "frontier"}
"""Figures that show something that is not in their data file: equal data do not mean an equal figure."""


class Key(NamedTuple):
    """What a figure was drawn from."""

    stages: str
    """Fingerprint of the stages it is drawn from."""
    data: str = ""
    """Name of its data by content; "" for a figure that the records have no data for."""


def stages(records: Records) -> dict[str, str]:
    """Fingerprint of the stages that each figure is drawn from, by figure."""
    return {name: fingerprint(records, kinds) for name, (_, _, kinds) in FIGURES.items()}


def draw(records: Records, stages: dict[str, str], before: dict[str, Key]) -> tuple[list[Drawing], dict[str, Key]]:
    """Draw every figure that the records have data for, and write its data beside it.

    Returns the figures and their keys. A figure whose stages or data are the same as in `before` is not drawn again.
    """
    drawn, keys = [], {}
    for name, (title, text, _) in FIGURES.items():
        folder = records.folder / "figures"
        png, pdf, csv = (folder / f"{name}.{ending}" for ending in ("png", "pdf", "csv"))
        drawing = Drawing(name=name, title=title, text=text, png=png, pdf=pdf, csv=csv)
        last = before.get(name, Key(""))
        if last.data and not all(path.exists() for path in drawing.paths):
            last = Key("")
        keys[name] = last if last.stages == stages[name] else Key(stages[name], _drawn(records, drawing, last.data))
        if keys[name].data:
            drawn.append(drawing)
    records.logs.write()
    return drawn, keys


def amiss(records: Records) -> str:
    """Which letters of a sweep's labels no installed font has, in a sentence; "" where figures show all of them."""
    letters = _letters(records)
    if all(map(str.isascii, letters)):
        return ""  # without loading matplotlib
    from analysis.figures import fonts

    return fonts.told(fonts.fallbacks(letters)[1])


def _letters(records: Records) -> frozenset[str]:
    """All that labels of rows, points of axes and tasks are written with."""
    labels = [*map(records.label, records.rows), *records.points, *map(records.task_label, records.sweep["tasks"])]
    return frozenset("".join(labels))


def _drawn(records: Records, drawing: Drawing, before: str) -> str:
    """Draw one figure and write its data, unless it was drawn from the same data `before`; return the name of its
    data.
    """
    from analysis.figures import (
        capacity,
        curves,
        frontier,
        gradients,
        harm_over_training,
        interference,
        layers,
        look,
        losses,
    )

    made = {
        "interference": (interference.figure, interference.harm),
        "harm_over_training": (harm_over_training.figure, _panels),
        "gradients": (gradients.figure, gradients.read_probes),
        "layers": (layers.figure, layers.by_layer),
        "capacity": (capacity.figure, capacity.measurements),
        "losses": (losses.figure, losses.table),
        "frontier": (frontier.figure, frontier.frontier),
        "pretraining": (
            curves.pretraining,
            lambda records: _once(curves.averaged(curves.pretraining_curves(records)), "/"),
        ),
        "finetuning": (
            curves.finetuning,
            lambda records: _once(curves.averaged(curves.finetuning_curves(records)), "dev/"),
        ),
    }
    figure, data = made[drawing.name]
    text = functools.cache(lambda: data(records).to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    if before and drawing.name not in BEYOND and named(records, text()) == before:
        return before
    look.theme(_letters(records))
    drawn = figure(records)
    if drawn is None:
        return ""
    look.save(drawn, drawing.png.parent, drawing.name)
    save_text(drawing.csv, text())
    return named(records, text())


def _panels(records: Records) -> DataFrame:
    """The lines of all panels of the figure of harm over training, each with its panel's title."""
    from analysis.figures import harm_over_training

    panels = [frame.assign(panel=title) for title, (frame, _) in harm_over_training.curves(records).items()]
    return concat(panels) if panels else DataFrame()


def _once(curves: DataFrame, part: str) -> DataFrame:
    """Curves whose metric name contains `part`; a stage that rows share is there once, for the first, as in the
    figure.
    """
    from analysis.figures.curves import of_metrics

    return of_metrics(curves, lambda name: part in name).drop_duplicates(["stage", "step", "metric"])
