"""Read Common Voice."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import basename, join, splitext
from pathlib import Path

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, tsv
from ablate.data.real.layouts.layout import Layout, TableLayout, first, there
from ablate.data.table import Example


class CommonVoice(Layout):
    """A table of one language, beside `clips/`."""

    expected = "Common Voice's .tsv"

    def knows(self, path: Path) -> bool:
        return path.name.removesuffix(".gz").endswith(".tsv") and path.is_file() and "\t" in first(path)

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return common_voice(path.parent, path.stem, faults)

    def needs(self, path: Path) -> list[Path]:
        return [path, path.parent / "clips"]


class Digits(TableLayout):
    """All three splits of one language."""

    spoken = True
    columns = ("text",)

    def rows(self, path: Path, split: str, faults: Faults) -> Iterator[Example]:
        return common_voice(path, split, faults)

    def needs(self, path: Path, split: str) -> list[Path]:
        return [path / f"{split}.tsv", path / "clips"]


def common_voice(folder: Path, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read Common Voice, `folder/{split}.tsv` and `folder/clips/`."""
    table = Path(folder) / f"{split}.tsv"
    for number, row in tsv(table, ("client_id", "path", "sentence"), faults):
        clip = join(folder, "clips", row["path"].removeprefix("clips/"))
        if there(clip, table, number, faults):
            yield {
                "id": splitext(basename(clip))[0],
                "text": row["sentence"],
                "voice": row["client_id"],
                "recording": Recording(clip),
            }
