"""Read a recording, or a part of one, as 16 kHz mono, or say in one sentence why it cannot be read."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import torch

from ablate.data import containers, mpeg
from ablate.errors import UserError
from encoders import frontend

RATE = frontend.RATE  # sampling rate of all audio that becomes features
FORMATS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".oga", ".sph", ".aiff", ".aif", ".au", ".caf", ".w64")
SILENCE = 2.0**-15  # relative to full scale: one step of 16 bits
CANCELLED = 0.1  # of the loudness of the channels: unrelated ones keep this in their mean up to a hundred of them

_UNKNOWN = 2**62  # samples: libsndfile's value for a FLAC that does not state its length
_DELAY = 2 * 1152  # samples by which an MP3's index and its decoder may differ: one frame each
SLACK = 0.1  # seconds by which stated times may differ from a recording's: they are rounded


class Member(NamedTuple):
    """A file within an uncompressed archive: its name there, and its place in bytes."""

    name: str
    offset: int
    size: int


class _Recording(NamedTuple):
    file: str
    start: float
    stop: float | None
    channel: int | None
    member: Member | None


class Recording(_Recording):
    """An audio file, or its part from `start` to `stop` seconds; one channel (from 0), or the mean of all.

    With a `member`, the audio file is that part of the archive `file`, and is read from there.
    """

    __slots__ = ()

    def __new__(
        cls,
        path: Path | str,
        start: float = 0.0,
        stop: float | None = None,
        channel: int | None = None,
        member: Member | None = None,
    ) -> Recording:
        return super().__new__(cls, os.fspath(path), start, stop, channel, member)

    @property
    def path(self) -> Path:
        return Path(self.file)

    @classmethod
    def of(cls, row: Mapping[str, Any], root: Path) -> Recording:
        """The recording of a spoken row, its path relative to `root` or absolute."""
        member = Member(*row["member"]) if "member" in row else None
        return cls(root / row["path"], row.get("start", 0.0), row.get("stop"), row.get("channel"), member)

    def fields(self, root: Path) -> dict[str, Any]:
        """The fields of a row that describe it: the inverse of `of`, without defaults."""
        path = self.path.relative_to(root) if self.path.is_relative_to(root) else self.path
        member = None if self.member is None else list(self.member)
        given = {"start": self.start or None, "stop": self.stop, "channel": self.channel, "member": member}
        return {"path": path.as_posix(), **{name: value for name, value in given.items() if value is not None}}

    @property
    def name(self) -> str:
        """What the audio file is called in messages."""
        return self.file if self.member is None else f"{self.file}, {self.member.name}"

    def whole(self) -> Recording:
        """All of its audio file."""
        return Recording(self.file, member=self.member)

    def open(self) -> BinaryIO:
        """Open its audio file for reading."""
        if self.member is None:
            return open(self.file, "rb")
        return io.BufferedReader(_Section(self.file, self.member))

    def __str__(self) -> str:
        if self.stop is None:
            return f"{self.name} from {self.start:g} s to its end" if self.start else self.name
        return f"{self.name} from {self.start:g} to {self.stop} s"


class _Section(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, file: str, member: Member) -> None:
        self._file, self._first, self._size, self._at = open(file, "rb", 0), member.offset, member.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._first + self._at)
        count = self._file.readinto(view) if len(view) else 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class Head(NamedTuple):
    """The header of an audio file: samples per channel, samples per second, channels."""

    samples: int
    rate: int
    channels: int
    estimated: bool = False
    """Whether the number of samples is only an estimate, as for an MP3 with frames of free size."""
    counted: bool = False
    """Whether an MP3 does not state its length, or a wrong one, so that its frames were counted."""


def head(recording: Recording | Path) -> Head:
    """Read the header of a recording's audio file. Raises UserError naming the file if it is absent or no audio."""
    recording = recording if isinstance(recording, Recording) else Recording(recording)
    with _Open(recording.whole()) as file:
        return file.head


def check_length(path: Path) -> None:
    """Raise UserError for a file that is no audio, or that holds less or more sound than it states, as far as that is
    known without decoding it: for those who read it in parts.
    """
    whole = Recording(path)
    with _Open(whole) as file:
        amiss = containers.CUT_OFF if file.damaged else _amiss(whole)
    if amiss:
        raise UserError(f"{path}: {amiss}.")


def span(recording: Recording, head: Head) -> tuple[int, int]:
    """First sample of a recording and the one after its last, from its times and the header.

    Raises UserError if the file is too short for it, does not state its length, or lacks the channel.
    """
    told, stop, first = head.samples, recording.stop, round(recording.start * head.rate)
    if told >= _UNKNOWN:
        raise UserError(
            f"{recording.name}: its header does not say how long it is; write the file again (flac -d, then flac)."
        )
    last = told if stop is None else round(stop * head.rate)
    if not told and (amiss := _amiss(recording)):
        raise UserError(f"{recording.name}: {amiss}.")
    if last > told and not head.estimated:
        if last - told > SLACK * head.rate:
            raise UserError(
                f"{recording}: the file ends at {told / head.rate:.2f} s, before the segment does; correct its times."
            )
        last = told
    if last <= first:
        empty = "holds no audio" if not first and stop is None else "is an empty segment"
        raise UserError(f"{recording}: {empty}; replace the file, or leave it out.")
    if recording.channel is not None and recording.channel >= head.channels:
        raise UserError(f"{recording.name}: has {head.channels} channels, and no channel {recording.channel}.")
    return first, last


def expected(recording: Recording, head: Head) -> int:
    """Number of frames of a recording's features, from its header. Raises UserError as `span` does."""
    first, last = span(recording, head)
    return frontend.frames(-(-(last - first) * RATE // head.rate))


def read(recording: Path | Recording, rate: int = RATE) -> np.ndarray:
    """Return a recording as float32 samples at `rate`, channels averaged or one of them chosen.

    Raises UserError naming the file if it is missing, not audio, empty, silent, truncated, or contains samples that are
    not finite; or if it ends before the requested part, or lacks the channel.
    """
    recording = recording if isinstance(recording, Recording) else Recording(Path(recording))
    wave, own = samples(recording)
    if np.ptp(wave) < SILENCE:
        raise silent(recording)
    return resample(wave, own, rate)


def samples(recording: Recording) -> tuple[np.ndarray, int]:
    """A recording as float32 samples at its own rate, and that rate. Raises UserError as `read` does, but not for
    silence.
    """
    with _Open(recording) as file:
        wave = file.part()
    if not np.isfinite(wave).all():
        raise UserError(f"{recording}: holds samples that are not finite numbers; replace the file.")
    return wave, file.rate


def silent(recording: Recording) -> UserError:
    """The fault of a recording that holds only silence."""
    return UserError(f"{recording}: holds only silence; replace the file, or leave it out.")


def frames(recording: Recording) -> int:
    """Read a recording, and return the number of frames of its `features`."""
    return frontend.frames(len(read(recording)))


def features(recording: Recording, normalisation: str = "bins") -> np.ndarray:
    """Return the normalised log-mel frames of a recording without its offset, float16 [F, 80]. Raises UserError as
    `read` does.
    """
    samples_S = read(recording)
    wave = torch.from_numpy(samples_S - samples_S.mean(dtype=np.float64).astype(np.float32))
    return frontend.NORMALISATIONS[normalisation](frontend.log_mel(wave)).numpy().astype(np.float16)


@dataclass(frozen=True)
class Heard:
    """What a table keeps of a recording: number of frames; the frames, float16 [F, 80], if they are stored; their sum,
    float64 [80], if it is needed.
    """

    frames: int
    mel_FM: np.ndarray | None = None
    sum_M: np.ndarray | None = None


def hear(recording: Recording, normalisation: str, stored: bool) -> Heard:
    """Read a recording for a table; the sum over its frames is used for the mean of its speaker. Raises UserError as
    `read` does.
    """
    if not stored and normalisation != "speaker":
        return Heard(frames(recording))
    mel_FM = features(recording, normalisation)
    sum_M = mel_FM.sum(0, dtype=np.float64) if normalisation == "speaker" else None
    return Heard(len(mel_FM), mel_FM if stored else None, sum_M)


def named(file: str) -> None:
    """Raise UserError if the name of a file is not UTF-8: it can stand in no manifest or table."""
    try:
        file.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode(errors="backslashreplace")
        raise UserError(
            f"{shown}: its name is not UTF-8; rename it (convmv -f LATIN1 -t UTF-8 --notest {shown})."
        ) from None


class _Open:
    """An audio file that is open at the beginning of a recording; faults become UserErrors."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        named(recording.file)
        if not os.path.isfile(recording.file):
            raise UserError(f"{recording.file}: there is no such audio file.")
        self.damaged, counted = False, False
        try:
            self._archived = None if recording.member is None else recording.open()
            self._file = soundfile.SoundFile(self._archived or recording.file)
            estimated = self._file.format == "MP3"
            if estimated:
                estimated, counted = self._count()
        except soundfile.LibsndfileError as error:
            raise self._unreadable(error) from error
        self.rate = self._file.samplerate
        self.head = Head(self._file.frames, self.rate, self._file.channels, estimated, counted)
        self._whole = not round(recording.start * self.rate) and recording.stop is None

    def _count(self) -> tuple[bool, bool]:
        """Count the frames of an MP3; (whether that is impossible, whether the file is read by this number)."""
        facts = os.stat(self.recording.file)
        if (found := _counted(self.recording.whole(), facts.st_size, facts.st_mtime_ns)) is None:
            return True, False
        if found.stated is None:
            wrong = abs(found.frames * found.samples - self._file.frames) >= found.samples
        else:
            wrong = found.frames > found.stated + 1  # some writers count the frame that holds the index
        self.damaged = found.cut
        if wrong:
            self._file.close()
            self._file = soundfile.SoundFile(io.BytesIO(mpeg.stating(_bytes(self.recording), found)))
        return False, wrong

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._file.close()
        if self._archived is not None:
            self._archived.close()
        if isinstance(error, soundfile.LibsndfileError):
            raise self._unreadable(error) from error

    def _unreadable(self, error: soundfile.LibsndfileError) -> UserError:
        member = self.recording.member
        name = Path(self.recording.file if member is None else member.name).name
        with self.recording.open() as file:
            why, cure = containers.unreadable(file, name)
        if not why and "unimplemented" in error.error_string or "unsupported" in error.error_string:
            cure = f"convert it (ffmpeg -i {name} {Path(name).stem}.flac)"
        said = "no MPEG audio is found in it" if "possibly a pipe" in error.error_string else error.error_string
        why, cure = why or said.rstrip("."), cure or "replace the file"
        return UserError(f"{self.recording.name}: cannot be read as audio ({why}); {cure}.")

    def _amiss(self, samples: int, wanted: int) -> str:
        """How the samples read contradict what the file states, or ''."""
        if self.head.estimated:
            cut = samples < 0.9 * wanted if self._whole else samples == 0
        else:
            slack = _DELAY if self._file.format == "MP3" else 0
            cut = samples < wanted - slack or self._whole and self.damaged
        if cut or not self._whole:
            return containers.CUT_OFF if cut else ""
        return _amiss(self.recording)

    def part(self) -> np.ndarray:
        """Read the samples of the recording, float32 [samples]."""
        (first, last), channel = span(self.recording, self.head), self.recording.channel
        try:
            wave = self._samples(first, last)
        except MemoryError:
            hours = (last - first) / self.rate / 3600
            raise UserError(
                f"{self.recording}: states {hours:,.0f} hours of audio, more than the memory holds; its header is "
                "damaged, or it has to be cut into pieces."
            ) from None
        if amiss := self._amiss(len(wave), last - first):
            raise UserError(f"{self.recording.name}: {amiss}.")
        if channel is not None:
            return wave[:, channel].copy()
        mean = wave.mean(axis=1)
        if self.head.channels > 1 and _loudness(mean) < CANCELLED * _loudness(wave):
            name = self.recording.path.name
            raise UserError(
                f"{self.recording}: its {self.head.channels} channels cancel each other in their mean, as where one is "
                f"inverted; keep one of them (ffmpeg -i {name} -af 'pan=mono|c0=c0' mono-{name})."
            )
        return mean

    def _samples(self, first: int, last: int) -> np.ndarray:
        """Samples `first` to `last`, float32 [samples, channels]; fewer if the file ends before."""
        if not self._file.seekable():  # as GSM 6.10: read from the beginning
            return self._file.read(last, dtype="float32", always_2d=True)[first:]
        if first:
            self._file.seek(first)
        if self._whole and self._file.format == "FLAC" and self._file.subtype == "PCM_16":
            whole = self._file.read(-1, dtype="int16", always_2d=True)
            self._check(whole)
            return whole.astype(np.float32) / np.float32(1 << 15)
        return self._file.read(-1 if self._whole else last - first, dtype="float32", always_2d=True)

    def _check(self, samples: np.ndarray) -> None:
        """Compare the samples of a FLAC of 16 bits with the checksum in its header: it identifies the recording."""
        with self.recording.open() as file:
            first = file.read(42)
        stated = first[26:] if first.startswith(b"fLaC") and first[4] & 0x7F == 0 else b""
        if any(stated) and stated != hashlib.md5(samples.astype("<i2", copy=False).tobytes()).digest():
            raise UserError(
                f"{self.recording.name}: its sound is not what its header states (length or MD5); write the file "
                "again from its source."
            )


def _loudness(wave: np.ndarray) -> float:
    """Standard deviation of samples, [samples] or [samples, channels]: that of the loudest channel."""
    return float(np.max(wave.std(axis=0)))


@lru_cache(maxsize=256)  # segments of a long file
def _counted(whole: Recording, size: int, changed: int) -> mpeg.Counted | None:
    return mpeg.counted(_bytes(whole))


def _amiss(recording: Recording) -> str:
    with recording.open() as file:
        return containers.amiss(file)


def _bytes(recording: Recording) -> bytes:
    with recording.open() as file:
        return file.read()


def resample(wave: np.ndarray, rate: int, to: int = RATE) -> np.ndarray:
    """Resample float32 samples from `rate` to `to` with a polyphase low-pass filter; length ceil(n * to / rate)."""
    if rate == to:
        return wave
    from scipy.signal import resample_poly  # takes half a second to import, and most corpora do not need it

    divisor = gcd(rate, to)
    up, down = to // divisor, rate // divisor
    return resample_poly(wave, up, down, window=_low_pass(max(up, down))).astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _low_pass(ratio: int) -> np.ndarray:
    """The default filter of `resample_poly`, cached: designing it for every call took most of its time."""
    from scipy.signal import firwin

    return firwin(20 * ratio + 1, 1 / ratio, window=("kaiser", 5.0)).astype(np.float32)
