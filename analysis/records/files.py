"""How files of the analysis are written, and how arrays are kept from one reading to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np


def replace(path: Path, text: str) -> Path:
    """Write beside and rename: a reader never meets half a file."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return path


def keep(path: Path, about: Mapping[str, Any], **arrays: np.ndarray) -> None:
    """Write arrays, and in JSON what they are, with the "version" of the code that made them; beside, and rename."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    os.replace(beside, path)


def kept(path: Path, version: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Read what `keep` wrote; None where there is none, where it is not whole, and where other code wrote it."""
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
    ):  # it is made again from what it was made of
        return None
