"""The layouts of corpora by name, and the tables with a layout of their own. To add one, write a file with a class, and
a line here (or `LAYOUTS["NAME"] = Class`, `TABLES["NAME"] = Class` in a module that is imported before).

A path is tried from the last layout to the first, so that later ones take precedence; the first ones accept the most.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.audio import Recording
from ablate.data.contract import Registered, complete
from ablate.data.lines import STOP, Faults
from ablate.data.real.layouts.audio_folder import AudioFolder
from ablate.data.real.layouts.common_voice import CommonVoice, Digits
from ablate.data.real.layouts.fairseq import Fairseq
from ablate.data.real.layouts.folders import folders
from ablate.data.real.layouts.kaldi import Kaldi
from ablate.data.real.layouts.layout import Layout, TableLayout
from ablate.data.real.layouts.lhotse import Lhotse
from ablate.data.real.layouts.librilight import LibriLight
from ablate.data.real.layouts.librispeech import LibriSpeech
from ablate.data.real.layouts.limited import Limited
from ablate.data.real.layouts.normalization import Normalization
from ablate.data.real.layouts.stm import STM
from ablate.data.real.layouts.text import Lines, Records
from ablate.data.real.layouts.webdataset import WebDataset
from ablate.data.table import Example
from ablate.errors import UserError, nearest, place

Layouts = Registered[type[Layout]]
SHOWN = 4  # number of corpora below a folder that a message shows

TAKEN = ("speech", "pairs", "asr", "speechstew", "retrieval", "translation", "text", "sentiment", "sentence_pair")
"""Tables of real corpora that come from other settings; GLUE tasks of `data.glue` are reserved, too."""


def _layout(name: str, cls: type[Layout]) -> None:
    complete(cls, Layout)


def _table(name: str, cls: type[TableLayout]) -> None:
    complete(cls, TableLayout)
    if name in TAKEN or not name.isidentifier():
        raise UserError(f"A table cannot be called '{name}': {', '.join(TAKEN)} are taken; choose another name.")
    if "train" not in cls.splits or cls.held_out == ("dev" in cls.splits):
        raise UserError(
            f"{cls.__qualname__} ({place(cls)}) has splits {', '.join(cls.splits)}: expected train, and dev exactly if "
            "it is not held out of train."
        )


def _itself(cls: type) -> type:
    return cls


LAYOUTS: Layouts = Registered(
    {
        "webdataset": WebDataset,
        "librispeech": LibriSpeech,
        "librilight": LibriLight,
        "stm": STM,
        "common_voice": CommonVoice,
        "fairseq": Fairseq,
        "lhotse": Lhotse,
        "limited": Limited,
        "audio_folder": AudioFolder,
        "kaldi": Kaldi,
    },
    _layout,
    _itself,
)
"""Layouts of speech: rows have recordings."""

TEXT_LAYOUTS: Layouts = Registered({"lines": Lines, "records": Records}, _layout, _itself)
"""Layouts of text: rows have "text"."""

TABLES: Registered[type[TableLayout]] = Registered({"digits": Digits, "normalization": Normalization}, _table, _itself)
"""Tables with a layout of their own. `data.labelled` gives their paths, for the first two `data.NAME`."""


def table(name: str) -> TableLayout:
    """The layout of a table of its own. Raises UserError for one that is not registered."""
    if name not in TABLES:
        raise UserError(f"data.labelled has '{name}', which is not registered: {nearest(name, TABLES)}")
    return TABLES[name]()


def known(path: Path, layouts: Layouts = LAYOUTS) -> tuple[str, Layout] | None:
    """Name and layout of a path; None if it does not exist or has no known layout."""
    made = ((name, layouts[name]()) for name in reversed(list(layouts)))
    return next(((name, layout) for name, layout in made if layout.knows(path)), None)


def rows(path: Path, faults: Faults = STOP, layouts: Layouts = LAYOUTS) -> Iterator[Example]:
    """Read the rows of a folder or file of any layout. Raises UserError if it does not exist or has no known layout."""
    path = Path(path)
    if found := known(path, layouts):
        spoken = layouts is LAYOUTS
        needed = ("voice", "recording") if spoken else ("text",)
        return whole(lambda: found[1].rows(path, faults), type(found[1]), needed, path)
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise UserError(f"{path}: there is no such file or folder; {nearest(path.name, siblings)}")
    below = [one for depth in (1, 2) for one in folders(path, depth)]
    if held := [(one, found[1]) for one in below if (found := known(Path(one), layouts))]:
        named = ", ".join(f"{os.path.relpath(one, path)} ({layout.expected})" for one, layout in held[:SHOWN])
        more = f" and {len(held) - SHOWN} more" * (len(held) > SHOWN)
        raise UserError(f"{path}: has no known layout, but below it there is {named}{more}; name what you mean.")
    *most, last = (layout.expected for layout in layouts.values())
    raise UserError(f"{path}: has no known layout; expected {', '.join(most)}, or {last}.")


def whole(
    read: Callable[[], Iterator[Example]], cls: Any, needed: Iterable[str], path: Path | str
) -> Iterator[Example]:
    """Yield the rows that a class or function reads from `path`. Raises UserError, with the reader's file and line, for
    a row that lacks a field or whose recording is not a `Recording`, for two rows with the same id (when all are read),
    and for exceptions of the reader.
    """
    needed, name = {"id", *needed}, f"{cls.__qualname__} ({place(cls)})"
    hashes = array("q")  # of ids: 8 bytes for each of millions
    try:
        for row in read():
            if not needed <= row.keys():
                raise UserError(f"{name} reads a row without {', '.join(sorted(needed - row.keys()))}: {row}.")
            if "recording" in needed and not isinstance(row["recording"], Recording):
                raise UserError(f"{name} reads {row['recording']!r} as a recording, expected a Recording.")
            hashes.append(hash(str(row["id"])))
            yield row
        if twice := _repeated(hashes):
            _unique(
                (row for row in enumerate(read(), 1) if hash(str(row[1]["id"])) in twice),
                f"{name} reads two rows of {path}",
            )
    except (UserError, OSError, GeneratorExit):
        raise
    except Exception as error:
        raise UserError(f"{name} raises {type(error).__name__}: {error}.") from error


def _repeated(hashes: array[int]) -> set[int]:
    """The values that occur more than once."""
    ordered = np.sort(np.frombuffer(hashes, np.int64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _unique(rows: Iterable[tuple[int, Example]], what: str) -> None:
    """Raise UserError if two numbered rows have the same id."""
    seen: dict[str, str] = {}
    for number, row in rows:
        recording = row.get("recording")
        shown = f"{recording.file} from {recording.start} s" if recording else repr(row.get("text", row.get("written")))
        here, id = f"row {number} ({shown})", str(row["id"])
        if id in seen:
            raise UserError(
                f"{what} with the same id, '{id}': {seen[id]} and {here}; give each an id of its own, or leave one out."
            )
        seen[id] = here
