"""The output of every encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from encoders.batch import Layout
from encoders.precision import products


@dataclass(frozen=True)
class Encoding:
    """Named intermediate results, each packed, with their layouts.

    Stages, as far as the input has them:

    - stacked [T, C]: the input log-mel stacked to the rate of positions (never masked, no parameters)
    - features [T, D]: the front end's output, normalised, before masking (computed from masked frames if a view masks
      frames)
    - speech_tower [T, D]: after the speech-only layers
    - joint [N, D]: after the shared layers: the encoder's output

    `speech_layout` is the layout of the T positions of the first three, `layout` that of the N of the last.
    """

    stages: Mapping[str, Tensor]
    layout: Layout
    speech_layout: Layout | None = None
    precision: str = "fp32"
    """Of the encoder's matrix products; `products` makes those of heads in the same."""

    def products(self) -> torch.autocast:
        """Within this block matrix products are made in the encoder's precision."""
        return products(self.precision, self.stages["joint"].device)

    def of(self, modality: str) -> Tensor:
        """Joint positions of one modality, packed: x_TD for speech, x_SD for text."""
        joint_ND = self.stages["joint"]
        if set(self.layout.modalities) == {modality}:
            return joint_ND
        return joint_ND.index_select(0, self.layout.positions(modality))

    def detached(self) -> Encoding:
        """The same encoding without gradients (for objectives of weight 0)."""
        return replace(self, stages={name: x.detach() for name, x in self.stages.items()})
