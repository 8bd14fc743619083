"""What a downstream task is: a table to read, an objective to train, a way to predict, and scores with baselines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Optional

import numpy as np

from ablate.data.contract import Complete, complete, lacks
from ablate.data.packing import Draws
from ablate.data.spelling import composed
from ablate.data.streams import STREAMS
from ablate.data.table import Example, Table
from ablate.data.tokenizer import Tokenizer, TokenizerConfig, Tokens
from ablate.errors import UserError, nearest, place
from ablate.training.loop import Model
from encoders.batch import Batch, View, Vocabulary
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import Fraction, Natural, NonNegative, Size
from objectives.objective import AbstractObjective, Ports

Encoder = tuple[Tokenizer, Optional[Path]]
"""A tokenizer, and the folder of a split's token ids; the folder is None if the task does not read them (see
`TaskConfig.ids`).
"""


@dataclass(frozen=True)
class Metric:
    """A number that a task reports, and its good direction."""

    name: str
    better: str  # "lower" or "higher"
    unit: str = "%"
    nothing: float | None = None
    """Score of empty outputs; None if outputs cannot be empty."""
    margin: float = 2.0
    """Minimum improvement that counts as having learnt something."""

    def beats(self, value: float, other: float, by: float = 0.0) -> bool:
        """Whether a value is better than another by more than `by`."""
        return value < other - by if self.better == "lower" else value > other + by

    def mean(
        self, rows: Sequence[Example], references: Sequence[Any], hypotheses: Sequence[Any], values: Sequence[float]
    ) -> tuple[list[Score], list[Example]]:
        """The return value of `AbstractScored.score` for a task whose only metric this is, as the mean over items."""
        items = [
            {"id": row["id"], "reference": wanted, "hypothesis": said, self.name: [float(value), 1]}
            for row, wanted, said, value in zip(rows, references, hypotheses, values, strict=True)
        ]
        return [self.score(sum(values) / max(1, len(items)), len(items), f"mean {self.name}")], items

    def score(self, value: float, n: int, signature: str, counts: Mapping[str, int] = MappingProxyType({})) -> Score:
        """This metric's value over `n` items; `signature` says how it was computed, `counts` holds its components."""
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
    """The score of a rule without a model on the same items."""

    name: str
    metric: str
    value: float


class Dataset:
    """One split of a task's table with its texts as ids, opened on first use.

    `own` is the encoder's tokenizer with the folder of its ids for the split, `targets` the same for the task's own
    target tokenizer; without one the encoder's is used.
    """

    def __init__(self, table: Table, own: Encoder, targets: Encoder | None = None) -> None:
        self.table = table
        (self.tokenizer, self._own), (self.target_tokenizer, self._targets) = own, targets or own
        self._tokens: dict[tuple[Path, str], Tokens] = {}
        self.told: Callable[[int], None] = lambda done: None
        """Called with the number of items that were predicted or measured so far."""

    def __reduce__(self) -> tuple[Any, ...]:
        own, targets = (self.tokenizer, self._own), (self.target_tokenizer, self._targets)
        return Dataset, (self.table, own, targets)  # another process opens it again

    def __len__(self) -> int:
        return len(self.table)

    def chunks(self, size: int) -> Iterator[Draws]:
        """Items in order, as draws of at most `size`; tells how many were handled."""
        for first in range(0, len(self), size):
            yield [(i, i) for i in range(first, min(len(self), first + size))]
            self.told(min(len(self), first + size))

    def tokens(self, field: str) -> Tokens:
        """A field as tokens of the encoder's tokenizer."""
        return self._open(self._own, field)

    def target_tokens(self, field: str) -> Tokens:
        """A field as tokens of the target tokenizer."""
        return self._open(self._targets, field)

    def _open(self, folder: Path, field: str) -> Tokens:
        if (folder, field) not in self._tokens:
            self._tokens[folder, field] = Tokens(folder, field)
        return self._tokens[folder, field]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Complete):
    """Base of task configs: the data, how long to fine-tune, and at which learning rates.

    A task's is called `Config` and stands in the body of its class. Every field is a setting of the sweep file, with a
    sentence below it, and a range where it has one (`encoders.ranges`). `__post_init__` raises UserError (or
    ValueError) for values that cannot be together, and calls that of its base. One that measures a leaf trains nothing:
    `steps` is 0 there.
    """

    owner: ClassVar[type[AbstractScored]]
    """The class in whose body it stands and which it builds; set by that class."""
    tag: ClassVar[str]
    """Its permanent name in ids, set in its own body (see `ablate.store.identity`)."""
    scoring: ClassVar[Mapping[str, Any]] = MappingProxyType({"splits": (), "tokenizer": None})
    """Fields that training does not read, and the values that replace them in its identity: those that only scoring
    uses, and the target tokenizer, which is a parent stage of training.
    """

    table: str
    """Table of the corpus to read: its split "train" is for training, "dev" for selection."""
    splits: tuple[str, ...] = ("test",)
    """Splits to score, once each, with the selected weights."""
    steps: Natural = 400
    """Most updates."""
    items: Size = 16
    """Number of items in an update."""
    lr: NonNegative = 2e-3
    """Peak learning rate of the encoder."""
    head_lr: NonNegative = 4e-3
    """Peak learning rate of the task's own parameters."""
    warmup: Fraction = 0.1
    """Share of the steps over which the encoder's learning rate warms up."""
    head_warmup: Fraction = 0.1
    """Share of the steps over which the learning rate of the task's own parameters warms up."""
    frozen: Fraction = 0.0
    """Share of the steps, from the start, in which the encoder is frozen; its warm-up begins after that."""
    average: Fraction = 0.0
    """Decay rate of a moving average of the weights, which is evaluated on dev and kept instead of them; 0 for none.
    Averages over some hundred updates (.99, .998) fluctuate less and often do better (Polyak and Juditsky 1992).
    """
    evaluate_every: Size = 100
    """Number of updates between evaluations on dev."""
    select: str = field(default="", metadata={"absent": '""'})
    """Dev metric that selects the best evaluation, or "loss"; empty for the task's own choice. Of equal values the one
    with the lower loss is kept, of equal losses the later one."""
    patience: Natural = 0
    """Number of evaluations without a better dev score after which training stops; 0 trains all steps, so that rows are
    compared at equal steps. Evaluations count only after warm-up and unfreezing, and must span at least a fifth of the
    steps. Training never stops before the dev score is clearly better than the first one and than that of empty
    outputs."""
    tokenizer: Optional[TokenizerConfig] = None
    """The task's own target tokenizer; none means the encoder's."""

    def __post_init__(self) -> None:
        """Check names that have choices; what numbers can be, whoever reads the file checks. Raises ValueError."""
        check_choices(self)

    def ids(self) -> tuple[str, ...]:
        """Which token ids of its table's texts it reads: "own", of the encoder's tokenizer, or "targets", of its output
        text. By default none if it reads speech, otherwise "own".
        """
        return () if self.owner.reads == "speech" else ("own",)

    def for_training(self) -> TaskConfig:
        """This task for training: without the settings that only scoring reads."""
        return replace(self, **self.scoring)

    def search(self) -> dict[str, Any]:
        """Settings of the search for predictions in scoring, which training does not read."""
        return {name: getattr(self, name) for name in self.scoring if name not in ("splits", "tokenizer")}

    def for_scoring(self, split: str) -> TaskConfig:
        """This task for the score of one of its splits."""
        return replace(self, splits=(split,), tokenizer=None)

    def scored_as(self, other: TaskConfig) -> TaskConfig:
        """This task, scored like another one: tuning chooses how to train, never what is scored."""
        return replace(self, **{name: getattr(other, name) for name in self.scoring})

    @property
    def shown(self) -> tuple[str, ...]:
        """Inputs that the encoder must read: what a measure shows it, or the stream that is trained on."""
        return (self.owner.reads,) if self.owner.trained else self.owner.sees

    def build(self) -> AbstractScored:
        """Make the task, for planning to check it and for stages to run it. Reads no data."""
        return self.owner(self)


class AbstractScored(Complete):
    """What the score stage needs of a task, whether the encoder is fine-tuned (`AbstractTask`) or not
    (`AbstractMeasure`).

    A subclass must set every attribute that is declared here without a value, in its body or on instances. A task holds
    its config and what follows from it, no data; other processes build it again. Building an impossible one raises
    UserError.
    """

    reads: ClassVar[str]
    """The stream of its inputs: "speech", "text" or "pair"."""
    trained: ClassVar[bool]
    """Whether the encoder is fine-tuned for it; set by the two classes below."""
    baseline_split: ClassVar[str] = "train"
    """The split that baselines may learn from."""
    optional: ClassVar[tuple[Metric, ...]] = ()
    """Metrics that are reported only of splits that have what they are about."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Names of metrics shown beside the main one in a table that names no columns."""
    metrics: tuple[Metric, ...]
    """The metrics that it reports, the main one first."""
    columns: tuple[str, ...]
    """The columns that it needs from its table, except "id" and those that come with speech ("voice", "seconds",
    "frames"): planning refuses a table that lacks one. Optional columns are not listed."""
    by_class: Metric | None = None
    """The metric that is also scored by class, such as "ser_date", if rows have `classes`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" in vars(cls):
            cls.Config.owner = cls

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return self.config.table

    @property
    def alone(self) -> Metric | None:
        """The main metric for recordings that are transcribed one by one, where features are normalised by speaker: the
        score of a split uses the mean over all of a speaker's recordings, but a user with one file has only that one.
        None for text tasks and for measures.
        """
        spoken = self.trained and self.reads == "speech"
        return replace(self.metrics[0], name=f"{self.metrics[0].name}_alone") if spoken else None

    @abstractmethod
    def score(self, rows: Sequence[Example], hypotheses: Sequence[Any]) -> tuple[list[Score], list[Example]]:
        """Score a whole split; hypotheses are in the order of its rows. Return one Score per metric, in their order
        (the one to be shown first may come first), and a record per item.

        A record has "id", "reference", "hypothesis" and, for each metric, the counts from which its score is computed
        and by which items are resampled: {metric.name: [sum, count]} for a ratio of sums, or counts that
        `analysis.records.items` knows. Without counts the score has no interval over items.
        """

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        """Scores on `test` of shallow rules learnt on `train` (rows of `baseline_split`); none by default."""
        return []


class AbstractMeasure(AbstractScored):
    """A property of a pre-trained leaf, measured without training."""

    trained = False
    sees: ClassVar[tuple[str, ...]]
    """Inputs that the encoder is shown: any of "speech", "text" and "pair"."""

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        """Whether the leaf of a row with these objectives (configs, by name) has the modules that are measured."""
        return True

    @abstractmethod
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Any]:
        """One hypothesis per item of a split, in the form `score` takes, from a complete leaf in evaluation mode."""


class AbstractTask(AbstractScored):
    """A downstream task that the encoder is fine-tuned for.

    Training calls `objective` once and `inputs` for every update, in worker processes. Evaluation packs items by
    `sizes`, encodes their `objective.view` in evaluation mode, collects `predict`, and passes a whole split to `score`.
    The metric `chosen` is computed on dev during fine-tuning, either by `score` or, if it is "loss", as the mean of the
    objective's first term.
    """

    trained = True
    given: tuple[str, ...] = ()
    """The text fields of the input; empty if the input is only speech."""

    @property
    def choice(self) -> Metric:
        """The metric that selects on dev by default: one of `metrics` (unless overridden, the first), or LOSS."""
        return self.metrics[0]

    @property
    def chosen(self) -> Metric:
        """The metric that selects on dev. Raises UserError for one that the task does not have."""
        known = {metric.name: metric for metric in (*self.metrics, LOSS)}
        if self.config.select and self.config.select not in known:
            raise UserError(f"select is '{self.config.select}'; {nearest(self.config.select, known)}")
        return known[self.config.select] if self.config.select else self.choice

    @abstractmethod
    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> AbstractObjective:
        """Make the supervised objective, with its heads' weights drawn from torch's generator, which is seeded.
        `targets` is the vocabulary of the task's own tokenizer, if it has one; `train` is the training split. Raises
        UserError if it cannot be trained on that split.
        """

    @abstractmethod
    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        """Pack the drawn items, (slot, row) each, with the references that the objective reads; a pure function of its
        arguments. If `training`, the input may be perturbed.
        """

    def lost(self, dataset: Dataset, model: Model) -> dict[str, int]:
        """Number of a split's items that training cannot learn from, or not whole, by reason; none by default. Called
        with the training split and the model that is to be trained, on `objective`.
        """
        return {}

    def sizes(self, dataset: Dataset) -> np.ndarray:
        """Size of every item, by which evaluation packs: frames of its speech, or else tokens of the texts `given`,
        including special tokens.
        """
        if self.reads == "speech":
            return dataset.table.frames
        return sum(dataset.tokens(field).lengths for field in self.given) + 1 + len(self.given)

    def predict(self, objective: Any, view: View, encoding: Encoding, final: bool = True) -> list[Any]:
        """One hypothesis per sequence of the view, in the form `score` takes; only if `final` may it use a slow beam
        search. `objective` is what `objective` made, in evaluation mode; by default its own decoding is used.
        """
        return objective.decode(encoding)


def check(name: str, config: TaskConfig) -> None:
    """Raise UserError, with its file and line, for a task that lacks something; `name` is its name in sweep files."""
    cls = type(config)
    complete(cls, TaskConfig)
    if "tag" not in vars(cls):
        raise UserError(f"{cls.__qualname__} ({place(cls)}) lacks a tag of its own; TaskConfig says what it is.")
    if vars(cls.owner).get("Config") is not cls:
        raise UserError(f"{cls.__qualname__} ({place(cls)}) is not the Config of a task: nest it in its task's class.")
    task, made = config.build(), cls.owner
    base = AbstractTask if made.trained else AbstractMeasure
    complete(made, base)
    if missing := lacks(task):
        raise UserError(f"{made.__qualname__} ({place(made)}) lacks {', '.join(missing)} when it is made.")
    if made.reads not in STREAMS or not task.metrics:
        raise UserError(
            f"{made.__qualname__} ({place(made)}) reads '{made.reads}' and has {len(task.metrics)} metrics: expected "
            f"one of {', '.join(STREAMS)}, and a metric."
        )
    if made.trained and task.choice not in (*task.metrics, LOSS):
        raise UserError(
            f"{made.__qualname__} ({place(made)}) is selected by '{task.choice.name}', which is not one of its metrics."
        )
    if unknown := sorted(cls.scoring.keys() - {one.name for one in fields(cls)}):
        raise UserError(f"{cls.__qualname__} ({place(cls)}) has '{unknown[0]}' in scoring, but no such field.")


def decoded(view: View, ids: Sequence[Sequence[int]]) -> list[str]:
    """Composed text of id sequences, by the tokenizer that came with the batch."""
    return [composed(view.references["tokenizer"].decode(list(line))) for line in ids]
