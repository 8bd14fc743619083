"""Let a finished run hear recordings of any length, in bounded memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ablate.data import audio, pauses, speaker
from ablate.data.audio import Recording
from ablate.data.table import FRAME
from ablate.errors import UserError, close
from ablate.stages.finished import Finished
from ablate.stages.transcript import Piece, Transcript
from ablate.store import disk

LEAST = 0.1  # seconds: no word is shorter
TOGETHER = 6000  # frames of pieces that are transcribed at once, or one piece


class Listening:
    """A finished run that hears the recordings of one speaker after the other's.

    Recordings no longer than the longest one in training are heard whole; longer ones in pieces, from half the median
    length of the training recordings to `longest` seconds (by default that longest one's length). Only one piece, or
    TOGETHER frames of them, are in memory at a time.
    """

    def __init__(self, finished: Finished, into: str = "", longest: float | None = None) -> None:
        finished.check_speech(into)
        self.finished, self.into = finished, into
        frames = finished.train.frames
        self.longest = float(frames.max()) * FRAME if longest is None else longest
        self.shortest = min(max(LEAST, float(np.median(frames)) * FRAME / 2), self.longest / 2)

    def seconds(self, file: str) -> float:
        """Length of a recording. Raises UserError if it is absent, no audio, or too short to hold a word."""
        if os.path.isdir(file):
            raise UserError(f"{file}: is a folder; give the recordings in it ({Path(file) / '*.wav'}).")
        folder, name = Path(file).parent, Path(file).name
        if not os.path.exists(file) and folder.is_dir() and (near := close(name, os.listdir(folder))):
            raise UserError(f"{file}: there is no such audio file; did you mean '{folder / near}'?")
        head = audio.head(Path(file))
        first, last = audio.span(Recording(file), head)
        if (seconds := (last - first) / head.rate) < LEAST:
            raise UserError(f"{file}: lasts {seconds:.3g} s, too short for a word: expected at least {LEAST:g} s.")
        return seconds

    def pieces(self, file: str, seconds: float) -> list[Recording]:
        """The parts in which a recording of so many seconds is heard. Raises UserError if it cannot be read."""
        if seconds <= self.longest:
            return [Recording(file)]
        found = pauses.pieces(file, seconds, self.shortest, self.longest)
        if not found:
            raise audio.silent(Recording(file))
        return found

    def total(self, recordings: Sequence[Recording]) -> tuple[np.ndarray, int]:
        """Sum over the frames of recordings, float64 [80], and their number; reads nothing if no mean is needed."""
        if self.finished.normalisation != "speaker":
            return np.zeros(1), 0
        mels = [(mel_FM.sum(0, dtype=np.float64), len(mel_FM)) for mel_FM in map(self._raw, recordings)]
        return sum(sum_M for sum_M, _ in mels), sum(frames for _, frames in mels)

    def mean(self, totals: Sequence[tuple[np.ndarray, int]]) -> np.ndarray | None:
        """The mean frame of the speaker of recordings with these totals; None if features are not normalised by it."""
        if self.finished.normalisation != "speaker":
            return None
        known_M = self.finished.train.means.mean(0)
        return speaker.mean(sum(sum_M for sum_M, _ in totals), sum(frames for _, frames in totals), known_M)

    def hear(
        self, recordings: Sequence[Recording], mean_M: np.ndarray | None
    ) -> Iterator[tuple[Recording, str, float | None]]:
        """The words of each of these recordings, in order, and how far its sound is from the training's."""
        group: list[tuple[Recording, np.ndarray]] = []
        for number, recording in enumerate(recordings, 1):
            raw_FM = self._raw(recording)
            group.append((recording, raw_FM if mean_M is None else speaker.less(raw_FM, mean_M)))
            if number == len(recordings) or sum(len(mel_FM) for _, mel_FM in group) > TOGETHER:
                words = self.finished.hear([mel_FM for _, mel_FM in group], self.into)
                for (one, mel_FM), text in zip(group, words, strict=True):
                    likeness = self.finished.likeness
                    yield one, " ".join(text.split()), None if likeness is None else likeness.far(mel_FM)
                group = []

    def _raw(self, recording: Recording) -> np.ndarray:
        """Frames of a recording before a speaker's mean is subtracted."""
        return audio.features(recording, self.finished.normalisation)


def transcribed(
    listening: Listening, voices: Sequence[Sequence[str]], refuse: Callable[[UserError], None]
) -> Iterator[Transcript]:
    """Transcribe files, given by speaker: yields the transcript of each after every piece, and once more as `whole`.

    A recording that cannot be transcribed is given to `refuse`, and left out.
    """
    for voice in voices:
        opened: list[tuple[Transcript, list[Recording]]] = []
        totals = []
        for file in voice:
            with refused(refuse):
                one = Transcript(file, listening.seconds(file))
                pieces = listening.pieces(file, one.seconds)
                totals.append(listening.total(pieces))
                opened.append((one, pieces))
        mean_M = listening.mean(totals) if totals else None
        for one, pieces in opened:
            with refused(refuse):
                for piece, text, far in listening.hear(pieces, mean_M):
                    end = one.seconds if piece.stop is None else min(piece.stop, one.seconds)
                    one.pieces.append(Piece(piece.start, end, text, far))
                    yield one
                one.whole = True
                yield one


@contextlib.contextmanager
def refused(refuse: Callable[[UserError], None]) -> Iterator[None]:
    """Give a UserError, or a disk's error, to `refuse`, and go on behind the block."""
    try:
        with disk.told():
            yield
    except UserError as error:
        refuse(error)
