"""Describes the machine that a number was made on, as processors round differently.

Imports no torch, but asks it for details if the process has loaded it.
"""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {  # flags of /proc/cpuinfo -> usual names, the highest set first
    "avx512f": "avx512",
    "avx2": "avx2",
    "avx": "avx",
    "sse4_2": "sse4.2",
    "sve2": "sve2",
    "sve": "sve",
    "asimd": "neon",
}


def machine() -> dict[str, Any]:
    """Return what this process computes on; values are None if unknown.

    "processor" (model), "family" (its family and model numbers, as virtual machines shorten the name), "instructions"
    (the highest set it has), "device" ("cpu", or the GPU that this process has used). If the process has loaded torch,
    also "torch", "capability" (the instruction set that torch uses), "blas", "onednn" and "threads".
    """
    torch = sys.modules.get("torch")
    facts = {**_processor(), **dict.fromkeys(("device", "torch", "capability", "blas", "onednn", "threads"))}
    if torch is not None and hasattr(torch, "get_num_threads"):  # else it is only half imported
        gpu = torch.cuda.is_initialized()
        facts |= _libraries() | {
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "threads": torch.get_num_threads(),
        }
    return facts


def label(machine: Mapping[str, Any]) -> str:
    """Return a machine as text, such as "AMD EPYC, avx512, torch 2.13.0, 1 thread"; empty if nothing is known."""
    threads, gpu = machine.get("threads"), machine.get("device") not in (None, "cpu")
    parts = [machine.get("device") if gpu else None, machine.get("processor"), machine.get("instructions")]
    parts += [f"torch {machine['torch']}" if machine.get("torch") else None]
    parts += [f"{threads} thread{'s' * (threads != 1)}" if threads else None]
    return ", ".join(part for part in parts if part)


@functools.cache
def _processor() -> dict[str, str | None]:
    """Return model, family and instruction set, from /proc/cpuinfo if it exists."""
    text = CPUINFO.read_text(errors="replace") if CPUINFO.exists() else ""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts.setdefault(name.strip().lower(), value.strip())  # the first core's
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    family = [facts.get(name) for name in ("cpu family", "model")]
    if None in family:
        family = [facts.get(name) for name in ("cpu implementer", "cpu part")]  # ARM
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine() or None,
        "family": None if None in family else ".".join(family),
        "instructions": next((name for flag, name in INSTRUCTIONS.items() if flag in flags), None),
    }


@functools.cache
def _libraries() -> dict[str, str | None]:
    """Return versions of torch, which must be loaded, and of the libraries that it computes with."""
    torch = sys.modules["torch"]
    used = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "capability": used, **_built(torch.__config__.show())}


def _built(text: str) -> dict[str, str | None]:
    """Return the names or versions of BLAS and oneDNN, from torch's description of its build."""
    mkl = re.search(r"Math Kernel Library Version ([\w.]+)", text)
    blas, onednn = re.search(r"BLAS_INFO=(\w+)", text), re.search(r"(?:MKL-DNN|oneDNN) v?([\w.]+)", text)
    return {
        "blas": f"mkl {mkl[1]}" if mkl else blas[1] if blas else None,
        "onednn": onednn[1] if onednn else None,
    }
