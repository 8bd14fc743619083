"""What was heard in recordings, piece by piece, and how that is written. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.errors import UserError
from ablate.store import files

FORMATS = {"text": ".txt", "json": ".json", "srt": ".srt"}  # and the suffix of their files


@dataclass(frozen=True)
class Piece:
    """A part of a recording, in seconds, and what was heard there."""

    start: float
    end: float
    text: str
    far: float | None = None
    """How far its sound is from that of the training; above 1 it is unlike it. None if the run does not say."""

    @property
    def unlike(self) -> bool:
        return self.far is not None and self.far > 1


@dataclass
class Transcript:
    """What was heard in a recording so far."""

    file: str
    seconds: float
    pieces: list[Piece] = field(default_factory=list)
    whole: bool = False

    def place(self) -> str:
        """How far it has come."""
        return f"{_clock(self.pieces[-1].end)[:8]} of {_clock(self.seconds)[:8]} of {self.file}"

    def warning(self) -> str:
        """Which pieces are of sound unlike that of the training, in a sentence; "" if there are none."""
        far = [piece for piece in self.pieces if piece.unlike]
        if not far:
            return ""
        if len(self.pieces) == 1:
            return (
                f"{self.file} is unlike the speech of the run's training ({far[0].far:.2f}, where speech is below 1)."
            )
        places = ", ".join(_clock(piece.start)[:8] for piece in far[:3]) + ", ..." * (len(far) > 3)
        what = f"{len(far):,} of {len(self.pieces):,} pieces are unlike the speech of the run's training"
        return f"{self.file}: {what}, at {places}."

    def written(self, form: str) -> str:
        """The transcript in one of FORMATS, with a newline at the end: `text` and `json` are one line."""
        words = " ".join(piece.text for piece in self.pieces if piece.text)
        if form == "text":
            return f"{self.file}\t{words}\n"
        if form == "srt":
            said = [piece for piece in self.pieces if piece.text]
            return "".join(
                f"{number}\n{_clock(one.start)} --> {_clock(one.end)}\n{one.text}\n\n"
                for number, one in enumerate(said, 1)
            )
        pieces = [
            {"start": round(one.start, 2), "end": round(one.end, 2), "text": one.text}
            | ({} if one.far is None else {"far": round(one.far, 2), "unlike": one.unlike})
            for one in self.pieces
        ]
        about = {"file": self.file, "seconds": round(self.seconds, 2), "text": words, "whole": self.whole}
        return json.dumps(about | {"pieces": pieces}, ensure_ascii=False) + "\n"


def _clock(seconds: float) -> str:
    """A time as SubRip writes it: 01:02:03,450."""
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02},{rest % 1000:03}"


class Writer:
    """Prints transcripts in one of FORMATS, or writes a file for each of these recordings into a folder.

    Raises UserError if that cannot keep them apart.
    """

    def __init__(self, form: str, folder: str | None, recordings: Sequence[str]) -> None:
        self.form, self.folder = form, None if folder is None else Path(folder)
        if self.folder is None:
            if form == "srt" and len(recordings) > 1:
                raise UserError(f"--format srt is a file for each of {len(recordings)} recordings; add --out FOLDER.")
            return
        first: dict[Path, str] = {}
        for one in recordings:
            if (other := first.setdefault(self._path(one), one)) != one:
                raise UserError(f"'{other}' and '{one}' would both be written to {self._path(one)}; run twice.")
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, recording: str) -> Path:
        return self.folder / (Path(recording).stem + FORMATS[self.form])

    def write(self, one: Transcript) -> None:
        """Print a transcript, or write its file."""
        text = one.written(self.form)
        if self.folder is None:
            print(text, end="", flush=True)
        else:
            text = text.partition("\t")[2] if self.form == "text" else text
            files.replace(self._path(one.file), text.encode(), durable=False)
