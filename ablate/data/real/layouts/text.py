"""Read plain texts: rows carry "id" and "text"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.data.lines import STOP, Faults, jsonl, lines
from ablate.data.table import Example


def texts(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read plain text, one text a line, or JSONL with "text", either packed by gzip or not: {id, text}.

    The id is the line's number; blank lines are skipped, further fields of a record are ignored.
    """
    path = Path(path)
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
        for number, record in jsonl(path, faults):
            if isinstance(record.get("text"), str):
                yield {"id": f"{number}", "text": record["text"].strip()}
            else:
                faults.report(f'{path}, line {number}: has no text in "text"; its fields are {", ".join(record)}.')
    else:
        for number, line in lines(path, faults):
            yield {"id": f"{number}", "text": line.strip()}
