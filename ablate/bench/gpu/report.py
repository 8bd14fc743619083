"""What a step measures: values beside their bounds, sent one by one to the process that writes them down."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, REPORTED, SKIPPED, CUT = "passed", "failed", "reported", "skipped", "out of time"


class Skipped(Exception):
    """A step cannot run here, for a reason that is no fault."""


@dataclass(frozen=True)
class Value:
    """One measured value. `verdict` is "passed" or "failed" where there is a bound, else "reported"."""

    name: str
    value: Any
    """A number or a text; what is not finite is a text, as JSON has no such numbers."""
    unit: str = ""
    bound: str = ""
    """What is wanted, in words: "at most 0.0001"; "" where nothing is."""
    verdict: str = REPORTED
    error: str = ""

    def __str__(self) -> str:
        said = figure(self.value) + (f" {self.unit}" if self.unit else "")
        return f"{self.name}: {self.error or said}" + (f" ({self.bound}): {self.verdict}" if self.bound else "")


class Report:
    """Where a step says what it measured; `send` takes messages (kind, content)."""

    def __init__(self, send: Callable[[tuple[str, Any]], None]):
        self._send = send

    def value(
        self, name: str, value: Any, unit: str = "", *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Tell a value, with a bound on one side or none. NaN is within no bound."""
        bounds = [f"{word} {figure(x)}" for word, x in (("at most", at_most), ("at least", at_least)) if x is not None]
        held = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        verdict = (PASSED if held else FAILED) if bounds else REPORTED
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        self._tell(Value(name, value, unit, " and ".join(bounds), verdict))

    def equal(self, name: str, value: Any, wanted: Any) -> None:
        """Tell a value that must be `wanted`."""
        self._tell(Value(name, value, "", f"equal to {figure(wanted)}", PASSED if value == wanted else FAILED))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Write an error down as the value of this part, which failed, and go on with the next part."""
        try:
            yield
        except Exception as error:
            self._tell(Value(name, None, "", "no error", FAILED, f"{type(error).__name__}: {error}"))
            self._send(("trace", traceback.format_exc()))

    def _tell(self, value: Value) -> None:
        self._send(("value", asdict(value)))


def figure(x: Any) -> str:
    """A value for people: four digits of a number."""
    return (
        f"{x:,.0f}" if isinstance(x, float) and 1e4 <= abs(x) < 1e9 else f"{x:.4g}" if isinstance(x, float) else str(x)
    )
