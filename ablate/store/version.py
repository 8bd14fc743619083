"""The version of the running code: its commit, and the changes since. Standard library only.

Changes are kept once as a patch under ROOT/code, by the name that records give; `git apply` restores them.
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

CODE = "ABLATE_CODE"  # environment variable by which a driver passes the code's version to workers, as JSON
ROOMS = ("ablate", "encoders", "objectives", "analysis")
_ELSEWHERE = {  # `git rev-parse --local-env-vars`
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_CONFIG"),
}
PATCH: list[bytes] = []  # uncommitted changes that this process found


def code_version() -> dict[str, Any]:
    """Return {"commit", "dirty", "patch"} of this code: from the driver, else from git, else None for each.

    "patch" names the uncommitted changes, new files included; None if there are none. With plugins, "plugins" has their
    versions.
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
    """Add the versions of plugins to the code's version, in this process and those that it starts."""
    if versions:
        os.environ[CODE] = json.dumps({**code_version(), "plugins": dict(versions)})


def own_repository() -> dict[str, str]:
    """The environment without what points git to another repository, as in a hook: git then goes by the folder."""
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}


def label(code: Mapping[str, Any]) -> str:
    """Return a code version as text: the commit and its changes; empty if unknown."""
    commit, patch = code.get("commit") or "", code.get("patch")
    packages = {(name.partition(".")[0], version) for name, version in code.get("plugins", {}).items()}
    beside = "".join(f", {name} {version}" for name, version in sorted(packages))
    return commit[:10] + (f"+{patch[:6]}" if patch else "+changes" if code.get("dirty") else "") + beside


def keep_patch(root: Path) -> None:
    """Write the uncommitted changes under `root`/code, unless they are there or this process does not know them."""
    name = code_version().get("patch")
    target = Path(root) / "code" / f"{name}.patch"
    if PATCH and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        files.replace(target, PATCH[0], durable=False)


def _changes() -> bytes:
    """Return the difference between the code and its commit, new files included."""
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *ROOMS).split(b"\0")
    added = [
        _git("diff", "--no-index", "--binary", "--", "/dev/null", os.fsdecode(file)) for file in sorted(new) if file
    ]
    return b"".join([_git("diff", "--binary", "HEAD", "--", *ROOMS), *added])


def _git(*arguments: str) -> bytes:
    """Return git's output for this code; empty without git or a repository."""
    here = Path(__file__).resolve().parents[2]
    try:
        # also read a checkout that another user owns: its code is run anyway
        ours = ["git", "-c", "safe.directory=*", "-C", str(here)]
        alone = own_repository() | {"GIT_CEILING_DIRECTORIES": str(here.parent)}  # not one around a copy of the code
        return subprocess.run([*ours, *arguments], capture_output=True, timeout=60, env=alone).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
