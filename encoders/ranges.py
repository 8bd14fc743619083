"""Ranges and choices of settings: a field says the values it can have, and whoever reads a file holds it to them.

    dropout: Probability = 0.1
    block: Annotated[str, OneOf(BLOCKS)] = "conformer"

An alias such as Probability is a plain type with a `Within` beside it. `typing.get_type_hints` leaves that out unless
asked for it, so that nothing else sees a difference.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Within:
    """An interval of numbers, with its bounds unless they are `above` or `below`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is outside."""
    below: bool = False
    """Whether `high` itself is outside."""

    def holds(self, value: float) -> bool:
        """Whether a number lies in it; nan does not."""
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        """As what follows "a number": "from 0 to 1", "above 0 and up to 1", "from 0 to below 1"."""
        low = f"{'above' if self.above else 'from'} {self.low:g}" if math.isfinite(self.low) else ""
        if not math.isfinite(self.high):
            return low
        if low and not self.above:
            return f"{low} to {'below ' * self.below}{self.high:g}"
        return f"{low}{' and ' * bool(low)}{'below' if self.below else 'up to'} {self.high:g}"


@dataclass(frozen=True, eq=False)
class OneOf:
    """The names that a setting can have."""

    names: Collection[str]

    def holds(self, value: str) -> bool:
        """Whether the value is one of them."""
        return value in self.names

    def __str__(self) -> str:
        """As what is expected: "one of conformer, transformer"."""
        return f"one of {', '.join(self.names)}"


Natural = Annotated[int, Within(0)]
"""A whole number from 0: how many there are."""
Size = Annotated[int, Within(1)]
"""A whole number from 1: how large something is, or how many there are at least."""
Positive = Annotated[float, Within(0, above=True)]
"""A number above 0."""
NonNegative = Annotated[float, Within(0)]
"""A number from 0: weights of losses, factors."""
Probability = Annotated[float, Within(0, 1)]
"""Of an event, dropout for instance."""
Share = Annotated[float, Within(0, 1)]
"""A part of a whole."""
PositiveShare = Annotated[float, Within(0, 1, above=True)]
"""Some of a whole, perhaps all of it."""
Fraction = Annotated[float, Within(0, 1, below=True)]
"""Less than the whole: a decay of a moving average, the warm-up of a run."""
