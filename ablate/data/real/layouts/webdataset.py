"""Read WebDataset's shards in place: nothing is unpacked, audio is read from where it lies in the tar."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ablate.data.audio import FORMATS, Member, Recording
from ablate.data.lines import STOP, Faults
from ablate.data.real.layouts.folders import entries, leftover
from ablate.data.real.layouts.layout import TRANSCRIPTS, Layout, said
from ablate.data.table import Example
from ablate.errors import UserError

_SHARDS = (".tar", ".tgz", *(f".tar.{packed}" for packed in ("gz", "bz2", "xz", "zst")))
_UNPACK = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}  # by magic


class WebDataset(Layout):
    """A tar, or a folder of them."""

    expected = "a WebDataset .tar or a folder with them"

    def knows(self, path: Path) -> bool:
        return path.name.endswith(_SHARDS) and path.is_file() or bool(_shards(path))

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        shards = [path] if path.is_file() else _shards(path)
        return (row for shard in shards for row in webdataset(shard, faults))

    def wordless(self, path: Path) -> str:
        shard = path if path.is_file() else _shards(path)[0]
        with open(shard, "rb") as file:
            key, files = next(iter(_samples(shard, file, STOP).items()))
            fields = json.loads(_read(file, files["json"])) if "json" in files else {}
        has = ", ".join(one.name for one in files.values()) + (f" with {', '.join(fields)}" if fields else "")
        wanted = f"{key}.txt, and in {key}.json as {', '.join(TRANSCRIPTS)}"
        return f"{shard.name} has {has}; the text is looked for in {wanted}"


def _shards(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(folder) if entry.name.endswith(_SHARDS) and entry.is_file()]


def webdataset(shard: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read a shard: files with one KEY, all of the name up to the first dot of its last part, are an utterance.

    KEY.flac (or .wav, or any other format of audio) is the recording. The transcript is KEY.txt, or else
    `transcription`, `text` or `sentence` of KEY.json; a shard in which no key has one is unlabelled speech. The speaker
    is `speaker_id`, `speaker` or `client_id` of KEY.json; where there is none, every utterance has its own. Other files
    are ignored.
    An id is SHARD/KEY, so that keys may begin anew in each shard.

    Source: WebDataset's format, github.com/webdataset/webdataset, and POSIX tar. Raises UserError for a compressed tar,
    which cannot be read from the middle, and for a file that is no tar or breaks off.
    """
    shard = Path(shard)
    with open(shard, "rb") as file:
        samples = _samples(shard, file, faults)
        fields = {key: _fields(shard, file, files, faults) for key, files in samples.items()}
    labelled = any("text" in told for told in fields.values() if told)
    for key, files in samples.items():
        told, where = fields[key], f"{shard}, {next(iter(files.values())).name}"
        audio = [one for suffix, one in files.items() if f".{suffix.rpartition('.')[2]}" in FORMATS]
        if told is None:
            continue
        if len(audio) > 1:
            names = " and ".join(one.name for one in audio)
            faults.report(f"{where}: '{key}' has several recordings, {names}; a key ends at the first dot, keep one.")
        elif not audio and told:
            faults.report(f"{where}: has no recording, {key}.flac (or .wav, …), in the tar with it.")
        elif audio and labelled and "text" not in told:
            faults.report(f"{where}: has no transcript, {key}.txt or the text in {key}.json, in the tar with it.")
        elif audio:
            id = f"{shard.stem}/{key}"
            yield {"id": id, "voice": id, **told, "recording": Recording(shard, member=audio[0])}


def _samples(shard: Path, file: BinaryIO, faults: Faults) -> dict[str, dict[str, Member]]:
    """The files of each key by what follows the key in their names, both in the order of the tar."""
    first = file.read(8)
    for magic, unpack in _UNPACK.items():
        if first.startswith(magic):
            raise UserError(
                f"{shard}: is compressed, and audio is read from where it lies in the tar; unpack it to a plain .tar "
                f"({unpack} {shard.name})."
            )
    file.seek(0)
    samples: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as members:
            for member in members:
                name = member.name.removeprefix("./")
                folder, slash, base = name.rpartition("/")
                if not member.isreg() or leftover(base):
                    continue
                stem, _, suffix = base.partition(".")
                key, suffix = f"{folder}{slash}{stem}", suffix.lower()
                if suffix in (of := samples.setdefault(key, {})):
                    faults.report(f"{shard}, {name}: is in the tar twice, or differs only in case; keep one.")
                else:
                    of[suffix] = Member(name, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise UserError(f"{shard}: cannot be read as a tar ({error}); copy the file again.") from error
    if not samples:
        raise UserError(f"{shard}: has no files in it, expected KEY.flac (or .wav, …) and KEY.txt or KEY.json.")
    last = max((one for of in samples.values() for one in of.values()), key=lambda one: one.offset)
    if last.offset + last.size > shard.stat().st_size:
        raise UserError(f"{shard}, {last.name}: the tar ends within this file; copy the tar again.")
    return samples


def _read(file: BinaryIO, member: Member) -> str:
    file.seek(member.offset)
    return file.read(member.size).decode("utf-8-sig")


def _fields(shard: Path, file: BinaryIO, files: dict[str, Member], faults: Faults) -> Example | None:
    """The text and the speaker of a key, as far as they are said; None if that cannot be read, which is reported."""
    told: Example = {}
    for suffix in ("json", "txt"):
        if suffix not in files:
            continue
        name = files[suffix].name
        try:
            text = _read(file, files[suffix])
            record = json.loads(text) if suffix == "json" else {"text": text}
        except UnicodeDecodeError as error:
            faults.report(f"{shard}, {name}: is not UTF-8 (byte {error.start + 1}); convert the file.")
            return None
        except json.JSONDecodeError as error:
            faults.report(f"{shard}, {name}, line {error.lineno}: is not JSON ({error.msg}).")
            return None
        if "\0" in text:
            faults.report(f"{shard}, {name}: holds the character NUL; the file is damaged, or not UTF-8.")
            return None
        if not isinstance(record, dict):
            faults.report(f"{shard}, {name}: is a JSON {type(record).__name__}, expected an object.")
            return None
        told |= said(record)
    return told
