"""Speech targets fitted beforehand: the nearest of k-means centroids (HuBERT; a departure from SLAM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders import seeds
from encoders.batch import Speech, View
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.precision import exact
from encoders.ranges import Natural, OneOf, Size
from objectives.objective import Ports
from objectives.quantizer import AbstractTargets, Codes, TargetsConfig

Layer = Callable[[Speech], Tensor]  # from packed utterances to vectors x_TC of their positions

LAYERS = ("features", "speech_tower", "joint")  # encoding stages of a finished row that can be clustered


def nearest(x_NC: Tensor, centroids_VC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the nearest centroid (Euclidean) for each row, and the squared distance to it."""
    with exact(x_NC.device):
        x_NC = x_NC.float()
        half_V = centroids_VC.square().sum(1) / 2
        score_N, ids_N = torch.addmm(-half_V, x_NC, centroids_VC.T).max(1)
        return ids_N, (x_NC.square().sum(1) - 2 * score_N).clamp_min(0)


class KMeans(AbstractTargets):
    """Nearest centroid of the unmasked input; the centroids come from a separate stage and never change.

    In the contrastive loss a code is represented by a fixed random unit vector, not by its centroid: its projection is
    then as free as HuBERT's learned embedding of codes, whatever the centroids are fitted to.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        """One codebook of `entries` centroids; all settings except `dim` determine how they are fitted."""

        tag: ClassVar[str] = "kmeans"
        learned: ClassVar[bool] = False
        fitted: ClassVar[bool] = True
        how: ClassVar[tuple[str, ...]] = ("of",)  # not in ids: the fit's parents identify the row, its name is a label

        input: Annotated[str, OneOf(("stacked", *LAYERS))] = "stacked"
        """What is clustered: "stacked" (log-mel); or with `of` "features", "speech_tower" or "joint" of that row."""
        of: str = ""
        """Row whose finished, frozen encoder gives the input (HuBERT's later iterations); empty for log-mel."""
        positions: Size = 50_000
        """Maximum number of positions of unlabelled training speech that the centroids are fitted to (40 ms each)."""
        iterations: Size = 50
        """Maximum number of rounds of the fit; it ends when no position changes its centroid."""
        seed: Natural = 0
        """Seed of the fit (choice of utterances, initial centroids) and of the code vectors."""

        def __post_init__(self) -> None:
            check_choices(self)
            if self.of and self.input == "stacked":
                raise ValueError(f"Log-mel is no layer of row '{self.of}'; set input to one of {', '.join(LAYERS)}.")
            if not self.of and self.input != "stacked":
                raise ValueError(f"'{self.input}' changes in training; cluster the one of a finished row: of: ROW.")
            if self.groups != 1:
                raise ValueError(f"K-means targets have one codebook, found groups {self.groups}; choose more entries.")
            if not 1 < self.entries <= self.positions:
                raise ValueError(
                    f"K-means fits {self.entries} entries to {self.positions} positions; expected at least 2 entries "
                    "and no more than positions."
                )

        def build(self, ports: Ports) -> KMeans:
            return KMeans(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        rng = seeds.torch_rng(seeds.key(config.seed, "targets/kmeans"))
        # Both are computed again whenever a stage is built, so that no checkpoint contains another fit's centroids.
        self.register_buffer(
            "codebook_VE", F.normalize(torch.randn(config.entries, config.dim, generator=rng), dim=1), persistent=False
        )
        self.register_buffer("centroids_VC", None, persistent=False)
        self.layer: Layer | None = None

    def use(self, centroids_VC: Tensor, layer: Layer | None = None) -> None:
        """Set the fitted centroids and, unless they are of log-mel, the frozen layer that gives the input."""
        assert len(centroids_VC) == self.config.entries, "centroids of another fit"
        assert (layer is None) == (self.config.input == "stacked"), "centroids of another input"
        self.centroids_VC, self.layer = centroids_VC.to(self.codebook_VE), layer

    def read(self, view: View, encoding: Encoding) -> Tensor:
        if self.layer is None:
            return super().read(view, encoding)
        return self.layer(view.inputs.speech)

    @torch.no_grad()
    def codes(self, x_ID: Tensor, key: int, progress: float) -> Codes:
        assert self.centroids_VC is not None, "k-means targets without centroids: give them with `use`"
        ids_I, _ = nearest(x_ID, self.centroids_VC)
        ids_IG = ids_I.unsqueeze(1)
        return Codes(ids_IG, ids_IG, ids_IG, self.codebook_VE[ids_I])
