"""A stage runs once, its files are whole, and its lock outlives nobody."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ablate.store import version
from ablate.store.lock import PROGRESS, alive, me, read_lock
from ablate.store.run import Busy, RunFolder, Stopped

NAMES = ["plain", "with space", 'quote\'s "both"', "; echo foo", "new\nline", "ünï"]


@pytest.fixture(params=NAMES)
def root(request, tmp_path):
    """A root folder with a name that breaks careless shell code."""
    return tmp_path / request.param


def folder(root):
    return RunFolder(root, "pretrain", "abcdef")


def stale(run, **changes):
    """Leave a lock in the folder as another process would, with changes."""
    run.path.mkdir(parents=True, exist_ok=True)
    lock = {**me(), "token": "theirs", "began": time.time() - 10, "step": 3, "steps": 9, **changes}
    (run.path / "claim.json").write_text(json.dumps(lock))
    return lock


def test_a_lock_excludes_and_is_given_up(root):
    first, second = folder(root), folder(root)
    with first.lock():
        assert second.holder()["pid"] == os.getpid()
        with pytest.raises(Busy, match=str(os.getpid())):
            second.lock()
    assert second.holder() is None and not (first.path / "claim.json").exists()
    with second.lock():
        pass


def test_of_many_processes_one_wins(tmp_path):
    stale(folder(tmp_path), pid=os.getpid(), started="0")  # and it must be taken over by exactly one
    code = (
        "import sys, time; from pathlib import Path; from ablate.store.run import *\n"
        "try:\n"
        "    with RunFolder(Path(sys.argv[1]), 'pretrain', 'abcdef').lock():\n"
        "        print('won', flush=True)\n"
        "        sys.stdin.read()\n"
        "except Busy: print('busy', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = sorted(racer.stdout.readline().strip() for racer in racers)  # the winner holds on until all have tried
    for racer in racers:
        racer.communicate()
    assert said == ["busy"] * 5 + ["won"]


def test_locks_of_the_dead_are_taken_over_and_their_time_counts(root):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for changes in ({"pid": gone.pid}, {"pid": os.getpid(), "started": "1"}):  # the second: a reused process id
        run = folder(root)
        stale(run, **changes)
        os.utime(run.path / "claim.json", (time.time() - 10,) * 2)
        (run.path / "theirs").mkdir()
        (run.path / "theirs" / PROGRESS).write_text("{}")  # the last sign of life, by the disk's clock as the first
        assert run.holder() is None
        with run.lock():
            pass
        shutil.rmtree(run.path / "theirs")
    attempts = [json.loads(line) for line in (run.path / "attempts.jsonl").read_text().splitlines()]
    assert [a["outcome"] for a in attempts] == ["lost", "left", "lost", "left"]
    assert attempts[0]["ended"] - attempts[0]["began"] == pytest.approx(10, abs=2)


def test_another_machine_is_dead_after_two_silent_minutes(tmp_path):
    run = folder(tmp_path)
    stale(run, host="elsewhere")
    with pytest.raises(Busy):
        run.lock()
    then = time.time() - 121
    os.utime(run.path / "claim.json", (then, then))
    with run.lock():
        assert run.holder()["host"] != "elsewhere"


def test_a_requeued_job_takes_over_from_itself(monkeypatch, tmp_path):
    run = folder(tmp_path)
    stale(run, host="elsewhere", job="7_1", restart="0")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run.holder() is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert run.holder() is not None


def test_an_unreadable_lock_counts_for_ten_seconds(tmp_path):
    run = folder(tmp_path)
    run.path.mkdir(parents=True)
    (run.path / "claim.json").write_text('{"pid"')
    assert alive(read_lock(run.path))
    then = time.time() - 11
    os.utime(run.path / "claim.json", (then, then))
    with run.lock():
        pass


def test_who_loses_the_lock_stops_and_leaves_it(tmp_path):
    run = folder(tmp_path)
    with pytest.raises(Stopped), run.lock():
        theirs = stale(run, host="elsewhere")
        run.progress(1, 2)
        run.check()
    assert read_lock(run.path)["token"] == theirs["token"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_to_stop(tmp_path, number):
    run = folder(tmp_path)
    before = signal.getsignal(number)
    with pytest.raises(Stopped), run.lock():
        run.check()
        signal.raise_signal(number)
        assert run.stopping
        run.check()
    assert signal.getsignal(number) == before
    assert json.loads((run.path / "attempts.jsonl").read_text())["outcome"] == "stopped"


def test_metrics_survive_tearing_and_are_cut_at_the_checkpoint(root):
    run = folder(root)
    with run.lock():
        for step in (10, 20, 30):
            run.log(step, {"loss": 1 / step})
    with open(run.files / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 40, "lo')
    run = folder(root)
    with run.lock():
        run.log(40, {"loss": 0.0})
        run.truncate(20)
        run.log(21, {"loss": 0.5})
    lines = [json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 0.05}, {"step": 21, "loss": 0.5}]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    run = folder(tmp_path)
    with run.lock():
        run.write_bytes("model.safetensors", b"old")
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.write_bytes("model.safetensors", b"new")
        monkeypatch.undo()
        assert (run.files / "model.safetensors").read_bytes() == b"old"
        assert len(list(run.path.rglob(".*.part"))) == 1
    with run.lock():
        assert not list(run.path.rglob(".*.part"))


def test_progress_is_for_watchers_and_at_most_once_a_second(tmp_path):
    run = folder(tmp_path)
    run.progress(1, 2)  # not locked: nobody to tell
    with run.lock():
        for step in range(1, 50):
            run.progress(step, 100, loss=0.5)
        lock = run.holder()
        assert (lock["step"], lock["steps"], lock["loss"]) == (1, 100, 0.5)


def test_the_result_comes_last_and_sums_attempts(tmp_path):
    run = folder(tmp_path)
    with pytest.raises(RuntimeError), run.lock():
        time.sleep(0.2)
        raise RuntimeError
    assert not run.done
    with run.lock():
        time.sleep(0.1)
        run.finish({"steps": 5})
    result = run.result()
    assert run.done and result["steps"] == 5 and result["attempts"] == 2 and 0.3 <= result["seconds"] < 2
    assert set(result["code"]) == {"commit", "dirty", "patch"}
    outcomes = [json.loads(line)["outcome"] for line in (run.path / "attempts.jsonl").read_text().splitlines()]
    assert outcomes == ["failed", "done"] and run.holder() is None


def test_the_code_version_is_told_by_the_driver(monkeypatch):
    monkeypatch.setenv(version.CODE, '{"commit": "abc", "dirty": false}')
    assert version.code_version() == {"commit": "abc", "dirty": False}


def test_uncommitted_code_is_kept_beside_the_runs_and_comes_back(monkeypatch, tmp_path):
    source = tmp_path / "source"
    (source / "ablate").mkdir(parents=True)
    (source / "ablate" / "old.py").write_text("x = 1\n")

    def git(*arguments):
        command = ["git", "-C", source, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True)

    git("init", "-q"), git("add", "-A"), git("commit", "-qm", "first")
    monkeypatch.setattr(version, "__file__", str(source / "ablate" / "store" / "version.py"))
    monkeypatch.delenv(version.CODE, raising=False)
    clean = version.code_version()
    assert clean["dirty"] is False and clean["patch"] is None and len(clean["commit"]) == 40
    (source / "ablate" / "old.py").write_text("x = 2\n")
    (source / "ablate" / "new.py").write_text("y = 3\n")
    (source / "notes.txt").write_text("no code\n")
    monkeypatch.delenv(version.CODE)
    run = folder(tmp_path / "runs")
    with run.lock():
        run.finish({})
    code = run.result()["code"]
    assert code["commit"] == clean["commit"] and code["dirty"] is True
    assert version.label(code) == f"{clean['commit'][:10]}+{code['patch'][:6]}"
    git("checkout", "-q", "ablate/old.py"), (source / "ablate" / "new.py").unlink()
    git("apply", tmp_path / "runs" / "code" / f"{code['patch']}.patch")
    assert [(source / "ablate" / name).read_text() for name in ("old.py", "new.py")] == ["x = 2\n", "y = 3\n"]
