"""Compare rows with the paper's: the published values of Bapna et al. (2021) for the same losses in the same stages.

A row mirrors a row of the paper when its chain of stages holds the same objectives, whatever the row is called. It
mirrors none if its objectives are altered (placebo text, separated pairs, other speech targets), or if its encoder is
not the paper's (a Conformer whose layers speech and text share; an encoder class from elsewhere never is). The
published values are single runs of models of 600 M parameters on other data: signs and sizes of differences may be
compared, levels may not. They stand beside the built-in world, and beside data that `data.published` declares to be
the same corpora, never beside others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.records.frame import Measure, Records, measure
from analysis.statistics import compare, wording
from analysis.statistics.compare import Estimate
from analysis.tables.cells import Column, Line, Table
from analysis.tables.sheet import Sheet

FOLDER = Path(__file__).parent / "published"
SLAM = "contrastive+masked_speech+masked_text"
AS_PUBLISHED = {"text": "true", "pairs": "together", "targets": "learned", "diversity_over": "shard"}
"""Values that these settings of an objective must have, where it has them, for the row to mirror one of the paper's."""
TITLE = "Beside the paper: values published at 600 M parameters (Bapna et al. 2021)"
NOTE = (
    "Δ: against the row that mirrors SLAM, in the metric's good direction; ours with half of the 95 % interval over "
    "seeds, and not of one seed, as its sign may be chance. Listed are rows whose objectives and kind of encoder are "
    "the paper's. The published values are single runs of models of 600 M parameters on other data (LibriSpeech 960 h "
    "without a language model; "
    "SpeechStew; CoVoST 2, mean of four languages): compare the signs of the differences, not the levels. A row that "
    "read another text corpus than the SLAM row beside it has no difference."
)
WORLD = "Ours are of the built-in world, which is none of these corpora: its tasks are alike."
DATA = "The sweep declares its test sets to be those (data.published)."
FIELDS = (
    "row",
    "point",
    "task",
    "split",
    "metric",
    "ours",
    "ours_low",
    "ours_high",
    "seeds_done",
    "paper_row",
    "paper_table",
    "paper_column",
    "published",
    "delta",
    "delta_low",
    "delta_high",
    "published_delta",
    "published_parameters",
)


class Source(NamedTuple):
    """A published column that one of our metrics can be compared with."""

    metric: str
    file: str
    column: str
    head: str


BUILTIN = (
    Source("asr.wer", "librispeech", "test-other", "LibriSpeech test-other"),
    Source("translation.bleu", "covost2", "average", "CoVoST 2"),
)
"""Our columns beside the paper's, for the built-in world: the tasks are alike, the data are not."""
DECLARED = (
    Source("asr.test.wer", "librispeech", "test", "LibriSpeech test-clean"),
    Source("asr.test_unseen.wer", "librispeech", "test-other", "LibriSpeech test-other"),
    *(
        Source(f"speechstew.test_{name}.wer", "speechstew", column, f"SpeechStew {column}")
        for name, column in (
            ("ami_ihm", "AMI IHM"),
            ("ami_sdm1", "AMI SDM1"),
            ("common_voice", "Common Voice"),
            ("swbd", "SWBD"),
            ("ch", "CH"),
            ("tedlium", "TED-LIUM"),
            ("wsj", "WSJ"),
        )
    ),
)
"""For corpora that `data.published` declares to be those; a test set of SpeechStew is recognised by its name in
`data.tests`, without the prefix "speechstew.test_". CoVoST 2: see `_covost`.
"""
LANGUAGES = {"en_de": "De", "en_ca": "Ca", "en_ar": "Ar", "en_tr": "Tr"}


def sources(records: Records) -> list[Source]:
    """The published columns that may stand beside these records: those that their data are declared to be."""
    data = records.sweep.get("data") or {}
    if _builtin(records):
        return [*BUILTIN]
    declared = data.get("published") or ()
    listed = [source for source in DECLARED if source.file in declared]
    return listed + (_covost(data.get("directions") or ()) if "covost2" in declared else [])


def _covost(directions: Sequence[str]) -> list[Source]:
    """CoVoST 2's columns for these directions: the mean only for all of its four."""
    known = [one for one in directions if one in LANGUAGES]
    mean = {*directions} == {*LANGUAGES}
    return [Source("translation.test.bleu", "covost2", "average", "CoVoST 2")] * mean + [
        Source(
            f"translation.test{f'_{one}' if len(directions) > 1 else ''}.bleu",
            "covost2",
            LANGUAGES[one],
            f"CoVoST 2 {one}",
        )
        for one in known
    ]


def _builtin(records: Records) -> bool:
    return "builtin" in str((records.sweep.get("data") or {}).get("type", "")).lower()


def stages(records: Records, row: str) -> str | None:
    """Name a row by the objectives of its stages, oldest first, as in the published files; None if the paper has no
    such row.
    """
    about = records.rows.get(row)
    if about is None:  # a parent row that was removed from the sweep
        return None
    encoder, tags = about["encoder"], about.get("tags", {})  # earlier records have no tags
    if not about["steps"] or tags.get("encoder", "joint") != "joint" or encoder.get("block") != "conformer":
        return None
    if encoder.get("per_modality") or encoder.get("text_layers"):  # in the paper text passes only shared layers
        return None
    classes = tags.get("objectives", {})
    named = {classes.get(name, name): one for name, one in about["objectives"].items() if one["weight"]}
    for settings in named.values():
        if any(settings.get(key, value) != value for key, value in AS_PUBLISHED.items()):
            return None
    before = stages(records, about["after"]) if about["after"] else ""
    own = "+".join(sorted(named))
    return None if before is None else f"{before} > {own}" if before else own


def rows(file: str) -> dict[str, dict[str, str]]:
    """Lines of a published table by what they mirror; those that mirror nothing (other sizes, other text) are
    left out.
    """
    with open(FOLDER / f"{file}.csv", encoding="utf-8", newline="") as lines:
        return {line["stages"]: line for line in csv.DictReader(lines) if line["stages"]}


class _Pair(NamedTuple):
    """One of our columns with its published counterpart."""

    source: Source
    column: Column
    place: int
    published: dict[str, dict[str, str]]

    def value(self, mirrored: str) -> float | None:
        line = self.published.get(mirrored)
        return float(line[self.source.column]) if line else None

    def difference(self, mirrored: str) -> float | None:
        """The paper's difference from its SLAM row, positive when good; None if that row read another text corpus."""
        value, reference = self.value(mirrored), self.value(SLAM)
        if value is None or mirrored == SLAM or self.other_text(mirrored):
            return None
        return self.column.measure.sign * (value - reference)

    def other_text(self, mirrored: str) -> str:
        """The text corpus of a published row, if it is not that of the SLAM row beside it; else ''."""
        text, reference = (self.published.get(row, {}).get("text", "") for row in (mirrored, SLAM))
        return text if text and text != reference else ""


def sheet(table: Table) -> Sheet | None:
    """Print ours and theirs, one line per row that mirrors one of the paper's; None where none does."""
    records = table.records
    pairs = [pair for source in sources(records) for pair in _pairs(table, source)]
    lines = {(line.row, line.point): line for line in table.lines}
    mirrors = [
        (line, mirrored)
        for line in lines.values()
        if (mirrored := stages(records, line.row)) and any(p.value(mirrored) is not None for p in pairs)
    ]
    if not mirrors:
        return None
    alike = [line.row for line, mirrored in mirrors if mirrored == SLAM]  # includes rows with other weights
    reference = next(
        (row for row in alike if row in {block.reference for block in table.blocks}), next(iter(alike), None)
    )
    heads = ["", "in the paper"]
    for pair in pairs:
        name = f"{records.task_label(pair.column.measure.task)} {pair.column.title}"
        unit = wording.unit(pair.column.measure)
        points = f" ({unit})" if unit else ""
        heads += [name, f"{pair.source.head}, published", f"Δ ours{points}", f"Δ published{points}"]
    texts, values = [], []
    for line, mirrored in mirrors:
        model = next(p.published[mirrored]["model"] for p in pairs if mirrored in p.published)
        own = [_compared(table, pair, line, mirrored, reference) for pair in pairs]
        texts.append([line.label, model, *(text for entry in own for text in entry[0])])
        values += [entry[1] for entry in own]
    note = f"{NOTE} {WORLD if _builtin(records) else DATA}"
    return Sheet(name="published", title=TITLE, heads=heads, lines=texts, note=note, fields=FIELDS, values=values)


def _pairs(table: Table, source: Source) -> list[_Pair]:
    """Our columns for a published one: the metric on the task's first split, or on the named split; none where the
    table lacks it.
    """
    task, *split, _ = source.metric.split(".")
    scores = table.records.scores
    if task not in table.records.sweep["tasks"] or not {*split} <= {*scores.split[scores.task == task]}:
        return []
    what: Measure = measure(table.records, source.metric)
    return [
        _Pair(source, column, k, rows(source.file)) for k, column in enumerate(table.columns) if column.measure == what
    ]


def _published(pair: _Pair, mirrored: str, difference: float | None) -> str:
    """The paper's difference as text, or the reason why there is none."""
    if difference is None:
        other = pair.other_text(mirrored)
        return f"other text ({other})" if other else "—"
    return wording.number(difference, 1, signed=True)


def _ours(column: Column, difference: Estimate | None) -> str:
    """Our difference as text, or the reason why there is none."""
    if difference is None or difference.n < 2:
        return "one seed" if difference is not None and difference.n else "—"
    half = "" if math.isnan(difference.half) else f" ± {column.text(difference.half)}"
    return column.text(difference.mean, signed=True) + half


def _compared(table: Table, pair: _Pair, line: Line, mirrored: str, reference: str | None) -> tuple[list[str], list]:
    """Texts and values of one row in one pair of columns."""
    cell, what = line.cells[pair.place], pair.column.measure
    published, theirs = pair.value(mirrored), pair.difference(mirrored)
    ours = None
    if reference is not None and line.row != reference:
        ours = compare.delta(table.records, what, line.row, reference, line.point)
    texts = [
        cell.display(pair.column).replace("†", ""),
        "—" if published is None else f"{published:.1f}",
        "SLAM" if line.row == reference else _ours(pair.column, ours),
        "SLAM" if mirrored == SLAM else _published(pair, mirrored, theirs),
    ]
    paper = pair.published.get(mirrored, {})
    return texts, [
        line.row,
        line.point,
        what.task,
        what.split,
        what.metric,
        cell.estimate.mean,
        cell.estimate.low,
        cell.estimate.high,
        cell.n,
        paper.get("model"),
        pair.source.file,
        pair.source.column,
        published,
        *((ours.mean, ours.low, ours.high) if ours is not None and ours.n else [None] * 3),
        theirs,
        paper.get("parameters"),
    ]
