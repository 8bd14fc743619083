"""A package outside this project registers an objective: a sweep file names it, records keep its version, jobs carry
it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.store import plugins, version
from ablate.store.snapshot import snapshot

ROOT, HERE = Path(__file__).resolve().parents[2], Path(__file__).resolve().parent / "out_of_tree"
SWEEP = """
plugins: [my_lab.ablations]
data: {preset: builtin, speech: 30, text: 100, pairs: 20, asr: 20, translation: 20, sentiment: 20, sentence_pair: 20,
       normalization: 20, dev: 10, test: 10, retrieval: 10, text_dev: 10, text_test: 10}
base:
  encoder: {preset: nano_narrow, reads: [speech]}
  tokenizer: {size: 150, bytes: false}
  pretrain: {objectives: {loudness: 1.0}, steps: 6, decay: 2, update: {speech: 3 s}}
  tasks: {asr: {steps: 4, items: 2, evaluate_every: 2}}
rows: {loud: {}}
tasks: [asr]
"""


def run(folder, *arguments, path=HERE, variables=()):
    """Run the command in a folder, with a path for modules beside this project's."""
    paths = os.pathsep.join(map(str, (ROOT, *([path] if path else []))))
    around = {name: value for name, value in os.environ.items() if name not in (plugins.VARIABLE, version.CODE)}
    environment = around | {"PYTHONPATH": paths, **dict(variables)}
    module = () if arguments[0] == "-c" else ("-m", "ablate.sweep")
    command = [sys.executable, *module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)


def run_to_the_end(folder, name, text, path=HERE):
    """Write a sweep into a folder and run it; the folder."""
    (folder / name).write_text(text)
    made = run(folder, name, "workers=2", path=path)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with the sweep, run to its end."""
    return run_to_the_end(tmp_path_factory.mktemp("lab"), "loud.yaml", SWEEP)


def test_a_sweep_with_a_plugin_ends_with_its_table_and_records_its_version(swept):
    sweep = swept / "runs/sweeps/loud"
    said = json.loads((sweep / "sweep.json").read_text())["plugins"]
    assert list(said) == ["my_lab.ablations"] and len(said["my_lab.ablations"]) == 8
    assert "loud" in (sweep / "table.csv").read_text()
    results = [json.loads(path.read_text()) for path in swept.glob("runs/*/??/*/result.json")]
    assert len(results) > 5 and all(result["code"]["plugins"] == said for result in results)
    assert f"my_lab.ablations {said['my_lab.ablations']}" in (sweep / "report.html").read_text()
    logged = [*swept.glob("runs/pretrain/??/*/*/metrics.jsonl")]
    assert any("loudness/loss" in path.read_text() for path in logged)


@pytest.mark.slow
def test_a_missing_plugin_is_named_before_anything_runs(swept, tmp_path):
    said = run(swept, "loud.yaml", "--dry-run", path=None)
    assert said.returncode == 2 and "plugins: there is no module 'my_lab.ablations' here" in said.stderr
    (tmp_path / "loud.yaml").write_text(SWEEP.replace("my_lab.ablations", "my_lab.ablation"))
    assert "did you mean 'my_lab.ablations'?" in run(tmp_path, "loud.yaml", "--dry-run").stderr
    (tmp_path / "loud.yaml").write_text(SWEEP.replace("[my_lab.ablations]", "my_lab"))
    assert "plugins: expected a list" in run(tmp_path, "loud.yaml", "--dry-run").stderr
    (tmp_path / "loud.yaml").write_text(SWEEP.replace("plugins: [my_lab.ablations]", ""))
    assert "no preset 'loudness'" in run(tmp_path, "loud.yaml", "--dry-run").stderr
    said = run(tmp_path, "loud.yaml", "--dry-run", variables={plugins.VARIABLE: "my_lab.ablations"})
    assert said.returncode == 0, said.stderr


@pytest.mark.slow
def test_a_cluster_may_be_a_plugin_too(swept):
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    more = ("plugins=[my_lab.ablations,cluster]", "cluster=thread")
    said = run(swept, "loud.yaml", *more, "--dry-run", path=path)
    assert said.returncode == 0, said.stderr
    said = run(swept, "loud.yaml", "cluster=thread", "--dry-run", path=path)
    assert said.returncode == 2 and "cluster: there is no kind 'thread'" in said.stderr


@pytest.mark.slow
def test_a_mistake_in_a_plugin_is_shown_with_its_line(tmp_path):
    shutil.copytree(HERE / "my_lab", tmp_path / "my_lab")
    (tmp_path / "my_lab/ablations.py").write_text("import os\n\nOBJECTIVES['x'] = 1\n")
    (tmp_path / "loud.yaml").write_text(SWEEP)
    said = run(tmp_path, "loud.yaml", "--dry-run", path=tmp_path)
    assert said.returncode == 2 and "my_lab/ablations.py, line 3: name 'OBJECTIVES' is not defined" in said.stderr


def test_jobs_find_the_plugin_in_their_copy_of_the_code(swept, tmp_path, monkeypatch):
    """With nothing else to find it by; the original may be edited meanwhile."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv(plugins.VARIABLE, "my_lab.ablations")
    copy = snapshot(tmp_path)
    assert (copy / "my_lab/ablations.py").read_bytes() == (HERE / "my_lab/ablations.py").read_bytes()
    result = next(path for path in swept.glob("runs/pretrain/??/*/result.json"))
    root = tmp_path / "moved"
    shutil.copytree(swept / "runs", root)
    stage = root / result.parent.relative_to(swept / "runs")
    (stage / "result.json").unlink()
    code = f"from ablate.stages.execute import execute; execute({stage.name!r}, {str(root)!r})"
    environment = {**os.environ, "PYTHONPATH": str(copy), plugins.VARIABLE: "my_lab.ablations"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=200)
    again, before = (json.loads(path.read_text()) for path in (stage / "result.json", result))
    assert again["files"].keys() == before["files"].keys()


def test_a_record_of_a_plugin_that_is_not_named_is_not_known(swept):
    stage = next(path.parent for path in swept.glob("runs/pretrain/??/*/result.json"))
    code = (
        "from pathlib import Path; from ablate.store.run import RunFolder; from ablate.stages.kind import restored; "
        "from ablate.stages.pretrain import PretrainStage; "
        f"restored(RunFolder(Path('runs'), 'pretrain', {stage.name!r}), PretrainStage)"
    )
    said = run(swept, "-c", code)
    assert "A record is of a 'my_lab.loudness', which this code does not know" in said.stderr


def test_a_report_without_the_plugin_says_so_and_is_made(swept):
    code = "import sys; from analysis import report; print(report.summary('runs/sweeps/loud', 'runs'))"
    said = " ".join(run(swept, "-c", code, path=None).stdout.split())  # a terminal's lines are short
    assert "Made with plugins that are not installed: my_lab.ablations." in said
    assert "not here" not in run(swept, "-c", code).stdout


def test_versions_are_of_the_code_and_change_with_it(tmp_path, monkeypatch):
    shutil.copytree(HERE / "my_lab", tmp_path / "their_lab")
    (tmp_path / "alone.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = plugins.versions(["their_lab.ablations", "alone"])
    (tmp_path / "alone.py").write_text("x = 2\n")
    second = plugins.versions(["their_lab.ablations", "alone"])
    assert first["their_lab.ablations"] == second["their_lab.ablations"] and first["alone"] != second["alone"]
    assert version.label({"commit": "0" * 40, "plugins": {"alone": "ab"}}) == "0" * 10 + ", alone ab"
    assert "their_lab" not in sys.modules and "alone" not in sys.modules
    with pytest.raises(UserError, match="there is no module 'alone.deep' here"):
        plugins.files("alone.deep")
    with pytest.raises(UserError, match="there is no module 'no such' here"):
        plugins.files("no such")


@pytest.mark.slow
def test_installed_packages_register_by_entry_point(tmp_path):
    about = tmp_path / "site/my_lab-3.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 3.1\n")
    (about / "top_level.txt").write_text("my_lab\n")
    (about / "entry_points.txt").write_text("[ablate.plugins]\nlab = my_lab.ablations\n")
    shutil.copytree(HERE / "my_lab", tmp_path / "site/my_lab")
    (tmp_path / "loud.yaml").write_text(SWEEP.replace("plugins: [my_lab.ablations]", ""))
    said = run(tmp_path, "loud.yaml", "--dry-run", path=tmp_path / "site")
    assert said.returncode == 0, said.stderr
    code = "from ablate.store import plugins; print(plugins.versions())"
    assert "'my_lab.ablations': '3.1+" in run(tmp_path, "-c", code, path=tmp_path / "site").stdout
