"""What disks refuse is named; a stage that lacks room waits, keeps what it has, and goes on. With injected errors."""

import errno
import json
import os
import threading
import time

import pytest

from ablate.errors import UserError
from ablate.store import disk, files, listing, lock, room, upgrade
from ablate.store import run as run_module
from ablate.store.__main__ import main
from ablate.store.lock import read_lock
from ablate.store.run import RunFolder, Stopped

LACKS = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (errno.EROFS, errno.EACCES, errno.EIO, errno.ENOENT, errno.ESTALE)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.05)
    return RunFolder(tmp_path, "pretrain", "abcdef")


def failing(monkeypatch, number, times):
    """Have the disk refuse so many whole files that are not reports of progress; return what was refused."""
    refused, synced = [], files.synced

    def sync(path):
        if path.is_file() and len(refused) < times:
            refused.append(path)
            raise OSError(number, os.strerror(number), str(path))
        synced(path)

    monkeypatch.setattr(files, "synced", sync)
    return refused


@pytest.mark.parametrize("number", LACKS)
def test_a_stage_waits_for_room_and_says_so(run, monkeypatch, capsys, number):
    with run.lock():
        run.write_json("state.json", 1)
        run._reported = 0.0
        run.progress(3, 9, loss=0.5)
        notes, wait = [], run._room.wait
        monkeypatch.setattr(run._room, "wait", lambda why: (wait(why), notes.append(read_lock(run.path))))
        refused = failing(monkeypatch, number, times=3)
        run.write_json("state.json", 2)
        assert len(refused) == 3 and json.loads((run.files / "state.json").read_text()) == 2
        assert not list(run.path.rglob(".*.json.*.part"))
        assert [(one["step"], one["steps"], one["loss"]) for one in notes] == [(3, 9, 0.5)] * 3  # all is still told
        assert all(one["note"].startswith(f"waits for room: {disk.ROOM[number]}") for one in notes)
        run._reported = 0.0
        run.progress(4, 9)
        assert "note" not in read_lock(run.path)
    said = capsys.readouterr().out
    assert said.count("Waits for room to write: ") == 1 and disk.ROOM[number] in said  # once a minute


@pytest.mark.parametrize("number", LACKS)
def test_a_result_waits_for_room(run, monkeypatch, number):
    with run.lock():
        run.log(1, {"loss": 2.0})
        refused = failing(monkeypatch, number, times=2)
        run.finish({"steps": 1})
    assert len(refused) == 2 and run.result()["steps"] == 1
    assert run.held_up >= 0.1  # which is no time that the stage takes
    (line,) = [json.loads(line) for line in (run.path / "attempts.jsonl").read_text().splitlines()]
    assert run.result()["seconds"] <= line["ended"] - line["began"] - 0.1


def full_for(monkeypatch, times):
    """Have the disk count as full when it is looked at, so many times."""
    looks, check = iter(range(times)), disk.check

    def looked(path, needed):
        if next(looks, None) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        check(path, needed)

    monkeypatch.setattr(disk, "check", looked)


def test_waiting_before_the_lock_is_no_part_of_an_attempt(run, monkeypatch):
    full_for(monkeypatch, 4)
    with run.lock():
        assert run.held_up == 0
        run.finish({})
    assert run.result()["seconds"] >= 0


def test_waiting_in_an_earlier_attempt_is_no_time_that_the_stage_takes(run, monkeypatch):
    with pytest.raises(RuntimeError), run.lock():
        full_for(monkeypatch, 4)
        run.write_json("state.json", 1)
        raise RuntimeError
    (line,) = [json.loads(line) for line in (run.path / "attempts.jsonl").read_text().splitlines()]
    assert line["held_up"] >= 0.2
    with run.lock():
        last = run._lock["began"]
        run.finish({})
    second = [json.loads(line) for line in (run.path / "attempts.jsonl").read_text().splitlines()][1]
    whole = line["ended"] - line["began"] + second["ended"] - last
    assert run.result()["seconds"] <= whole - line["held_up"] + 0.002


@pytest.mark.parametrize("number", REFUSALS)
def test_what_room_does_not_mend_fails_at_once(run, monkeypatch, number):
    with run.lock():
        run.write_json("state.json", 1)
        refused = failing(monkeypatch, number, times=100)
        with pytest.raises(OSError) as raised:
            run.write_json("state.json", 2)
        assert raised.value.errno == number and len(refused) == 1
        assert json.loads((run.files / "state.json").read_text()) == 1
        assert disk.theirs(raised.value) and not disk.passes(raised.value)
        assert disk.sentence(raised.value).startswith(f"Cannot use {refused[0]}: {disk.WHY[number]}")


def test_who_waits_for_room_can_be_stopped(run, monkeypatch):
    with pytest.raises(Stopped, match="while it waited for room"), run.lock():
        run.write_json("state.json", 1)
        failing(monkeypatch, errno.ENOSPC, times=10**9)
        threading.Timer(0.2, run._stop.set).start()
        run.write_json("state.json", 2)
    assert run.holder() is None and json.loads((run.files / "state.json").read_text()) == 1
    assert [json.loads(line)["outcome"] for line in (run.path / "attempts.jsonl").read_text().splitlines()] == [
        "stopped"
    ]


def test_lines_of_the_log_wait_for_room_and_come_in_order(run, monkeypatch):
    full = [False]

    class Raw:
        def __init__(self, raw):
            self.raw = raw

        def write(self, data):
            if full[0] and len(data) > 7:
                return self.raw.write(bytes(data[:7]))  # the last bytes that fit
            if full[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.raw.write(data)

    class Opened:
        def __init__(self, file):
            self.file, self.raw, self.close = file, Raw(file.raw), file.close

    monkeypatch.setattr(run_module, "open_append", lambda path: Opened(files.open_append(path)))
    with run.lock():
        run.log(1, {"loss": 1.0})
        full[0] = True
        run.log(2, {"loss": 0.5})
        run.log(3, {"loss": 0.25})  # no error
        full[0] = False
        run.write_json("state.json", 1)  # a checkpoint never comes before what was logged until then
        lines = [json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()]
        assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.25}]


def test_a_lock_shows_life_though_the_disk_fails_for_a_while(run, monkeypatch):
    monkeypatch.setattr(run_module, "BEAT_SECONDS", 0.05)
    touch, touched = os.utime, []

    def utime(path, *arguments):
        touched.append(path)
        if len(touched) < 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        touch(path, *arguments)

    with run.lock():
        monkeypatch.setattr(os, "utime", utime)
        end = time.monotonic() + 30
        while len(touched) < 5 and time.monotonic() < end:
            time.sleep(0.02)
        assert len(touched) >= 5 and not run.stopping


def test_more_than_the_disk_can_ever_hold_is_not_waited_for(tmp_path):
    disk.check(tmp_path / "not there yet", 1)
    with pytest.raises(OSError) as raised:
        disk.check(tmp_path, 1e18)
    assert raised.value.errno == errno.EFBIG


def test_how_much_is_free_and_needed_is_said(tmp_path, monkeypatch):
    status = os.statvfs(tmp_path)
    fields = list(status)[:10]  # bsize frsize blocks bfree bavail files ffree favail flag namemax
    fields[1:8] = [1000, 9000, 5000, 3000, 10, 5, 5]
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    assert disk.free(tmp_path / "a" / "b") == 3_000_000
    assert disk.why(errno.ENOSPC, tmp_path, 4.5e9) == "the disk is full (3.0 MB free, 4.5 GB needed)"
    disk.check(tmp_path, 3_000_000)
    with pytest.raises(OSError) as raised:
        disk.check(tmp_path, 3_000_001)
    assert raised.value.errno == errno.ENOSPC
    fields[3:5] = [900_000, 900_000]
    assert "the disk is full, though it counts 900.0 MB free" in disk.why(errno.ENOSPC, tmp_path, 1e6)
    fields[2:5] = [0, 0, 0]  # a file system that counts nothing
    disk.check(tmp_path, 1e18)
    fields[7] = 0
    assert "can hold no more files" in disk.why(errno.ENOSPC, tmp_path)


@pytest.mark.parametrize("number", (*LACKS, *REFUSALS))
def test_commands_say_a_sentence(number):
    with pytest.raises(UserError, match="^Cannot use /runs/x: ") as raised, disk.told("Mend it."):
        raise OSError(number, os.strerror(number), "/runs/x")
    assert disk.WHY[number] in str(raised.value) and str(raised.value).endswith(" Mend it.")


def test_errors_that_are_no_disks_stay_what_they_are():
    with pytest.raises(BrokenPipeError), disk.told():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(OSError), disk.forgiven():
        raise OSError(errno.EIO, "Input/output error")


def test_a_process_that_may_not_be_looked_at_lives_by_its_signs(tmp_path, monkeypatch):
    """Where /proc hides the processes of others, theirs are not taken for dead."""

    def forbidden(pid, number):
        raise PermissionError

    run, hidden = RunFolder(tmp_path, "pretrain", "abcdef"), 4_000_001  # no such process: as if /proc hid it
    run.path.mkdir(parents=True)
    (run.path / "claim.json").write_text(json.dumps({**lock.me(), "token": "theirs", "began": 0.0, "pid": hidden}))
    assert run.holder() is None
    monkeypatch.setattr(os, "kill", forbidden)
    assert run.holder()["pid"] == hidden
    long_ago = time.time() - 10 * lock.STALE_SECONDS
    os.utime(run.path / "claim.json", (long_ago, long_ago))
    assert run.holder() is None


@pytest.mark.parametrize("number", (*LACKS, errno.EROFS))
@pytest.mark.parametrize("command", ["ls", "upgrade"])
def test_the_store_s_commands_say_a_sentence(tmp_path, monkeypatch, capsys, number, command):
    def refused(root):
        raise OSError(number, os.strerror(number), str(root / "sweeps"))

    monkeypatch.setattr(listing, "lines", refused)
    monkeypatch.setattr(upgrade, "upgrade", refused)
    assert main([command, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: Cannot use {tmp_path / 'sweeps'}: {disk.WHY[number]}") and "Traceback" not in said


def test_what_a_dead_process_saved_is_taken_over_when_there_is_room(run, monkeypatch):
    with pytest.raises(RuntimeError), run.lock():
        run.log(1, {"loss": 1.0})
        run.write_json("checkpoint.json", {"step": 1, "files": {}})
        raise RuntimeError
    refused = failing(monkeypatch, errno.ENOSPC, times=2)
    with run.lock():
        assert len(refused) == 2
        assert json.loads((run.files / "checkpoint.json").read_text())["step"] == 1
        assert (run.files / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'
        run.finish({})
    assert run.result()["attempts"] == 2 and [path.name for path in run.path.glob(".*")] == []
