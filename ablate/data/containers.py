"""What audio files say about themselves beyond what libsndfile checks: how long their sound is, and what they are."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

STREAMED = 2**31 - 2**24 - 8  # bytes: who cannot seek back writes a length this large or larger
CUT_OFF = "is cut off (its header states more audio than the file has); copy the file again"
LONGER = "holds more audio than its header states; make the file again from its source"
UNENDED = "is cut off (its last page does not end the stream); copy the file again"
_TAIL = 1 << 17  # bytes: longer than a page of Ogg


class _Chunks(NamedTuple):
    """How a format divides its files into chunks: an id and a length each."""

    start: int
    header: struct.Struct
    pad: int
    sound: bytes
    whole: bool = False
    """Whether the length of a chunk counts its own header."""


_CHUNKED = {
    b"RIFF": _Chunks(12, struct.Struct("<4sI"), 2, b"data"),
    b"RIFX": _Chunks(12, struct.Struct(">4sI"), 2, b"data"),
    b"RF64": _Chunks(12, struct.Struct("<4sI"), 2, b"data"),
    b"BW64": _Chunks(12, struct.Struct("<4sI"), 2, b"data"),
    b"FORM": _Chunks(12, struct.Struct(">4sI"), 2, b"SSND"),
    b"caff": _Chunks(8, struct.Struct(">4sq"), 1, b"data"),
    b"riff": _Chunks(40, struct.Struct("<4s12xQ"), 8, b"data", whole=True),
}

_OTHERS = {
    (4, b"ftyp"): "MPEG-4 (m4a, mp4)",
    (0, b"\x1aE\xdf\xa3"): "WebM or Matroska",
    (0, b"ajkg"): "Shorten",
    (0, b"\x30\x26\xb2\x75"): "Windows Media",
    (0, b"#!AMR"): "AMR",
    (0, b"\xff\xf1"): "AAC",
    (0, b"\xff\xf9"): "AAC",
    (0, b"wvpk"): "WavPack",
    (0, b"MAC "): "Monkey's Audio",
}
_NO_AUDIO = {
    b"\x1f\x8b": ("it is packed by gzip", "unpack it"),
    b"PK\x03\x04": ("it is a zip archive", "unpack it"),
    b"version https://git-lfs": ("it is only a pointer of Git LFS", "fetch the file (git lfs pull)"),
    b"<": ("it is a web page or XML", "download the file again"),
}


def amiss(file: BinaryIO) -> str:
    """Say how the length of a file's sound contradicts what the file states, or ''; for all but FLAC and MPEG."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = _id3(file.read(10))
    file.seek(start)
    first = file.read(1024)
    if first[:4] in _CHUNKED:
        return _of_chunks(file, size, start, _CHUNKED[first[:4]])
    if first[:4] in (b".snd", b"dns."):
        offset, length = struct.unpack((">" if first[:1] == b"." else "<") + "II", first[4:12])
        return CUT_OFF if length < STREAMED and start + offset + length > size else ""
    if first.startswith(b"NIST_1A"):
        stated = _nist(first)
        return CUT_OFF if stated and stated > size else ""
    if first.startswith(b"OggS"):
        file.seek(max(0, size - _TAIL))
        return "" if _ends(file.read()) else UNENDED
    return ""


def unreadable(file: BinaryIO, name: str) -> tuple[str, str]:
    """Why libsndfile cannot read a file called `name`, and what helps; empty texts if its beginning does not say."""
    convert = f"convert it (ffmpeg -i {name} {Path(name).with_suffix('.flac').name})"
    first = file.read(1024)
    if not first.strip(b"\0"):
        return ("its first bytes are all zero" if first else "it is empty"), "copy the file again"
    for (at, mark), what in _OTHERS.items():
        if first[at : at + len(mark)] == mark:
            return f"it is {what}", convert
    if first.startswith(b"NIST_1A") and b"shorten" in first:
        return "it is packed by Shorten", f"convert it (sph2pipe -f wav {name} {Path(name).with_suffix('.wav').name})"
    for mark, said in _NO_AUDIO.items():
        if first.lstrip().startswith(mark):
            return said
    return "", ""


def _id3(first: bytes) -> int:
    """Length of a leading ID3v2 tag, 0 if there is none."""
    if len(first) < 10 or first[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(first[6:10], (21, 14, 7, 0)))


def _of_chunks(file: BinaryIO, size: int, start: int, how: _Chunks) -> str:
    at, long = start + how.start, 0
    while at + how.header.size <= size:
        file.seek(at)
        name, length = how.header.unpack(file.read(how.header.size))
        if name == b"ds64":
            long = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        if name == how.sound and long and length == 2**32 - 1:
            length = long
        if name == how.sound and (length < 0 or not long and STREAMED <= length < 2**32):
            return ""  # written to a pipe: the sound goes on to the end of the file
        end = at + length + (0 if how.whole else how.header.size)
        if name == how.sound:
            if end > size:
                return CUT_OFF
            file.seek(end)
            return LONGER if _sound(file.read(_TAIL)) else ""
        if not at < end <= size:
            return ""  # a damaged length
        at = end + -(end - start) % how.pad if length or not how.whole else size
    return ""


def _sound(rest: bytes) -> bool:
    """Whether what follows the sound's chunk is no chunk, no tag and no filling, so that it is more sound."""
    tags = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")
    chunk = rest[:4] if rest[:1] != b"\0" else rest[1:5]
    return bool(rest.strip(b"\0")) and not rest.startswith(tags) and not all(32 <= byte < 127 for byte in chunk)


def _nist(first: bytes) -> int:
    """The size that a NIST SPHERE file should have, 0 if its header does not say."""
    fields = dict(line.split(None, 2)[::2] for line in first.split(b"\n") if len(line.split(None, 2)) == 3)
    try:
        count, channels, width = (int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
        return int(first.split(b"\n")[1]) + count * channels * width
    except (KeyError, ValueError):
        return 0


def _ends(tail: bytes) -> bool:
    """Whether the last page of an Ogg file is whole and says that it is the last of its stream."""
    at = tail.rfind(b"OggS")
    while at >= 0:
        page = tail[at:]
        segments = page[26] if len(page) > 26 else 0
        if len(page) > 4 and page[4] == 0:  # not "OggS" within a packet
            return len(page) >= 27 + segments + sum(page[27 : 27 + segments]) > 27 and bool(page[5] & 4)
        at = tail.rfind(b"OggS", 0, at)
    return False
