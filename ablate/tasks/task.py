"""What a downstream task is: a table to read, an objective to train, a way to predict, and scores with baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Optional

import numpy as np

from ablate.data.packing import Draws
from ablate.data.table import Example, Table
from ablate.data.tokenizer import Tokenizer, TokenizerConfig, Tokens
from ablate.errors import UserError, nearest
from ablate.training.loop import Model
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.owner import Owner
from objectives.objective import AbstractObjective, Ports

Encoder = tuple[Tokenizer, Optional[Path]]
"""A tokenizer, and the folder of the ids that it made of a split; None where the task reads none (see
`TaskConfig.ids`).
"""


@dataclass(frozen=True)
class Metric:
    """A number that a task reports, and which way is good."""

    name: str
    better: str  # "lower" or "higher"
    unit: str = "%"
    nothing: float | None = None
    """What empty outputs score; None where outputs cannot be empty."""
    margin: float = 2.0
    """By how much a value is better where something was learnt."""

    def beats(self, value: float, other: float, by: float = 0.0) -> bool:
        """Whether a value is better than another, by more than so much."""
        return value < other - by if self.better == "lower" else value > other + by

    def score(self, value: float, n: int, signature: str, counts: Mapping[str, int] = MappingProxyType({})) -> Score:
        """This metric's value over `n` items; `signature` says how it was computed, `counts` what it is made of."""
        return Score(self.name, float(value), self.better, self.unit, n, signature, dict(counts))


LOSS = Metric("loss", "lower", "nats", margin=0.05)


@dataclass(frozen=True)
class Score:
    """One metric on one split, as it is recorded."""

    metric: str
    value: float
    better: str
    unit: str
    n: int
    signature: str
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline:
    """What a rule without a model reaches on the same items."""

    name: str
    metric: str
    value: float


class Dataset:
    """One split of a task's table with its texts as ids, opened when first asked for.

    `own` is the encoder's tokenizer and the folder of the ids that it made of the split, `targets` those of the task's
    own target tokenizer; without one the encoder's serves.
    """

    def __init__(self, table: Table, own: Encoder, targets: Encoder | None = None) -> None:
        self.table = table
        (self.tokenizer, self._own), (self.target_tokenizer, self._targets) = own, targets or own
        self._tokens: dict[tuple[Path, str], Tokens] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        own, targets = (self.tokenizer, self._own), (self.target_tokenizer, self._targets)
        return Dataset, (self.table, own, targets)  # another process opens it anew

    def __len__(self) -> int:
        return len(self.table)

    def tokens(self, field: str) -> Tokens:
        """A field in the encoder's tokens."""
        return self._open(self._own, field)

    def target_tokens(self, field: str) -> Tokens:
        """A field in the target tokenizer's tokens."""
        return self._open(self._targets, field)

    def _open(self, folder: Path, field: str) -> Tokens:
        if (folder, field) not in self._tokens:
            self._tokens[folder, field] = Tokens(folder, field)
        return self._tokens[folder, field]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ABC):
    """Base of task configs: the data, and how long and how fast to fine-tune."""

    owner: ClassVar[Any]
    """The task's class; set where that is defined."""

    scoring: ClassVar[Mapping[str, Any]] = MappingProxyType({"splits": (), "tokenizer": None})
    """Fields that training does not read, and the values that stand for them in its identity: those of scoring alone,
    and the target tokenizer, which training starts from as a stage.
    """

    table: str
    """Table of the corpus to read: its "train" trains, its "dev" selects."""
    splits: tuple[str, ...] = ("test",)
    """Splits that are scored, once, with the selected weights."""
    steps: int = 400
    """Most updates."""
    items: int = 16
    """Items in an update."""
    lr: float = 2e-3
    """Peak learning rate of the encoder."""
    head_lr: float = 4e-3
    """Peak learning rate of the task's own parameters."""
    warmup: float = 0.1
    """Share of the steps in which the encoder's learning rate rises."""
    head_warmup: float = 0.1
    """Share of the steps in which that of the task's own parameters rises."""
    frozen: float = 0.0
    """Share of the steps, at first, in which the encoder stays as it is; its warm-up begins then."""
    average: float = 0.0
    """Decay of a moving average of the weights, which dev sees and the run keeps in their place; 0 keeps them as they
    are. Averages over some hundred updates (.99, .998) swing less and often do better (Polyak and Juditsky 1992).
    """
    evaluate_every: int = 100
    """Updates between evaluations on dev."""
    select: str = field(default="", metadata={"absent": '""'})
    """Metric on dev whose best evaluation is kept, or "loss"; empty is the task's own choice. Of equal values that with
    the lower loss is kept, of equal losses the later one."""
    patience: int = 0
    """Evaluations without a better dev score after which training stops; 0 trains all steps, so that rows are compared
    at equal steps. They count from the end of warm-up and thaw on, span at least a fifth of the steps, and stop nothing
    before dev is clearly better than at first and than empty outputs are."""
    tokenizer: Optional[TokenizerConfig] = None
    """A target tokenizer of the task's own; none means the encoder's."""

    def __post_init__(self) -> None:
        for name in ("warmup", "head_warmup", "frozen", "average"):
            if not 0 <= getattr(self, name) < 1:
                what = "a decay" if name == "average" else "a share of the steps"
                raise UserError(f"{name} is {getattr(self, name)}, expected {what}, from 0 to below 1.")
        for name in ("items", "evaluate_every", "beam", "most"):  # the last two are those of tasks that search
            if getattr(self, name, 1) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, expected at least 1.")

    def ids(self) -> tuple[str, ...]:
        """Whose ids of its table's texts it reads: "own", the encoder's tokenizer's, or "targets", of what it
        writes.
        """
        return ("own",)

    def for_training(self) -> TaskConfig:
        """This task as training sees it: without what scoring alone reads."""
        return replace(self, **self.scoring)

    def search(self) -> dict[str, Any]:
        """How predictions are searched for in scoring, which training does not read."""
        return {name: getattr(self, name) for name in self.scoring if name not in ("splits", "tokenizer")}

    def for_scoring(self, split: str) -> TaskConfig:
        """This task as the score of one of its splits sees it."""
        return replace(self, splits=(split,), tokenizer=None)

    def scored_as(self, other: TaskConfig) -> TaskConfig:
        """This task, scored as another is: tuning chooses how to train, never what is scored."""
        return replace(self, **{name: getattr(other, name) for name in self.scoring})

    @abstractmethod
    def build(self) -> AbstractScored:
        """Make the task."""


class AbstractScored(Owner, ABC):
    """What the score stage needs of a task, fine-tuned for it or not; `metrics` has the main one first."""

    config: TaskConfig
    reads: ClassVar[str]  # "speech", "text" or "pair"
    trained: ClassVar[bool]
    baseline_split: ClassVar[str] = "train"  # what baselines may learn from
    metrics: tuple[Metric, ...]
    beside: ClassVar[tuple[str, ...]] = ()  # which of them stand beside the main one in a table that names no columns
    by_class: Metric | None = None  # which of them is also scored by class, as "ser_date", where rows have `classes`

    @property
    def name(self) -> str:
        return self.config.table

    @property
    def alone(self) -> Metric | None:
        """The main metric of recordings that are heard one by one, where features are normalised by speaker: a score of
        a split has all of a speaker's for the mean, and who comes with one file has not. None for tasks of text and of
        leaves.
        """
        spoken = self.trained and self.reads == "speech"
        return replace(self.metrics[0], name=f"{self.metrics[0].name}_alone") if spoken else None

    @abstractmethod
    def score(self, rows: Sequence[Example], hypotheses: Sequence[Any]) -> tuple[list[Score], list[Example]]:
        """Score a whole split: one Score per metric, and a record per item with counts that sums can be taken of."""

    @abstractmethod
    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        """What shallow rules, learnt on `train` (rows of `baseline_split`), reach on `test`."""


class AbstractMeasure(AbstractScored):
    """A property of a pre-trained leaf, measured without training anything."""

    trained = False
    sees: ClassVar[tuple[str, ...]]  # what the encoder is shown: of "speech", "text" and "pair"

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        """Whether the leaf of a row with these objectives (configs, by name) has the parts that are measured."""
        return True

    @abstractmethod
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Any]:
        """One hypothesis per item of a split, as `score` takes them, from a whole leaf in evaluation mode."""


class AbstractTask(AbstractScored):
    """A downstream problem that the encoder is fine-tuned for.

    Training calls `objective` once and `inputs` for every update. Evaluation packs items by `sizes`, encodes
    `objective.view` of them in evaluation mode, collects `predict`, and hands all of a split to `score`.
    The metric `chosen` is computed on dev during fine-tuning, either by `score` or, where it is "loss", as the mean of
    the objective's first term.
    """

    trained = True
    choice: Metric  # what selects on dev unless the config says otherwise
    given: tuple[str, ...] = ()  # the text fields of the input; none where speech is all of it

    @property
    def chosen(self) -> Metric:
        """The metric that selects on dev. Raises UserError for one that the task does not have."""
        known = {metric.name: metric for metric in (*self.metrics, LOSS)}
        if self.config.select and self.config.select not in known:
            raise UserError(f"select is '{self.config.select}'; {nearest(self.config.select, known)}")
        return known[self.config.select] if self.config.select else self.choice

    @abstractmethod
    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> AbstractObjective:
        """Make the supervised objective; `targets` is the vocabulary of the task's own tokenizer, if it has one."""

    @abstractmethod
    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        """Pack the drawn items with their references; in `training` the input may be perturbed."""

    @abstractmethod
    def sizes(self, dataset: Dataset) -> np.ndarray:
        """Size of every item, frames or tokens, by which evaluation packs."""

    @abstractmethod
    def predict(self, objective: Any, view: View, encoding: Encoding, final: bool = True) -> list[Any]:
        """One hypothesis per sequence; only a `final` one may cost a beam search."""


def decoded(view: View, ids: Sequence[Sequence[int]]) -> list[str]:
    """Text of id sequences, by the tokenizer that came with the batch."""
    return [view.references["tokenizer"].decode(list(line)) for line in ids]
