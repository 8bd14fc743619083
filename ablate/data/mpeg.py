"""Count the frames of MPEG audio (mp3), because libsndfile only guesses the length of a file that does not state it."""

from __future__ import annotations

import struct
from typing import NamedTuple

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")


class _Frame(NamedTuple):
    size: int
    samples: int
    kind: int
    """What all frames of a stream share: version and rate."""


class Counted(NamedTuple):
    """What the frames of a file say."""

    frames: int
    """Number of frames with sound."""
    samples: int
    """Samples per channel in one frame."""
    stated: int | None
    """Number of frames that the file's own index (Xing, Info, VBRI) states."""
    cut: bool
    """Whether the file ends within a frame, or before its index says."""
    first: int
    """Where the first frame begins; it may hold the index."""
    sound: int
    """Where the first frame with sound begins."""


def counted(data: bytes) -> Counted | None:
    """Count the frames of a layer III file; None if it has none, or frames of free size."""
    at = _tag(data, 0)
    frame = None
    while frame is None:
        at = data.find(b"\xff", at)
        if at < 0:
            return None
        frame = _frame(data, at)
        if frame is not None and at + frame.size + 4 <= len(data) and _kind(data, at + frame.size) != frame.kind:
            frame = None
        at += frame is None
    first, kind, samples = at, frame.kind, frame.samples
    stated, size = _stated(data, at)
    frames, cut = 0, False
    if stated is not None:
        at += frame.size
    sound = at
    while at + 4 <= len(data):
        frame = _frame(data, at)
        if frame is None or frame.kind != kind:
            after = _tag(data, at)
            if after == at:
                after = _next(data, at, kind)
            if after < 0:
                break
            at = after
            continue
        cut = at + frame.size > len(data)
        frames += not cut
        at += frame.size
    # some writers count the frame that holds the index, or state a wrong size: both together are believed
    cut = cut or stated is not None and (frames < stated - 1 or frames < stated and len(data) - first < size)
    return Counted(frames, samples, stated, cut, first, sound)


def stating(data: bytes, found: Counted) -> bytes:
    """The same sound with an index that states the number of its frames, as decoders read it."""
    header = bytearray(data[found.first : found.first + 4])
    header[1] |= 1  # no checksum
    header[2] = header[2] & 0x0D | 0x90  # a size that holds the index
    index = bytes(header) + bytes(_side(header)) + b"Xing" + struct.pack(">II", 1, found.frames)
    return index.ljust(_size(header), b"\0") + data[found.sound :]


def _frame(data: bytes, at: int) -> _Frame | None:
    """The frame of layer III that begins here, None if there is none."""
    if len(data) < at + 4 or data[at] != 255 or data[at + 1] & 0xE6 != 0xE2:
        return None
    version, kbits, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return None
    return _Frame(_size(data[at : at + 3]), 1152 if version == 3 else 576, version << 2 | rate)


def _size(header: bytes | bytearray) -> int:
    """Bytes of a frame, by its header."""
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    one = version == 3
    return (144 if one else 72) * 1000 * _KBITS[one][kbits] // _RATES[version][rate] + (header[2] >> 1 & 1)


def _kind(data: bytes, at: int) -> int:
    frame = _frame(data, at)
    return -1 if frame is None else frame.kind


def _side(header: bytes | bytearray) -> int:
    """Bytes between a frame's header and its index."""
    one, mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
    return (17 if mono else 32) if one else (9 if mono else 17)


def _stated(data: bytes, at: int) -> tuple[int | None, int]:
    """The number of frames, and the size of all of them, that the index in this frame states; None, 0 without one."""
    place = at + 4 + _side(data[at : at + 4])
    if data[place : place + 4] in (b"Xing", b"Info") and len(data) >= place + 16 and data[place + 7] & 1:
        frames, size = struct.unpack(">II", data[place + 8 : place + 16])
        return frames, size if data[place + 7] & 2 else 0
    if data[at + 36 : at + 40] == b"VBRI" and len(data) >= at + 54:
        size, frames = struct.unpack(">II", data[at + 46 : at + 54])
        return frames, size
    return None, 0


def _tag(data: bytes, at: int) -> int:
    """The end of a tag that begins here; `at` if none does."""
    if data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        return at + 10 + sum((byte & 127) << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0)))
    return len(data) if data.startswith(_TAGS, at) else at


def _next(data: bytes, at: int, kind: int) -> int:
    """Where the next frame of this kind begins that another one follows; -1 if none does."""
    while (at := data.find(b"\xff", at + 1)) >= 0:
        frame = _frame(data, at)
        if frame is not None and frame.kind == kind and _kind(data, at + frame.size) == kind:
            return at
    return -1
