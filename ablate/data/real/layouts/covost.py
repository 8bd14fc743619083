"""Read CoVoST 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, tsv
from ablate.data.real.layouts.layout import there
from ablate.data.table import Example


def covost(folder: Path, source: str, target: str, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read CoVoST 2, `folder/covost_v2.SRC_TGT.{split}.tsv` and `folder/SRC/clips/`: with "translation"."""
    table = Path(folder) / f"covost_v2.{source}_{target}.{split}.tsv"
    for number, row in tsv(table, ("path", "sentence", "translation", "client_id"), faults):
        clip = Path(folder) / source / "clips" / row["path"].removeprefix("clips/")
        if there(clip, table, number, faults):
            yield {
                "id": clip.stem,
                "text": row["sentence"],
                "translation": row["translation"],
                "voice": row["client_id"],
                "recording": Recording(clip),
            }
