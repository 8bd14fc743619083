"""Weights and moments are of one save, whatever happens while it is made; a damaged file is named."""

import os

import pytest
import safetensors.torch
import torch

from ablate.errors import UserError
from ablate.training import checkpoint


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save(folder, step, value, **how):
    """A checkpoint whose every number is `value`."""
    checkpoint.save(
        folder,
        step,
        {"a": torch.full((2, 3), value).t()},
        {"exp_avg/a": torch.full((3, 2), value)},
        {"at": value},
        **how,
    )


def values(folder):
    """The step, and the values that are in the weights, the moments and the state."""
    loaded = checkpoint.load(folder)
    return (
        loaded.step,
        set(loaded.weights["a"].flatten().tolist()),
        set(loaded.moments["exp_avg/a"].flatten().tolist()),
        loaded.state,
    )


def test_round_trip(tmp_path):
    assert checkpoint.load(tmp_path) is None
    save(tmp_path, 7, 1.5)
    assert values(tmp_path) == (7, {1.5}, {1.5}, {"at": 1.5})
    assert checkpoint.load(tmp_path).weights["a"].shape == (3, 2)
    save(tmp_path, 8, 2.5)
    assert values(tmp_path) == (8, {2.5}, {2.5}, {"at": 2.5}) and len(names(tmp_path)) == 3


def test_the_last_has_plain_names_and_is_not_written_again(tmp_path):
    save(tmp_path, 7, 1.0)
    save(tmp_path, 8, 2.0, last=True)
    assert names(tmp_path) == ["checkpoint.json", "model.safetensors", "moments.safetensors"]
    before = [(tmp_path / name).stat().st_ino for name in names(tmp_path)]
    save(tmp_path, 8, 2.0, last=True)
    assert [(tmp_path / name).stat().st_ino for name in names(tmp_path)] == before
    assert values(tmp_path) == (8, {2.0}, {2.0}, {"at": 2.0})


def test_without_moments_there_is_no_file_of_them(tmp_path):
    save(tmp_path, 7, 1.0)
    checkpoint.save(tmp_path, 8, {"a": torch.ones(2)}, {}, {}, last=True)
    assert names(tmp_path) == ["checkpoint.json", "model.safetensors"] and checkpoint.load(tmp_path).moments == {}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("number", range(1, 4))
def test_a_kill_at_any_rename_leaves_the_old_pair(tmp_path, monkeypatch, number, last):
    save(tmp_path, 1, 1.0)
    calls, real = [], os.replace

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, 2.0, last=last)
    monkeypatch.undo()
    assert values(tmp_path) == (1, {1.0}, {1.0}, {"at": 1.0})
    save(tmp_path, 2, 2.0, last=last)
    assert values(tmp_path) == (2, {2.0}, {2.0}, {"at": 2.0})


@pytest.mark.parametrize("file", ["model", "moments"])
def test_a_write_that_fails_leaves_the_old_pair_alone(tmp_path, monkeypatch, file):
    save(tmp_path, 1, 1.0)
    before, real = names(tmp_path), safetensors.torch.save_file

    def full(tensors, path, metadata):
        if path.name.startswith(f".{file}"):
            raise OSError("no space left on device")
        real(tensors, path, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path, 2, 2.0)
    assert values(tmp_path) == (1, {1.0}, {1.0}, {"at": 1.0}) and names(tmp_path) == before


@pytest.mark.parametrize("file", ["model", "moments"])
def test_a_file_of_another_save_is_refused(tmp_path, file):
    """Two saves of one size: only the bytes tell."""
    (tmp_path / "other").mkdir()
    save(tmp_path, 1, 1.0), save(tmp_path / "other", 1, 2.0)
    name = f"{file}.1.safetensors"
    os.replace(tmp_path / "other" / name, tmp_path / name)
    with pytest.raises(UserError, match=f"{file}.1.safetensors comes from another save than its record"):
        checkpoint.load(tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"has 0 bytes, its record says \d+"):
        checkpoint.load(tmp_path)
