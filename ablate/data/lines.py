"""Lines, tables and JSON records of text files, and how to handle those that cannot be used."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError


class Faults:
    """Stop at the first row or recording that cannot be used, or skip and list it.

    `skipped` holds the messages, with paths below `root` relative to it, so that they do not depend on where the data
    are; more than `most` of them raise UserError. `known` counts known faults of a published corpus, which never stop.
    `read` are the files that `lines` read with it, so that a later fault can be reported with file and line.
    """

    def __init__(self, skip: bool = False, most: int = 0, root: Path | None = None) -> None:
        self.skip, self.most, self.root = skip, most, root
        self.skipped: list[str] = []
        self.known: Counter[str] = Counter()
        self.read: dict[Path, None] = {}
        self._lines: dict[str, str] = {}

    def report(self, message: str) -> None:
        """Raise UserError with `message`, or record it."""
        encoding = sys.getfilesystemencoding()
        if encoding != "utf-8" and not message.isascii():
            message += f" (The locale has file names read as {encoding}: set PYTHONUTF8=1.)"
        if not self.skip:
            raise UserError(message if self.root is None else f"{message} Or leave such out: data.on_error=skip.")
        message = self._relative(message)
        if message in self.skipped:
            return  # the same row was read again
        self.skipped.append(message)
        if len(self.skipped) > self.most:
            first = "\n  ".join(self.skipped[:5])
            raise UserError(
                f"More than data.most_skipped={self.most} rows or recordings cannot be used; repair the data, or raise "
                f"the limit. The first are:\n  {first}"
            )

    def expected(self, message: str) -> None:
        """Count a row that is known to be broken."""
        self.known[self._relative(message)] += 1

    def naming(self, file: str) -> str:
        """The line of the files read that names this file or id, by its whole path or the end of it, as "LIST, line 3";
        '' if there is none. If several do, the one with the longest part of the path, of equals the one read last.
        """
        if file not in self._lines:  # sources are read more than once
            self._lines[file] = self._line(file)
        return self._lines[file]

    def _line(self, file: str) -> str:
        best, name = ("", ""), file.rpartition("/")[2]
        for path in reversed(list(self.read)):
            for number, line in lines(path, Faults(skip=True, most=sys.maxsize)):
                if name in line:
                    said = max((word for word in _words(line) if _ends(file, word)), key=len, default="")
                    best = max(best, (said, f"{path}, line {number}"), key=lambda one: len(one[0]))
        return best[1]

    def _relative(self, message: str) -> str:
        return message if self.root is None else message.replace(f"{self.root}/", "")


STOP = Faults()


def _words(line: str) -> Iterator[str]:
    """Parts of a line that may name a file: its cells, for any separator, and everything after the first word."""
    for cells in (line.split(), line.split("\t"), line.split('"'), line.split(","), line.split(" ", 1)[1:]):
        yield from (cell.strip().removeprefix("./") for cell in cells)


def _ends(file: str, word: str) -> bool:
    return bool(word) and (file == word or file.endswith(f"/{word}"))


def lines(path: Path, faults: Faults = STOP) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file, gzipped or not, without line ends and without blank lines."""
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'there is no such file'}.")
    if faults is not STOP:
        faults.read.pop(path, None)
        faults.read[path] = None
    # Split bytes, not text: str.splitlines also splits at characters that corpora contain within a line.
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        for number, raw in enumerate(_whole(file, path), 1):
            if number == 1:
                _encoded(raw, path)
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                where = f"byte {error.start + 1} of the line"
                faults.report(f"{path}, line {number}: is not UTF-8 ({where}); convert the file.")
                continue
            if "\0" in line:
                faults.report(f"{path}, line {number}: holds the character NUL; the file is damaged, or not UTF-8.")
                continue
            if line.strip():
                yield number, line


def _encoded(first: bytes, path: Path) -> None:
    """Raise UserError if the first line shows that a file is UTF-16 or UTF-32, or ends its lines by CR alone."""
    even, odd = first[:8:2], first[1:8:2]
    if first.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) or len(odd) > 1 and any(even) != any(odd):
        name = "UTF-32" if b"\0\0" in first[:4] else "UTF-16"
        raise UserError(f"{path}, line 1: is {name}, expected UTF-8; convert the file (iconv -f {name} -t UTF-8).")
    if b"\r" in first.rstrip(b"\r\n"):
        raise UserError(
            f"{path}, line 1: a carriage return (CR) ends it, expected LF or CR LF; convert the file (mac2unix)."
        )


def _whole(file: Any, path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; a file that is no valid gzip file, or a truncated one, raises UserError."""
    try:
        yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); copy the file again.") from error


def tsv(
    path: Path, columns: Iterable[str], faults: Faults = STOP, broken: bool = False
) -> Iterator[tuple[int, dict[Any, str]]]:
    """Yield (line number, row by column name) of a TSV with header and without quoting.

    `broken` means that the distributed file is known to have rows that lack columns.
    """
    columns, rows = list(columns), lines(path, faults)
    _, first = next(rows, (0, ""))
    header = first.split("\t")
    if not first:
        raise UserError(f"{path}: is empty, expected a line with the columns {', '.join(columns)}.")
    for column in columns:
        if column not in header and len(header) == 1 and column in first.replace('"', "").replace(";", ",").split(","):
            sign = "semicolons" if ";" in first else "commas"
            raise UserError(f"{path}, line 1: has {sign} between its columns, expected tabs; convert the file.")
        if column not in header:
            raise UserError(f"{path}, line 1: has no column '{column}'; its columns are {', '.join(header)}.")
    needed = max(header.index(column) for column in columns) + 1
    for number, line in rows:
        cells = line.split("\t")
        if needed <= len(cells) and not any(cells[len(header) :]):
            yield number, dict(zip(header, cells))
        elif broken:
            faults.expected(f"{path}: too {'few' if len(cells) < needed else 'many'} columns")
        else:
            faults.report(f"{path}, line {number}: has {len(cells)} columns, expected {len(header)}.")


def headless(path: Path, width: int, faults: Faults = STOP) -> Iterator[tuple[int, dict[Any, str]]]:
    """Yield (line number, row by column number) of a TSV without header."""
    for number, line in lines(path, faults):
        cells = line.split("\t")
        if len(cells) == width:
            yield number, dict(enumerate(cells))
        else:
            faults.report(f"{path}, line {number}: has {len(cells)} columns, expected {width}.")


def jsonl(path: Path, faults: Faults = STOP) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a file with one JSON object a line."""
    for number, line in lines(path, faults):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            faults.report(f"{path}, line {number}: is not JSON ({error.msg}).")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            faults.report(f"{path}, line {number}: is a JSON {type(record).__name__}, expected an object.")
