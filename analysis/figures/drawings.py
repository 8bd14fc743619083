"""Every figure of a report: what it shows, what it is drawn from, and whether it has to be drawn again.

Drawing is most of the work of a report. A figure is drawn from stages of some kinds: while their results, the plan and
the code are what they were, its files stay as they are. Where one of those results is another, so may be the data; the
picture of the same data, plan and code stays as it is.
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
        "Harm by step: of the best dev score so far, and of a loss while pre-training.",
        TUNING,
    ),
    "gradients": (
        "Gradient interference",
        "Cosine of the gradients of every two losses over the shared layers, and whether it foretells harm.",
        SCORES,
    ),
    "layers": (
        "Representation by layer",
        "Alignment of speech and text, linear probes, and what true speech tells about masked text, over the layers.",
        ("score",),
    ),
    "capacity": ("Capacity", "Metrics, and the gap between joint and single-modality rows, by encoder size.", SCORES),
    "losses": (
        "Held-out losses",
        "Likelihoods of fixed targets by encoder size, with a fitted law where sizes suffice.",
        ("pretrain", "heldout"),
    ),
    "frontier": ("Frontier", "What rows trade of one measure for another.", ("score",)),
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
"""Figures that show something beyond the data beside them: those do not tell whether the picture is the same."""


class Key(NamedTuple):
    """What a figure was drawn from."""

    stages: str
    """Fingerprint of the stages of its kinds."""
    data: str = ""
    """Name of its data; "" for a figure that the records have nothing for."""


def stages(records: Records) -> dict[str, str]:
    """Fingerprint of the stages that each figure is drawn from."""
    return {name: fingerprint(records, kinds) for name, (_, _, kinds) in FIGURES.items()}


def draw(records: Records, stages: dict[str, str], before: dict[str, Key]) -> tuple[list[Drawing], dict[str, Key]]:
    """Draw every figure the records have something for, and write the data of each beside it.

    Returns the figures, and what each was drawn from: `stages` and data. What was drawn from the same `before` is left
    alone.
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


def _drawn(records: Records, drawing: Drawing, before: str) -> str:
    """Draw one figure and write its data, unless that is what it has been drawn of `before`; return the name of its
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
    look.theme()
    drawn = figure(records)
    if drawn is None:
        return ""
    look.save(drawn, drawing.png.parent, drawing.name)
    save_text(drawing.csv, text())
    return named(records, text())


def _panels(records: Records) -> DataFrame:
    """The lines of all panels of harm over training, each with its panel's title."""
    from analysis.figures import harm_over_training

    panels = [frame.assign(panel=title) for title, (frame, _) in harm_over_training.curves(records).items()]
    return concat(panels) if panels else DataFrame()


def _once(curves: DataFrame, part: str) -> DataFrame:
    """Curves whose metric's name has `part`; a stage that rows share is there once, for the first, as it is drawn."""
    from analysis.figures.curves import of_metrics

    return of_metrics(curves, lambda name: part in name).drop_duplicates(["stage", "step", "metric"])
