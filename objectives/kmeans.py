"""Speech targets fitted beforehand: the nearest of k-means centroids (HuBERT; a departure from SLAM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders import seeds
from encoders.batch import Speech, View
from encoders.choices import check_choice
from encoders.encoding import Encoding
from encoders.ranges import Size
from objectives.objective import Ports
from objectives.quantizer import AbstractTargets, Codes, TargetsConfig

Layer = Callable[[Speech], Tensor]  # from packed utterances to vectors x_TC of their positions

LAYERS = ("features", "speech_tower", "joint")  # encoding stages of a finished row that can be clustered


def nearest(x_NC: Tensor, centroids_VC: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each row which centroid lies nearest (Euclidean), and the squared distance to it."""
    with torch.autocast(x_NC.device.type, enabled=False):
        x_NC = x_NC.float()
        half_V = centroids_VC.square().sum(1) / 2
        score_N, ids_N = torch.addmm(-half_V, x_NC, centroids_VC.T).max(1)
        return ids_N, (x_NC.square().sum(1) - 2 * score_N).clamp_min(0)


class KMeans(AbstractTargets):
    """Nearest centroid of the unmasked input; the centroids come from a stage of their own and never change.

    What stands for a code in the contrastive loss is a fixed random unit vector, not its centroid: its projection there
    is then as free as HuBERT's learned embedding of codes, whatever the centroids are made of.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        """One codebook of `entries` centroids; all but `dim` says how they are fitted."""

        tag: ClassVar[str] = "kmeans"
        learned: ClassVar[bool] = False
        fitted: ClassVar[bool] = True
        how: ClassVar[tuple[str, ...]] = ("of",)  # what the row is, the fit's parents say; its name is for people

        input: str = "stacked"
        """What is clustered: "stacked" (log-mel); or with `of` "features", "speech_tower" or "joint" of that row."""
        of: str = ""
        """Row whose finished encoder, frozen, gives the input (HuBERT's later iterations); none for log-mel."""
        positions: Size = 50_000
        """Positions of unlabelled training speech that the centroids are fitted to, at most (40 ms each)."""
        iterations: Size = 50
        """Rounds of the fit, at most; it ends when no position changes its centroid."""
        seed: int = 0
        """Seed of the fit (which utterances, where centroids start) and of the code vectors."""

        def __post_init__(self) -> None:
            check_choice("Input of k-means targets", self.input, ("stacked", *LAYERS))
            if self.of and self.input == "stacked":
                raise ValueError(f"Log-mel is no layer of row '{self.of}'; set input to one of {', '.join(LAYERS)}.")
            if not self.of and self.input != "stacked":
                raise ValueError(f"'{self.input}' moves in training; cluster that of a finished row: of: ROW.")
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
        # Both are made again whenever a stage is built, so that no checkpoint carries another fit's centroids along.
        self.register_buffer(
            "codebook_VE", F.normalize(torch.randn(config.entries, config.dim, generator=rng), dim=1), persistent=False
        )
        self.register_buffer("centroids_VC", None, persistent=False)
        self.layer: Layer | None = None

    def use(self, centroids_VC: Tensor, layer: Layer | None = None) -> None:
        """Take the fitted centroids and, unless they are of log-mel, the frozen layer they are of."""
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
