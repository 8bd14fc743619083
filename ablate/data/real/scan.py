"""The content of real data files, cached by what the file system says about them, so that each is read once.

Text is identified by the hash of its bytes, a recording by its sound: a FLAC's own MD5 of its samples if it has one,
otherwise also the hash of its bytes. The cache is one file, `known.sqlite3` in `$ABLATE_CACHE` or else in `ablate` in
the user's cache folder, keyed by (size, time of change, inode); a file that was copied or touched is read once more.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ablate.data import audio
from ablate.data.audio import Head, Recording
from ablate.errors import UserError
from ablate.store import files
from ablate.store.kept import Kept, hashed

T = TypeVar("T")

LARGE = 1 << 24  # bytes; hashes of larger texts are cached
TELL = 2.0  # seconds between two messages
_THREADS = 16  # for reading files: cluster disks are slow to answer, but answer many requests at once
_HEAD = struct.Struct("<16sQIH??")
LOOKING = 3  # version of what is cached about a file, and of what counts as broken: raised when that changes


class Sound(NamedTuple):
    """What is known about an audio file."""

    digest: bytes
    """16 bytes that identify its sound."""
    head: Head
    size: int
    changed: int
    """Time of its last change, in ns."""
    inode: int


class Sounds:
    """The content of audio files; each is read once."""

    def __init__(self, kept: Kept) -> None:
        self._kept, self._pool = kept, ThreadPoolExecutor(_THREADS)

    def of(self, recordings: Sequence[Recording]) -> list[Sound | str]:
        """What is known about the files of some thousand recordings, in order; for a missing or unreadable file, a
        sentence about it.
        """
        files = [recording.whole() for recording in recordings]
        sounds: dict[Recording, Sound | str] = {}
        asked: dict[Recording, tuple[bytes, os.stat_result]] = {}
        for file in dict.fromkeys(files):
            try:
                facts = os.stat(file.file)
            except OSError:
                sounds[file] = f"{file.file}: there is no such audio file."
                continue
            within = b"" if file.member is None else struct.pack("<QQ", file.member.offset, file.member.size)
            asked[file] = _key(b"a", facts) + within, facts
        known = self._kept.some([key for key, _ in asked.values()])
        unknown = [file for file, (key, _) in asked.items() if key not in known]
        for part in self._pool.map(_look, (unknown[i : i + 32] for i in range(0, len(unknown), 32))):
            for file, one in part:
                if isinstance(one, str):
                    sounds[file] = one
                else:
                    known[asked[file][0]] = value = _HEAD.pack(one[0], *one[1])
                    self._kept.put(asked[file][0], value)
        for file, (key, facts) in asked.items():
            if key in known:
                digest, *head = _HEAD.unpack(known[key])
                size = facts.st_size if file.member is None else file.member.size
                sounds[file] = Sound(digest, Head(*head), size, facts.st_mtime_ns, facts.st_ino)
        return [sounds[file] for file in files]

    def key(self, recording: Recording) -> bytes | None:
        """The key of one recording as it is now; None if it cannot be read."""
        (sound,) = self.of([recording])
        try:
            return None if isinstance(sound, str) else part(sound, recording)
        except UserError:  # the file ends before the requested part
            return None


def _key(kind: bytes, facts: os.stat_result) -> bytes:
    return kind + struct.pack(">BQqqQ", LOOKING, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size)


def _look(files: Sequence[Recording]) -> list[tuple[Recording, tuple[bytes, Head] | str]]:
    """The digest and the header of audio files, or the reason why there is none."""
    sounds: list[tuple[Recording, tuple[bytes, Head] | str]] = []
    for file in files:
        try:
            sounds.append((file, _sound(file)))
        except UserError as error:
            sounds.append((file, str(error)))
        except OSError as error:
            sounds.append((file, f"{file.name}: cannot be read ({error.strerror}); make it readable."))
    return sounds


def _sound(whole: Recording) -> tuple[bytes, Head]:
    audio.named(whole.file)
    with whole.open() as file:
        first = file.read(42)
        if (
            len(first) == 42 and first.startswith(b"fLaC") and first[4] & 0x7F == 0
        ):  # STREAMINFO, which always comes first
            facts, md5 = int.from_bytes(first[18:26], "big"), first[26:]
            samples = facts & (1 << 36) - 1
            if samples and any(md5):
                return hashed(b"flac", first[18:]), Head(samples, facts >> 44, (facts >> 41 & 7) + 1)
        file.seek(0)
        digest = files.digest(file)
    head = audio.head(whole)
    if head.counted:  # before frames were counted, the same bytes were read as another sound
        digest = hashed(digest, struct.pack("<Q", head.samples))
    return digest, head


def part(sound: Sound, recording: Recording) -> bytes:
    """The key of a recording: 16 bytes that identify a part of an audio file. Raises UserError as `audio.span` does."""
    head = sound.head
    first, last = audio.span(recording, head)
    whole = recording.stop is None or last == head.samples and not head.estimated
    channel = -1 if recording.channel is None or head.channels == 1 else recording.channel
    return hashed(sound.digest, struct.pack("<qqq", first, -1 if whole else last, channel))


def content(path: Path, kept: Kept) -> str:
    """Identity of a text's bytes, as hexadecimal digits. Raises UserError if there is no such file."""
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'there is no such file'}.")
    facts = path.stat()
    large = facts.st_size > LARGE
    known = kept.get(_key(b"t", facts)) if large else None
    if known is None:
        with open(path, "rb") as file:
            known = files.digest(file)
        if large:
            kept.put(_key(b"t", facts), known)
    return known.hex()


def told(items: Iterable[T], what: str, unit: str) -> Iterator[T]:
    """Yield `items`, reporting their number on standard error every few seconds; fast work reports nothing."""
    last = began = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > TELL:
            last = time.monotonic()
            print(f"{what}: {count:,} {unit} in {last - began:.0f} s", file=sys.stderr, flush=True)
    if last > began:
        print(f"{what}: all {count:,} {unit} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
