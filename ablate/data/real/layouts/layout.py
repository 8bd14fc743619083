"""What readers of speech have in common."""

from __future__ import annotations

import math
from os.path import isfile
from pathlib import Path

from ablate.data.lines import Faults


def span(start: float | str, stop: float | str) -> tuple[float, float]:
    """Both in seconds; raises ValueError where the last comes before the first."""
    start, stop = float(start), float(stop)
    if not 0 <= start <= stop < math.inf:
        raise ValueError(f"{start} to {stop} s is no span")
    return start, stop


def there(recording: Path | str, table: Path, number: int, faults: Faults) -> bool:
    """Whether a recording exists; if not, that is a fault of the line that names it."""
    if isfile(recording):
        return True
    faults.report(f"{table}, line {number}: the recording {recording} does not exist.")
    return False
