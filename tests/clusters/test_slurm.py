"""The same guarantees on a real Slurm: a private one of one node, started here (slurm-wlm and munge are needed).

Slurm holds a requeued job for two minutes; `hurry` lets it go, which changes nothing else.
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import fakes
import pytest
from slurm_cluster import (
    HERE,
    Cluster,
    begun,
    done,
    driver,
    finished,
    hurry,
    job_of,
    outcomes,
    queue,
    run,
    steps,
    wait_for,
)

from ablate.clusters.slurm.journal import Journal
from ablate.store.record import run_path
from ablate.store.run import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a private cluster."""
    if shutil.which("slurmctld") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm munge")
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster.environment


# What fails, and what that does to the rest ---------------------------------------------------------------------------


def family():
    s = fakes.stage
    stages = [s("co", kind="table"), *(s(f"t{i}", "co", kind="pretrain") for i in range(5))]  # 5 > MaxArraySize
    stages += [s("bad", "co", do="fail", kind="kmeans"), s("x1", "bad"), s("die", "co", do="die", kind="kmeans")]
    return stages + [s("x2", "die", "t0"), s("bye", "co", do="exit", kind="kmeans"), s("ok", "t0", "t1")]


@pytest.mark.parametrize("pack_min, jobs", [(0, 12), (0.1, 5)])
def test_a_sweep_with_failures_ends_and_says_so(slurm, tmp_path, pack_min, jobs):
    """Stages that raise, exit and get killed: alone in their tasks, and with others in tasks of six seconds."""
    root = tmp_path / "with space"
    fakes.write(root, *family())
    said = finished(driver(root, slurm, {"pack_min": pack_min}), status=1)
    for one in family():
        assert done(root, one.id, one.kind) == (one.id not in ("bad", "die", "bye", "x1", "x2")), (one.id, said)
    assert said.count("FAILED") == 3, said
    for text in ("exception: RuntimeError: a deliberate failure", "out of memory: killed by SIGKILL", "exit status 3"):
        assert text in said, said
    assert "| RuntimeError: a deliberate failure" in said and "logs/out.txt" in said, said
    journal = Journal(root, "ablate")
    journal.read()
    wait_for(lambda: queue(slurm) == {})  # a job's last moments come after its stage's
    assert len(journal.tasks) == jobs, journal.tasks
    again = finished(driver(root, slurm), status=1)  # nothing is submitted again, and all is still said
    assert again.count("FAILED") == 3 and len(list((root / "slurm").glob("*/stages.json"))) == len(journal._seen)


def test_memory_is_saved_once_then_advice_is_given(slurm, tmp_path):
    s = fakes.stage
    fakes.write(
        tmp_path, s("aa", do="memory", kind="pretrain"), s("bb", "aa"), s("cc", do="more memory", kind="pretrain")
    )
    said = finished(driver(tmp_path, slurm), status=1)
    assert done(tmp_path, "aa", "pretrain") and done(tmp_path, "bb") and not done(tmp_path, "cc", "pretrain"), said
    assert said.count("trying again with activation checkpointing") == 2, said
    assert "lower pretrain.update" in said and "raise resources.pretrain.mem_gb" in said, said
    assert outcomes(tmp_path, "aa", "pretrain") == ["failed", "done"]
    assert outcomes(tmp_path, "cc", "pretrain") == ["failed", "failed"]


def test_a_job_over_its_memory_is_told_from_others(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", do="gluttony"))
    said = finished(driver(tmp_path, slurm, {"mem_gb": 0.5}), status=1)
    assert "FAILED" in said and "out of memory" in said and "raise resources.score.mem_gb" in said, said


def test_failures_are_run_again_when_asked(slurm, tmp_path):
    stages = fakes.write(tmp_path, fakes.stage("aa", do="fail"), fakes.stage("bb", "aa"))
    finished(driver(tmp_path, slurm), status=1)
    what = run_path(tmp_path, "score", "aa") / "identity.json"
    what.write_text(what.read_text().replace('"fail"', '"sleep"'))
    said = finished(driver(tmp_path, slurm, {}, "retry"))
    assert all(done(tmp_path, id) for id in stages), said


# Coming and going -----------------------------------------------------------------------------------------------------


def test_leaving_and_coming_back_submits_nothing_twice(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=400), fakes.stage("bb", "aa"))
    first = driver(tmp_path, slurm)
    begun(tmp_path, "aa")
    first.send_signal(signal.SIGINT)
    said = finished(first, status=130)
    assert "stay in the queue" in said and "--cancel" in said
    assert "2 queued" in (now := finished(driver(tmp_path, slurm, {}, "status"))) or "1 running" in now, now
    finished(driver(tmp_path, slurm))
    assert outcomes(tmp_path, "aa") == ["done"] and outcomes(tmp_path, "bb") == ["done"]


def test_what_was_cancelled_by_the_command_goes_on_with_the_next(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=300), fakes.stage("bb", "aa"), fakes.stage("cc", do="fail"))
    first = driver(tmp_path, slurm)
    begun(tmp_path, "aa")
    wait_for((run_path(tmp_path, "score", "cc") / "failure.json").exists)
    first.kill()
    finished(driver(tmp_path, slurm, {}, "cancel"))
    wait_for(lambda: queue(slurm) == {})
    told = finished(driver(tmp_path, slurm, {}, "status"))
    assert "2 waiting, 1 failed" in told and "a deliberate failure" in told, told
    said = finished(driver(tmp_path, slurm), status=1)
    assert said.count("FAILED") == 1, said
    assert outcomes(tmp_path, "aa") == ["stopped", "done"] and steps(tmp_path, "aa") == list(range(1, 301))
    assert done(tmp_path, "bb") and outcomes(tmp_path, "cc") == ["failed"]


def test_two_drivers_at_once_run_each_stage_once(slurm, tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", steps=100), fakes.stage("bb", "aa"))
    for process in [driver(tmp_path, slurm) for _ in range(2)]:
        finished(process)
    assert outcomes(tmp_path, "aa") == ["done"] and outcomes(tmp_path, "bb") == ["done"]


def test_a_collector_goes_on_alone(slurm, tmp_path):
    """Detached: a stage that lacks memory is run again and one that fails is reported, with nobody watching."""
    s = fakes.stage
    fakes.write(tmp_path, s("aa", do="memory", kind="pretrain"), s("bb", "aa"), s("cc", do="fail"), s("dd", "cc"))
    began = time.monotonic()
    said = finished(driver(tmp_path, slurm, {}, "detach"))
    assert "fakes.collect" in said and time.monotonic() - began < 30
    wait_for((tmp_path / "collected").exists, 120)
    assert (tmp_path / "collected").read_text().startswith("2 done\n\n1 failed:")
    wait_for(lambda: queue(slurm) == {})
    assert done(tmp_path, "aa", "pretrain") and done(tmp_path, "bb")


def test_limits_are_met_by_topping_up(slurm, tmp_path):
    """A site that takes at most three jobs of a user, as it says so; its controller is busy at first."""
    site = tmp_path / "bin"
    site.mkdir()
    (site / "sbatch").write_text(f"""#!/bin/bash
if [ ! -e {tmp_path}/called ]; then
  touch {tmp_path}/called
  echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1
fi
count=$(grep -oP '(?<=--array=0-)[0-9]+' "${{@: -1}}" || echo 0)
if [ $(( $(squeue --me -h -r | wc -l) + count + 1 )) -gt 3 ]; then
  echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
  echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy \
(job submit limit, user's size and/or time limits)" >&2
  exit 1
fi
exec {shutil.which("sbatch")} "$@"
""")
    (site / "sbatch").chmod(0o755)
    environment = {**slurm, "PATH": f"{site}{os.pathsep}{slurm['PATH']}"}
    for name, options in (("watched", []), ("left", ["detach"])):
        root = tmp_path / name
        fakes.write(root, *(fakes.stage(f"a{i}") for i in range(7)), fakes.stage("bb", "a6"))
        finished(driver(root, environment, {}, *options))
        if options:
            wait_for((root / "collected").exists, 150)
        assert all(done(root, id) for id in [*(f"a{i}" for i in range(7)), "bb"])
        assert all(outcomes(root, f"a{i}") == ["done"] for i in range(7))


# What Slurm does to jobs ----------------------------------------------------------------------------------------------


def test_cancelled_jobs_are_noticed(slurm, tmp_path):
    """Pending alone, pending in an array (Slurm forgets those at once), and running."""
    s = fakes.stage
    stages = [
        s("aa", steps=400),
        s("bb", "aa"),
        s("cc", "bb"),
        s("x0", "aa", kind="kmeans"),
        s("x1", "aa", kind="kmeans"),
    ]
    fakes.write(tmp_path, *stages, s("rr", do="deaf", steps=9000, kind="tokenizer"))
    process = driver(tmp_path, slurm)
    wait_for(lambda: job_of(tmp_path, "x0") and job_of(tmp_path, "bb"))
    wait_for(lambda: (RunFolder(tmp_path, "tokenizer", "rr").files / "checkpoint.json").exists())
    for id in ("bb", "x0", "rr"):
        run(slurm, "scancel", job_of(tmp_path, id))
    said = finished(process, status=1)
    assert said.count("FAILED") == 3, said
    assert f"cancelled while pending: job {job_of(tmp_path, 'bb')}" in said, said
    assert f"cancelled while pending: job {job_of(tmp_path, 'x0')}" in said, said
    assert f"cancelled while running: job {job_of(tmp_path, 'rr')}" in said, said
    assert outcomes(tmp_path, "aa") == ["done"] and done(tmp_path, "x1", "kmeans") and not done(tmp_path, "cc")


def test_jobs_that_are_stopped_go_on_from_their_checkpoints(slurm, tmp_path):
    """By scontrol requeue, submitit's signal, preemption without and with a warning, eviction, a lost node."""
    cases = {
        "requeue": {},
        "preempt": {},
        "polite": {"partition": "polite"},
        "evict": {"partition": "evict"},
        "signal": {},
        "node": {},
    }
    processes = {}
    for name in cases:
        fakes.write(tmp_path / name, fakes.stage("aa", steps=200))

    def start(name):
        processes[name] = driver(tmp_path / name, slurm, cases[name])
        begun(tmp_path / name, "aa")
        return job_of(tmp_path / name, "aa")

    first = {name: start(name) for name in ("requeue", "signal")}
    run(slurm, "scontrol", "requeue", first["requeue"])
    run(slurm, "scancel", "--signal=USR2", first["signal"])
    for name in first:
        hurry(slurm, first[name])
    for name in first:
        finished(processes[name])
    for name in ("preempt", "evict", "polite"):
        if name == "polite":  # from here on Slurm warns
            with open(slurm["SLURM_CONF"], "a") as file:
                file.write("SlurmctldParameters=preempt_send_user_signal\n")
            run(slurm, "scontrol", "reconfigure")
            time.sleep(1)
        job = start(name)
        run(slurm, "sbatch", "--partition=high", "--exclusive", "--wait", "--output=/dev/null", "--wrap=sleep 1")
        (log,) = (tmp_path / name / "slurm").glob(f"*/{job}_0_log.err")
        assert ("Caught signal" in log.read_text()) == (name == "polite")
        if name == "evict":  # it was not requeued: the driver submits it again
            said = finished(processes[name])
            assert "preempted" in said and "trying again" in said, said
        else:
            hurry(slurm, job)
            finished(processes[name])
    job = start("node")
    node = run(slurm, "sinfo", "-h", "-o", "%N")
    run(slurm, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    time.sleep(1)
    subprocess.run(
        ["scontrol", "update", f"nodename={node}", "state=resume"], env=slurm
    )  # if it did not return by itself
    time.sleep(10)  # the node, which was not really lost, has the job's processes until then
    hurry(slurm, job)
    finished(processes["node"])
    for name in cases:
        assert outcomes(tmp_path / name, "aa")[-1] == "done" and len(outcomes(tmp_path / name, "aa")) == 2, name
        assert steps(tmp_path / name, "aa") == list(range(1, 201)), name


def test_a_job_out_of_time_goes_on(slurm, tmp_path):
    """Told to save half a minute or so before the end of its minute, Slurm's shortest time."""
    fakes.write(tmp_path, fakes.stage("aa", steps=3000))  # a minute, on the fastest machine
    process = driver(tmp_path, slurm, {"timeout_min": 1})
    job = wait_for(lambda: job_of(tmp_path, "aa"))
    while process.poll() is None:
        if queue(slurm).get(job, [])[1:] == ["PENDING", "BeginTime"]:
            hurry(slurm, job)
        time.sleep(0.5)
    finished(process)
    assert set(outcomes(tmp_path, "aa")) == {"stopped", "done"} and steps(tmp_path, "aa") == list(range(1, 3001))


def test_ranks(slurm, tmp_path):
    """Two processes of a job end where one process ends, also when an update has a shard for one of them only."""
    import torch
    from tiny import World

    from ablate.training import checkpoint
    from ablate.training.update import Update

    ids = {}
    for name in ("one", "two"):
        world = World(tmp_path / name)
        ids = {
            shards: world.pretrain(
                "masked_text", "contrastive", steps=12, update=Update(speech=6.0, text=60, shards=shards)
            )
            for shards in (1, 2)
        }
        ids["leaf"] = world.pretrain("masked_text", "contrastive", steps=4, start=12, phase="decay", parent=ids[2])
        tuned, _ = world.finetune("sentiment", ids["leaf"], steps=6, evaluate_every=3)
        world.lay(tuned)
        if name == "one":
            for id in (*ids.values(), tuned):
                world.run(id)
    stages = world.needed(*ids.values(), tuned)
    (tmp_path / "stages.pkl").write_bytes(pickle.dumps(stages))
    command = [sys.executable, str(HERE / "ranks.py"), str(tmp_path / "two"), str(tmp_path / "stages.pkl")]
    run(slurm, *command)
    for id in (*ids.values(), tuned):
        runs = [RunFolder(tmp_path / name, stages[id].kind, id) for name in ("one", "two")]
        ours, theirs = (checkpoint.of(run).weights for run in runs)
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(theirs[key], ours[key], rtol=1e-3, atol=1e-5, msg=f"{id} {key}")
        lines = [[json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()] for run in runs]
        assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
        for a, b in zip(*lines):
            assert a.keys() == b.keys() and a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=1e-4)
        assert "rank 1 of 2" in (runs[1].path / "logs" / "rank1.txt").read_text()
