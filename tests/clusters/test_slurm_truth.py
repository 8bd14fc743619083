"""Slurm as it is: answers that do not come, come late or lie; jobs that are suspended, cancelled or lost. On a private
cluster of three nodes, each with processes of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest
from slurm_cluster import (
    Cluster,
    begun,
    done,
    driver,
    emptied,
    finished,
    job_of,
    missing,
    outcomes,
    queue,
    run,
    steps,
    wait_for,
)

from ablate.clusters.slurm.journal import INTENT, NAME
from ablate.store.record import run_path
from ablate.store.run import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if why := missing():
        pytest.skip(why)
    with Cluster(tmp_path_factory.mktemp("slurm"), nodes=3) as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster):
    """Its environment. No test leaves a job behind."""
    yield cluster.environment
    try:
        emptied(cluster.environment)
    finally:
        run(cluster.environment, "scancel", "--me")


def shim(folder, environment, name, script):
    """Put a command of Slurm's behind a script, in which REAL is the command itself; the environment with it."""
    site = folder / "bin"
    site.mkdir(exist_ok=True)
    (site / name).write_text("#!/bin/bash\n" + script.replace("REAL", shutil.which(name)))
    (site / name).chmod(0o755)
    return {**environment, "PATH": f"{site}{os.pathsep}{environment['PATH']}"}


def arrays(root):
    """Arrays that were taken, and those that it is not known of."""
    return len(list((root / "slurm").glob(f"*/{NAME}"))), len(list((root / "slurm").glob(f"*/{INTENT}")))


# Answers that do not come ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["dies", "hangs", "garbage"])
def test_an_array_whose_answer_is_lost_is_taken_up_by_its_mark(slurm, tmp_path, fault):
    """sbatch submits, and then dies, hangs, or prints something else; every later call is well."""
    after = {"dies": "kill -9 $$", "hangs": "sleep 300", "garbage": 'echo "Hello, job 12 of 13!"; exit 0'}[fault]
    environment = shim(
        tmp_path,
        slurm,
        "sbatch",
        f'if [ -e {tmp_path}/once ]; then exec REAL "$@"; fi\ntouch {tmp_path}/once\nREAL "$@" >/dev/null\n{after}\n',
    )
    root = tmp_path / "root"
    fakes.write(root, *(fakes.stage(f"a{i}", steps=100) for i in range(3)), fakes.stage("bb", "a0", "a1"))
    said = finished(driver(root, {**environment, "FAKES_SBATCH": "3"}))
    assert all(outcomes(root, id) == ["done"] for id in ("a0", "a1", "a2", "bb")), said
    assert arrays(root) == (2, 0), said
    emptied(slurm)


def test_a_driver_killed_while_it_submits_leaves_nothing_to_be_submitted_twice(slurm, tmp_path):
    environment = shim(tmp_path, slurm, "sbatch", 'REAL "$@"; touch ' + f"{tmp_path}/sent; sleep 60\n")
    root = tmp_path / "root"
    fakes.write(root, *(fakes.stage(f"a{i}", steps=100) for i in range(3)))
    first = driver(root, environment)
    wait_for((tmp_path / "sent").exists)
    first.kill()
    assert arrays(root) == (0, 1)
    told = finished(driver(root, slurm, {}, "status"))
    assert "3 queued" in told or "running" in told, told
    said = finished(driver(root, slurm))
    assert all(outcomes(root, f"a{i}") == ["done"] for i in range(3)) and arrays(root) == (1, 0), said


def test_what_is_cancelled_includes_arrays_whose_answer_was_lost(slurm, tmp_path):
    environment = shim(tmp_path, slurm, "sbatch", 'REAL "$@"; touch ' + f"{tmp_path}/sent; sleep 60\n")
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=5000))
    first = driver(root, environment)
    wait_for((tmp_path / "sent").exists)
    first.kill()
    finished(driver(root, slurm, {}, "cancel"))
    emptied(slurm, 60)


def test_a_controller_that_is_down_at_the_start_and_in_between_is_waited_for(cluster, slurm, tmp_path):
    """Longer than the two and a half minutes that used to end the driver. Nothing is submitted twice."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=1500), fakes.stage("bb", "aa"))
    first = driver(root, slurm)
    begun(root, "aa")
    job = job_of(root, "aa")
    first.kill()
    time.sleep(15)  # by now it has written down what it knows; else it forgets these jobs, and has earlier ones run
    cluster.kill_controller()
    second = driver(root, slurm)
    time.sleep(170)
    assert second.poll() is None and arrays(root)[0] == 2
    cluster.start_controller()
    said = finished(second)
    assert said.count("Slurm has not answered since") >= 2 and "Slurm answers again" in said, said
    assert outcomes(root, "aa") == ["done"] and outcomes(root, "bb") == ["done"], said
    assert arrays(root)[1] == 0 and job_of(root, "aa") == job, (
        said
    )  # bb may have met a node that does not start jobs yet


def test_jobs_that_a_controller_forgot_when_it_crashed_run_again(cluster, slurm, tmp_path):
    """It writes down what it knows every few seconds; here it loses all: a job that runs, and some that wait."""
    root = tmp_path / "root"
    children = [fakes.stage(f"x{i}", "aa", kind="kmeans") for i in range(2)]
    fakes.write(root, fakes.stage("aa", steps=2000), fakes.stage("bb", "aa"), *children)
    process = driver(root, slurm)
    begun(root, "aa")
    wait_for(lambda: job_of(root, "bb") and job_of(root, "x1"))
    cluster.kill_controller()
    for state in (cluster.folder / "state").glob("job_state*"):
        state.unlink()
    cluster.start_controller()
    said = finished(process, seconds=400)
    assert "FAILED" not in said and "forgotten by Slurm" in said, said
    assert all(done(root, one.id, one.kind) for one in (fakes.stage("aa"), fakes.stage("bb"), *children))
    assert outcomes(root, "aa")[-1] == "done" and steps(root, "aa") == list(range(1, 2001))


@pytest.mark.parametrize("fault", ["cut", "slow", "fails"])
def test_a_queue_that_is_cut_slow_or_fails_is_no_answer(slurm, tmp_path, fault):
    """Half of the answers, after the first of them: nothing is lost, nothing is submitted twice."""
    script = {
        "cut": 'REAL "$@" | head -c 12',
        "slow": 'sleep 20; REAL "$@"',
        "fails": 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1',
    }[fault]
    counted = f"n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) > {tmp_path}/n\n"
    environment = shim(
        tmp_path, slurm, "squeue", counted + f'if [ $((n % 2)) = 1 ]; then\n{script}\nexit $?\nfi\nexec REAL "$@"\n'
    )
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=200), fakes.stage("bb", "aa"), fakes.stage("cc", do="fail"))
    said = finished(driver(root, environment), status=1)
    assert said.count("FAILED") == 1 and outcomes(root, "aa") == outcomes(root, "bb") == ["done"], said
    assert arrays(root) == (3, 0) or arrays(root) == (2, 0), said


def test_two_commands_at_once_submit_every_stage_once(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, *(fakes.stage(f"a{i}", steps=100) for i in range(4)), fakes.stage("bb", "a0"))
    for process in [driver(root, slurm) for _ in range(3)]:
        finished(process)
    assert arrays(root) == (2, 0) and all(outcomes(root, id) == ["done"] for id in ("a0", "a1", "a2", "a3", "bb"))


# Jobs without their claim ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 600, -600])
def test_a_suspended_job_whose_stage_was_finished_elsewhere_ends_at_once(cluster, slurm, tmp_path, shift):
    """Suspended for longer than a claim lives; another host finishes the stage; woken, the job changes nothing. The
    clock of the job's host may be ten minutes off; the file system's is not.
    """
    root, site = tmp_path / "root", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import time\nreal = time.time\ntime.time = lambda: real() + {shift}\n"
        f"ns = time.time_ns\ntime.time_ns = lambda: ns() + {shift} * 10**9\n"
    )
    fakes.write(root, fakes.stage("aa", steps=1500), fakes.stage("bb", "aa"))
    first = driver(root, slurm, {"setup": [f"export PYTHONPATH={site}:$PYTHONPATH"]})
    begun(root, "aa")
    job = job_of(root, "aa")
    run(slurm, "scontrol", "suspend", job)
    first.kill()
    claim = run_path(root, "score", "aa") / "claim.json"
    local = subprocess.Popen(
        [sys.executable, str(Path(fakes.__file__)), str(root), "local", "1", "{}"],
        env=slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = finished(local, seconds=300)
    assert done(root, "aa") and done(root, "bb"), said
    before = {path: path.read_bytes() for path in run_path(root, "score", "aa").rglob("*") if path.is_file()}
    run(slurm, "scontrol", "resume", job)
    wait_for(lambda: job not in queue(slurm), 40)
    after = {path: path.read_bytes() for path in run_path(root, "score", "aa").rglob("*") if path.is_file()}
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"out.txt", "attempts.jsonl", ".progress.json"}, changed
    assert [one for one in outcomes(root, "aa") if one == "done"] == ["done"] and not claim.exists()
    assert steps(root, "aa") == list(range(1, 1501))


# Collectors -----------------------------------------------------------------------------------------------------------


def test_collectors_are_of_a_root_a_plan_and_a_command(slurm, tmp_path):
    """The same sweep's name under another root has its own; a larger plan replaces that of a part."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        fakes.write(root, fakes.stage("aa", steps=600))
        finished(driver(root, slurm, {}, "detach"))
    waiting = [job for job, (name, *_) in queue(slurm).items() if name == "fakes.collect"]
    assert len(waiting) == 2
    fakes.write(roots[0], fakes.stage("bb", "aa"))
    finished(driver(roots[0], slurm, {}, "detach"))
    now = [job for job, (name, *_) in queue(slurm).items() if name == "fakes.collect"]
    assert len(now) == 2 and len({*now} & {*waiting}) == 1
    for root, count in zip(roots, (2, 1)):
        wait_for((root / "collected").exists, 150)
        assert (root / "collected").read_text().startswith(f"{count} done")
    emptied(slurm)


def test_a_refused_detach_leaves_no_collector(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa"))
    process = driver(root, slurm, {"score": {"partition": "nowhere"}}, "detach")
    said, _ = process.communicate(timeout=100)
    assert process.returncode and "nvalid partition" in said, said
    emptied(slurm, 20)


def test_a_collector_that_fails_says_so_to_slurm_and_to_status(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=100))
    (root / "break_collector").write_text("")
    finished(driver(root, slurm, {}, "detach"))
    emptied(slurm, 100)
    told = finished(driver(root, slurm, {}, "status"))
    assert "The collector, job" in told and "failed: RuntimeError: a broken report" in told, told


# Cancelling what others want ------------------------------------------------------------------------------------------


def test_a_sweep_that_is_cancelled_leaves_what_another_waits_for(slurm, tmp_path):
    """Two sweeps share a trunk, which the first of them submitted."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=500), fakes.stage("b1", "aa"))
    first = driver(root, {**slurm, "FAKES_NAME": "one"})
    begun(root, "aa")
    first.kill()
    fakes.write(root, fakes.stage("b2", "aa"))
    second = driver(root, {**slurm, "FAKES_NAME": "two", "FAKES_ONLY": "aa,b2"})
    wait_for(lambda: job_of(root, "b2"))
    finished(driver(root, {**slurm, "FAKES_NAME": "one"}, {}, "cancel"))
    said = finished(second)
    assert outcomes(root, "aa") == ["done"] and done(root, "b2") and not done(root, "b1"), said


def test_what_is_cancelled_is_wanted_again_while_its_jobs_end(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", do="deaf", steps=400), fakes.stage("bb", "aa"))
    first = driver(root, slurm)
    begun(root, "aa")
    first.kill()
    finished(driver(root, slurm, {}, "cancel"))
    said = finished(driver(root, slurm))
    assert "FAILED" not in said and done(root, "aa") and done(root, "bb"), said


def test_a_watcher_submits_nothing_more_once_its_sweep_is_cancelled(slurm, tmp_path):
    """Of three stages one runs at a time: two were not submitted when the sweep was cancelled from another shell."""
    root = tmp_path / "root"
    fakes.write(
        root, *(fakes.stage(f"a{i}", steps=1500, kind=kind) for i, kind in enumerate(("score", "kmeans", "table")))
    )
    watcher = driver(root, slurm, {"parallelism": 1})
    wait_for(lambda: arrays(root)[0] == 1 and any(state == "RUNNING" for _, state, _ in queue(slurm).values()))
    finished(driver(root, slurm, {}, "cancel"))
    said = finished(watcher, status=130)
    assert "cancelled by another command" in said and arrays(root) == (1, 0), said
    emptied(slurm, 60)


def test_a_copy_of_a_root_has_no_jobs(slurm, tmp_path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    fakes.write(root, fakes.stage("aa", steps=600))
    first = driver(root, slurm)
    begun(root, "aa")
    shutil.copytree(root, copy)
    assert finished(driver(copy, slurm, {}, "cancel")) == ""
    finished(first)
    assert outcomes(root, "aa") == ["done"]


# What Slurm makes of it -----------------------------------------------------------------------------------------------


def test_a_parent_that_is_done_though_its_job_failed_lets_children_run(slurm, tmp_path):
    """Killed in its last second: Slurm never satisfies afterok, and cancels the children."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", do="last", steps=150), fakes.stage("bb", "aa"), fakes.stage("cc", "bb"))
    said = finished(driver(root, slurm))
    assert all(done(root, id) for id in ("aa", "bb", "cc")) and "FAILED" not in said, said
    assert outcomes(root, "bb") == ["done"]


def test_a_stage_whose_node_is_lost_and_its_children_run(cluster, slurm, tmp_path):
    """Slurm puts the stage back under its own job; what waits for that may stay, or be cancelled (test_follow.py)."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=1000), fakes.stage("bb", "aa"), fakes.stage("cc", "bb"))
    process = driver(root, slurm)
    begun(root, "aa")
    wait_for(lambda: job_of(root, "cc"))
    job = job_of(root, "aa")
    node = cluster.node_of(job)
    cluster.kill_node(node)
    run(slurm, "scontrol", "update", f"nodename={node}", "state=down", "reason=lost")  # else Slurm learns it late
    cluster.start_node(node)
    cluster.hurry(job)
    said = finished(process)
    assert "FAILED" not in said and outcomes(root, "bb") == outcomes(root, "cc") == ["done"], said
    assert job_of(root, "aa") == job and outcomes(root, "aa")[-1] == "done"


def test_inside_a_job_nothing_of_it_is_handed_on(slurm, tmp_path):
    """salloc tells what it starts how many tasks and how much memory it has: that is not what is submitted."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa"), fakes.stage("bb", "aa"))
    inside = {
        "SLURM_JOB_ID": "1",
        "SLURM_NTASKS": "7",
        "SLURM_MEM_PER_NODE": "99",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_ARRAY_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": "5",
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "CANCELLED",
    }
    finished(driver(root, {**slurm, **inside}))
    log = RunFolder(root, "score", "aa").path / "attempts.jsonl"
    assert json.loads(log.read_text().splitlines()[0])["job"] != "1_5" and done(root, "bb")


def test_parallelism_holds_over_all_arrays(slurm, tmp_path):
    """Twelve stages of three kinds, with parents of their own: three at once, not eleven."""
    root = tmp_path / "root"
    kinds = ("score", "heldout", "kmeans")
    parents = [fakes.stage(f"p{i}", kind="pretrain") for i in range(4)]
    children = [fakes.stage(f"{kind[0]}{i}", f"p{i}", kind=kind, steps=60) for i in range(4) for kind in kinds]
    fakes.write(root, *parents, *children)
    process, most = driver(root, slurm, {"parallelism": 3, "mem_gb": 0.1}), 0
    while process.poll() is None:
        most = max(most, sum(state == "RUNNING" for _, state, _ in queue(slurm).values()))
        time.sleep(0.2)
    said = finished(process)
    assert 2 <= most <= 3, (most, said)  # looks may miss the moment of three
    assert all(done(root, one.id, one.kind) for one in (*parents, *children))


def test_jobs_that_can_never_start_are_told_apart_and_fail_when_nothing_else_can_run(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", steps=200), fakes.stage("bb", kind="kmeans"), fakes.stage("cc", "bb"))
    run(slurm, "scontrol", "create", "partition=small", "nodes=n1", "maxtime=1")
    said = finished(driver(root, slurm, {"kmeans": {"partition": "small", "timeout_min": 30}}), status=1)
    assert done(root, "aa") and said.count("FAILED") == 1 and "PartitionTimeLimit" in said, said
    assert "lower it, or name another partition" in said, said
    emptied(slurm, 30)


def test_a_finished_parent_that_is_deleted_is_no_failure_of_its_children(slurm, tmp_path):
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa"), fakes.stage("bb", "aa", steps=400), fakes.stage("cc", "bb", "aa"))
    process = driver(root, slurm)
    begun(root, "bb")
    shutil.rmtree(run_path(root, "score", "aa"))
    said = finished(process)
    assert all(done(root, id) for id in ("aa", "bb", "cc")) and "FAILED" not in said, said
    assert outcomes(root, "bb") == ["done"]
    again = finished(driver(root, slurm))
    assert "FAILED" not in again and outcomes(root, "cc") == ["done"]


def test_files_that_come_a_minute_late_are_waited_for(slurm, tmp_path):
    """A shared disk that hides what another node wrote: the result is seen a minute after its job."""
    root = tmp_path / "root"
    fakes.write(root, fakes.stage("aa", do="late", steps=50), fakes.stage("bb", "aa"))
    process = driver(root, slurm)
    late = run_path(root, "score", "aa") / "result.late"
    wait_for(late.exists)
    time.sleep(60)
    assert process.poll() is None
    late.rename(late.with_name("result.json"))
    said = finished(process)
    assert outcomes(root, "aa") == ["done"] and outcomes(root, "bb") == ["done"] and "FAILED" not in said, said
    assert arrays(root) == (2, 0)
