"""Speech targets by name: learned codes, those of a fixed random projection, or of k-means clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders import seeds
from encoders.choices import check_known
from encoders.owner import Registered
from encoders.precision import exact
from encoders.ranges import Natural, Size
from objectives.kmeans import KMeans
from objectives.objective import Ports
from objectives.quantizer import AbstractTargets, Codes, Learned, TargetsConfig


class RandomProjection(AbstractTargets):
    """Nearest entry of a random codebook after a random projection, both fixed (BEST-RQ).

    BEST-RQ's input has mean 0 and variance 1 in each bin. Ours is log-mel as the corpus gives it: normalised so by
    utterance, except that with `data.normalisation: speaker` only the speaker's mean is subtracted; with `input:
    features` it is the front end's output. The codebook is l2-normalised (docs/paper.md, section 10.3).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        """Codes that training never changes; they depend on `seed` alone (BEST-RQ: 8,192 entries of width 16)."""

        tag: ClassVar[str] = "random_projection"
        learned: ClassVar[bool] = False

        dim: Size = 16
        """Width of a position's code vector, for all groups together."""
        input: str = "stacked"
        """Encoding stage to quantise: "stacked" (log-mel) or "features" (which changes in training)."""
        seed: Natural = 0
        """Seed of projection and codebook."""

        def build(self, ports: Ports) -> RandomProjection:
            return RandomProjection(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.config = config
        width, rng = config.width(ports), seeds.torch_rng(seeds.key(config.seed, "targets/random_projection"))
        bound = (6 / (width + config.dim)) ** 0.5  # Xavier's
        self.register_buffer("projection_CD", (torch.rand(width, config.dim, generator=rng) * 2 - 1) * bound)
        codebook_GVE = torch.randn(config.groups, config.entries, config.dim // config.groups, generator=rng)
        self.register_buffer("codebook_GVE", F.normalize(codebook_GVE, dim=2))

    @torch.no_grad()
    def codes(self, x_ID: Tensor, key: int, progress: float) -> Codes:
        with exact(x_ID.device):
            z_IGE = (x_ID.to(self.projection_CD.dtype) @ self.projection_CD).unflatten(1, (self.config.groups, -1))
            # Among entries of equal norm the nearest has the largest product, whatever the norm of z.
            ids_GI = (z_IGE.transpose(0, 1) @ self.codebook_GVE.transpose(1, 2)).argmax(2)
        vectors_GIE = torch.stack([book_VE[ids_I] for book_VE, ids_I in zip(self.codebook_GVE, ids_GI)])
        ids_IG = ids_GI.T
        return Codes(ids_IG, ids_IG, ids_IG, vectors_GIE.transpose(0, 1).flatten(1))


TARGETS: Registered[TargetsConfig] = Registered(
    {
        "learned": Learned.Config(),
        "random_projection": RandomProjection.Config(),
        "kmeans": KMeans.Config(),
    }
)


def of(ports: Ports, name: str) -> TargetsConfig:
    """Return the config of the speech targets called `name`, for a head that needs their size."""
    check_known("speech targets", [name], ports.targets)
    return ports.targets[name]
