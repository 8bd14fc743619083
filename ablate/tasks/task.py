"""What a downstream task is: a table to read, an objective to train, a way to predict, and scores with baselines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Optional

import numpy as np

from ablate.data.contract import Complete, complete, lacks
from ablate.data.packing import Draws
from ablate.data.streams import STREAMS
from ablate.data.table import Example, Table
from ablate.data.tokenizer import Tokenizer, TokenizerConfig, Tokens
from ablate.errors import UserError, nearest, place
from ablate.training.loop import Model
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Fraction, Natural, NonNegative, Size
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

    def mean(
        self, rows: Sequence[Example], references: Sequence[Any], hypotheses: Sequence[Any], values: Sequence[float]
    ) -> tuple[list[Score], list[Example]]:
        """What `AbstractScored.score` returns where this is the only metric, and its value the mean of the items'."""
        items = [
            {"id": row["id"], "reference": wanted, "hypothesis": said, self.name: [float(value), 1]}
            for row, wanted, said, value in zip(rows, references, hypotheses, values, strict=True)
        ]
        return [self.score(sum(values) / max(1, len(items)), len(items), f"mean {self.name}")], items

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
class TaskConfig(Complete):
    """Base of task configs: the data, and how long and how fast to fine-tune.

    A task's is called `Config` and stands in the body of its class. Every field is a setting of the sweep file, with a
    sentence below it, and a range where it has one (`encoders.ranges`). `__post_init__` raises UserError (or
    ValueError) for values that cannot be together, and calls that of its base. One that measures a leaf trains nothing:
    `steps` is 0 there.
    """

    owner: ClassVar[type[AbstractScored]]
    """The class whose body it stands in, and which it builds; that class sets it."""
    tag: ClassVar[str]
    """What it is called in ids, for ever, in its own body (see `ablate.store.identity`)."""
    scoring: ClassVar[Mapping[str, Any]] = MappingProxyType({"splits": (), "tokenizer": None})
    """Fields that training does not read, and the values that stand for them in its identity: those of scoring alone,
    and the target tokenizer, which training starts from as a stage.
    """

    table: str
    """Table of the corpus to read: its "train" trains, its "dev" selects."""
    splits: tuple[str, ...] = ("test",)
    """Splits that are scored, once, with the selected weights."""
    steps: Natural = 400
    """Most updates."""
    items: Size = 16
    """Items in an update."""
    lr: NonNegative = 2e-3
    """Peak learning rate of the encoder."""
    head_lr: NonNegative = 4e-3
    """Peak learning rate of the task's own parameters."""
    warmup: Fraction = 0.1
    """Share of the steps in which the encoder's learning rate rises."""
    head_warmup: Fraction = 0.1
    """Share of the steps in which that of the task's own parameters rises."""
    frozen: Fraction = 0.0
    """Share of the steps, at first, in which the encoder stays as it is; its warm-up begins then."""
    average: Fraction = 0.0
    """Decay of a moving average of the weights, which dev sees and the run keeps in their place; 0 keeps them as they
    are. Averages over some hundred updates (.99, .998) swing less and often do better (Polyak and Juditsky 1992).
    """
    evaluate_every: Size = 100
    """Updates between evaluations on dev."""
    select: str = field(default="", metadata={"absent": '""'})
    """Metric on dev whose best evaluation is kept, or "loss"; empty is the task's own choice. Of equal values that with
    the lower loss is kept, of equal losses the later one."""
    patience: Natural = 0
    """Evaluations without a better dev score after which training stops; 0 trains all steps, so that rows are compared
    at equal steps. They count from the end of warm-up and thaw on, span at least a fifth of the steps, and stop nothing
    before dev is clearly better than at first and than empty outputs are."""
    tokenizer: Optional[TokenizerConfig] = None
    """A target tokenizer of the task's own; none means the encoder's."""

    def __post_init__(self) -> None:
        """Nothing here: what each value can be, its field says."""

    def ids(self) -> tuple[str, ...]:
        """Whose ids of its table's texts it reads: "own", the encoder's tokenizer's, or "targets", of what it
        writes. By default none where it reads speech, else its own.
        """
        return () if self.owner.reads == "speech" else ("own",)

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

    @property
    def shown(self) -> tuple[str, ...]:
        """What the encoder has to read: what a measure of a leaf shows it, or the stream that is trained on."""
        return (self.owner.reads,) if self.owner.trained else self.owner.sees

    def build(self) -> AbstractScored:
        """Make the task: planning does so to check it, stages to run it. Reads no data."""
        return self.owner(self)


class AbstractScored(Complete):
    """What the score stage needs of a task, fine-tuned for it (`AbstractTask`) or not (`AbstractMeasure`).

    What a class states without a value here it has to state, in its body or when it is made. It holds its config and
    what follows from it, no data, and other processes make it anew. A task that cannot be had raises UserError.
    """

    reads: ClassVar[str]
    """The stream that its inputs are of: "speech", "text" or "pair"."""
    trained: ClassVar[bool]
    """Whether the encoder is fine-tuned for it; said by the two classes below."""
    baseline_split: ClassVar[str] = "train"
    """The split that baselines may learn from."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Names of metrics that stand beside the main one in a table that names no columns."""
    metrics: tuple[Metric, ...]
    """What it reports, the main one first."""
    columns: tuple[str, ...]
    """The columns of its table that it reads, but for "id" and what comes with speech ("voice", "seconds", "frames"): a
    table without one is refused while planning. None that it can do without."""
    by_class: Metric | None = None
    """Which of them is also scored by class, as "ser_date", where rows have `classes`."""

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
        """The main metric of recordings that are heard one by one, where features are normalised by speaker: a score of
        a split has all of a speaker's for the mean, and who comes with one file has not. None for tasks of text and of
        leaves.
        """
        spoken = self.trained and self.reads == "speech"
        return replace(self.metrics[0], name=f"{self.metrics[0].name}_alone") if spoken else None

    @abstractmethod
    def score(self, rows: Sequence[Example], hypotheses: Sequence[Any]) -> tuple[list[Score], list[Example]]:
        """Score a whole split, its hypotheses in the order of its rows: one Score per metric, in their order, and a
        record per item.

        A record has "id", "reference", "hypothesis", and for each metric what its score is a ratio of sums of, by which
        items are resampled: {metric.name: [sum, count]}, or counts that `analysis.records.items` knows. Without, the
        score has no interval over items.
        """

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        """What shallow rules, learnt on `train` (rows of `baseline_split`), reach on `test`; none by default."""
        return []


class AbstractMeasure(AbstractScored):
    """A property of a pre-trained leaf, measured without training anything."""

    trained = False
    sees: ClassVar[tuple[str, ...]]
    """What the encoder is shown: of "speech", "text" and "pair"."""

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        """Whether the leaf of a row with these objectives (configs, by name) has the parts that are measured."""
        return True

    @abstractmethod
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Any]:
        """One hypothesis per item of a split, as `score` takes them, from a whole leaf in evaluation mode."""


class AbstractTask(AbstractScored):
    """A downstream problem that the encoder is fine-tuned for.

    Training calls `objective` once and `inputs` for every update, in worker processes. Evaluation packs items by
    `sizes`, encodes `objective.view` of them in evaluation mode, collects `predict`, and hands all of a split to
    `score`.
    The metric `chosen` is computed on dev during fine-tuning, either by `score` or, where it is "loss", as the mean of
    the objective's first term.
    """

    trained = True
    given: tuple[str, ...] = ()
    """The text fields of the input; none where speech is all of it."""

    @property
    def choice(self) -> Metric:
        """What selects on dev unless the config says otherwise: one of `metrics`, by default the first, or LOSS."""
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
        """Make the supervised objective, its heads' weights drawn from torch's generator, which is seeded; `targets` is
        the vocabulary of the task's own tokenizer, if it has one, `train` the training split. Raises UserError where
        that cannot be learnt from.
        """

    @abstractmethod
    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        """Pack the drawn items, (slot, row) each, with the references that the objective reads; a function of its
        arguments alone. In `training` the input may be perturbed.
        """

    def sizes(self, dataset: Dataset) -> np.ndarray:
        """Size of every item, frames or tokens, by which evaluation packs: of its speech, else of the texts `given`
        with what stands around them.
        """
        if self.reads == "speech":
            return dataset.table.frames
        return sum(dataset.tokens(field).lengths for field in self.given) + 1 + len(self.given)

    def predict(self, objective: Any, view: View, encoding: Encoding, final: bool = True) -> list[Any]:
        """One hypothesis per sequence of the view, as `score` takes them; only a `final` one may cost a beam search.
        `objective` is what `objective` made, in evaluation mode; by default, what it decodes.
        """
        return objective.decode(encoding)


def check(name: str, config: TaskConfig) -> None:
    """Raise UserError, with its file and line, for a task that lacks something; `name` is what sweep files call it."""
    cls = type(config)
    complete(cls, TaskConfig)
    if "tag" not in vars(cls):
        raise UserError(f"{cls.__qualname__} ({place(cls)}) lacks a tag of its own; TaskConfig says what it is.")
    if vars(cls.owner).get("Config") is not cls:
        raise UserError(f"{cls.__qualname__} ({place(cls)}) is no task's Config: write it so into its task's class.")
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
        raise UserError(f"{made.__qualname__} ({place(made)}) is selected by '{task.choice.name}', which it has not.")
    if unknown := sorted(cls.scoring.keys() - {one.name for one in fields(cls)}):
        raise UserError(f"{cls.__qualname__} ({place(cls)}) has '{unknown[0]}' in scoring, but no such field.")


def decoded(view: View, ids: Sequence[Sequence[int]]) -> list[str]:
    """Text of id sequences, by the tokenizer that came with the batch."""
    return [view.references["tokenizer"].decode(list(line)) for line in ids]
