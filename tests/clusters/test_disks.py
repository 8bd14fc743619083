"""Disks that are full, read-only or gone: a clear message, no traceback in it, and earlier results as they were."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import fakes
import matplotlib.pyplot as plt
import pytest
import torch
from ranks import ranks_of
from test_group import SWEEP
from test_local import HERE, driver, step_of, wait_for
from tiny import World

from ablate.clusters import local
from ablate.clusters.slurm import diagnosis
from ablate.errors import UserError
from ablate.store import disk as disk_of
from ablate.store import room
from ablate.store.child import Said
from ablate.store.lock import read_lock
from ablate.store.record import run_path
from ablate.store.room import Room
from ablate.store.run import RunFolder
from ablate.store.stage import Plan, materialise
from ablate.training import checkpoint, loop
from analysis.figures import look


@pytest.fixture
def disk(tmp_path):
    """A disk of two megabytes, and how to change its mount options."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here (needs root)")
    yield path, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)
    subprocess.run(["umount", "-l", path], check=True)


def told(root, workers=2):
    process = driver(root, workers=workers)
    return process.communicate(timeout=120)[0], process.returncode


def test_a_full_disk_fails_what_needs_it_and_keeps_the_rest(disk):
    root, remount = disk
    fakes.write(root, fakes.stage("aa"), fakes.stage("bb", "aa", do="fill"), fakes.stage("cc", "aa", steps=5))
    said, status = told(root, workers=1)  # cc beside bb would find the disk full for a moment
    assert status == 1 and "cannot use its folder: it would be larger than the disk takes" in said, said
    results = {id: run_path(root, "score", id) / "result.json" for id in ("aa", "cc", "bb")}
    assert json.loads(results["aa"].read_text())["final"] and results["cc"].exists() and not results["bb"].exists()
    assert not list(run_path(root, "score", "bb").rglob(".*.part"))
    before = results["aa"].stat().st_mtime_ns
    remount("size=20m")
    said, status = told(root)
    assert status == 0 and results["bb"].exists() and results["aa"].stat().st_mtime_ns == before, said


def test_a_read_only_disk_is_named(disk):
    root, remount = disk
    fakes.write(root, fakes.stage("aa"))
    remount("ro")
    said, status = told(root)
    assert status == 1 and "cannot use its folder: the disk is mounted read-only" in said, said


def test_a_folder_that_vanishes_is_named(tmp_path):
    root = tmp_path / "runs"
    fakes.write(root, fakes.stage("aa", steps=10_000))
    process = driver(root)
    wait_for(lambda: step_of(root, "aa") >= 2)
    for _ in range(5):
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(0.1)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "cannot use its folder: it is gone" in said, said
    assert "Traceback" not in said.split("FAILED")[0]


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa"))
    (run_path(tmp_path, "score", "aa") / "logs").write_text("no folder")
    said, status = told(tmp_path)
    assert status == 1 and "cannot use its folder: something else lies there already" in said, said


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": torch.ones(10)}, {}, {})
    before = sorted(os.listdir(tmp_path))
    code = (
        "import resource, signal, sys, torch; from pathlib import Path; from ablate.training import checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: checkpoint.save(Path(sys.argv[1]), 2, {'x': torch.ones(20)}, {'x': torch.ones(1_000_000)}, {})\n"
        "except OSError as error: print(error.strerror)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert said.stdout.strip() == "File too large", said
    assert checkpoint.load(tmp_path).step == 1 and sorted(os.listdir(tmp_path)) == before


def test_a_torn_line_of_attempts_is_not_glued_to_the_next(tmp_path):
    folder = run_path(tmp_path, "score", "aa")
    fakes.write(tmp_path, fakes.stage("aa"))
    (folder / "attempts.jsonl").write_text('{"outcome": "lo')
    said, status = told(tmp_path)
    assert status == 0, said
    assert [json.loads(line)["outcome"] for line in (folder / "attempts.jsonl").read_text().splitlines()] == ["done"]


# Stages that wait for room --------------------------------------------------------------------------------------------


def fill(root, left=0):
    """Fill a disk with one file up to `left` bytes; return the file."""
    file = root / "somebody else's"
    with open(file, "wb", buffering=0) as out, contextlib.suppress(OSError):
        while (free := disk_of.free(root) - left) > 0:
            out.write(bytes(min(free, 1 << 16)))
    return file


def noted(root, id):
    """What a stage that runs says of itself."""
    return (RunFolder(root, "score", id).holder() or {}).get("note", "")


def test_a_stage_on_a_full_disk_goes_on_when_there_is_room(disk):
    root, _ = disk
    fakes.write(root, fakes.stage("aa", steps=200))
    process = driver(root)
    wait_for(lambda: step_of(root, "aa") >= 5)
    file = fill(root)
    wait_for(lambda: "waits for room: the disk is full" in noted(root, "aa"))
    stood = step_of(root, "aa")
    assert 5 <= stood < 200
    file.unlink()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    run = RunFolder(root, "score", "aa")
    lines = [json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 201)) and run.result()["attempts"] == 1
    assert "Waits for room to write: the disk is full" in (run.path / "logs" / "out.txt").read_text()


def test_a_stage_that_waits_stops_when_asked_and_goes_on_later(disk):
    root, _ = disk
    fakes.write(root, fakes.stage("aa", steps=200))
    process = driver(root)
    wait_for(lambda: step_of(root, "aa") >= 5)
    file = fill(root)
    wait_for(lambda: "waits for room" in noted(root, "aa"))
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Traceback" not in said, said
    (saved,) = run_path(root, "score", "aa").glob("*/checkpoint.json")
    assert json.loads(saved.read_text())["step"] >= 5
    file.unlink()
    said, status = told(root)
    lines = [
        json.loads(one) for one in (RunFolder(root, "score", "aa").files / "metrics.jsonl").read_text().splitlines()
    ]
    assert status == 0 and [line["step"] for line in lines] == list(range(1, 201)), said


def test_a_stage_waits_before_it_starts(disk):
    root, _ = disk
    fakes.write(root, fakes.stage("aa"))
    file = fill(root)
    process = driver(root)
    time.sleep(2.0)
    assert process.poll() is None and not (run_path(root, "score", "aa") / "claim.json").exists()
    file.unlink()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and f"{root}: the disk is full (" in said, said


def test_training_waits_for_room_and_comes_to_the_same(disk, tmp_path, monkeypatch):
    """At its start and at a checkpoint; weights are those of a run that was left alone."""
    root, remount = disk
    remount("size=20m")
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.05)
    ends = {}
    for place in (tmp_path / "alone", root):
        world = World(place)
        id = world.pretrain("masked_text", steps=40, phase="decay")
        world.prepare(id)
        if place == root:
            waits = disturbed(root, id, monkeypatch)
        run = world.run(id)
        ends[place] = run.result(), checkpoint.of(run).weights, (run.files / "metrics.jsonl").read_text()
    assert waits == ["start", "checkpoint"]
    (alone, weights, log), (result, same, again) = ends.values()
    assert all(torch.equal(weights[name], same[name]) for name in weights) and weights.keys() == same.keys()
    assert result["exposure"] == alone["exposure"] and log == again


@pytest.mark.slow
def test_ranks_wait_for_room_together(disk):
    root, remount = disk
    remount("size=20m")
    world = World(root)
    id = world.pretrain("masked_text", steps=20)
    world.prepare(id)
    run, file, ended = RunFolder(root, "pretrain", id), fill(root, left=1 << 17), []
    ranks = threading.Thread(target=lambda: ended.extend(ranks_of(root, 2, id)))
    ranks.start()
    wait_for(lambda: "waits for room" in (run.holder() or {}).get("note", ""), seconds=120.0)
    time.sleep(0.5)
    file.unlink()
    ranks.join()
    assert ended == [0, 0] and run.result()["attempts"] == 1


def disturbed(root, id, monkeypatch):
    """Fill the disk when the stage starts, and when its second checkpoint is to be written, until it has waited; return
    when it did.
    """
    waits, saves, wait, save = [], [], Room.wait, checkpoint.save
    files = [fill(root, left=1 << 17)]  # room to begin, and for no checkpoint

    def waited(room, why):
        wait(room, why)
        assert read_lock(room.path)["note"].startswith("waits for room: the disk is full (")
        waits.append("checkpoint" if saves else "start")
        files.pop().unlink()

    def full(folder, *arguments):
        saves.append(folder)
        if len(saves) == 2:
            files.append(fill(root, left=1 << 15))
        save(folder, *arguments)

    monkeypatch.setattr(Room, "wait", waited)
    monkeypatch.setattr(checkpoint, "save", full)
    return waits


def test_no_stage_ends_for_want_of_a_log():
    file = os.open("/dev/full", os.O_WRONLY)  # every write finds it full
    with Said.stream(file) as stream:
        print("a line", file=stream, flush=True)
        print("more", end="", file=stream)
    os.close(file)


def test_a_slurm_job_says_what_the_disk_refused(tmp_path):
    run, code = RunFolder(tmp_path, "score", "aa"), local.DISK_CODE + errno.EROFS
    assert diagnosis.of_exit(run, "7", code, None).why == "cannot use its folder: the disk is mounted read-only"
    (run.path / "logs").mkdir(parents=True)
    (run.path / "logs" / "out.txt").write_text("epoch 1\nCannot use /runs/x: the disk is mounted read-only.\n")
    assert diagnosis.of_exit(run, "7", code, None).why == "Cannot use /runs/x: the disk is mounted read-only."
    assert diagnosis.of_exit(run, "7", 3, None).why == "ended with exit status 3"


def test_what_a_stage_reads_is_not_its_folder(tmp_path):
    """A recording that is closed or gone is not taken for a disk that refuses."""
    root, folder = tmp_path / "runs", tmp_path / "runs" / "score" / "aa" / "aa"
    folder.mkdir(parents=True)
    for path, number, keeps in [
        (tmp_path / "data" / "a.flac", errno.EACCES, False),
        (folder / "model", errno.EACCES, True),
        (folder / "model", errno.ENOENT, False),
        (None, errno.ENOSPC, True),
    ]:
        error = OSError(number, os.strerror(number), *([str(path)] if path else []))
        assert disk_of.keeps_from(error, folder, root) == keeps, (path, number)
    assert disk_of.sentence(OSError(errno.ENOSPC, "x"), folder).startswith(f"Cannot use {folder}: the disk is full")


# Commands -------------------------------------------------------------------------------------------------------------


def test_a_plan_that_does_not_fit_is_written_later(disk):
    root, _ = disk
    stages = fakes.write(root, fakes.stage("aa"))
    plan = Plan("full", {"rows": {}, "table": {"blocks": []}}, [{"row": "x" * 100_000}], stages, {})
    file = fill(root, left=8 * 4096)
    with pytest.raises(UserError, match="^Cannot use .*: the disk is full"), disk_of.told():
        materialise(plan, root)
    assert not list(root.rglob("*.part")) and not (root / "sweeps" / "full" / "manifest.jsonl").exists()
    file.unlink()
    materialise(plan, root)
    assert len((root / "sweeps" / "full" / "manifest.jsonl").read_text()) > 100_000


@pytest.mark.slow
def test_a_sweep_on_a_disk_that_is_full_now_and_then_ends_as_another(disk, tmp_path):
    """The command, whose plan does not fit, and its report; a sentence each time, and then the same command goes on."""
    root, remount = disk
    remount("size=40m")
    (tmp_path / "full.yaml").write_text(SWEEP)

    def command(where, *more):
        run = [sys.executable, "-m", "ablate.sweep", str(tmp_path / "full.yaml"), f"root={where}", "workers=2", *more]
        process = subprocess.run(run, capture_output=True, text=True, cwd=HERE.parent)
        return process.returncode, process.stderr

    assert command(tmp_path / "alone") == (0, "")
    file = fill(root)
    status, said = command(root)
    assert status == 2 and said.count("\n") == 1 and "the disk is full" in said, said
    file.unlink()
    assert command(root) == (0, "")
    shutil.rmtree(root / "sweeps")
    file = fill(root, left=1 << 17)  # room for the plan, and for some of the report
    status, said = command(root)
    assert status == 2 and said.count("\n") == 1 and "the disk is full" in said, said
    assert not list(root.rglob("*.part"))
    file.unlink()
    assert command(root) == (0, "")
    one, other = ((where / "sweeps" / "full" / "table.csv").read_text() for where in (root, tmp_path / "alone"))
    assert one == other


def test_a_report_that_does_not_fit_leaves_the_old_one(disk, tmp_path, monkeypatch):
    root, remount = disk
    figure = plt.figure()
    figure.add_subplot().plot(range(5))
    old = [path.read_bytes() for path in look.save(figure, root, "x")]
    figure = plt.figure()
    figure.add_subplot().plot(range(50))
    file = fill(root)
    with pytest.raises(OSError) as raised:
        look.save(figure, root, "x")
    assert disk_of.passes(raised.value) and not list(root.rglob("*.part"))
    assert [(root / name).read_bytes() for name in ("x.png", "x.pdf")] == old
    file.unlink()
    assert [path.read_bytes() for path in look.save(figure, root, "x")] != old
