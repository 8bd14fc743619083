"""The command: what it prints, what it leaves, how it exits, and that its process stays light; with fake stages."""

import errno
import json
import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import fakes
import pytest

import analysis
from ablate import drive, sweep
from ablate.clusters import local
from ablate.store import disk, files
from ablate.store.record import run_path
from ablate.store.stage import Plan

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return (run the command on a fake plan and return its status, the plan's root)."""
    root = tmp_path / "runs here"
    s = fakes.stage
    stages = [s("c0", kind="table"), s("p1", "c0", kind="pretrain"), s("s1", "p1"), s("s2", "c0")]
    lines = [
        {
            "row": "one",
            "point": {},
            "seed": 0,
            "after": None,
            "steps": 40,
            "stages": {"table": "c0", "leaf": "p1", "score": {"t": "s1"}},
        },
        {
            "row": "two",
            "point": {},
            "seed": 0,
            "after": "one",
            "steps": 0,
            "stages": {"table": "c0", "score": {"t": "s2"}},
        },
    ]
    about = {"rows": {"one": {}, "two": {}}, "question": "Why?", "table": {"blocks": []}}
    plan = Plan(
        "why", about, lines, {x.id: x for x in stages}, {"one": {"a": 1}, "two": {"a": 2}}, root=str(root), workers=2
    )
    table = tmp_path / "table.md"
    table.write_text("| the table |\n")
    report = types.SimpleNamespace(
        write=lambda folder, root: {"table": table, "figures": [folder / "figures" / "x.png"]},
        summary=lambda folder, root: table.read_text(),
    )
    monkeypatch.setitem(sys.modules, "analysis.report", report)
    monkeypatch.setattr(analysis, "report", report, raising=False)
    monkeypatch.setattr(local, "call", lambda _, what, *__: {"a": "s.yaml:3"} if what is drive._origins else plan)
    monkeypatch.setattr(drive, "PROGRAM", fakes.PROGRAM)
    return (lambda *arguments: sweep.main(["why.yaml", *arguments])), root, plan


def attempts(root, kind, id):
    path = run_path(root, kind, id) / "attempts.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


HEAVY = {"torch", "numpy", "hydra", "omegaconf", "submitit", "pandas", "matplotlib"}


def loaded_by(imported):
    """Top-level packages that a process has loaded after an import."""
    code = f"import sys, {imported}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
    )


def test_importing_the_package_loads_nothing_but_it():
    bare = loaded_by("sys")
    assert loaded_by("ablate") - bare == {"ablate"}


def test_importing_the_driver_loads_nothing_heavy():
    assert not HEAVY & loaded_by("ablate.sweep")


def test_help_teaches():
    told = subprocess.run([sys.executable, "-m", "ablate.sweep", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0
    for text in ("--dry-run", "--where", "seeds=[0,1,2]", "cluster=NAME", "root=DIR", "exit status", "logs/out.txt"):
        assert text in told.stdout, text


def test_a_wrong_command_gets_one_sentence_and_status_2(tmp_path):
    command = [sys.executable, "-m", "ablate.sweep", str(tmp_path / "no such.yaml"), "--dry-run"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 2 and "no such.yaml" in told.stderr
    assert told.stderr.startswith("error: ") and "Traceback" not in told.stderr and told.stdout == ""


def test_a_plan_is_shown_and_nothing_written(command, capsys):
    run, root, _ = command
    assert run("--dry-run") == 0
    said = capsys.readouterr().out
    assert "why: Why?" in said and "1 seed. " in said and " left on 2 workers (" in said
    table = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert table["one"] == ["40", "3", "0", "1"] and table["two"] == ["one", "0", "2", "0", "1"]
    assert table["table"] == ["1", "0", "1", "1"] and table["score"] == ["2", "0", "2", "0"]
    assert not root.exists()
    assert run("--status") == 0 and "4 waiting" in capsys.readouterr().out
    assert not root.exists()


def test_show_and_where(command, capsys):
    run, root, _ = command
    assert run("--show", "two") == 0
    said = capsys.readouterr().out
    assert "a: 2" in said and "# s.yaml:3" in said and "a: 1 → 2" in said
    assert run("--diff", "two", "one") == 0 and capsys.readouterr().out == "a: 2 → 1\n"
    assert run("--where", "two") == 0
    said = capsys.readouterr().out
    assert str(run_path(root, "score", "s2")) in said and "s1" not in said
    assert run("--where", "tow") == 2 and "did you mean 'two'?" in capsys.readouterr().err


def test_a_sweep_ends_with_its_table_and_is_not_run_again(command, capsys):
    run, root, _ = command
    assert run() == 0
    said = capsys.readouterr().out
    assert "start   score stage s1" in said and "[4/4 done" in said
    assert said.index("| the table |") < said.index("figures/x.png")
    assert run() == 0
    assert "All done." in capsys.readouterr().out
    assert [attempts(root, *x) for x in (("table", "c0"), ("pretrain", "p1"), ("score", "s2"))] == [1, 1, 1]
    assert [json.loads(x)["row"] for x in (root / "sweeps/why/manifest.jsonl").read_text().splitlines()] == [
        "one",
        "two",
    ]


def test_only_a_row_and_fresh(command, capsys):
    run, root, _ = command
    assert run("--only", "two") == 0
    assert attempts(root, "score", "s2") == 1 and attempts(root, "pretrain", "p1") == 0
    before = (run_path(root, "score", "s2") / "result.json").stat().st_mtime_ns
    assert run("--only", "two", "--fresh") == 0
    assert attempts(root, "score", "s2") == 1
    assert (run_path(root, "score", "s2") / "result.json").stat().st_mtime_ns > before
    assert run("--only", "three") == 2 and "No row 'three'" in capsys.readouterr().err


def test_a_failed_run_is_status_1_and_the_report_is_still_made(command, capsys):
    run, _, plan = command
    plan.stages["p1"].config["do"] = "fail"
    assert run() == 1
    said = capsys.readouterr()
    assert "| the table |" in said.out
    assert "1 failed" in said.err and "pretrain stage p1: raised an error" in said.err and "out.txt" in said.err
    assert "1 that need them did not run" in said.err


def test_records_of_another_commit_are_named_once(command, capsys):
    run, root, _ = command
    assert run() == 0 and "other code" not in capsys.readouterr().out
    for kind, id in (("table", "c0"), ("score", "s2")):
        path = run_path(root, kind, id) / "result.json"
        result = json.loads(path.read_text())
        result["code"]["commit"] = "f" * 40
        path.write_text(json.dumps(result))
    assert run() == 0
    said = capsys.readouterr().out
    assert ("2 finished stages were made by other code (ffffffffff" in said) == bool(_commit())
    assert said.count("other code") <= 1


def _commit():
    return drive.code_version()["commit"]


def test_an_unknown_cluster_is_an_error(command, capsys, monkeypatch):
    run, _, plan = command
    monkeypatch.setattr(local, "call", lambda _, what, *given: what(*given) if what is drive._located else plan)
    object.__setattr__(plan, "cluster", "slrum")
    assert run("cluster=slrum") == 2
    said = capsys.readouterr().err
    assert said == "error: override 'cluster=slrum': cluster: there is no kind 'slrum'; did you mean 'slurm'?\n"


NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EIO)


def refuse(number):
    """A function that the disk refuses."""

    def refused(*_, **__):
        raise OSError(number, os.strerror(number), "/somewhere")

    return refused


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("what", ["materialise", "keep_patch", "write_report"])
def test_what_a_disk_refuses_is_said_in_a_sentence(command, capsys, monkeypatch, number, what):
    run, root, _ = command
    monkeypatch.setattr(drive, what, refuse(number))
    assert run() == 2
    said = capsys.readouterr().err
    assert f"error: Cannot use /somewhere: {disk.WHY[number]}" in said and "run the same command again" in said
    assert "Traceback" not in said
    monkeypatch.undo()


def test_a_report_for_which_there_was_no_room_is_written_by_the_same_command(command, capsys, monkeypatch):
    run, root, _ = command
    whole = files.replace
    monkeypatch.setattr(
        files, "replace", lambda path, *a, **k: (refuse(28) if path.name == "summary.txt" else whole)(path, *a, **k)
    )
    assert run() == 2 and "the disk is full" in capsys.readouterr().err
    monkeypatch.setattr(files, "replace", whole)
    assert run() == 0 and "| the table |" in capsys.readouterr().out


def test_the_plan_says_what_will_be_written_and_what_is_free(command, capsys, monkeypatch):
    run, root, plan = command
    stages = {id: replace(stage, disk=1.5e9 if stage.kind == "score" else 0.0) for id, stage in plan.stages.items()}
    object.__setattr__(plan, "stages", stages)
    monkeypatch.setattr(disk, "free", lambda path: 4_000_000_000)
    assert run("--dry-run") == 0
    said = capsys.readouterr().out
    assert (
        f"They will write about 3.0 GB to the disk of {root}, which has 4.0 GB free." in said
        and "not enough" not in said
    )
    monkeypatch.setattr(disk, "free", lambda path: 2_000_000)
    assert run("--dry-run") == 0
    assert "2.0 MB free.\nnote: That is not enough" in capsys.readouterr().out
    monkeypatch.setattr(disk, "free", lambda path: None)  # a file system that counts nothing
    assert run("--dry-run") == 0
    said = capsys.readouterr().out
    assert f"They will write about 3.0 GB to the disk of {root}.\n" in said and "not enough" not in said


def test_fresh_removes_all_or_nothing(command, capsys, monkeypatch):
    run, root, _ = command
    assert run() == 0
    shut = run_path(root, "score", "s2")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != shut and access(path, mode))
    assert run("--fresh") == 2
    assert f"Cannot use {shut}: no permission" in capsys.readouterr().err
    assert all((run_path(root, kind, id) / "result.json").exists() for kind, id in [("table", "c0"), ("score", "s2")])
