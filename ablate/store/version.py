"""Which code this is: the commit, and what was changed since. Standard library only.

What was changed lies as a patch under ROOT/code, once, under the name that records carry; `git apply` brings it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.store import files, plugins

CODE = "ABLATE_CODE"  # environment variable by which a driver tells its workers the code's version, as JSON
ROOMS = ("ablate", "encoders", "objectives", "analysis")
PATCH: list[bytes] = []  # found by this process


def code_version() -> dict[str, Any]:
    """Return {"commit", "dirty", "patch"} of this code: as the driver says, else from git, else unknown (None).

    "patch" names the changes, new files included, that are not committed; None when there are none. Where there are
    plugins, "plugins" has their versions.
    """
    if CODE not in os.environ:
        commit = _git("rev-parse", "HEAD").decode().strip() or None
        patch = _changes() if commit else b""
        PATCH[:] = [patch] if patch else []
        name = hashlib.sha256(patch).hexdigest()[:16] if patch else None
        os.environ[CODE] = json.dumps({"commit": commit, "dirty": bool(patch) if commit else None, "patch": name})
        with_plugins(plugins.versions())
    return json.loads(os.environ[CODE])


def with_plugins(versions: Mapping[str, str]) -> None:
    """Have this process, and those it starts, say that their code has these plugins."""
    if versions:
        os.environ[CODE] = json.dumps({**code_version(), "plugins": dict(versions)})


def label(code: Mapping[str, Any]) -> str:
    """Name a version for people: the commit, and the changes to it; empty when it is not known."""
    commit, patch = code.get("commit") or "", code.get("patch")
    packages = {(name.partition(".")[0], version) for name, version in code.get("plugins", {}).items()}
    beside = "".join(f", {name} {version}" for name, version in sorted(packages))
    return commit[:10] + (f"+{patch[:6]}" if patch else "+changes" if code.get("dirty") else "") + beside


def keep_patch(root: Path) -> None:
    """Write what is not committed under `root`, if it is not there and this process knows it."""
    name = code_version().get("patch")
    target = Path(root) / "code" / f"{name}.patch"
    if PATCH and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        files.replace(target, PATCH[0], durable=False)


def _changes() -> bytes:
    """The difference between the code and its commit, new files included."""
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *ROOMS).split(b"\0")
    added = [
        _git("diff", "--no-index", "--binary", "--", "/dev/null", os.fsdecode(file)) for file in sorted(new) if file
    ]
    return b"".join([_git("diff", "--binary", "HEAD", "--", *ROOMS), *added])


def _git(*arguments: str) -> bytes:
    """What git says of this code; nothing where there is no git, or no repository."""
    here = Path(__file__).resolve().parents[2]
    try:
        # a checkout that a colleague owns is looked at, too: its code is run anyway
        ours = ["git", "-c", "safe.directory=*", "-C", str(here)]
        return subprocess.run([*ours, *arguments], capture_output=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
