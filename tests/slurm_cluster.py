"""A private Slurm for tests, of one or several nodes on this machine, and what tests do with the fake stages on it.

cluster = Cluster(folder, nodes=3)     also as a context: `with Cluster(folder) as cluster:`
cluster.start(); ... cluster.stop()    stop cancels all jobs first
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ablate.clusters.slurm.journal import Journal
from ablate.store.record import run_path
from ablate.store.run import RunFolder

HERE = Path(__file__).resolve().parent
JOBS = ("scontrol", "show", "jobs")


class Cluster:
    """A private Slurm under `folder`. With several `nodes` these are n1, n2, ..., which needs root.

    `settings` are some of Slurm's own: MinJobAge, SlurmdTimeout, ... (see slurm_up.sh).
    """

    def __init__(self, folder, nodes=1, cpus=4, **settings):
        self.folder, self.cpus, self.settings = Path(folder), cpus, settings
        self.nodes = [f"n{i + 1}" for i in range(nodes)] if nodes > 1 else [socket.gethostname().partition(".")[0]]
        path = os.pathsep.join([str(HERE), str(HERE.parent)])
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PYTHONPATH": path}

    def start(self):
        """Start the controller and all nodes."""
        command = [HERE / "slurm_up.sh", self.folder, free_port(len(self.nodes) + 1), self.cpus, len(self.nodes)]
        environment = self.environment | {name: str(value) for name, value in self.settings.items()}
        subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL, env=environment)

    def stop(self):
        """Cancel all jobs, then end all daemons. What is dead already, and jobs that do not end, are left at that."""
        with contextlib.suppress(subprocess.SubprocessError, AssertionError):
            run(self.environment, "scancel", "--me")
            wait_for(lambda: queue(self.environment) == {}, 60)  # else what is left of jobs waits for their controller
        if len(self.nodes) > 1:
            for node in self.nodes:
                self.kill_node(node)
        else:
            self._kill("d.pid", signal.SIGTERM)
        self._kill("ctld.pid", signal.SIGTERM)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def kill_controller(self):
        """Kill slurmctld; what it knew is on disk."""
        self._kill("ctld.pid")

    def start_controller(self):
        """Start slurmctld again; it may not answer yet."""
        subprocess.run([HERE / "slurm_controller.sh", self.folder], check=True, env=self.environment)

    def answers(self):
        """Whether the controller answers."""
        return subprocess.run(["scontrol", "ping"], env=self.environment, capture_output=True).returncode == 0

    def kill_node(self, node):
        """Kill all processes of a node (of several), as a power cut does. Slurm learns it when it is started again, or
        after SlurmdTimeout.
        """
        self._kill(f"{node}.pid")

    def start_node(self, node):
        """Start a node (of several) again, without any of its processes."""
        subprocess.run([HERE / "slurm_node.sh", self.folder, node], check=True, env=self.environment)

    def pid(self, node):
        """The first process of a node (of several), as it is seen from outside; None when it is down."""
        with contextlib.suppress(OSError, ValueError):
            outside = (self.folder / f"{node}.pid").read_text().strip()
            return int(Path(f"/proc/{outside}/task/{outside}/children").read_text().split()[0])
        return None

    def processes(self, node):
        """Processes of a node (of several): their ids inside -> outside."""
        first, inside = self.pid(node), {}
        for path in Path("/proc").glob("[0-9]*") if first else ():
            with contextlib.suppress(OSError):
                if os.readlink(path / "ns/pid") == os.readlink(f"/proc/{first}/ns/pid"):
                    (line,) = (line for line in (path / "status").open() if line.startswith("NSpid:"))
                    inside[int(line.split()[-1])] = int(path.name)
        return inside

    def queue(self):
        """Jobs in the queue: id -> [name, state, reason]."""
        return queue(self.environment)

    def run(self, *command):
        """Run a command of Slurm's; what it says. Raises CalledProcessError."""
        return run(self.environment, *command)

    def hurry(self, job):
        """Let a requeued job start at once."""
        hurry(self.environment, job)

    def node_of(self, job):
        """The node that a job runs on, empty when it does not."""
        return self.run("squeue", "--noheader", "--array", f"--jobs={job}", "--format=%N")

    def jobs_in(self, *states):
        """Ids of the jobs in one of these states."""
        return sorted(job for job, (_, state, _) in self.queue().items() if state in states)

    def driver(self, root, wanted=None, *options, cluster="slurm"):
        """Start a driver of fake stages."""
        return driver(root, self.environment, wanted, *options, cluster=cluster)

    def _kill(self, name, number=signal.SIGKILL):
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / name).read_text())
            (self.folder / name).unlink()  # so that nobody kills who gets the number next
            os.kill(pid, number)
            wait_for(lambda: not lives(pid), 10)


def missing():
    """What a private cluster of several nodes lacks here, as a reason to skip; '' where nothing does."""
    if shutil.which("slurmctld") is None:
        return "no Slurm here: apt-get install slurm-wlm munge"
    tried = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if os.geteuid() or shutil.which("unshare") is None or subprocess.run(tried, capture_output=True).returncode:
        return "no nodes with processes of their own here: needs root, and unshare"
    return ""


def lives(pid):
    """Whether a process runs (it may be a zombie that nobody waits for: that does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def free_port(count):
    """The first of `count` ports in a row that nobody listens on, below those that the kernel hands out."""
    while True:
        first = random.SystemRandom().randrange(20000, 32000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("", port))
            return first


def driver(root, environment, wanted=None, *options, cluster="slurm"):
    command = [sys.executable, str(HERE / "fakes.py"), str(root), cluster, "4", json.dumps(wanted or {}), *options]
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


def emptied(environment, seconds=90.0):
    """Wait until no job is in the queue. Raises AssertionError, with all that Slurm knows of those that are."""
    try:
        wait_for(lambda: queue(environment) == {}, seconds)
    except AssertionError:
        raise AssertionError(f"left in the queue: {queue(environment)}\n{run(environment, *JOBS)}") from None


def begun(root, id):
    """Wait until a stage has a checkpoint."""
    wait_for(lambda: (RunFolder(root, "score", id).files / "checkpoint.json").exists())


def queue(environment):
    command = ["squeue", "--noheader", "--array", "--format=%i|%j|%T|%r"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split("|")[0]: line.split("|")[1:] for line in lines}


def hurry(environment, job):
    """Let a requeued job start at once."""
    wait_for(lambda: queue(environment)[job][1:] == ["PENDING", "BeginTime"])
    time.sleep(2)  # in the second in which it ended, a job cannot start: "credential revoked"
    subprocess.run(["scontrol", "update", f"jobid={job}", "StartTime=now"], env=environment, check=True)


def run(environment, *command):
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
