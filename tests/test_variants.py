"""Sweeps of one name under one root, at the same time and one after the other: each has its own table, or is refused in
a sentence before anything is written; with fake stages, and what a detached one goes on with.
"""

import errno
import json
import multiprocessing
import os
import shutil
import sys
import time
import types
from dataclasses import replace

import fakes
import pytest

import analysis
from ablate import drive, sweep, variants
from ablate.clusters import local, registry
from ablate.clusters.cluster import AbstractCluster
from ablate.planning.plan import plan_file
from ablate.store import driver
from ablate.store.record import run_path
from ablate.store.stage import Plan, digest_on_disk, materialise
from encoders.attention import SETTING


def planned(root, *rows, long=""):
    """A plan called why with these rows, each of one fake stage, of which one takes long, and a shared table."""
    stages = [fakes.stage(f"s{row}", "c0", steps=10**6 if row == long else 2) for row in rows]
    stages = [fakes.stage("c0", kind="table"), *stages]
    lines = [
        {"row": row, "point": {}, "seed": 0, "steps": 2, "stages": {"table": "c0", "score": {"t": f"s{row}"}}}
        for row in rows
    ]
    about = {"rows": {row: {} for row in rows}, "question": "Why?", "table": {"blocks": []}}
    plan = Plan("why", about, lines, {one.id: one for one in stages}, {row: {} for row in rows}, root=str(root))
    return replace(plan, cluster="debug", workers=1, file="the plan's file\n")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return (run the command on a fake plan, which it is given first, and return its status; the root)."""
    report = types.SimpleNamespace(
        write=lambda folder, root: {},
        summary=lambda folder, root: "table of " + ", ".join(json.loads((folder / "sweep.json").read_text())["rows"]),
    )
    monkeypatch.setitem(sys.modules, "analysis.report", report)
    monkeypatch.setattr(analysis, "report", report, raising=False)
    monkeypatch.setattr(drive, "PROGRAM", fakes.PROGRAM)

    def run(plan, *arguments):
        monkeypatch.setattr(local, "call", lambda _, what, *__: {} if what is drive._origins else plan)
        return sweep.main(["why.yaml", *arguments])

    return run, tmp_path / "runs"


def content(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


# At the same time -----------------------------------------------------------------------------------------------------


def test_another_plan_is_refused_while_one_runs_and_each_has_its_own_table(command, tmp_path, capfd):
    """A first command runs in a process of its own, until a file is there; then the second's turn has come."""
    run, root = command
    first = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run(planned(root, "a", "b", long="a"))))
    first.start()
    end = time.monotonic() + 60
    while not run_path(root, "score", "sa").joinpath("claim.json").exists():
        assert time.monotonic() < end and first.is_alive()
        time.sleep(0.05)
    before = content(root / "sweeps")
    capfd.readouterr()
    assert run(planned(root, "b", "c")) == 2
    said = capfd.readouterr().err
    assert f"error: Another 'why' is run by process {first.pid} on " in said and " since 2" in said
    assert "differs from it: rows added: c; rows dropped: a; add name=why-2 to run both, or wait" in said
    assert said.count("\n") == 1
    assert run(planned(root, "b", "c"), "--fresh") == 2
    for looking in ("--dry-run", "--status"):
        assert run(planned(root, "b", "c"), looking) == 0
        assert f"note: Another 'why' is run by process {first.pid} on " in capfd.readouterr().out
        assert run(planned(root, "a", "b"), looking) == 0
        assert "Another" not in capfd.readouterr().out
    for looking in ("--show", "--where"):
        assert run(planned(root, "b", "c"), looking, "c") == 0
    assert content(root / "sweeps") == before and not run_path(root, "score", "sc").exists()
    first.terminate()
    first.join(60)
    assert first.exitcode == 130
    assert run(planned(root, "b", "c")) == 0
    assert "table of b, c" in capfd.readouterr().out
    assert not list(root.glob("sweeps/why/.driver.*"))


def test_a_command_of_the_same_plan_shares_it(command, capsys):
    run, root = command
    plan = planned(root, "a")
    with driver.holding(root / "sweeps" / "why", plan.digest):
        assert run(plan, "--fresh") == 0
        assert run(replace(plan, resources={"mem_gb": 9}, workers=2)) == 0  # how it runs is no other plan
    assert "table of a" in capsys.readouterr().out


def test_a_name_that_is_free_is_proposed(command, capsys):
    run, root = command
    (root / "sweeps" / "why-2").mkdir(parents=True)
    with driver.holding(root / "sweeps" / "why", "other"):
        assert run(planned(root, "a")) == 2
    said = capsys.readouterr().err
    assert "add name=why-3 to run both" in said and "other rows or settings" in said


def test_a_plan_that_can_only_be_looked_at_writes_nothing(command, capsys):
    run, root = command
    assert run(replace(planned(root, "a"), absent="There are no corpora.")) == 2
    assert "There are no corpora." in capsys.readouterr().err and not root.exists()


def test_a_finished_sweep_is_shown_where_nothing_can_be_written(command, capsys, monkeypatch):
    run, root = command
    assert run(planned(root, "a")) == 0
    before = content(root)

    def refuse(path, _):
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(driver, "create", refuse)
    capsys.readouterr()
    assert run(planned(root, "a")) == 0 and "table of a" in capsys.readouterr().out
    assert content(root) == before


class Left(AbstractCluster):
    """Jobs, of which one will collect a sweep that somebody left to it."""

    about = "somewhere"
    outlives = True
    left = ("job 7 (pending)",)

    submit = follow = look = lambda self: None

    def cancel(self, whole):
        return 3

    def detach(self, show, stops, arguments):
        self.arguments.append(arguments)

    def parting(self, detached):
        return ""

    @classmethod
    def left_at(cls, root):
        return True

    def collectors(self):
        return list(self.left)


@pytest.fixture
def left(monkeypatch):
    registry.register("left", Left)
    monkeypatch.setattr(Left, "arguments", [], raising=False)
    yield Left
    del registry.CLUSTERS["left"]


@pytest.mark.parametrize("cluster", ["left", "debug"])
def test_a_job_that_waits_to_collect_runs_the_sweep_too(command, left, cluster, capsys, monkeypatch):
    """Whichever cluster the second command would use: with another plan it is refused, nothing written."""
    run, root = command
    materialise(planned(root, "a"), root)
    before = content(root)
    other = replace(planned(root, "a", "b"), cluster=cluster)
    assert run(other) == 2
    said = capsys.readouterr().err
    assert "Another 'why' is left to job 7 (pending), and this one differs from it: rows added: b; add name=" in said
    assert run(other, "--status") == 0
    assert "note: Another 'why' is left to job 7 (pending); this one differs" in capsys.readouterr().out
    assert content(root) == before
    assert run(replace(planned(root, "a"), cluster="debug")) == 0
    monkeypatch.setattr(left, "left", ())
    assert run(replace(other, cluster="debug")) == 0
    assert "table of a, b" in capsys.readouterr().out


def test_cancelling_from_a_variant_says_whose_jobs_they_are(command, left, capsys):
    run, root = command
    materialise(planned(root, "a"), root)
    assert run(replace(planned(root, "b"), cluster="left"), "--cancel") == 0
    said = capsys.readouterr().out
    assert said.index("note: Another 'why' is left to job 7") < said.index("3 jobs cancelled")


# One after the other --------------------------------------------------------------------------------------------------


def test_one_after_the_other_each_has_its_own_table(command, capsys):
    run, root = command
    for rows, since in ((("a", "b"), ""), (("b", "c"), "rows added: c; rows dropped: a"), (("b", "c"), "")):
        for looking in (["--dry-run"], []):
            assert run(planned(root, *rows), *looking) == 0
            said = capsys.readouterr().out
            assert ("since the last run: " + since in said) == bool(since)
            assert "since" in said or not since
    assert f"table of {', '.join(rows)}" in said
    assert run(planned(root, "a", "b")) == 0 and "table of a, b" in capsys.readouterr().out


def test_the_report_is_of_the_plan_that_was_run(command, capsys, monkeypatch):
    """Another sweep is copied over this one while it runs, or while its report is made."""
    run, root = command
    through = drive.drive
    monkeypatch.setattr(drive, "drive", lambda *given: through(*given) or materialise(planned(root, "x"), root) or 0)
    assert run(planned(root, "a")) == 1
    said = capsys.readouterr()
    assert "table of" not in said.out and "now holds another plan than the one run here; run the same" in said.err
    monkeypatch.setattr(drive, "drive", through)
    monkeypatch.setattr(sys.modules["analysis.report"], "write", lambda *_: materialise(planned(root, "x"), root) or {})
    assert run(planned(root, "a")) == 1
    said = capsys.readouterr()
    assert "table of" not in said.out and "now holds another plan" in said.err
    assert not (root / "sweeps" / "why" / "summary.txt").exists()
    monkeypatch.setattr(sys.modules["analysis.report"], "write", lambda *_: {})
    assert run(planned(root, "a")) == 0 and "table of a" in capsys.readouterr().out


def test_records_of_an_older_format_make_room_and_the_command_stays_known(command, capsys):
    run, root = command
    folder = root / "sweeps" / "why"
    materialise(planned(root, "a"), root)
    (folder / "sweep.json").write_text(json.dumps({"rows": {"a": {}}}))
    with driver.holding(folder, planned(root, "b").digest):
        assert run(planned(root, "b")) == 0
        assert len(list(folder.glob(driver.PATTERN))) == 1
    assert (folder.with_name("why.format1") / "sweep.json").exists() and not list(root.rglob(driver.PATTERN))


# What a detached sweep goes on with -----------------------------------------------------------------------------------


def test_a_collector_goes_on_with_the_plan_and_not_with_the_file(command, left, monkeypatch, capsys):
    run, root = command
    monkeypatch.setattr(left, "left", ())
    plan = replace(planned(root, "a"), cluster="left")
    assert run(plan, "--detach", "root=elsewhere", "--only", "a", "--retry-failed", "base.x=3") == 3  # nothing queued
    (copy,) = (root / "sweeps" / "why").glob("planned.*.yaml")
    assert copy.read_text() == "the plan's file\n"
    (arguments,) = left.arguments
    assert arguments == [str(copy), "root=elsewhere", "--only=a", "--detach", f"--planned={plan.digest}"]
    options = sweep._parser().parse_intermixed_args(arguments)
    assert (options.file, options.only, options.detach) == (str(copy), ["a"], True)
    before = content(root)
    assert run(replace(plan, sweep={**plan.sweep, "question": "How?"}), *arguments[1:]) == 2
    said = capsys.readouterr().err
    assert "Sweep 'why' has changed since it was left to this job: other question; run the" in said
    assert content(root) == before
    assert run(plan, *arguments[1:]) == 3 and left.arguments == [arguments] * 2  # its successor gets the same


SMALL = """\
extends: below.yaml
question: "1e-4 of ${base.pretrain.steps} \\\\${steps}"
axes: {encoder.width: [16, 32]}
rows: {one: {}, two: {pretrain: {objectives: {masked_text: 0.5}}}, gone: {}}
labels: {one: "no", two: "2:00:00"}
resources: {timeout_min: 2:00:00}
"""
BELOW = """\
data: {preset: builtin, speech: 30, text: 60, pairs: 20, dev: 10, test: 10, retrieval: 10}
base:
  encoder: {heads: 2, ffn: 64, groups: 4}
  tokenizer: {size: 100}
  pretrain: {objectives: {masked_text: 1.0}, steps: 2, decay: 1, update: {text: 60 tokens}, optimizer: {lr: 1e-4}}
  tasks: {retrieval: {}}
"""


def test_the_copy_of_a_file_plans_the_same_without_it(tmp_path):
    """With what it extends, interpolations, an axis and overrides; when all files are gone."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "small.yaml").write_text(SMALL)
    (tmp_path / "files" / "below.yaml").write_text(BELOW)
    overrides = ["~rows.gone", "seeds=1,2", "base.pretrain.steps=3", f"root={tmp_path / 'runs'}", "name=other-2"]
    plan = plan_file(tmp_path / "files" / "small.yaml", overrides)
    assert plan.sweep["question"] == "1e-4 of 3 ${steps}" and plan.name == "other-2"
    options = types.SimpleNamespace(overrides=overrides, only=None)
    copy, root, *_ = drive.collecting(plan, tmp_path / "runs", options)
    shutil.rmtree(tmp_path / "files")
    again = plan_file(copy, [root])
    assert again.digest == plan.digest and (again.file, again.resources) == (plan.file, plan.resources)
    assert again.stages == plan.stages and again.root == plan.root
    assert drive.collecting(again, tmp_path / "runs", options)[0] == copy


def test_a_digest_is_of_what_is_written(tmp_path):
    plan = planned(tmp_path, "ä", "b")
    assert digest_on_disk(tmp_path, "why") == ""
    materialise(plan, tmp_path)
    assert digest_on_disk(tmp_path, "why") == plan.digest != planned(tmp_path, "b", "ä").digest
    assert plan.digest == plan.only(["b"]).digest


def test_nobody_is_asked_where_the_plan_is_the_one_that_lies_there(tmp_path):
    plan = planned(tmp_path, "a")
    materialise(plan, tmp_path)

    def asked():
        raise AssertionError("asked")

    with variants.alone(plan, asked):
        assert variants.others(plan, asked) == []


@pytest.mark.parametrize(("asked", "told"), [("sdpa", "sdpa"), ("auto", "xformers")])
def test_what_runs_stages_is_told_what_computes_attention(command, monkeypatch, asked, told):
    """What the sweep names, or else the environment of the command."""
    assert drive.ATTENTION == SETTING
    run, root = command
    monkeypatch.setenv(SETTING, "xformers")
    seen, execute = [], fakes.execute
    monkeypatch.setattr(fakes, "execute", lambda *a: seen.append(os.environ[SETTING]) or execute(*a))
    assert run(replace(planned(root, "a"), attention=asked)) == 0
    assert seen == [told, told]
