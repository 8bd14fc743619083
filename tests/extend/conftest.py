"""Toys that extend the project, each registered for one test."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.data.real.layouts.registry import LAYOUTS

REGISTRIES = (LAYOUTS,)
ADDED: dict[str, list[dict]] = {}  # what each toy registers, by registry: a module is executed once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """Import a toy of this folder; what it registers is gone after the test."""

    def load(name: str) -> types.ModuleType:
        before = [dict(registry) for registry in REGISTRIES]
        for registry, things in zip(REGISTRIES, before):
            monkeypatch.setattr(registry, "data", dict(things))
        module = importlib.import_module(name)
        if name not in ADDED:
            now = [dict(registry) for registry in REGISTRIES]
            ADDED[name] = [{k: new[k] for k in new.keys() - old.keys()} for new, old in zip(now, before)]
        for registry, things in zip(REGISTRIES, ADDED[name]):
            registry.update(things)
        return module

    return load
