"""A record as Markdown tables: the steps, then every value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.bench.gpu.report import figure


def table(record: Mapping[str, Any]) -> str:
    """The record as it is printed at the end, and as it goes into notes."""
    lines = ["| step | verdict | seconds | why |", "|---|---|---:|---|"]
    for one in record["steps"]:
        lines.append(f"| {one['name']} | {one['verdict']} | {one['seconds']:.1f} | {_cell(one.get('error', ''))} |")
    lines += ["", "| step | value | measured | wanted | verdict |", "|---|---|---:|---|---|"]
    for one in record["steps"]:
        for value in one["values"]:
            measured = _cell(value["error"]) or f"{figure(value['value'])} {value['unit']}".strip()
            cells = (one["name"], value["name"], measured, value["bound"], value["verdict"])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """The first line of a text, as a cell of a table holds it."""
    return text.partition("\n")[0].replace("|", "\\|")[:160]
