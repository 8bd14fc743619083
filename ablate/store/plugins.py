"""Plugins: modules outside this project that register classes of their own. Standard library only.

They are named by `plugins:` of a sweep file, by ABLATE_PLUGINS (names separated by commas), or by the entry points of
an installed package (`[project.entry-points."ablate.plugins"]`). Records say which plugins were loaded, with their
versions. Names in records are never imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from ablate.errors import UserError, nearest

VARIABLE, GROUP = "ABLATE_PLUGINS", "ablate.plugins"
SUFFIXES = (".py", ".css", ".js", ".csv")  # of code and of files that it reads
_loaded: set[str] = set()


def named(said: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of all plugins, each once: those of installed packages, of the environment, and `said`."""
    around = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return tuple(dict.fromkeys(name for name in (*_installed(), *around, *said) if name))


@cache
def _installed() -> tuple[str, ...]:
    return tuple(sorted(point.value.partition(":")[0] for point in metadata.entry_points(group=GROUP)))


def announce(names: Iterable[str]) -> None:
    """Make these plugins known to this process and to those that it starts from now on."""
    if names := named(names):
        os.environ[VARIABLE] = ",".join(names)


def load(names: Iterable[str] | None = None) -> None:
    """Import these plugins (by default all), unless they are loaded already.

    Raises UserError if one does not exist or cannot be imported, with the file and line of its mistake.
    """
    for name in named() if names is None else names:
        if name in _loaded:
            continue
        files(name)
        try:
            importlib.import_module(name)
        except Exception as error:
            raise UserError(f"plugins: '{name}' cannot be imported: {_where(error, name)}{error}") from error
        except SystemExit:
            raise UserError(f"plugins: '{name}' ends the command when it is imported; remove its sys.exit.") from None
        _loaded.add(name)


def _where(error: Exception, name: str) -> str:
    """Return file and line of the last statement in the plugin that an error passed through."""
    own = {str(path) for path in files(name).values()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""


def files(name: str) -> dict[Path, Path]:
    """Return the code of a plugin and of its package: where each file belongs in a copy of the code -> where it lies.

    Imports nothing. Raises UserError if the module does not exist.
    """
    if "/" in name or name.endswith(".py"):
        module = name.removesuffix(".py").strip("/").replace("/", ".")
        raise UserError(f"plugins: '{name}' is a file; name the module: {module}.")
    top, *below = name.split(".")
    spec = importlib.util.find_spec(top) if top.isidentifier() else None
    roots = [Path(one) for one in (spec and spec.submodule_search_locations) or ()]
    found = {Path(top) / path.relative_to(root): path for root in roots for path in code(root)}
    if spec and not roots and spec.origin:
        found = {Path(Path(spec.origin).name): Path(spec.origin)} if spec.origin.endswith(".py") else {}
    wanted = Path(top, *below)
    if not found or not (roots or not below) or (below and not _has(found, wanted)):
        modules = sorted({".".join(path.with_suffix("").parts) for path in found if path.suffix == ".py"})
        hint = nearest(name, modules) if modules else f"looked in {', '.join(sys.path[:4])}, ...; set PYTHONPATH."
        raise UserError(f"plugins: there is no module '{name}' here; {hint}")
    return found


def code(folder: Path) -> list[Path]:
    """Return the files below a folder that are code or that code reads, such as the style of a page."""
    files = (path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.parts[-2:]))


def _has(found: Iterable[Path], wanted: Path) -> bool:
    return any(place in (wanted.with_suffix(".py"), wanted / "__init__.py") for place in found)


def versions(said: Iterable[str] = ()) -> dict[str, str]:
    """Return the version of each plugin: that of its installed package, if there is one, and a digest of its code.

    Imports nothing. Raises UserError if one does not exist.
    """
    known = {}
    for name in named(said):
        digest = hashlib.sha256()
        for place, path in sorted(files(name).items()):
            digest.update(str(place).encode() + b"\0" + path.read_bytes() + b"\0")
        of = metadata.packages_distributions().get(name.partition(".")[0], ())
        known[name] = "+".join([*(metadata.version(one) for one in of[:1]), digest.hexdigest()[:8]])
    return known
