"""Users without a name, as in containers that run under any number, can train."""

import getpass
import importlib
import os

import encoders


def test_torch_is_told_where_its_cache_lies_where_it_cannot_ask_for_a_name(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    importlib.reload(encoders)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    importlib.reload(encoders)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].endswith(f"torchinductor_uid_{os.getuid()}")
