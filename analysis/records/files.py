"""How the analysis writes files, and how it caches arrays between two readings."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ablate.store import files


def save_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all, and return its path."""
    files.replace(path, text.encode(), durable=False)
    return path


def keep(path: Path, about: Mapping[str, Any], **arrays: np.ndarray) -> None:
    """Write arrays, with JSON that describes them and holds the "version" of the code that made them; all or
    nothing.
    """
    data = io.BytesIO()
    np.savez(data, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    files.replace(path, data.getvalue(), durable=False)


def kept(path: Path, version: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Read what `keep` wrote; None if there is no such file, if it is incomplete, or if other code wrote it."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            return (about, {name: file[name] for name in file.files}) if about["version"] == version else None
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        BadZipFile,
    ):  # an unreadable cache is made again from the records
        return None
