"""What pre-training drew from each corpus, below the table of a sweep that mixes corpora."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.records import manifest
from analysis.records.frame import Records, point_name
from analysis.tables.cells import Table
from analysis.tables.sheet import Sheet

FIELDS = ["row", "point", "seed", "stream", "corpus", "share", "drawn", "unit", "amount", "items", "epochs"]
NOTE = (
    "Share: of the hours or tokens of a stream, as data.mix asks for it; drawn: as it was. Seen: repeats counted, mean "
    "over seeds. An epoch of a corpus is all of its items once: none comes again before all others have come."
)


def drawn(records: Records) -> Iterator[list[Any]]:
    """Lines of `FIELDS`: what the trunks and the decay of each finished pre-training drew of each corpus."""
    for line in records.manifest:
        exposure = (records.result("pretrain", manifest.leaf(line)) or {}).get("exposure", {})
        for stream, about in exposure.items():
            unit = "tokens" if "tokens" in about else "hours"
            total = sum(own[unit] for own in about.get("corpora", {}).values())
            for corpus, own in about.get("corpora", {}).items():
                drawn = own[unit] / total if total else None
                at = [line["row"], point_name(line["point"]), line["seed"], stream, corpus]
                yield [*at, own["share"], drawn, unit, own[unit], own["items"], own["epochs"]]


def sheet(table: Table) -> Sheet | None:
    """Print shares, hours or tokens, and epochs by row, stream and corpus; None if no row mixes corpora."""
    values = list(drawn(table.records))
    if not values:
        return None
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in values:
        of = dict(zip(FIELDS, line))
        groups.setdefault((of["row"], of["point"], of["stream"], of["corpus"]), []).append(of)
    return Sheet(
        name="corpora",
        title="What did pre-training draw from each corpus?",
        heads=["", "stream", "corpus", "share", "drawn", "seen", "epochs"],
        lines=[
            [table.records.label(row, point), stream, corpus, *_cells(lines)]
            for (row, point, stream, corpus), lines in groups.items()
        ],
        note=NOTE,
        fields=FIELDS,
        values=values,
    )


def _cells(lines: list[dict[str, Any]]) -> list[str]:
    """Share wanted, share drawn, amount seen and epochs, over the seeds of a row."""
    mean = {
        name: sum(line[name] or 0.0 for line in lines) / len(lines) for name in ("share", "drawn", "amount", "epochs")
    }
    seen = f"{mean['amount']:,.0f} tokens" if lines[0]["unit"] == "tokens" else f"{mean['amount']:,.3g} hours"
    return [f"{100 * mean['share']:.1f} %", f"{100 * mean['drawn']:.1f} %", seen, f"{mean['epochs']:.2f}"]
