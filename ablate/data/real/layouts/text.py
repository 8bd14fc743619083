"""Plain texts: one text per line, or one record with "text" per line, gzipped or not. The id is the line number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.data.lines import Faults, jsonl, lines
from ablate.data.real.layouts.layout import Layout
from ablate.data.table import Example


class Lines(Layout):
    """One text per line; blank lines are skipped. Any file that no other layout knows."""

    expected = "one text a line (.txt)"

    def knows(self, path: Path) -> bool:
        return path.is_file()

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        for number, line in lines(path, faults):
            yield {"id": f"{number}", "text": line.strip()}


class Records(Layout):
    """One JSON object with "text" per line; its other fields are ignored."""

    expected = 'one record with "text" a line (.jsonl)'

    def knows(self, path: Path) -> bool:
        return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")) and path.is_file()

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        for number, record in jsonl(path, faults):
            if isinstance(record.get("text"), str):
                yield {"id": f"{number}", "text": record["text"].strip()}
            else:
                faults.report(f'{path}, line {number}: has no text in "text"; its fields are {", ".join(record)}.')
