"""Attempts at one stage: who takes it over has what was saved, and of the others nothing is read or stays."""

import json
import os
import shutil
import time

import pytest

from ablate.errors import UserError
from ablate.store import attempt, files, lock, record
from ablate.store import run as run_module
from ablate.store.run import Busy, Lost, RunFolder, Stopped


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """A run that has saved step 20 and logged up to 30, and another that has taken its stage over."""

    def make():
        first, second = (RunFolder(tmp_path, "pretrain", "abcdef") for _ in range(2))
        first.lock()
        save(first, 20)
        for step in (10, 20, 30):
            first.log(step, {"loss": 1 / step})
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "alive", lambda lock: False)
            second.lock()
        return first, second

    return make


def save(run, step):
    """A checkpoint as training leaves it, of one file."""
    with run.writing() as folder:
        name = f"model.{step}.safetensors"
        (folder / name).write_bytes(b"%d" % step)
        files.replace(
            folder / "checkpoint.json", json.dumps({"step": step, "files": attempt.facts(folder, [name])}).encode()
        )


def inside(run):
    """Names in a run folder, of attempts' folders only."""
    return {path.name for path in run.path.iterdir() if path.is_dir() and path.name != "logs"}


def test_the_new_owner_has_what_the_old_one_saved_and_shares_nothing_that_changes(taken):
    first, second = taken()
    old = second.path / f".{first._token}.gone"
    assert inside(second) == {second.files.name} and not old.exists() and first.files.name != second.files.name
    assert json.loads((second.files / "checkpoint.json").read_text())["step"] == 20
    assert (second.files / "model.20.safetensors").read_bytes() == b"20"
    first.log(40, {"loss": 0.0})  # a process that does not know yet
    assert [line["step"] for line in record.read_jsonl(second.files / "metrics.jsonl")] == [10, 20, 30]


@pytest.mark.parametrize(
    "act",
    [
        lambda run: run.write_json("x.json", 1),
        lambda run: run.truncate(10),
        lambda run: save(run, 30),
        lambda run: run.finish({}),
        lambda run: (run.progress(1, 2), run.check()),
    ],
)
def test_who_lost_the_lock_is_told_so_and_changes_nothing(taken, act):
    first, second = taken()
    before = snapshot(second.path)
    with (
        pytest.raises(Lost, match=rf"pretrain abcdef was taken over: process {os.getpid()} on \S+ runs it; what"),
        first,
    ):
        act(first)
    assert snapshot(second.path) == before
    save(second, 30)
    second.finish({"steps": 1})
    assert second.result()["attempts"] == 2 and inside(second) == {second.files.name}
    outcomes = [line["outcome"] for line in record.read_jsonl(second.path / "attempts.jsonl")]
    assert outcomes == ["lost", "done"]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_result_is_never_replaced(taken):
    first, second = taken()
    second.finish({"of": "second"})
    before = snapshot(second.path)
    first.files.mkdir()  # as somebody would who writes into a folder of tables without a look
    (first.files / "model.safetensors").write_bytes(b"late")
    with pytest.raises(Lost, match="was taken over: somebody else finished it"), first:
        first.finish({"of": "first"})
    assert snapshot(second.path) == before and second.result()["of"] == "second"


def test_of_two_that_finish_at_once_one_wins(taken, monkeypatch):
    """The second passes its last look at the lock, and only then the first's result appears."""
    first, second = taken()
    real = run_module.linked

    def late(source, target):
        monkeypatch.setattr(run_module, "linked", real)
        files.replace(target, json.dumps({"format": 2, "attempt": "0" * 12, "files": {}, "of": "first"}).encode())
        real(source, target)

    monkeypatch.setattr(run_module, "linked", late)
    with pytest.raises(Lost, match="was finished by somebody else"), second:
        second.finish({"of": "second"})
    assert second.result()["of"] == "first" and inside(second) == set()


def test_one_that_finishes_while_its_folder_is_put_away_has_finished(taken, tmp_path, monkeypatch):
    """Its result is there before its folder is moved: whoever took over gives the folder back, and has nothing
    to do.
    """
    first = RunFolder(tmp_path, "pretrain", "abcdef")
    first.lock()
    save(first, 20)
    source, rename = first.files, os.rename

    def raced(old, new):
        if str(new).endswith(".gone") and not first.done:
            result = {"format": 2, "attempt": source.name, "files": attempt.facts(source), "of": "first"}
            files.replace(first.path / "result.json", json.dumps(result).encode())
        rename(old, new)

    monkeypatch.setattr(os, "rename", raced)
    second = RunFolder(tmp_path, "pretrain", "abcdef")
    monkeypatch.setattr(run_module, "alive", lambda lock: False)
    with second.lock():
        assert second.done
    assert inside(second) == {source.name} and second.checked("model.20.safetensors").read_bytes() == b"20"


def test_the_best_of_several_attempts_is_taken_and_one_that_was_put_away_counts(tmp_path):
    run = RunFolder(tmp_path, "pretrain", "abcdef")
    for name, step in (("a" * 12, 10), (f".{'b' * 12}.gone", 30), ("c" * 12, 20), ("d" * 12, None)):
        (run.path / name).mkdir(parents=True)
        (run.path / name / "metrics.jsonl").write_text(json.dumps({"step": step}) + "\n")
        if step:
            (run.path / name / f"model.{step}").write_bytes(b"x")
            (run.path / name / "checkpoint.json").write_text(json.dumps({"step": step, "files": {f"model.{step}": {}}}))
    (run.path / "tables").mkdir()  # no attempt
    with run.lock():
        assert json.loads((run.files / "checkpoint.json").read_text())["step"] == 30
        assert (
            list(record.read_jsonl(run.files / "metrics.jsonl")) == [{"step": 30}] and (run.files / "model.30").exists()
        )
        assert inside(run) == {run.files.name, "tables"}


def test_who_dies_while_taking_over_leaves_it_to_the_next(tmp_path, monkeypatch):
    run = RunFolder(tmp_path, "pretrain", "abcdef")
    with pytest.raises(RuntimeError), run.lock():
        save(run, 20)
        raise RuntimeError
    monkeypatch.setattr(
        attempt, "synced", lambda path: (_ for _ in ()).throw(KeyboardInterrupt)
    )  # before checkpoint.json
    with pytest.raises(KeyboardInterrupt):
        run.lock()
    monkeypatch.undo()
    run.release("failed")
    assert len(inside(run)) == 2
    with run.lock():
        assert (run.files / "model.20.safetensors").read_bytes() == b"20" and len(inside(run)) == 1


def test_the_next_start_of_a_finished_stage_removes_what_a_woken_process_left(taken):
    first, second = taken()
    second.finish({})
    kept = snapshot(second.path)
    for name in (first._token, f".{first._token}.gone"):
        (second.path / name).mkdir()
        (second.path / name / "model.safetensors").write_bytes(b"late")
    second.tidy()
    assert snapshot(second.path) == kept and inside(second) == {second.files.name}


def test_a_lock_that_is_removed_stops_its_process(tmp_path):
    run = RunFolder(tmp_path, "pretrain", "abcdef")
    with pytest.raises(Stopped, match="The lock of pretrain abcdef was removed") as raised, run.lock():
        (run.path / "claim.json").unlink()
        run.write_json("x.json", 1)
    assert not isinstance(raised.value, Lost)
    with pytest.raises(FileNotFoundError), run.lock():
        shutil.rmtree(run.path)
        run.write_json("x.json", 1)


# Files of a finished stage ---------------------------------------------------------------------------------------


def test_a_result_names_its_files_and_who_starts_from_them_looks(tmp_path):
    run = RunFolder(tmp_path, "pretrain", "abcdef")
    with run.lock():
        run.write_bytes("deep/er/table.bin", b"abc")
        run.write_bytes("empty", b"")
        run.finish({"steps": 5})
    result = run.result()
    assert result["format"] == 2 and result["attempt"] == run.files.name and run.files.parent == run.path
    assert result["files"] == {  # b2sum -l 128
        "deep/er/table.bin": {"size": 3, "digest": "cf4ab791c62b8d2b2109c90275287816"},
        "empty": {"size": 0, "digest": "cae66941d9efbd404e4d88758ea67670"},
    }
    path = run.checked("deep/er/table.bin")
    assert path == run.files / "deep/er/table.bin"
    path.write_bytes(b"abd")
    with pytest.raises(UserError, match=r"table.bin has other bytes than its record says .* remove .*abcdef, and run"):
        run.checked("deep/er/table.bin")
    path.write_bytes(b"ab")
    with pytest.raises(UserError, match="table.bin has 2 bytes, its record says 3"):
        run.checked("deep/er/table.bin")
    path.unlink()
    with pytest.raises(UserError, match="table.bin is missing, though the record names it"):
        run.checked("deep/er/table.bin")
    with pytest.raises(UserError, match="has no file moments.safetensors"):
        run.checked("moments.safetensors")


def test_a_file_is_read_once_unless_it_changes(tmp_path, monkeypatch):
    run, read = RunFolder(tmp_path, "pretrain", "abcdef"), []
    with run.lock():
        run.write_bytes("a", b"abc")
        run.finish({})
    real = attempt.digest
    monkeypatch.setattr(attempt, "digest", lambda path: read.append(path) or real(path))
    run.checked("a"), run.checked("a")
    assert len(read) == 1
    os.utime(run.files / "a", (1, 1))
    run.checked("a")
    assert len(read) == 2


def test_a_record_of_format_1_has_its_files_in_the_run_folder(tmp_path):
    run = RunFolder(tmp_path, "score", "ab12")
    run.path.mkdir(parents=True)
    (run.path / "identity.json").write_text("{}")
    (run.path / "result.json").write_text("{}")
    (run.path / "items.jsonl").write_text('{"id": "x"}\n')
    assert run.files == run.path and run.checked("items.jsonl") == run.path / "items.jsonl"
    assert record.read_run(tmp_path, "score", "ab12").items() == [{"id": "x"}]
    run.tidy()
    assert (run.path / "items.jsonl").exists()


def test_a_stage_that_was_stopped_shows_the_files_of_its_last_attempt(tmp_path):
    run, other = (RunFolder(tmp_path, "pretrain", "abcdef") for _ in range(2))
    assert other.files == run.path
    with pytest.raises(RuntimeError), run.lock():
        files = run.files
        assert other.files == files
        raise RuntimeError
    assert other.files == files


def test_a_file_system_without_links_is_as_exclusive(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"1")
    files.linked(source, target)
    source.write_bytes(b"2")
    assert target.read_bytes() == b"1"
    with pytest.raises(FileExistsError):
        files.linked(source, target)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


# Clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 3600.0])
def test_the_age_of_a_lock_does_not_depend_on_this_hosts_clock(tmp_path, monkeypatch, ahead):
    run, real = RunFolder(tmp_path, "pretrain", "abcdef"), time.time
    run.path.mkdir(parents=True)
    theirs = {**lock.me(), "host": "elsewhere", "token": "e" * 12, "began": 0.0}
    (run.path / "claim.json").write_text(json.dumps(theirs))
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    with pytest.raises(Busy):
        run.lock()
    then = real() - lock.STALE_SECONDS - 1
    os.utime(run.path / "claim.json", (then, then))
    assert run.holder() is None
    progress = run.path / ("e" * 12) / lock.PROGRESS
    progress.parent.mkdir()
    progress.write_text('{"step": 3}')  # its process has just reported
    assert run.holder()["step"] == 3
    os.utime(progress, (then, then))
    with run.lock():
        pass
    assert not list(run.path.glob(".clock*"))


def test_a_lock_is_never_changed_and_progress_is_the_attempts_own(tmp_path):
    run = RunFolder(tmp_path, "pretrain", "abcdef")
    with run.lock():
        before = (run.path / "claim.json").stat()
        run.progress(5, 10, loss=1.0)
        assert (run.path / "claim.json").stat() == before and run.holder()["step"] == 5
        said = json.loads((run.files / lock.PROGRESS).read_text())
        assert 0 <= said.pop("spent") < 60 and said == {"step": 5, "steps": 10, "loss": 1.0}
        run.finish({})
    assert run.result()["files"] == {} and not list(run.files.iterdir())
