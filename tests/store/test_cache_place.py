"""Where what is kept lies, also for a user without a home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ablate.store import files


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ABLATE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    assert files.cache() == Path("/home/ann/.cache/ablate")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/kept")
    assert files.cache() == Path("/var/kept/ablate")
    monkeypatch.setenv("ABLATE_CACHE", "/fast")
    assert files.cache() == Path("/fast")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ABLATE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    assert files.cache() == tmp_path / f"cache-{os.getuid()}" / "ablate"
