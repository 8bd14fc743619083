"""Toys that extend the project, each registered for one test."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablate.data.real.layouts.registry import LAYOUTS, TABLES, TEXT_LAYOUTS
from ablate.tasks.registry import TASKS

REGISTRIES = (LAYOUTS, TEXT_LAYOUTS, TABLES, TASKS)
ADDED: dict[str, list[dict]] = {}  # what each toy registers, by registry: a module is executed once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toy() -> Iterator[Callable[[str], types.ModuleType]]:
    """Import a toy of this folder; what it registers is gone after the test."""
    before = [dict(registry) for registry in REGISTRIES]

    def load(name: str) -> types.ModuleType:
        now = [(registry, dict(registry)) for registry in REGISTRIES]
        module = importlib.import_module(name)
        if name not in ADDED:
            ADDED[name] = [{key: registry[key] for key in registry.keys() - old.keys()} for registry, old in now]
        for registry, things in zip(REGISTRIES, ADDED[name]):
            registry.update(things)
        return module

    yield load
    for registry, old in zip(REGISTRIES, before):
        for key in registry.keys() - old.keys():
            del registry[key]
