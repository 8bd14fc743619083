"""Read Hugging Face's audio folders."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from os.path import join
from pathlib import Path
from typing import Any

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, jsonl, lines
from ablate.data.real.layouts.folders import folders
from ablate.data.real.layouts.layout import TRANSCRIPTS, Layout, first, said, there
from ablate.data.table import Example
from ablate.errors import UserError

_NAMES = ("metadata.csv", "metadata.jsonl")


class AudioFolder(Layout):
    """A folder with recordings and `metadata.csv` or `metadata.jsonl`, which has their `file_name` and
    `transcription`.
    """

    expected = "a Hugging Face audio folder with metadata.csv or metadata.jsonl"

    def knows(self, path: Path) -> bool:
        found = [path / name for name in _NAMES if (path / name).is_file()]
        return any("file_name" in first(one) for one in found) or bool(found) and not folders(path, 2)

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return audio_folder(path, faults)

    def wordless(self, path: Path) -> str:
        table = next(path / name for name in _NAMES if (path / name).is_file())
        _, row = next((_csv if table.suffix == ".csv" else jsonl)(table, STOP), (0, {}))
        return f"{table.name} has {', '.join(map(str, row))}; the text is looked for in {', '.join(TRANSCRIPTS)}"


def audio_folder(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read `metadata.csv` (with commas, and quotes where a cell has them) or `metadata.jsonl` of a folder.

    `file_name` is a path relative to the folder. The transcript is `transcription`, or else `text` or `sentence`; a row
    where it is missing, or a table without such a column, has none. The speaker is `speaker_id`, `speaker`
    or `client_id`; where there is none, every recording has its own. Other columns are ignored.

    Source: "Create an audio dataset" in the documentation of Hugging Face datasets.
    """
    folder = Path(folder)
    found = [folder / name for name in _NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: has both {' and '.join(_NAMES)}; keep one of them.")
    seen: dict[str, int] = {}
    for number, row in (_csv if found[0].suffix == ".csv" else jsonl)(found[0], faults):
        name, where = row.get("file_name"), f"{found[0]}, line {number}"
        if not isinstance(name, str) or not name:
            faults.report(f"{where}: has no path in file_name; its fields are {', '.join(map(str, row))}.")
        elif name in seen:
            faults.report(f"{where}: has '{name}', as line {seen[name]} has; keep one.")
        elif there(join(folder, name), found[0], number, faults):
            seen[name] = number
            yield {"id": name, "voice": name, **said(row), "recording": Recording(join(folder, name))}
    if not seen and not faults.skipped:
        raise UserError(f"{found[0]}: has no rows, expected one for each recording.")


def _csv(path: Path, faults: Faults) -> Iterator[tuple[int, dict[Any, str]]]:
    """Yield (number of the line where it begins, row by column name) of a CSV with header."""
    last = 0

    def read() -> Iterator[str]:
        nonlocal last
        for last, line in lines(path, faults):  # noqa: B007  read from outside
            yield f"{line}\n"

    rows = csv.reader(read(), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            raise UserError(f"{path}: is empty, expected a line with the columns file_name and transcription.")
        if "file_name" not in header:
            found = ", ".join(header) + (", expected commas between several" if len(header) == 1 else "")
            raise UserError(
                f"{path}, line 1: has no column 'file_name' with the recordings' paths; its columns are {found}."
            )
        before = last
        for cells in rows:
            number, before = before + 1, last
            if len(cells) == len(header):
                yield number, dict(zip(header, cells))
            else:
                faults.report(
                    f"{path}, line {number}: has {len(cells)} columns, expected {len(header)}; write a cell that has "
                    "commas in quotes."
                )
    except csv.Error as error:
        raise UserError(f"{path}, line {last}: is not CSV ({error}); quotes within a cell are doubled.") from error
