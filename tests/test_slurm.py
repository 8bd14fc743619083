"""The same guarantees on a real Slurm: a private one of one node, started here (slurm-wlm and munge are needed)."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest

from ablate.record import run_path

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a private cluster."""
    if shutil.which("slurmctld") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run([HERE / "slurm_up.sh", folder, str(port)], check=True, stdin=subprocess.DEVNULL)
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": path}
    for name in ("d.pid", "ctld.pid"):
        os.kill(int((folder / name).read_text()), signal.SIGTERM)


def driver(root, environment):
    command = [sys.executable, str(HERE / "fakes.py"), str(root), "slurm", "4"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def outcomes(root, id, kind="score"):
    path = run_path(root, kind, id) / "attempts.jsonl"
    return [json.loads(line)["outcome"] for line in path.read_text().splitlines()]


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_sweep_with_failures_ends_and_says_so(slurm, tmp_path):
    s, root = fakes.stage, tmp_path / "with space"
    stages = [s("co", kind="corpus"), *(s(f"t{i}", "co", kind="pretrain") for i in range(5))]  # 5 > MaxArraySize
    stages += [s("bad", "co", do="fail", kind="finetune"), s("x1", "bad"), s("die", "co", do="die", kind="finetune")]
    stages += [s("x2", "die", "t0"), s("ok", "t0", "t1")]
    fakes.write(root, *stages)
    process = driver(root, slurm)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 1, said
    for one in stages:
        expected = one.id not in ("bad", "die", "x1", "x2")
        assert (run_path(root, one.kind, one.id) / "result.json").exists() == expected, (one.id, said)
    assert "RuntimeError: a deliberate failure" in said and said.count("FAILED") == 2, said
    queue = subprocess.run(["squeue", "-h"], env=slurm, capture_output=True, text=True).stdout
    assert queue.strip() == ""


def test_leaving_and_coming_back_submits_nothing_twice(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=400), fakes.stage("bb", "aa"))
    first = driver(tmp_path, slurm)
    wait_for(lambda: (run_path(tmp_path, "score", "aa") / "checkpoint.json").exists())
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=30)
    assert first.returncode == 130 and "jobs" in said
    second = driver(tmp_path, slurm)
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert outcomes(tmp_path, "aa") == ["done"] and outcomes(tmp_path, "bb") == ["done"]


def test_a_cancelled_pending_job_is_noticed(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=300), fakes.stage("bb", "aa"), fakes.stage("cc", "bb"))
    process = driver(tmp_path, slurm)
    known = run_path(tmp_path, "score", "bb") / "job.json"
    wait_for(known.exists)
    subprocess.run(["scancel", json.loads(known.read_text())["job"]], env=slurm, check=True)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "left the queue" in said, said
    assert outcomes(tmp_path, "aa") == ["done"]


def test_a_requeued_job_goes_on_from_its_checkpoint(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=500))
    process = driver(tmp_path, slurm)
    folder = run_path(tmp_path, "score", "aa")
    wait_for(lambda: (folder / "checkpoint.json").exists())
    subprocess.run(["scontrol", "requeue", json.loads((folder / "job.json").read_text())["job"]], env=slurm, check=True)
    said, _ = process.communicate(timeout=300)  # Slurm holds a requeued job for two minutes
    assert process.returncode == 0, said
    assert outcomes(tmp_path, "aa")[-1] == "done" and len(outcomes(tmp_path, "aa")) == 2
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 501))
