"""Where another hour of work tells most, claim by claim, as a sheet."""

from __future__ import annotations

import math

from analysis.records.frame import Records, measure
from analysis.statistics.advice import Way, level, ways
from analysis.tables.sheet import Sheet

NOTE = (
    "The smallest effect that a claim would show four times in five, corrected as its verdict is: now, and after "
    "{hours} more of one worker. Read from variances and times alone, never from effects: asking is no look at a "
    "claim. Fine-tunings are further ones of each leaf (finetune_seeds); more test items have to be had first."
)
FIELDS = ("claim", "way", "more", "worker_hours", "detectable_now", "detectable_then")


def sheet(records: Records, hours: float = 1.0) -> Sheet:
    """Print, for each claim, what another `hours` of work would make detectable, and which way makes most."""
    lines, values, time = [], [], "an hour" if hours == 1 else f"{hours:g} hours"
    for name, claim in (records.sweep.get("claims") or {}).items():
        if claim.get("family") == "exploratory":
            continue
        what = measure(records, claim["on"], claim.get("split"))
        now, found = ways(records, claim["coefficients"], what, 3600 * hours, level(records, claim))
        digits = max(2, records.decimals(what))
        by_name = {way.name: way for way in found}
        affordable = [way for way in found if way.seconds <= 3600 * hours and way.name != "test items"]
        best = min(affordable or found, key=lambda way: way.detectable, default=None)
        lines.append(
            [
                name,
                "needs two seeds" if math.isnan(now) else f"{now:.{digits}f}",
                *(_cell(by_name.get(way), digits) for way in ("seeds", "fine-tunings", "test items")),
                best.name if best else "—",
            ]
        )
        values += [[name, way.name, way.more, way.seconds / 3600, now, way.detectable] for way in found]
    return Sheet(
        name="advice",
        title=f"Where {time} more of work {'tells' if hours == 1 else 'tell'} most",
        heads=["claim", "detectable now", "more seeds", "more fine-tunings", "more test items", "most by"],
        lines=lines,
        note=NOTE.format(hours=time),
        fields=FIELDS,
        values=values,
    )


def _cell(way: Way | None, digits: int) -> str:
    if way is None:
        return "—"
    more = f"×{way.more}" if way.name == "test items" else f"+{way.more}"
    return f"{way.detectable:.{digits}f} ({more}, {_duration(way.seconds)})"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"
