"""The shadow device (shadow.py): compiled once per version of torch; scripts beside this file run on it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
SOURCE = HERE / "shadow.cpp"


def compiled(folder: Path) -> Path:
    """The library of the shadow device for the installed torch, compiled if it does not lie in `folder`."""
    mark = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = folder / f"shadow-{mark}.so"
    if not library.exists():
        part = folder / f".{library.name}.{os.getpid()}"
        headers = Path(torch.__file__).parent / "include"
        flags = [f"-I{path}" for path in (headers, headers / "torch/csrc/api/include")]
        command = ["g++", "-std=c++20", "-shared", "-fPIC", str(SOURCE), "-o", str(part), *flags]
        made = subprocess.run(command, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr[-4000:]
        part.replace(library)
    return library


@pytest.fixture(scope="session")
def shadow(pytestconfig: pytest.Config) -> Callable[..., Any]:
    """Run a script of this folder, with arguments, on the shadow device; returns the JSON of its last line."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the shadow device with (Debian, Ubuntu: apt-get install g++)")
    library = compiled(pytestconfig.cache.mkdir("shadow"))

    def run(script: str, *arguments: Any) -> Any:
        environment = os.environ | {"SHADOW": str(library), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
