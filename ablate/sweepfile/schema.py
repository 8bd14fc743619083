"""Everything that a sweep file may contain: a class for each mapping in it, and a field for each key.

`base` and the rows are patches. `Section`, `RowPatch` and `Pretrain` list only their keys; the values below these are
settings of config classes, which have fields of their own. The other classes are made from the file directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, TypeAlias

from encoders.ranges import Natural, NonNegative, OneOf, Positive, Size

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
"""Any value that YAML can hold."""
Settings = Mapping[str, object]
"""Settings of one part by name: a patch of its config."""
Preset = str | Settings
"""The name of a preset, or changes to one: `{preset: NAME, SETTING: VALUE}`."""
Weighted = float | str | Settings | None
"""The weight of a loss, or its settings; null removes it."""
FAMILIES = ("primary", "intrinsic", "exploratory")


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pre-training: its losses, its length, and the data of each update."""

    objectives: Mapping[str, Weighted] = field(default_factory=dict)
    """Losses by name: a weight, or settings with a `weight`. A loss of weight 0 is measured but does not train the
    encoder. Null removes a loss."""
    weights: str = "unit"
    """Preset of factors for the losses on speech, text and pairs, by which their weights are multiplied: unit (all 1),
    or mslam (1, .3 and .03)."""
    targets: Mapping[str, Preset | None] = field(default_factory=dict)
    """Speech targets by name: learned, random_projection, kmeans, or settings of one of these. Targets that no
    objective predicts are not made."""
    steps: Natural
    """Updates of the trunk, at a stable learning rate after warm-up. With `after`, these are further updates."""
    decay: Natural
    """Updates of the decay, in which the learning rate falls to its final value. They make the leaf."""
    update: Settings = field(default_factory=dict)
    """Data of each update: `speech` in seconds (20 s), `text` in tokens (700 tokens), and the number of `pairs`."""
    optimizer: Settings = field(default_factory=dict)
    """AdamW and its learning-rate schedule: `lr`, `warmup`, `weight_decay`, `clip`."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Settings of a row. Those in `base` hold for all rows."""

    encoder: Preset = "nano"
    """The encoder: a preset, or changes to one."""
    tokenizer: Settings = field(default_factory=dict)
    """The subword tokenizer of pre-training texts: `size`, `bytes`."""
    pretrain: Pretrain
    """Pre-training."""
    tasks: Mapping[str, Preset | None] = field(default_factory=dict)
    """Downstream tasks by name, with their settings; null removes one."""
    stages: Mapping[str, AddedStage | None] = field(default_factory=dict)
    """Further stages by name, of kinds that plugins define; null removes one."""


@dataclass(frozen=True, kw_only=True)
class RowPatch(Section):
    """A row: a patch of `base`, or of the row that it continues."""

    after: str | None = None
    """The row that it continues, from the end of that row's trunk, before its decay. The encoder and the tokenizer stay
    the same, and so does every setting that this row does not change."""


@dataclass(frozen=True, kw_only=True)
class AddedStage:
    """A stage that a row has in addition to the usual ones. Settings of its kind stand next to these keys."""

    kind: str | None = None
    """Kind of stage; by default the name of the stage."""
    after: str | tuple[str, ...] = "pretrain"
    """Stages that it starts from: pretrain, finetune.TASK, or other added stages."""
    tables: tuple[str, ...] = ()
    """Splits of tables that it reads, written TABLE.SPLIT, as in asr.dev."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A hypothesis about a difference between rows, declared before it is measured. Give above, below or within, not
    several.
    """

    effect: str
    """A linear contrast of rows, as in joint - scratch or (a - b) - (c - d); its coefficients sum to zero. A positive
    effect is an improvement in the metric."""
    on: str
    """The measure: TASK, TASK.METRIC or TASK.SPLIT.METRIC. By default it is the task's first metric on its first test
    split."""
    above: float | None = None
    """The effect is greater than this, in the metric's unit."""
    below: float | None = None
    """The effect is less than this, in the metric's unit."""
    within: Positive | None = None
    """The effect is equivalent to zero: its absolute value is at most this, in the metric's unit."""
    margin: NonNegative | None = None
    """With above or below: effects this close to the bound count as equivalent to it, in the metric's unit."""
    assay: str | None = None
    """Assay sensitivity: a contrast that this measure must show where no effect is found, or the task cannot tell."""
    split: str | None = None
    """Split of the task's table on which the effect is measured, if `on` does not name it."""
    family: Annotated[str, OneOf(FAMILIES)] = "primary"
    """Claims that are corrected together for their number: primary or intrinsic. An exploratory claim gets an interval
    and no verdict, and does not count."""
    unmatched: bool = False
    """Whether the rows may differ in pre-training updates or in the data of an update. The verdict then says so."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A group of rows in the table of results."""

    title: str | None = None
    """Heading of the block."""
    reference: str | None = None
    """The row that the other rows are compared with."""
    rows: tuple[str, ...] = ()
    """Rows of the block, in this order."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Control rows for one modality. They separate interference from other costs of joint training."""

    single: str | None = None
    """The row trained on this modality alone."""
    placebo: str | None = None
    """The row whose other modality has no content to learn."""


@dataclass(frozen=True, kw_only=True)
class Interference:
    """Control rows for the analysis of interference between modalities."""

    speech: Roles | None = None
    """Controls for the effect of text on speech."""
    text: Roles | None = None
    """Controls for the effect of speech on text."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """A figure of the trade-off between two measures."""

    x: str
    """The measure on the x axis, as in a claim's `on`."""
    y: str
    """The measure on the y axis, as in a claim's `on`."""
    rows: tuple[str, ...] = ()
    """Rows on the frontier, in the order in which a line connects them."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of results and the figures next to it."""

    columns: tuple[str, ...] | None = None
    """Measures, as in a claim's `on`; by default the main metrics of each task."""
    blocks: tuple[Block, ...] | None = None
    """Groups of rows, each with a reference row; by default one group of all rows, whose reference is the first."""
    compare_with: str | None = None
    """The row that a separate sheet compares all other rows with."""
    interference: Interference | None = None
    """Control rows for the analysis of interference between modalities."""
    frontier: Frontier | None = None
    """A figure of the trade-off between two measures."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep file."""

    name: str | None = None
    """Name of the sweep and of its folder: letters, digits, _, - and dots. By default it is the file's name."""
    question: str | None = None
    """The question that the sweep answers, for the report."""
    changes_our_mind: str | None = None
    """The result that would change the expected answer, for the report."""
    extends: str | None = None
    """Another sweep file that this one is laid over, as a path relative to this file."""
    data: Preset = "builtin"
    """The corpus: builtin, real or stated, or changes to one of these."""
    seeds: tuple[Natural, ...] = (0,)
    """Random seeds: every row is trained once with each."""
    finetune_seeds: Size | Mapping[str, Size] = 1
    """Fine-tunings of each pre-trained leaf: a number, or numbers by task. Their mean is the leaf's score."""
    looks: tuple[Natural, ...] = ()
    """Numbers of seeds at which verdicts are taken, as in [5, 8]: the first seeds of the list, with the next whole
    numbers where it is shorter. By default they are taken once, when all seeds are finished. In no id."""
    budget: str | None = None
    """The most work that --until-decided may come to, over all stages of the sweep and summed over workers, as in 3 h,
    90 min or 2:00:00. In no id."""
    base: Section | None = None
    """Settings that all rows share."""
    rows: Mapping[str, RowPatch | None]
    """Rows by name: letters, digits and _. In a file that extends another, null removes a row."""
    tasks: tuple[str, ...] = ()
    """Tasks of all rows, or groups of tasks; by default the tasks of base.tasks."""
    axes: Mapping[str, tuple[object, ...] | Mapping[str, Section]] = field(default_factory=dict)
    """Values of a setting by its dotted name in `base` or `data`, or patches of `base` by name. Every row is made at
    every combination of values."""
    claims: Mapping[str, Claim | None] = field(default_factory=dict)
    """Hypotheses by name. In a file that extends another, null removes one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Display names of rows, tasks and columns."""
    table: Table | None = None
    """The table of results and the figures next to it."""
    resources: Settings = field(default_factory=dict)
    """Resources that jobs request: memory, processors, GPUs, time; for all kinds of stages, or by kind."""
    plugins: tuple[str, ...] = ()
    """Python modules that register further encoders, objectives, tasks, data or stages."""
    root: str | None = None
    """Folder of all stages and sweeps; by default runs."""
    cluster: str | None = None
    """Where stages run: local, slurm, debug, or a cluster kind of a plugin."""
    workers: Size | None = None
    """Worker processes on this machine; by default as many as it allows."""
    attention: str = "auto"
    """What computes attention: varlen, xformers or sdpa; auto takes the fastest that can run. In no id."""


def keys(cls: type) -> tuple[str, ...]:
    """Return the names of a class's fields: the keys of the mapping that it describes."""
    return tuple(one.name for one in fields(cls))
