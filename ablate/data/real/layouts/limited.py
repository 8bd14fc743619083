"""Read Libri-Light's limited-supervision subsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.data.lines import STOP, Faults
from ablate.data.real.layouts.folders import folders
from ablate.data.real.layouts.layout import Layout
from ablate.data.real.layouts.librispeech import librispeech
from ablate.data.table import Example
from ablate.errors import UserError

LIMITED = {"10min": ("1h/0",), "1h": ("1h/*",), "10h": ("1h/*", "9h")}  # folders of each subset


class Limited(Layout):
    """A subset of `librispeech_finetuning`, written as a path that need not exist as a folder."""

    expected = "a part of librispeech_finetuning (10min, 1h, 10h)"

    def knows(self, path: Path) -> bool:
        return path.name in LIMITED and (path.parent / "1h").is_dir()

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return limited(path.parent, path.name, faults)

    def needs(self, path: Path) -> list[Path]:
        return [path.parent / part for part in ("1h", "9h")[: 2 if path.name == "10h" else 1]]


def limited(folder: Path, amount: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read 10 minutes, 1 hour or 10 hours of Libri-Light's `librispeech_finetuning`; each is contained in the next.

    Its parts `1h/{0…5}/{clean,other}` and `9h/{clean,other}` are in LibriSpeech's layout. (100 hours are LibriSpeech's
    own train-clean-100.)
    """
    for pattern in LIMITED[amount]:
        parts = folders(Path(folder, *pattern.split("/")), 1) if "*" not in pattern else folders(Path(folder, "1h"), 2)
        if not parts:
            raise UserError(f"{folder}: expected Libri-Light's {pattern}/{{clean,other}}/, found none; add its files.")
        for part in parts:
            yield from librispeech(Path(part), faults)
