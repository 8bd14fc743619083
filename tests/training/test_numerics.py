"""TF32 where there is CUDA, and what is said of bf16 on a CPU."""

import json

import pytest
import torch

from ablate.store import files
from ablate.training import numerics
from encoders.batch import Vocabulary
from encoders.presets import PRESETS

CPU = torch.device("cpu")


@pytest.fixture
def settings():
    """The precision of products on CUDA, put back afterwards."""
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, conv.fp32_precision
    yield matmul
    matmul.fp32_precision, conv.fp32_precision = before


def test_tf32_is_allowed_where_there_is_cuda_and_changes_nothing_on_a_cpu(settings, monkeypatch, recwarn):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = settings.fp32_precision
    numerics.begin()
    assert settings.fp32_precision == before
    x = torch.randn(64, 64)
    product = x @ x
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    numerics.begin()
    assert settings.fp32_precision == "tf32" and torch.equal(x @ x, product)
    assert not recwarn.list  # of settings that are on their way out


@pytest.fixture
def encoder():
    from dataclasses import replace

    def make(precision):
        return replace(PRESETS["nano"], precision=precision).build(Vocabulary(40, (0,) * 40, (True,) * 40))

    return make


def test_bf16_that_is_slow_here_is_measured_once_and_told(encoder, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    found, measured = iter([0.55, 7.0]), []
    monkeypatch.setattr(numerics, "speed", lambda: measured.append(1) or next(found))
    numerics.warn(encoder("fp32"), CPU)
    numerics.warn(encoder("bf16"), torch.device("cuda", 0))
    assert not measured and not capsys.readouterr().out
    for _ in range(2):
        numerics.warn(encoder("bf16"), CPU)
        assert "bf16 run at 0.55 times the speed of fp32" in (said := capsys.readouterr().out)
        assert "base.encoder.precision=fp32" in said and len(measured) == 1
    assert list(json.loads((files.cache() / "bf16.json").read_text()).values()) == [0.55]
    monkeypatch.setattr(numerics, "machine", lambda: {"processor": "another", "threads": 2})
    numerics.warn(encoder("bf16"), CPU)
    assert not capsys.readouterr().out and len(measured) == 2
    assert len(json.loads((files.cache() / "bf16.json").read_text())) == 2


def test_without_a_place_to_keep_it_or_with_a_damaged_one_it_is_measured_again(monkeypatch, tmp_path):
    monkeypatch.setattr(numerics, "speed", lambda: 0.5)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "file" / "below"))
    assert numerics.known_speed() == 0.5
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path))
    (tmp_path / "bf16.json").write_text("{")
    assert numerics.known_speed() == 0.5 and "0.5" in (tmp_path / "bf16.json").read_text()


def test_the_measure_is_of_both_precisions(monkeypatch):
    timed = []
    monkeypatch.setattr(numerics, "_seconds", lambda x: timed.append(x.dtype) or {torch.float32: 2.0}.get(x.dtype, 5.0))
    assert numerics.speed() == 0.4 and timed == [torch.float32, torch.bfloat16]
    monkeypatch.undo()
    assert numerics.speed() > 0
