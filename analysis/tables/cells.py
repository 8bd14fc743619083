"""The parts of the table: columns, cells that know their runs, lines, blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from analysis.records.frame import Measure, Records
from analysis.records.scores import DONE, IMPOSSIBLE, MISSING
from analysis.statistics import wording
from analysis.statistics.compare import Estimate

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
    def words(self) -> str:
        """Metric, and split if it is neither "test" nor "all"."""
        what = self.measure
        metric = wording.metric(what.metric).replace("accuracy", "acc.")
        split = "" if what.split in ("test", "all") else what.split.removeprefix("test_").replace("_", " ")
        return f"{metric} {split}".strip()

    @property
    def title(self) -> str:
        """Metric, split, unit and direction."""
        what = self.measure
        return " ".join(filter(None, (self.words, f"({what.unit})" if what.unit else "", ARROWS[what.better])))

    @property
    def title_of_differences(self) -> str:
        """Metric, split and the unit of a difference, in which positive is better; a plain difference says so."""
        about = ", ".join(filter(None, (wording.unit(self.measure), "" if self.measure.better else "plain difference")))
        return f"{self.words} ({about})" if about else self.words

    def text(self, value: float, signed: bool = False) -> str:
        """Format a value with the column's decimals."""
        return wording.number(value, self.decimals, signed)


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
    """Number of seeds that the sweep asks for, of the row."""
    compared: int
    """Number of seeds that it asks for, of the row and of its block's reference."""
    estimate: Estimate
    delta: Estimate | None
    """Effect against the block's reference, positive when good; None for the reference itself."""
    mark: str = ""
    """"best" for the best of its column and all that cannot be told from it, else ""."""
    significant: bool = False
    """Different from the reference after correction over the whole table; exploratory."""

    @property
    def n(self) -> int:
        """Number of finished seeds that led to different runs."""
        return self.estimate.n

    @property
    def done(self) -> int:
        """Number of finished seeds."""
        return len(self.values)

    @property
    def complete(self) -> bool:
        return 0 < self.done == self.seeds

    @property
    def partial(self) -> bool:
        return 0 < self.done < self.seeds

    def display(self, column: Column) -> str:
        """Mean, interval half-width and, where seeds are missing, the number of finished ones."""
        if self.status != DONE:
            return {IMPOSSIBLE: "n/a", MISSING: "—"}[self.status]
        text = column.text(self.estimate.mean)
        if not math.isnan(self.estimate.half):
            text += f" ± {column.text(self.estimate.half)}"
        return text + ("†" if self.significant else "") + (f" ({self.done}/{self.seeds})" if self.partial else "")

    def display_delta(self, column: Column) -> str:
        """Effect with its interval; "ref." in the reference row."""
        if self.delta is None:
            return "ref."
        if self.delta.n == 0:
            return "n/a" if self.status == IMPOSSIBLE else "—"
        text = column.text(self.delta.mean, signed=True)
        if not math.isnan(self.delta.half):
            text += f" {wording.interval(self.delta.low, self.delta.high, column.decimals)}"
            text += "*" if self.delta.excludes_zero else ""
        return text + (f" ({self.delta.n}/{self.compared})" if self.delta.n < self.compared else "")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the sweep at one point of its axes."""

    row: str
    point: str
    label: str
    cells: list[Cell]
    mixed: bool = False
    """Whether its seeds were made on several kinds of processor."""


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

    def best(self, k: int) -> Line | None:
        """The line with the best mean in a column, of those with all their seeds; None without a good direction."""
        sign, complete = self.columns[k].measure.sign, [line for line in self.lines if line.cells[k].complete]
        best = max(complete, key=lambda line: sign * line.cells[k].estimate.mean, default=None)
        return best if self.columns[k].measure.better else None
