"""Sample test items: what the model was given, the reference, and the outputs of some rows."""

from __future__ import annotations

import base64
import difflib
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from analysis.records import inputs
from analysis.records.frame import Measure, Records
from analysis.records.inputs import BINS
from analysis.tables.cells import Cell, Table

SAMPLES = 4
"""Number of test items shown per task."""
FRAME = 0.01
"""Frame shift in seconds."""
ABOUT = {"id", "voice", "label", "snr"}
"""Fields of a corpus row that are not model input."""


def section(made: Table) -> str:
    """The first test items of each task, with the outputs of the reference row and of the best row; "" without any."""
    out, seen = [], set()
    for k, column in enumerate(made.columns):
        what = column.measure
        if what.task in seen:
            continue
        seen.add(what.task)
        answers = _answers(made, k)
        if answers:
            name = escape(made.records.task_label(what.task))
            out.append(f"<details><summary>{name}</summary>{_grid(made.records, what, answers)}</details>")
    return "".join(out)


def _answers(made: Table, k: int) -> dict[str, list[dict[str, Any]]]:
    """First items by row label: those of the reference row and of the best row, from the first finished seed."""
    reference, best = made.blocks[0].reference, made.best(k)
    answers: dict[str, list[dict[str, Any]]] = {}
    for line in made.lines:
        cell: Cell = line.cells[k]
        if cell.values and (line.row == reference or line is best):
            run = made.records.run(made.records.kind(made.columns[k].measure.task), cell.runs[min(cell.values)])
            items = [i for i in run.items() if i["split"] == made.columns[k].measure.split and "hypothesis" in i]
            if items:
                answers[line.label] = items[:SAMPLES]
    return answers


def _grid(records: Records, what: Measure, answers: Mapping[str, list[dict[str, Any]]]) -> str:
    """One line per item: its input where the corpus is available, the reference, and each row's output."""
    rows = inputs.first(records, what, SAMPLES)
    heads = ["item", *(["input"] if rows else []), "reference", *answers]
    lines = []
    for number, item in enumerate(next(iter(answers.values()))):
        reference = str(item["reference"])
        shown = [f"<td>{_input(rows.get(item['id'], {}), reference)}</td>"] if rows else []
        texts = [
            _marked(reference, str(items[number]["hypothesis"])) for items in answers.values() if number < len(items)
        ]
        cells = "".join([*shown, f"<td>{escape(reference)}</td>", *(f"<td>{text}</td>" for text in texts)])
        lines.append(f'<tr><th scope="row">{escape(str(item["id"]))}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    label = f"Sample predictions, {records.task_label(what.task)}"
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}"><table class="text">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _marked(reference: str, answer: str) -> str:
    """Mark the words of an output that differ from the reference; an output without words says so."""
    own = answer.split()
    if not own:
        return '<i class="note">nothing</i>'
    right = set()
    for block in difflib.SequenceMatcher(None, reference.split(), own, autojunk=False).get_matching_blocks():
        right.update(range(block.b, block.b + block.size))
    return " ".join(escape(word) if k in right else f"<mark>{escape(word)}</mark>" for k, word in enumerate(own))


def _input(row: Mapping[str, Any], reference: str) -> str:
    """What the model is given: the spectrogram of a spoken row, the texts of a written one."""
    texts = [text for key, text in row.items() if isinstance(text, str) and key not in ABOUT and text != reference]
    if "mel" not in row:
        return "<br>".join(escape(text) for text in texts)
    said = row.get("text", reference)
    picture = base64.b64encode(spectrogram(row["mel"].astype(np.float32), row.get("phones", ()))).decode()
    alt = f"Log-mel spectrogram, {len(row['mel']) * FRAME:.1f} s: {said}"
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(said)}</figcaption></figure>"
    )


def spectrogram(mel_TF: np.ndarray, phones: list) -> bytes:
    """Draw log-mel frames [T, bins] as PNG, seconds below and, where the corpus has them, phones above.

    Its width grows with the utterance: it stands in the page alone, which scrolls, and need not fit a column.
    """
    from analysis.figures import look

    seconds = len(mel_TF) * FRAME
    look.theme()
    figure, axes = look.plt.subplots(figsize=(max(1.3, 1.7 * seconds), 1.0), layout="constrained")
    axes.imshow(mel_TF.T, origin="lower", aspect="auto", extent=(0, seconds, 0, BINS), cmap="magma", rasterized=True)
    axes.set_yticks([])
    axes.set_xlabel("s", labelpad=0)
    if phones:
        above = axes.secondary_xaxis("top")
        above.set_xticks([start * FRAME for start, _ in phones], [name for _, name in phones], fontsize=6)
        above.tick_params(length=2, pad=1)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=125)
    look.plt.close(figure)
    return data.getvalue()
