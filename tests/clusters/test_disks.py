"""Disks that are full, read-only or gone: a clear message, no traceback in it, and earlier results as they were."""

import json
import os
import shutil
import subprocess
import sys
import time

import fakes
import pytest
import torch
from test_local import driver, step_of, wait_for

from ablate.store.record import run_path
from ablate.training import checkpoint


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
    assert status == 1 and "cannot use its folder: No space left on device" in said, said
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
    assert status == 1 and "cannot use its folder: Read-only file system" in said, said


def test_a_folder_that_vanishes_is_named(tmp_path):
    root = tmp_path / "runs"
    fakes.write(root, fakes.stage("aa", steps=10_000))
    process = driver(root)
    wait_for(lambda: step_of(root, "aa") >= 2)
    for _ in range(5):
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(0.1)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "cannot use its folder: No such file or directory" in said, said
    assert "Traceback" not in said.split("FAILED")[0]


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa"))
    (run_path(tmp_path, "score", "aa") / "logs").write_text("no folder")
    said, status = told(tmp_path)
    assert status == 1 and "cannot use its folder: File exists" in said, said


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
