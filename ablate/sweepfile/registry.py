"""All that a sweep file can name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.data.registry import DATA
from ablate.data.tokenizer import TokenizerConfig
from ablate.tasks.registry import GROUPS, TASKS
from ablate.training.optim import OptimizerConfig
from ablate.training.update import Update
from encoders.presets import PRESETS
from objectives import OBJECTIVES, WEIGHTS
from objectives.targets import TARGETS


@dataclass(frozen=True)
class Registry:
    """Presets by name for everything a sweep file can name, and defaults for what has no presets."""

    encoder: Mapping[str, Any]
    objectives: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, float]]
    targets: Mapping[str, Any]
    tasks: Mapping[str, Any]
    data: Mapping[str, Any]
    tokenizer: Any
    update: Any
    optimizer: Any
    stages: Mapping[str, Any] = field(default_factory=dict)
    """Kinds of stages that sweep files name, each with `settings`, `metrics` and `reads`."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that stand for several tasks."""

    @classmethod
    def default(cls, stages: Mapping[str, Any]) -> Registry:
        """Collect the presets of this project, and of plugins, with these kinds of stages."""
        defaults = TokenizerConfig(), Update(), OptimizerConfig()
        return cls(PRESETS, OBJECTIVES, WEIGHTS, TARGETS, TASKS, DATA, *defaults, stages, GROUPS)
