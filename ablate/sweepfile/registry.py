"""Everything that a sweep file can name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ablate.data.corpus import CorpusConfig
from ablate.data.registry import DATA
from ablate.data.tokenizer import TokenizerConfig
from ablate.sweepfile.added import Kind
from ablate.tasks.registry import GROUPS, TASKS
from ablate.tasks.task import TaskConfig
from ablate.training.optim import OptimizerConfig
from ablate.training.update import Update
from encoders.encoder import EncoderConfig
from encoders.presets import PRESETS
from objectives import OBJECTIVES, WEIGHTS
from objectives.objective import ObjectiveConfig
from objectives.quantizer import TargetsConfig
from objectives.targets import TARGETS


@dataclass(frozen=True)
class Registry:
    """Presets by name for every part of a sweep file, and default configs for parts without presets."""

    encoder: Mapping[str, EncoderConfig]
    objectives: Mapping[str, ObjectiveConfig]
    weights: Mapping[str, Mapping[str, float]]
    targets: Mapping[str, TargetsConfig]
    tasks: Mapping[str, TaskConfig]
    data: Mapping[str, CorpusConfig]
    tokenizer: TokenizerConfig
    update: Update
    optimizer: OptimizerConfig
    stages: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of stages that sweep files can name."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that each stand for several tasks."""

    @classmethod
    def default(cls, stages: Mapping[str, Kind]) -> Registry:
        """Collect the presets of this project and of loaded plugins, with these kinds of stages."""
        defaults = TokenizerConfig(), Update(), OptimizerConfig()
        return cls(PRESETS, OBJECTIVES, WEIGHTS, TARGETS, TASKS, DATA, *defaults, stages, GROUPS)
