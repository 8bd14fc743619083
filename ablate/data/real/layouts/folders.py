"""The content of a data folder, without what file managers, file systems and editors leave behind. Every reader lists
folders through this module.
"""

from __future__ import annotations

import os
from pathlib import Path

_LEFT = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def leftover(name: str) -> bool:
    """Whether a name is not data: hidden files (.DS_Store, ._*, .nfs*, .*.swp, .ipynb_checkpoints), backups, caches."""
    return name[0] == "." or name[-1] == "~" or name[0] == name[-1] == "#" or name in _LEFT


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; empty if there is no such folder."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as listing:
        return sorted((entry for entry in listing if not leftover(entry.name)), key=lambda entry: entry.name)


def folders(folder: Path | str, depth: int = 1) -> list[str]:
    """Paths of the folders that lie `depth` levels below a folder, sorted by name."""
    paths = [str(folder)]
    for _ in range(depth):
        paths = [entry.path for path in paths for entry in entries(path) if entry.is_dir()]
    return paths
