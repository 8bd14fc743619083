"""Speech codes learned with the encoder: a Gumbel vector quantizer over masked positions (wav2vec 2.0, w2v-BERT)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders import seeds
from encoders.batch import View
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import OneOf, Positive, Size
from objectives.objective import Ports


@dataclass(frozen=True)
class Codes:
    """Codes of a view's I masked speech positions, made once per view and shared by the objectives that need them."""

    targets_IG: Tensor  # code ids for masked prediction
    ids_IG: Tensor  # code ids of `vectors_ID` (sampled when learned codes are trained)
    best_IG: Tensor  # code ids without noise
    vectors_ID: Tensor  # code vectors, groups concatenated
    mean_GV: Tensor | None = None  # probabilities without noise, averaged over I; None if nothing is learned

    def detached(self) -> Codes:
        """The same codes without gradients (for objectives of weight 0)."""
        mean_GV = None if self.mean_GV is None else self.mean_GV.detach()
        return replace(self, vectors_ID=self.vectors_ID.detach(), mean_GV=mean_GV)


@dataclass(frozen=True, kw_only=True)
class TargetsConfig(ABC):
    """Base of configs of speech targets: what the unmasked speech is turned into, to be predicted."""

    learned: ClassVar[bool]  # whether training changes the codes
    fitted: ClassVar[bool] = False  # whether a separate stage fits them before training

    groups: Size = 1
    """Codebooks used side by side (w2v-BERT: 1)."""
    entries: Size = 64
    """Entries per codebook (w2v-BERT: 1,024)."""
    dim: Size = 64
    """Width of a position's code vector, for all groups together (w2v-BERT: 1,024)."""
    input: Annotated[str, OneOf(("features", "stacked"))] = "features"
    """Encoding stage to quantise, unmasked: "features" (the front end's output) or "stacked" (log-mel)."""

    @property
    def fixed(self) -> bool:
        """Whether training never changes the codes of an utterance."""
        return self.fitted or not self.learned and self.input == "stacked"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.dim % self.groups:
            raise ValueError(f"Code width {self.dim} cannot be split into {self.groups} groups; choose a multiple.")

    def width(self, ports: Ports) -> int:
        """Channels of the input stage."""
        return ports.stacked if self.input == "stacked" else ports.width

    def anneals(self) -> str:
        """What about them anneals over training, so that the length of training matters; or ''."""
        return ""

    @abstractmethod
    def build(self, ports: Ports) -> AbstractTargets:
        """Make the module."""


class AbstractTargets(nn.Module, ABC):
    """Turns the unmasked input of masked positions into codes."""

    config: TargetsConfig

    def forward(self, view: View, encoding: Encoding, progress: float) -> Codes:
        """Compute codes of the view's masked positions; `progress` in [0, 1] says how far they are annealed."""
        assert view.speech_masked_I is not None, "speech targets need a view with masked speech"
        x_ID = self.read(view, encoding).index_select(0, view.speech_masked_I)
        return self.codes(x_ID, seeds.key(view.noise_key, "targets"), progress)

    def read(self, view: View, encoding: Encoding) -> Tensor:
        """The input to quantise, at all positions of the view's speech: x_TD, never masked."""
        return encoding.stages[self.config.input]

    @abstractmethod
    def codes(self, x_ID: Tensor, key: int, progress: float) -> Codes:
        """Codes of I input vectors; a pure function of these, the weights, `key` and `progress`."""


class Learned(AbstractTargets):
    """Gumbel-softmax codes with straight-through gradients (docs/paper.md, section 2; wav2vec 2.0, section 2).

    Inputs are normalised and weights start from N(0, 1), so that logits are sharp and two draws mostly agree from the
    start. In evaluation codes have no noise.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        """Codes trained by the contrastive loss and the diversity term."""

        tag: ClassVar[str] = "gumbel"
        learned: ClassVar[bool] = True

        hot: Positive = 2.0
        """Gumbel temperature at the start of the first trunk that has these targets."""
        cold: Positive = 0.1
        """Gumbel temperature at the end; it falls geometrically over the first trunk that has these targets."""
        predict: Annotated[str, OneOf(("sampled", "argmax"))] = "sampled"
        """Codes for masked prediction: "sampled" with noise, or the "argmax" without noise."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 < self.cold <= self.hot:
                raise ValueError(f"Gumbel temperatures fall from {self.hot} to {self.cold}; expected 0 < cold <= hot.")

        def anneals(self) -> str:
            return "Gumbel temperature" if self.hot != self.cold else ""

        def build(self, ports: Ports) -> Learned:
            return Learned(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.config = config
        self.logits = nn.Linear(config.width(ports), config.groups * config.entries)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.codebook_GVE = nn.Parameter(torch.rand(config.groups, config.entries, config.dim // config.groups))

    def temperature(self, progress: float) -> float:
        """Gumbel temperature after a share `progress` of the annealing."""
        return self.config.hot * (self.config.cold / self.config.hot) ** min(max(progress, 0.0), 1.0)

    def codes(self, x_ID: Tensor, key: int, progress: float) -> Codes:
        groups, entries = self.config.groups, self.config.entries
        logits_IGV = self.logits(F.layer_norm(x_ID, x_ID.shape[1:])).float().unflatten(1, (groups, entries))
        mean_GV = logits_IGV.softmax(2).sum(0) / max(1, len(x_ID))
        best_IG = logits_IGV.detach().argmax(2)
        if not self.training:
            ids_IG, choice_IGV = best_IG, F.one_hot(best_IG, entries).to(logits_IGV.dtype)
        else:
            noise_IGV = torch.empty(logits_IGV.shape).exponential_(generator=seeds.torch_rng(key)).log_().neg_()
            noisy_IGV = logits_IGV + noise_IGV.to(logits_IGV.device)
            soft_IGV = (noisy_IGV / self.temperature(progress)).softmax(2)
            ids_IG = noisy_IGV.detach().argmax(2)
            hard_IGV = torch.zeros_like(soft_IGV).scatter_(2, ids_IG.unsqueeze(2), 1.0)
            choice_IGV = hard_IGV + (soft_IGV - soft_IGV.detach())  # exactly one-hot; soft_IGV's gradient
        vectors_GIE = choice_IGV.transpose(0, 1) @ self.codebook_GVE
        return Codes(
            targets_IG=ids_IG if self.config.predict == "sampled" else best_IG,
            ids_IG=ids_IG,
            best_IG=best_IG,
            vectors_ID=vectors_GIE.transpose(0, 1).flatten(1),
            mean_GV=mean_GV,
        )
