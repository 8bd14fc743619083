"""Columns of numbers, each in its own file: appended as they come, read back as memory-mapped arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class ColumnWriter:
    """Append numbers to a new file, raw and little-endian; `count` is their number so far."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._dtype, self._file, self.count = np.dtype(dtype), open(path, "wb"), 0

    def extend(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self.count += np.size(values)

    def append(self, value: int) -> None:
        self.extend(np.array([value]))

    def close(self) -> None:
        self._file.close()


def column(path: Path, dtype: str) -> np.ndarray:
    """Open a file of numbers as a memory map. An empty file is an empty array."""
    if path.stat().st_size == 0:  # nothing to map
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
