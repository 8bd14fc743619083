"""Claims: who works on a run folder, and whether that process still lives. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

STALE_SECONDS = 120.0  # a claim from another machine without a sign of life for this long is dead


def read_claim(path: Path) -> Optional[dict[str, Any]]:
    """Return the claim in a run folder with "seen" (time of its last sign of life), dead or alive; None if free."""
    return read_claim_file(path / "claim.json")


def alive(claim: Mapping[str, Any]) -> bool:
    """Whether the process that made this claim may still run."""
    here = me()
    quiet = time.time() - claim["seen"]
    if claim.get("pid") is None:  # unreadable: being written just now, or torn by a power cut
        return quiet < 10.0
    if claim["job"] is not None and claim["job"] == here["job"] and claim["restart"] != here["restart"]:
        return False  # the scheduler started this very job again, so its earlier start is over
    if (claim["host"], claim["space"]) == (here["host"], here["space"]):
        return _started(claim["pid"]) == claim["started"]
    return quiet < STALE_SECONDS


def me() -> dict[str, Any]:
    """Describe this process so that another can tell whether it lives; a reused process id starts at another time."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return {
        "host": socket.gethostname(),
        "space": _space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": job,
        "restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _space() -> str:
    """Name the set of process ids this process sees: one boot of one machine, and one container of it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"


def _started(pid: int) -> Optional[str]:
    """Return when a process started, in clock ticks since boot, or None when there is none (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def read_claim_file(path: Path) -> Optional[dict[str, Any]]:
    """Return the claim in a file, as `read_claim` does."""
    try:
        seen, data = path.stat().st_mtime, path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return {**json.loads(data), "seen": seen}
    except ValueError:
        return {"token": None, "pid": None, "began": seen, "seen": seen}


def create(path: Path, claim: Mapping[str, Any]) -> bool:
    """Create a claim file unless there is one; True if created."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, json.dumps({k: v for k, v in claim.items() if k != "seen"}).encode())
    except OSError:  # a full disk: an empty claim would keep others away for nothing
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True
