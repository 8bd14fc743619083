"""The parts of the table: columns, cells that know their runs, lines, blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from analysis.records.frame import Measure, Records
from analysis.records.scores import DONE, IMPOSSIBLE, MISSING
from analysis.statistics.compare import Estimate

ABBREVIATIONS = {
    "wer": "WER",
    "cer": "CER",
    "ser": "SER",
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrfpp": "chrF++",
    "accuracy": "acc.",
    "f1": "F1",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "nmi": "NMI",
}
ARROWS = {"lower": "↓", "higher": "↑", "": ""}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measure, with the value of the strongest shallow baseline."""

    measure: Measure
    decimals: int
    baseline: tuple[str, float] | None
    """Name and value of the strongest shallow baseline; None while none is recorded."""

    @property
    def name(self) -> str:
        """Its name for `--why` and in the sweep file."""
        return f"{self.measure.task}.{self.measure.split}.{self.measure.metric}"

    @property
    def title(self) -> str:
        """Metric, split if it is neither "test" nor "all", unit and direction."""
        what = self.measure
        metric = " ".join(ABBREVIATIONS.get(word, word) for word in what.metric.split("_"))
        split = "" if what.split in ("test", "all") else what.split.removeprefix("test_").replace("_", " ")
        unit = f"({what.unit})" if what.unit else ""
        return " ".join(filter(None, (metric, split, unit, ARROWS[what.better])))

    def text(self, value: float, signed: bool = False) -> str:
        """Format a value with the column's decimals."""
        return f"{value:{'+' if signed else ''}.{self.decimals}f}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table and where it comes from."""

    status: str
    """"done", "missing" or "n/a"; a done cell with n < seeds is partial."""
    values: dict[int, float]
    """Value by seed."""
    runs: dict[int, str]
    """Score run by seed, finished or not."""
    seeds: int
    """Number of seeds that the sweep asks for."""
    estimate: Estimate
    delta: Estimate | None
    """Paired effect against the block's reference, positive when good; None for the reference itself."""
    mark: str = ""
    """"best", "second" or "" among the rows of its column."""
    significant: bool = False
    """Different from the reference after correction over the whole table; exploratory."""

    @property
    def n(self) -> int:
        return self.estimate.n

    @property
    def partial(self) -> bool:
        return 0 < self.n < self.seeds

    def display(self, column: Column) -> str:
        """Mean, interval half-width and, where seeds are missing, the number of finished ones."""
        if self.status != DONE:
            return {IMPOSSIBLE: "n/a", MISSING: "—"}[self.status]
        text = column.text(self.estimate.mean)
        if not math.isnan(self.estimate.half):
            text += f" ± {column.text(self.estimate.half)}"
        return text + ("†" if self.significant else "") + (f" ({self.n}/{self.seeds})" if self.partial else "")

    def display_delta(self, column: Column) -> str:
        """Paired effect with its interval; "ref." in the reference row."""
        if self.delta is None:
            return "ref."
        if self.delta.n == 0:
            return "n/a" if self.status == IMPOSSIBLE else "—"
        text = column.text(self.delta.mean, signed=True)
        if not math.isnan(self.delta.half):
            text += f" [{column.text(self.delta.low, True)}, {column.text(self.delta.high, True)}]"
            text += "*" if self.delta.excludes_zero else ""
        return text + (f" ({self.delta.n}/{self.seeds})" if self.delta.n < self.seeds else "")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the sweep at one point of its axes."""

    row: str
    point: str
    label: str
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows that are compared with one reference row; the last block may have none."""

    title: str
    reference: str | None
    lines: list[Line]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The whole table; `analysis.tables.formats` prints it."""

    name: str
    columns: list[Column]
    blocks: list[Block]
    seeds: int
    caption: str
    records: Records = field(repr=False)

    @property
    def lines(self) -> list[Line]:
        return [line for block in self.blocks for line in block.lines]
