"""Checkpoints survive a crash while writing."""

import pytest
import torch

from ablate import checkpoint


def test_round_trip(tmp_path):
    path = tmp_path / checkpoint.NAME
    tensors = {"model/a": torch.arange(6.0).view(2, 3).t(), "exp_avg/a": torch.zeros(3, 2)}
    checkpoint.save(path, tensors, {"step": 7, "cursors": {"text": 12}})
    found, state = checkpoint.load(path)
    assert state == {"step": 7, "cursors": {"text": 12}}
    assert torch.equal(found["model/a"], tensors["model/a"])
    assert set(checkpoint.part(found, "model/")) == {"a"}
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.NAME]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / checkpoint.NAME
    checkpoint.save(path, {"a": torch.ones(2)}, {"step": 1})

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError):
        checkpoint.save(path, {"a": torch.zeros(2)}, {"step": 2})
    tensors, state = checkpoint.load(path)
    assert state["step"] == 1 and bool((tensors["a"] == 1).all())
