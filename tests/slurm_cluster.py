"""What tests do with a private Slurm and the fake stages on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from ablate.clusters.slurm.journal import Journal
from ablate.store.record import run_path
from ablate.store.run import RunFolder

HERE = Path(__file__).resolve().parent


def driver(root, environment, wanted=None, *options):
    command = [sys.executable, str(HERE / "fakes.py"), str(root), "slurm", "4", json.dumps(wanted or {}), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process, status=0, seconds=240):
    """What a driver said, once it ended with this status."""
    said, _ = process.communicate(timeout=seconds)
    assert process.returncode == status, said
    return said


def outcomes(root, id, kind="score"):
    path = run_path(root, kind, id) / "attempts.jsonl"
    return [json.loads(line)["outcome"] for line in path.read_text().splitlines()]


def steps(root, id):
    return [
        json.loads(line)["step"]
        for line in (RunFolder(root, "score", id).files / "metrics.jsonl").read_text().splitlines()
    ]


def done(root, id, kind="score"):
    return (run_path(root, kind, id) / "result.json").exists()


def job_of(root, id):
    """The job that a stage was last submitted as, None before."""
    journal = Journal(root, "ablate")
    journal.read()
    return journal.latest.get(id)


def wait_for(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return answer


def begun(root, id):
    """Wait until a stage has a checkpoint."""
    wait_for(lambda: (RunFolder(root, "score", id).files / "checkpoint.json").exists())


def queue(environment):
    command = ["squeue", "--noheader", "--array", "--format=%i|%j|%T|%r"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return {line.split("|")[0]: line.split("|")[1:] for line in lines}


def hurry(environment, job):
    """Let a requeued job start at once."""
    wait_for(lambda: queue(environment)[job][1:] == ["PENDING", "BeginTime"])
    time.sleep(2)  # in the second in which it ended, a job cannot start: "credential revoked"
    subprocess.run(["scontrol", "update", f"jobid={job}", "StartTime=now"], env=environment, check=True)


def run(environment, *command):
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
