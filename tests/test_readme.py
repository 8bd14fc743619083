"""The README's promises: its example objective runs, its example sweep plans, its commands and paths exist."""

import json
import re
import sys
import types
from pathlib import Path

import pytest
from tiny import World

from ablate.planning.plan import plan_file

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README, re.S).group(1)


def test_the_example_objective_trains(tmp_path, monkeypatch):
    module = types.ModuleType("objectives.reconstruction")
    monkeypatch.setitem(sys.modules, "objectives.reconstruction", module)
    exec(block("python"), module.__dict__)
    import objectives

    monkeypatch.setitem(objectives.OBJECTIVES, "reconstruction", module.Reconstruction.Config())
    world = World(tmp_path)
    run = world.run(world.pretrain("reconstruction", steps=40))
    losses = [json.loads(line)["reconstruction/loss"] for line in (run.files / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


def test_the_example_sweep_plans(tmp_path):
    file = tmp_path / "spans.yaml"
    file.write_text(block("yaml"))
    plan = plan_file(file, [], tmp_path / "runs")
    assert plan.rows == ["span_5", "span_1", "longer"]
    assert plan.manifest[2]["stages"]["trunks"][0] == plan.manifest[0]["stages"]["trunk"]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:sweeps|objectives|encoders)/[a-z_/-]+\.(?:yaml|py|png)", README))))
def test_paths_exist(path):
    assert (ROOT / path).exists() or path == "objectives/reconstruction.py"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_options_named_in_the_readme_are_options():
    from ablate import sweep

    text = sweep._parser().format_help()
    for option in re.findall(r"--(dry-run|show|only|status|where|help)", README):
        assert f"--{option}" in text
