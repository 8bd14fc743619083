"""Checkpoints: one file of weights, one of moments, and a small one that names both and is renamed into place last.

They say nothing of devices: what was saved on a GPU continues on a CPU, and the other way round.

While a stage runs, every save writes new files beside the previous ones. At its end they are `model.safetensors` and,
if training may continue from there, `moments.safetensors`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ablate.errors import UserError
from ablate.store import attempt
from ablate.store.attempt import CHECKPOINT
from ablate.store.files import beside, replace
from ablate.store.record import read_json
from ablate.store.run import RunFolder
from ablate.training import distributed

MODEL, MOMENTS = "model.safetensors", "moments.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` updates."""

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    """Moments of the optimizer, and whatever else only training needs; empty if training does not continue from here,
    or if they were not requested.
    """
    step: int
    state: dict[str, Any]
    """Further JSON-able values."""


def size(*parts: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors of a checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for part in parts for tensor in part.values())


def save(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    state: Mapping[str, Any],
    last: bool = False,
) -> None:
    """Write a checkpoint into `folder`; a reader sees either the old one or the new one, always complete.

    The `last` one of a stage has plain names; if it exists already, nothing is written, because a stage resumed after
    it has nothing new. With several ranks the first saves. Raises OSError, with the old checkpoint kept, if the disk
    fails or is full.
    """
    if distributed.rank() != 0:
        return
    about = folder / CHECKPOINT
    before = read_json(about) if about.exists() else {"number": 0, "files": {}}
    if last and MODEL in before["files"]:
        return
    number = before["number"] + 1
    parts = {MODEL: weights, MOMENTS: moments} if moments else {MODEL: weights}
    files = {name if last else name.replace(".", f".{number}."): tensors for name, tensors in parts.items()}
    try:
        # A random mark for files that are saved together: cheaper than digests every few seconds.
        mark = None if last else secrets.token_hex(8)
        for name, tensors in files.items():
            _write(folder / name, tensors, {} if last else {"mark": mark})
        kept = {
            "step": step,
            "number": number,
            "files": attempt.facts(folder, files, last),
            "mark": mark,
            "state": state,
        }
        replace(about, json.dumps(kept).encode())
    except OSError:
        for name in files:
            (folder / name).unlink(missing_ok=True)
        raise
    for name in before["files"]:
        (folder / name).unlink(missing_ok=True)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError  # here: updates without checkpoints are made where it is not installed
    from safetensors.torch import save_file

    try:
        with beside(path) as part:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata=metadata or None)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load(folder: Path) -> Checkpoint | None:
    """Read the last checkpoint saved in an attempt's folder; None if there is none. Raises UserError if it is
    damaged.
    """
    if not (folder / CHECKPOINT).exists():
        return None
    about = read_json(folder / CHECKPOINT)
    advice = f"remove {folder}, and run the sweep again, which starts that stage from the beginning."
    return _read(about, lambda name: attempt.checked(folder / name, about["files"][name], advice), moments=True)


def of(run: RunFolder, step: int | None = None, moments: bool = False) -> Checkpoint:
    """Read the last checkpoint of a finished stage, with `moments` if asked for.

    Raises UserError if one of its files does not match the stage's result, or if it is not that of `step`, if given.
    """
    about = read_json(run.checked(CHECKPOINT))
    if step not in (None, about["step"]):
        raise UserError(
            f"The checkpoint of {run.kind} {run.id} is of update {about['step']}, expected {step}; remove {run.path}, "
            "and run the sweep again, which makes that stage again."
        )
    return _read(about, run.checked, moments)


def _read(about: Mapping[str, Any], place: Callable[[str], Path], moments: bool) -> Checkpoint:
    tensors: dict[str, dict[str, Tensor]] = {"model": {}, "moments": {}}
    for name in about["files"]:
        part = name.partition(".")[0]
        if part == "model" or moments:
            tensors[part], mark = _loaded(place(name))
            if mark != about["mark"]:
                raise UserError(
                    f"{place(name)} comes from another save than its record; remove its folder and run the sweep again."
                )
    return Checkpoint(tensors["model"], tensors["moments"], about["step"], about["state"])


def _loaded(path: Path) -> tuple[dict[str, Tensor], str | None]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get("mark")


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
