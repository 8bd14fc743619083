"""What can stand in a sweep file: a class for every mapping in it, a field for every key.

`base` and rows are patches: `Section`, `RowPatch` and `Pretrain` say which keys these have. What is below them are
settings of config classes, which have their own fields. The other classes are made of what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from encoders.ranges import Natural, NonNegative, Positive, Size

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
"""What YAML can hold."""
Settings = Mapping[str, object]
"""Settings of one part, by name: a patch of its config."""
Preset = str | Settings
"""The name of a preset, or changes of one: `{preset: NAME, SETTING: VALUE}`."""
Weighted = float | str | Settings | None
"""The weight of a loss, or its settings; null takes it away."""


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pre-training: its losses, how long it is, and what an update holds."""

    objectives: Mapping[str, Weighted] = field(default_factory=dict)
    """Losses by name: a weight, or settings with a `weight`. At weight 0 a loss measures and does not train the
    encoder; null takes it away."""
    weights: str = "unit"
    """Preset of factors by which the losses' own weights are multiplied, for speech, text and pairs: unit (all 1), or
    mslam (1, .3 and .03)."""
    targets: Mapping[str, Preset | None] = field(default_factory=dict)
    """Speech targets by name: learned, random_projection, kmeans, or settings of these. Only what an objective predicts
    is made."""
    steps: Natural
    """Updates of the trunk, after warm-up at a stable learning rate; with `after`, further ones."""
    decay: Natural
    """Updates of the leaf, in which the learning rate falls to its end."""
    update: Settings = field(default_factory=dict)
    """What an update holds: `speech` in seconds (20 s), `text` in tokens (700 tokens), `pairs`."""
    optimizer: Settings = field(default_factory=dict)
    """AdamW and its schedule: `lr`, `warmup`, `weight_decay`, `clip`."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a row is made of; `base` has it for all rows."""

    encoder: Preset = "nano"
    """The encoder: a preset, or changes of one."""
    tokenizer: Settings = field(default_factory=dict)
    """The subword tokenizer of the texts that are pre-trained on: `size`, `bytes`."""
    pretrain: Pretrain
    """Pre-training."""
    tasks: Mapping[str, Preset | None] = field(default_factory=dict)
    """Downstream tasks by name, with their settings; null takes one away."""
    stages: Mapping[str, AddedStage | None] = field(default_factory=dict)
    """Further stages by name, of kinds that plugins have; null takes one away."""


@dataclass(frozen=True, kw_only=True)
class RowPatch(Section):
    """A row: a patch of `base`, or of the row that it comes after."""

    after: str | None = None
    """The row whose trunk it starts from, before that one's decay. It keeps that row's encoder and tokenizer, and
    what else it does not change."""


@dataclass(frozen=True, kw_only=True)
class AddedStage:
    """A stage that a row has beside the usual ones; settings of its kind stand beside these."""

    kind: str | None = None
    """Kind of stage; by default the stage's own name."""
    after: str | tuple[str, ...] = "pretrain"
    """What it starts from: pretrain, finetune.TASK, or other such stages."""
    tables: tuple[str, ...] = ()
    """Splits of tables that it reads, as in asr.dev."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is expected of a difference between rows, declared before it is measured. Exactly one of above, below and
    within is given."""

    effect: str
    """A linear contrast of rows, as in joint - scratch or (a - b) - (c - d); its coefficients sum to zero. It points in
    the metric's good direction."""
    on: str
    """The measure: TASK, TASK.METRIC or TASK.SPLIT.METRIC; by default a task's first metric on its first test split."""
    above: float | None = None
    """The effect is larger than this, in the metric's unit."""
    below: float | None = None
    """The effect is smaller than this, in the metric's unit."""
    within: Positive | None = None
    """The effect is equivalent to zero: no further from it than this, in the metric's unit."""
    margin: NonNegative | None = None
    """Beside above or below: how near to that bound counts as equivalent to it, in the metric's unit."""
    assay: str | None = None
    """Assay sensitivity: a contrast that the measure has to show before it can show the effect."""
    split: str | None = None
    """Split of the task's table on which it is measured, where `on` does not say it."""
    unmatched: bool = False
    """Whether the rows may differ in pre-training updates, or in what an update holds; the verdict then says so."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows that stand together in the table of results."""

    title: str | None = None
    """Heading of the block."""
    reference: str | None = None
    """The row that differences of the others are taken from."""
    rows: tuple[str, ...] = ()
    """The block's rows, in this order."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Controls of one modality, by which interference is told apart from other costs of joint training."""

    single: str | None = None
    """The row trained on this modality alone."""
    placebo: str | None = None
    """The row whose other modality has nothing to learn."""


@dataclass(frozen=True, kw_only=True)
class Interference:
    """The rows by which the interference between modalities is analysed."""

    speech: Roles | None = None
    """Controls of what text costs speech."""
    text: Roles | None = None
    """Controls of what speech costs text."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """A figure of two measures that rows trade against each other."""

    x: str
    """The measure along the x axis, as in a claim's `on`."""
    y: str
    """The measure along the y axis."""
    rows: tuple[str, ...] = ()
    """Rows on the frontier, in the order in which they are joined."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of results, and the figures beside it."""

    columns: tuple[str, ...] | None = None
    """Measures, as in a claim's `on`; by default every task's first metric."""
    blocks: tuple[Block, ...] | None = None
    """Groups of rows with a reference each; by default one of all rows, whose reference is the first."""
    compare_with: str | None = None
    """The row that all others are compared with in a sheet of its own."""
    interference: Interference | None = None
    """The rows by which interference between modalities is analysed."""
    frontier: Frontier | None = None
    """A figure of two measures that rows trade against each other."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep file."""

    name: str | None = None
    """Name of the sweep and its folder: letters, digits, _, - and dots; by default the file's."""
    question: str | None = None
    """The question that the sweep answers, for the report."""
    changes_our_mind: str | None = None
    """The result that would change the expected answer, for the report."""
    extends: str | None = None
    """Another sweep file, relative to this one, that this one is laid over."""
    data: Preset = "builtin"
    """The corpus: builtin, real or stated, or changes of one of these."""
    seeds: tuple[int, ...] = (0,)
    """Random seeds: every row is trained once with each."""
    base: Section | None = None
    """What all rows have."""
    rows: Mapping[str, RowPatch | None]
    """Rows by name: letters, digits and _. In a file that extends another, null takes one away."""
    tasks: tuple[str, ...] = ()
    """Tasks that all rows have, or groups of such; by default those that base.tasks sets."""
    axes: Mapping[str, tuple[object, ...] | Mapping[str, Section]] = field(default_factory=dict)
    """Values of a setting of `base` or `data` by its dotted path, or patches of `base` by name; every row is made
    at every point of the axes."""
    claims: Mapping[str, Claim | None] = field(default_factory=dict)
    """Hypotheses by name. In a file that extends another, null takes one away."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Names for people, of rows, tasks and columns."""
    table: Table | None = None
    """The table of results, and the figures beside it."""
    resources: Settings = field(default_factory=dict)
    """What jobs ask for: memory, processors, GPUs, time; for all kinds of stages, or by kind."""
    plugins: tuple[str, ...] = ()
    """Python modules that register more encoders, objectives, tasks, data or stages."""
    root: str | None = None
    """Folder that stages and sweeps are kept under; by default runs."""
    cluster: str | None = None
    """Where stages run: local, slurm, debug, or a plugin's."""
    workers: Size | None = None
    """Worker processes of the local pool; by default as many as the machine allows."""
    attention: str = "auto"
    """What computes attention: varlen, xformers or sdpa; auto takes the fastest that can run. In no id."""


def keys(cls: type) -> tuple[str, ...]:
    """The keys of a mapping that a class describes."""
    return tuple(one.name for one in fields(cls))
