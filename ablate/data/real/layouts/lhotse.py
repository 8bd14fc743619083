"""Read lhotse's cut manifests, and so every corpus that lhotse prepares, without lhotse.

A cut is a part of a recording, and its supervisions are the utterances in it. Here a row is a supervision. Cuts that
lhotse would have to compute (mixed or padded cuts, transforms, audio from a command or a URL) are refused, not guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, jsonl
from ablate.data.real.layouts.layout import Layout, ignored, span
from ablate.data.table import Example

ROUNDED = 1e-3  # seconds by which equal times may differ


class Lhotse(Layout):
    """A manifest of cuts."""

    expected = "lhotse's cuts .jsonl.gz"

    def knows(self, path: Path) -> bool:
        return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")) and path.is_file()

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return lhotse(path, faults)

    def wordless(self, path: Path) -> str:
        cut = next(jsonl(path, STOP), (0, {}))[1]
        found = ", ".join(next(iter(cut.get("supervisions") or ()), {})) or "none"
        return f"the first cut's supervision has {found}; the text is looked for in its text"


def lhotse(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read `cuts.jsonl` or `.jsonl.gz`: {id, voice, recording, [text]}, one row per supervision (or cut without any).

    An utterance that extends beyond its cut is read whole, and belongs to the cut in which it begins. Relative paths of
    recordings are searched from the manifest's folder upwards.
    """
    path = Path(path)
    folders = [str(folder) for folder in path.parents]

    @lru_cache(4096)  # cuts of the same recording are adjacent
    def there(name: str) -> str | None:
        return next((file for folder in folders if os.path.isfile(file := os.path.join(folder, name))), None)

    for number, cut in jsonl(path, faults):
        where = f"{path}, line {number}"
        try:
            utterances = list(_utterances(cut, path, where, there, faults))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            faults.report(
                f"{where}: cut '{cut.get('id')}' is not as lhotse writes it ({type(error).__name__}: {error})."
            )
            continue
        yield from utterances


def _utterances(
    cut: dict[str, Any], path: Path, where: str, there: Callable[[str], str | None], faults: Faults
) -> Iterator[Example]:
    """The rows of one cut; `there` finds the file of a recording."""
    if reason := _refused(cut):
        faults.report(f"{where}: cut '{cut.get('id')}' {reason}.")
        return
    for said in cut.get("supervisions") or [{"id": cut["id"], "start": 0.0, "duration": cut["duration"]}]:
        if said["start"] < -ROUNDED:
            faults.expected(f"{path}: utterances that begin before their cut")
            continue
        channel = _channel(said.get("channel", cut.get("channel")))
        source = _source(cut["recording"], channel)
        if source is None:
            faults.report(f"{where}: recording '{cut['recording'].get('id')}' has no file with channel {channel}.")
            continue
        name, first = source
        recording = there(name)
        if recording is None:
            faults.report(f"{where}: the recording {name} does not exist, nor from the manifest's folder upwards.")
            continue
        start = round(cut["start"] + said["start"], 6)
        document = str(cut["recording"]["id"])
        row = {"id": str(said["id"]), "voice": str(said.get("speaker") or document), "document": document}
        if "num_samples" in cut["recording"]:
            row["stated"] = int(cut["recording"]["num_samples"])
        if isinstance(said.get("text"), str):
            if ignored(said["text"]):
                continue
            row["text"] = said["text"].strip()
        stop = round(start + said["duration"], 6)
        whole = start <= 0 and stop >= cut["recording"]["duration"] - ROUNDED
        place = (0.0, None) if whole else span(max(0.0, start), stop)
        yield row | {"recording": Recording(recording, *place, None if first is None else channel - first)}


def _refused(cut: dict[str, Any]) -> str:
    """Say why a cut cannot be read, or ''."""
    if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
        return f"is a {cut['type']}, expected a MonoCut or MultiCut; save simple cuts (lhotse cut simple)"
    if not isinstance(cut.get("recording"), dict) or not {"start", "duration", "id"} <= cut.keys():
        return "has no recording; make cuts with recordings (lhotse cut simple -r)"
    if cut["recording"].get("transforms"):
        return "has a recording with transforms; save the cuts without (or their audio as it is heard)"
    return ""


def _channel(channel: Any) -> int:
    """The first of a supervision's channels: a list means that all channels of an array contain the utterance."""
    return int(channel[0]) if isinstance(channel, list) else int(channel or 0)


def _source(recording: dict[str, Any], channel: int) -> tuple[str, int | None] | None:
    """The file that contains a channel, and the number of the file's first channel (None if it has only one)."""
    for source in recording.get("sources", ()):
        channels = source.get("channels", [0])
        if source.get("type") == "file" and channel in channels:
            return source["source"], None if len(channels) == 1 else min(channels)
    return None
