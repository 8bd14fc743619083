"""A kind of stage: how far training moved the parameters of an encoder, and what that is times a setting."""

from dataclasses import dataclass
from typing import ClassVar

from ablate.stages.kind import Kind, scored
from ablate.stages.registry import KINDS
from ablate.training import checkpoint


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Settings of the norm of a leaf's weights."""

    tag: ClassVar[str] = "weight_norm"

    scale: float = 1.0
    """Factor of the norm."""


def measure(config: Norm, parents, run):
    """Measure the leaf and, where the sweep says after: finetune.TASK, the fine-tuned model."""
    of = {"norm": parents["pretrain"], "tuned_norm": parents.get("finetune", parents["pretrain"])}
    norms = {name: sum(w.square().sum() for w in checkpoint.of(one).weights.values()) for name, one in of.items()}
    return {"scores": [scored(name, config.scale * norm**0.5, "lower") for name, norm in norms.items()]}


KINDS["weight_norm"] = Kind(1, measure, settings=Norm(), metrics=("norm", "tuned_norm"))
