"""Which corpus of `data.mix` each source of pre-training belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from ablate.data.mix import Mix
from ablate.data.real.settings import RealSettings
from ablate.data.real.sources import Place
from ablate.errors import UserError, nearest

POOLS = ("speech", "text", "pairs")  # tables of pre-training: each is mixed by itself
TEMPERATURE = "temperature"  # the key of `data.mix` that is no corpus


@dataclass(frozen=True)
class Corpora:
    """The corpora of a pool, numbered in the order of its sources; none if it is not mixed."""

    names: tuple[str, ...] = ()
    of: dict[str, int] = field(default_factory=dict)
    """By source, as `data` names it, the number of its corpus."""
    weights: tuple[float, ...] = ()

    def mix(self, numbers: Sequence[int], temperature: float | None) -> Mix:
        """The mix of those corpora that have rows, in the order of their new numbers. Raises UserError for one that has
        a weight, but no rows.
        """
        for number, name in enumerate(self.names):
            if number not in numbers and self.weights[number]:
                raise UserError(f"data.mix has a weight for {name}, which has no row to pre-train on; give it 0.")
        most = max(self.weights)
        return Mix(
            weights=tuple(self.weights[number] / most for number in numbers),
            temperature=temperature,
            names=tuple(self.names[number] for number in numbers),
        )

    def said(self, temperature: float | None) -> str:
        """The corpora with their weights, and the temperature."""
        listed = ", ".join(f"{name} (weight {weight:g})" for name, weight in zip(self.names, self.weights))
        return listed if temperature is None else f"{listed} at temperature {temperature:g}"


def temperature(config: RealSettings) -> float | None:
    """The temperature of a mixture, None if sizes do not matter."""
    return config.mix.get(TEMPERATURE)


def corpora(config: RealSettings, place: Place) -> Corpora:
    """The corpora of a split. Only the training splits of `POOLS` are mixed, if they have several.

    A name in `data.mix` is a folder or file in the path of a source, or several on end: all sources with it are one
    corpus. Without names every source is one, if there is a temperature. Raises UserError for names that leave open
    which corpus a source belongs to, and where all weights are 0.
    """
    table, split = place
    weights = {name: weight for name, weight in config.mix.items() if name != TEMPERATURE}
    if not config.mix or split != "train" or table not in POOLS:
        return Corpora()
    sources = tuple(dict.fromkeys(getattr(config, table)))
    named = {source: [name for name in weights if _names(name, source)] for source in sources}
    for source, names in named.items():
        if len(names) > 1:
            raise UserError(
                f"data.mix has '{names[0]}' and '{names[1]}', which both name {source} of data.{table}; leave one out."
            )
        if not names and any(named.values()):
            raise UserError(f"data.mix names {_listed(named)} of data.{table}, but not {source}; give it a weight.")
    if not any(named.values()):
        weights = dict.fromkeys(sources, 1.0) if TEMPERATURE in config.mix else {}
        named = {source: [source] for source in sources}
    used = [name for name in weights if [name] in named.values()]
    if len(used) < 2:
        return Corpora()
    if not any(weights[name] for name in used):
        raise UserError(f"data.mix gives all corpora of data.{table} the weight 0; give one of them a weight.")
    of = {source: used.index(names[0]) for source, names in named.items()}
    return Corpora(tuple(used), of, tuple(float(weights[name]) for name in used))


def check(config: RealSettings) -> None:
    """Raise UserError for a mixture that cannot be drawn, or a name in it that no source has."""
    if temperature(config) == 0:
        raise UserError("data.mix.temperature is 0, expected more than 0: 1 draws by size, large ones equally.")
    sources = [source for table in POOLS for source in getattr(config, table)]
    known = list(dict.fromkeys(part for source in sources for part in _parts(source)))
    for name in config.mix:
        if name != TEMPERATURE and not any(_names(name, source) for source in sources):
            raise UserError(
                f"data.mix has '{name}', which is in no path of data.speech, data.text and data.pairs: "
                f"{nearest(name, [TEMPERATURE, *known])}"
            )
    for table in POOLS:
        corpora(config, (table, "train"))


def _parts(source: str) -> list[str]:
    """The parts of a path, the last one also without what follows a dot."""
    parts = [part for part in PurePath(source).parts if part != "/"]
    return [*parts, *(stem for stem in [parts[-1].partition(".")[0]] if stem and stem != parts[-1])]


def _names(name: str, source: str) -> bool:
    """Whether a name is a part of a source's path, or several on end."""
    wanted, parts = PurePath(name).parts, PurePath(source).parts
    ends = (parts, (*parts[:-1], parts[-1].partition(".")[0]))
    return any(wanted == of[i : i + len(wanted)] for of in ends for i in range(len(of)))


def _listed(named: dict[str, list[str]]) -> str:
    return " and ".join(source for source, names in named.items() if names)
