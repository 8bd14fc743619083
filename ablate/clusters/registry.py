"""The kinds of clusters by their name in `cluster=`; a line here or a call of `register` adds one."""

from __future__ import annotations

from collections.abc import Callable

from ablate.clusters.cluster import AbstractCluster
from ablate.clusters.debug import Debug
from ablate.clusters.local import Local
from ablate.clusters.slurm.cluster import Slurm
from ablate.errors import UserError, nearest, place

OF_JOBS = ("look", "cancel", "detach", "parting")  # required of kinds whose stages outlive the command
CLUSTERS: dict[str, type[AbstractCluster]] = {}  # the first is the default


def register(name: str, kind: type[AbstractCluster]) -> None:
    """Let `cluster=name` mean this kind. Raises UserError for a name that another kind has, and for a class that lacks
    a required method.
    """
    if not issubclass(kind, AbstractCluster):
        raise UserError(f"cluster '{name}': {_named(kind)} is no {AbstractCluster.__name__}; derive it from that.")
    lacks = [*sorted(kind.__abstractmethods__), *["about"] * (not kind.about)]
    if kind.outlives:
        lacks += [part for part in OF_JOBS if getattr(kind, part) is getattr(AbstractCluster, part)]
    if lacks:
        raise UserError(
            f"cluster '{name}': {_named(kind)} lacks {', '.join(lacks)}; AbstractCluster says what they do."
        )
    if CLUSTERS.setdefault(name, kind) is not kind:
        raise UserError(f"cluster '{name}': {_named(CLUSTERS[name])} has that name; give {_named(kind)} another.")


def _named(kind: type) -> str:
    return f"{kind.__name__} ({place(kind)})"


register("local", Local)
register("debug", Debug)
register("slurm", Slurm)


def named(name: str) -> type[AbstractCluster]:
    """The kind with this name, or the default for an empty name. Raises UserError with the nearest name."""
    name = name or next(iter(CLUSTERS))
    if name not in CLUSTERS:
        raise UserError(f"cluster: there is no kind '{name}'; {nearest(name, CLUSTERS)}")
    return CLUSTERS[name]


def asking() -> tuple[str, ...]:
    """Names of the kinds whose jobs ask for resources, including the empty name if the default does."""
    return tuple(name for name in ("", *CLUSTERS) if named(name).asks)


def of_jobs() -> str:
    """What to add to a command so that its stages become jobs."""
    return " or ".join(f"cluster={name}" for name, kind in CLUSTERS.items() if kind.outlives)


def names(of: Callable[[type[AbstractCluster]], bool]) -> str:
    """Names of the kinds for which `of` is true, for the help: "slurm or other"."""
    return " or ".join(name for name, kind in CLUSTERS.items() if of(kind))


def described() -> str:
    """Say for every kind where it runs stages."""
    first, *others = (f"{name}: {kind.about}" for name, kind in CLUSTERS.items())
    return "; ".join([f"{first} (default)", *others])
