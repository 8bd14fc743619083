"""A sweep that trains on a private Slurm of three nodes while all goes wrong: python tests/clusters/soak.py --minutes 9

Drivers, stages, nodes and slurmctld are killed, stopped, suspended and started again, at moments drawn from --seed; of
what is there when a fault comes, it hits one that the seed draws, too. A sweep that is done is compared with one left
alone, and begins anew in a fresh root. When the time is up nothing more goes wrong, and the last sweep runs to its
end. Needs root, slurm-wlm and munge. --dry prints the faults of a seed. The exit status is 1 after a violation.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from kills import SWEEP, members  # noqa: E402
from slurm_cluster import Cluster, wait_for  # noqa: E402

from ablate import drive, sweep  # noqa: E402
from ablate.clusters.cluster import LATER, Program  # noqa: E402
from ablate.clusters.resources import COLLECT  # noqa: E402
from ablate.clusters.slurm.journal import Journal  # noqa: E402
from ablate.store.attempt import TOKEN  # noqa: E402
from ablate.store.record import files_of, read_jsonl  # noqa: E402

SOAK = """
extends: kills.yaml
name: soak
tasks: [sentiment, retrieval]
resources: {mem_gb: 2, cpus: 1, timeout_min: 10, poll_s: 1, pack_min: 0}
"""
DATA = ("recordings", "table", "tokenizer", "tokens")  # kinds of stages that are copied from the calm sweep
PROGRAM = Program("soak:execute", preload="ablate.warm", main="soak:command")
FREE = {"seconds", "attempts", "attempt", "code", "ended", "busy_seconds", "waiting", "machine"}  # of a result
FAULTS = {  # how often, and for how many seconds it lasts
    "driver killed": (2, 0.5, 8),
    "driver and its processes killed": (2, 0.5, 8),
    "driver interrupted": (2, 0.5, 8),
    "sweep left to a collector": (1, 5, 30),  # the driver is killed, and another one detaches
    "controller killed": (2, 0.5, 20),
    "node killed": (3, 8, 25),
    "job suspended": (3, 3, 30),
    "job requeued": (2, 0, 0),
    "stage killed": (1, 0, 0),
    "stage stopped": (2, 3, 30),
}
LONG = {"controller killed": 170, "job suspended": 140, "stage stopped": 140}  # and one of ten times so long
SETTLE = 600.0  # seconds that the last sweep may take once nothing goes wrong any more
BAD = 10  # drivers of a sweep that may end as none should, before it is given up
EMPTY = 150.0  # seconds after which no job is left of a sweep that is done; those of a lost node are missed late


@dataclass(frozen=True)
class Fault:
    """What goes wrong `gap` seconds after the one before; `pick` (0 to 1) chooses what it hits."""

    gap: float
    what: str
    pick: float
    lasts: float


def faults(seed: int, long: bool) -> Iterator[Fault]:
    """Draw faults without end; `long` ones only where there is time for them."""
    draw = random.Random(seed)
    while True:
        gap, pick = draw.uniform(2.0, 14.0), draw.random()
        what = draw.choices(list(FAULTS), [weight for weight, _, _ in FAULTS.values()])[0]
        lasts = draw.uniform(*FAULTS[what][1:])
        if draw.random() < 0.1 and long:
            lasts = LONG.get(what, lasts)
        yield Fault(gap, what, pick, lasts)


# In drivers and jobs ---------------------------------------------------------------------------------------------


def execute(id: str, root: Path) -> None:
    """Run a stage as `ablate.stages.execute` does, but slowly, and saving often."""
    from ablate.stages import execute as stages
    from ablate.training import loop
    from ablate.training.optim import FlatAdamW

    slow, step, restored = float(os.environ.get("SOAK_SLOW", "0")), FlatAdamW.step, stages.restored
    loop.SAVE_SECONDS = 1.0

    def slow_step(self, *arguments):
        time.sleep(slow)
        return step(self, *arguments)

    def slow_restored(*arguments):
        time.sleep(15 * slow)
        return restored(*arguments)

    FlatAdamW.step, stages.restored = slow_step, slow_restored
    stages.execute(id, root)


def command(arguments: list[str]) -> int:
    """The sweep command with the stages above."""
    drive.PROGRAM = PROGRAM
    return sweep.main(arguments)


# What came of a sweep --------------------------------------------------------------------------------------------


def differences(calm: Path, rough: Path) -> list[str]:
    """Say what is not the same in two finished roots, and what was made twice in the second."""
    found = []
    names = [sorted(path.parent.relative_to(at) for path in at.glob("*/??/*/result.json")) for at in (calm, rough)]
    if names[0] != names[1]:
        found.append(f"stages done: {len(names[0])} and {len(names[1])}")
    for name in sorted(set(names[0]) & set(names[1])):
        found += [f"{name}: {what}" for what in [*_unequal(calm / name, rough / name), *_twice(rough / name)]]
    tables = [at / "sweeps" / "soak" / "table.csv" for at in (calm, rough)]
    if not tables[1].exists() or tables[0].read_bytes() != tables[1].read_bytes():
        found.append("table.csv is another, or was not written")
    return found


def _unequal(calm: Path, rough: Path) -> list[str]:
    results = [json.loads((at / "result.json").read_text()) for at in (calm, rough)]
    ours, theirs = (files_of(at, result) for at, result in zip((calm, rough), results))
    for result in results:
        result["files"].pop("checkpoint.json", None)  # has seconds in it
    first, second = ({k: v for k, v in result.items() if k not in FREE} for result in results)
    found = [
        f"result.json has another {key}" for key in first.keys() | second.keys() if first.get(key) != second.get(key)
    ]
    for file in first["files"]:
        if not (theirs / file).exists() or (ours / file).read_bytes() != (theirs / file).read_bytes():
            found.append(f"{file} has other bytes, or is not there")
    return found


def _twice(folder: Path) -> list[str]:
    """What a stage's folder has of a second attempt that finished, or of one that did not and was left there."""
    attempts = list(read_jsonl(folder / "attempts.jsonl"))
    valid = json.loads((folder / "result.json").read_text())["attempt"]
    finished = [one["token"] for one in attempts if one["outcome"] == "done"]
    # who is killed between its result and its last line leaves its lock, or is noted as lost
    if len(finished) > 1 or (finished and finished != [valid]):
        return [f"done by {finished}, its result is of {valid}"]
    left = [path.name for path in folder.iterdir() if path.is_dir() and TOKEN.fullmatch(path.name)]
    return [] if left == [valid] else [f"has the folders of attempts {left}, its result is of {valid}"]


# What makes it go wrong ------------------------------------------------------------------------------------------


class Soak:
    """Runs sweeps on a cluster while faults come."""

    def __init__(self, folder: Path, cluster: Cluster, seed: int, seconds: float):
        self.folder, self.cluster, self.seed, self.seconds = folder, cluster, seed, seconds
        path = os.pathsep.join([str(HERE), cluster.environment["PYTHONPATH"]])
        self.environment = {**cluster.environment, "PYTHONPATH": path, "SOAK_SLOW": "0.2"}
        self.began = time.monotonic()
        self.faults = faults(seed, seconds > 600)
        self.due: list[tuple[float, int, Callable[[], None]]] = []  # what ends faults: when, a number, what to do
        self.round = self.drivers = self.count = 0
        self.done = False  # the sweep is
        self.driver: Optional[subprocess.Popen] = None
        self.drove = self.asked_at = self.pause = (
            0.0  # when it started, when it was to end, and how long until the next
        )
        self.asked = ""  # how it was told to end
        self.bad = 0  # drivers of this sweep that ended as none should
        self.leaves, self.alone = False, 0.0  # whether it is one with --detach, and how long until the next then
        self.retry = False  # start the next driver with --retry-failed
        self.held: dict[str, float] = {}  # job -> since when it waits for two minutes to pass
        self.strange: dict[str, float] = {}  # job -> since when it is in the queue and no driver knows it
        self.twice: dict[str, float] = {}  # stage -> since when it has two jobs
        self.shot: set[str] = set()  # stages whose process was killed
        self.down: set[str] = set()  # nodes, and "controller"
        self.tended = 0.0
        self.hits: Counter[str] = Counter()
        self.violations: list[str] = []

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def violation(self, text: str, once: bool = False) -> None:
        """Note what must not be."""
        if not (once and text in self.violations):
            self.violations.append(text)
            self.say(f"VIOLATION: {text}")

    def run(self) -> str:
        """Soak until the time is up; the verdict."""
        (self.folder / "kills.yaml").write_text(SWEEP)
        (self.folder / "soak.yaml").write_text(SOAK)
        calm = self._start("calm", "cluster=local", "workers=2", SOAK_SLOW="0")
        assert calm.wait() == 0, (self.folder / "calm.txt").read_text()[-3000:]
        self.began = time.monotonic()
        self.say(f"the calm sweep is done: {len(list(self.root(True).glob('*/??/*/result.json')))} stages")
        while self.time_left > 0:
            self._sweep()
        what = ", ".join(f"{count} {name}" for name, count in sorted(self.hits.items()))
        return (
            f"seed {self.seed}: {len(self.violations)} violations; {sum(self.hits.values())} faults ({what}) over "
            f"{self.round} sweeps and {self.drivers} drivers in {(time.monotonic() - self.began) / 60:.1f} min"
        )

    @property
    def time_left(self) -> float:
        """Seconds in which things still go wrong."""
        return self.began + self.seconds - time.monotonic()

    def root(self, calm: bool = False) -> Path:
        """Where the sweep runs."""
        return self.folder / ("calm" if calm else f"rough{self.round}")

    def _start(self, root: str, *arguments: str, **environment: str) -> subprocess.Popen:
        self.log = self.folder / f"{root}{f'.{self.drivers}' if self.drivers else ''}.txt"
        program = [sys.executable, str(HERE / "soak.py"), "--drive", str(self.folder / "soak.yaml")]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [*program, f"root={self.folder / root}", *arguments],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=HERE.parents[1],
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    # A sweep ------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Run a sweep to its end, and look at what came of it."""
        self.round += 1
        self.done, self.bad, self.leaves = False, 0, False
        for kind in DATA:
            shutil.copytree(self.root(calm=True) / kind, self.root() / kind)
        self.say(f"sweep {self.round}")
        self._drive()
        self._draw()
        settled = None
        while not self.done:
            if self.time_left > 0:
                self._strike()
            elif settled is None:
                self.say("the time is up: nothing more goes wrong")
                settled = time.monotonic() + SETTLE
                self._mend()
            if self.bad > BAD:
                self.violation(f"sweep {self.round} is given up after {self.bad} drivers with other endings")
                self.seconds = 0.0
                break
            if settled is not None and time.monotonic() > settled:
                self.violation(f"sweep {self.round} is not done after {SETTLE:.0f} calm seconds; see {self.log}")
                break
            self._tick()
        self._mend()
        self._look()

    def _tick(self) -> None:
        """Do what is due."""
        while self.due and self.due[0][0] <= time.monotonic():
            heapq.heappop(self.due)[2]()
        if time.monotonic() - self.tended > 2.0:
            self._tend()
            self.tended = time.monotonic()
        if self.driver is not None and self.driver.poll() is not None:
            self._reap()
        elif self.driver is not None and self.asked == "INT" and time.monotonic() - self.asked_at > 120.0:
            self.violation(f"driver {self.drivers} was interrupted two minutes ago, and goes on")
            self.asked = "KILL"
            kill(self.driver.pid, group=True)
        time.sleep(0.1)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.count, what))

    def _mend(self) -> None:
        """End all faults now."""
        due, self.due = sorted(self.due), []
        for _, _, what in due:
            what()
        wait_for(self.cluster.answers, 30)

    def _drive(self) -> None:
        """Start a driver, unless there is one or nothing is left to do."""
        if self.driver is None and not self.done:
            self.drivers += 1
            more = ["--retry-failed"] * self.retry + ["--detach"] * self.leaves
            self.driver = self._start(self.root().name, "cluster=slurm", *more)
            self.asked, self.retry, self.drove = "", False, time.monotonic()

    def _reap(self) -> None:
        """Deal with the end of the driver: another one follows unless all is done."""
        status, said = self.driver.returncode, self.log.read_text(errors="replace")
        expected = {"KILL": (-signal.SIGKILL,), "LEAVE": (-signal.SIGKILL,), "INT": (130, -signal.SIGINT)}.get(
            self.asked, ()
        )
        self.driver, self.done = None, status == 0 and not self.leaves
        if self.leaves and not self.asked and status in (0, LATER):
            self.leaves = False
            self._later(self.alone, self._drive)
            return
        self.leaves = self.asked == "LEAVE"  # the next one
        if self.done or status in expected:
            self._later(self.pause, self._drive)
            return
        self.retry, self.bad = True, self.bad + 1
        if self._excused(said):
            self.say("the driver ended because of stages that were killed; the next one is to run them again")
        else:
            self.violation(f"driver {self.drivers} ended with {status}, see {self.log}:\n{said[-3000:]}")
        self._later(1.0, self._drive)

    def _excused(self, said: str) -> bool:
        """Whether all failures are of stages that were killed here: as if by the kernel, for memory."""
        failures = re.findall(r"^  \w+ .*; (\S+)/logs/out.txt$", said.rpartition(" failed:\n")[2], re.MULTILINE)
        return bool(failures) and {Path(folder).name for folder in failures} <= self.shot

    def _look(self) -> None:
        """Look at a sweep that is done, and at the queue, in which nothing may be left of it."""
        if self.driver is not None:
            kill(self.driver.pid, group=True)
            self.driver = None
        end = time.monotonic() + EMPTY
        while (left := self.queue()) != {} and time.monotonic() < end:
            self._tick()
        if left:
            self.violation(f"sweep {self.round} left jobs in the queue: {left}")
            self.slurm("scancel", "--me")
            with contextlib.suppress(AssertionError):
                wait_for(lambda: self.queue() == {}, EMPTY)
        for what in differences(self.root(calm=True), self.root()):
            self.violation(f"sweep {self.round}: {what}")
        self.say(f"sweep {self.round} is looked at")

    # Whoever runs the cluster ---------------------------------------------------------------------------------------

    def slurm(self, *command: str) -> Optional[str]:
        """What a command of Slurm says, None where it fails."""
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None

    def queue(self) -> Optional[dict[str, list[str]]]:
        """Jobs in the queue: [name, state, reason]; None when the controller does not say."""
        said = None if "controller" in self.down else self.slurm("squeue", "-h", "-r", "--format=%i|%j|%T|%r")
        return None if said is None else {line.split("|")[0]: line.split("|")[1:] for line in said.splitlines()}

    def _tend(self) -> None:
        """Let jobs go that Slurm holds back after a fault, take nodes that live, and look for stages with two jobs."""
        queue = self.queue()
        if queue is None:
            return
        now = time.monotonic()
        waiting = {job for job, (_, _, reason) in queue.items() if reason == "BeginTime"}
        self.held = {job: self.held.get(job, now) for job in waiting}
        for job in [job for job, since in self.held.items() if now - since > 2.0]:
            self.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
        for job, (_, _, reason) in queue.items():
            if "requeued held" in reason.replace("_", " "):
                self.say(f"job {job} is released: {reason}")
                self.slurm("scontrol", "release", job)
        for node in set(self.cluster.nodes) - self.down:
            state = (self.slurm("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T") or "").strip()
            if state.startswith(("drain", "down")) and not state.endswith("*"):
                self.slurm("scontrol", "update", f"nodename={node}", "state=resume")
        self._count_jobs(queue, now)

    def _count_jobs(self, queue: dict[str, list[str]], now: float) -> None:
        """See that no stage has two jobs, and that no job is there of which drivers do not know."""
        journal, nameless = Journal(self.root(), "ablate"), Journal(self.root(), "")  # as if this were no cluster
        journal.read()
        nameless.read()
        jobs: dict[str, list[str]] = {}
        for job, (_, state, _) in queue.items():
            task = journal.tasks.get(job) or nameless.tasks.get(job)
            if task is not None and state != "COMPLETING":
                for stage in task.stages:
                    jobs.setdefault(stage, []).append(job)
        twice = {stage: several for stage, several in jobs.items() if len(several) > 1}
        self.twice = {stage: self.twice.get(stage, now) for stage in twice}
        for stage, several in twice.items():
            if now - self.twice[stage] > 45:  # one that Slurm put back after its stage had failed looks, and ends
                self.violation(
                    f"sweep {self.round}: stage {stage} has the jobs {', '.join(sorted(several))}", once=True
                )
        there = {job: name for job, (name, state, _) in queue.items() if state != "COMPLETING"}
        collectors = [job for job, name in there.items() if name.endswith(COLLECT)]
        waiting = [job for job in collectors if queue[job][1] == "PENDING"]  # one that runs leaves a successor
        if len(waiting) > 2:  # one that runs leaves a successor, and may be requeued
            self.violation(f"sweep {self.round}: the collectors {', '.join(waiting)} wait at once", once=True)
        unknown = there.keys() - journal.tasks.keys() - set(collectors)
        self.strange = {job: self.strange.get(job, now) for job in unknown}
        for job, since in self.strange.items():
            if now - since > 30.0 and self.driver is not None and now - self.drove > 30.0:
                self.violation(f"sweep {self.round}: no driver knows job {job}, {queue[job][0]}", once=True)

    # What goes wrong ------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.next = next(self.faults)
        self.at = time.monotonic() + self.next.gap

    def _strike(self) -> None:
        """Let the next fault come, if it is time for it."""
        if time.monotonic() < self.at:
            return
        fault = self.next
        hit = WAYS[fault.what](self, fault)
        self.hits[fault.what if hit else "that hit nothing"] += 1
        lasts = f", for {fault.lasts:.1f} s" if FAULTS[fault.what][2] and hit else ""
        self.say(f"{fault.what}: {hit or 'nothing to hit'}{lasts}")
        self._draw()

    def _end_driver(self, fault: Fault) -> str:
        if self.driver is None or self.asked or self.leaves:  # one that detaches is let do so
            return ""
        self.asked, self.asked_at, self.pause = (
            "INT" if "interrupted" in fault.what else "KILL",
            time.monotonic(),
            fault.lasts,
        )
        if "left" in fault.what:
            self.asked, self.pause, self.alone = "LEAVE", 0.5, fault.lasts
        if self.asked == "INT":
            signal_to(self.driver.pid, signal.SIGINT)
        else:
            kill(self.driver.pid, group="processes" in fault.what)
        return f"driver {self.drivers}"

    def _kill_controller(self, fault: Fault) -> str:
        if "controller" in self.down:
            return ""
        self.down.add("controller")
        self.cluster.kill_controller()

        def start() -> None:
            self.cluster.start_controller()
            with contextlib.suppress(AssertionError):
                wait_for(self.cluster.answers, 10)
            self.down.discard("controller")

        self._later(fault.lasts, start)
        return "slurmctld"

    def _kill_node(self, fault: Fault) -> str:
        up = sorted(set(self.cluster.nodes) - self.down)
        if len(up) < 2:
            return ""
        node = chosen(up, fault)
        running = len(self.cluster.processes(node))
        self.down.add(node)
        self.cluster.kill_node(node)

        def start() -> None:
            self.cluster.start_node(node)
            self.down.discard(node)

        self._later(fault.lasts, start)
        return f"{node}, {running} processes"

    def _suspend(self, fault: Fault) -> str:
        job = chosen(self._running(), fault)
        if job is None or self.slurm("scontrol", "suspend", job) is None:
            return ""

        def resume() -> None:
            state = (self.queue() or {}).get(job, ["", "SUSPENDED" if "controller" in self.down else ""])[1]
            if state == "SUSPENDED" and self.slurm("scontrol", "resume", job) is None:
                self._later(1.0, resume)  # once the controller is there again

        self._later(fault.lasts, resume)
        return f"job {job}"

    def _requeue(self, fault: Fault) -> str:
        job = chosen(self._running(), fault)
        return "" if job is None or self.slurm("scontrol", "requeue", job) is None else f"job {job}"

    def _kill_stage(self, fault: Fault) -> str:
        stage = chosen(self._stages(), fault)
        if stage is None or not signal_to(stage[1], signal.SIGKILL):
            return ""
        self.shot.add(stage[0])
        return f"stage {stage[0]}"

    def _stop_stage(self, fault: Fault) -> str:
        stage = chosen(self._stages(), fault)
        if stage is None or not signal_to(stage[1], signal.SIGSTOP):
            return ""
        born = started(stage[1])
        self._later(fault.lasts, lambda: started(stage[1]) == born and signal_to(stage[1], signal.SIGCONT))
        return f"stage {stage[0]}"

    def _running(self) -> list[str]:
        return sorted(job for job, (_, state, _) in (self.queue() or {}).items() if state == "RUNNING")

    def _stages(self) -> list[tuple[str, int]]:
        """Stages that run on nodes, and their processes as they are seen from here."""
        found = []
        processes = {node: self.cluster.processes(node) for node in set(self.cluster.nodes) - self.down}
        for path in sorted(self.root().glob("*/??/*/claim.json")):
            with contextlib.suppress(OSError, ValueError):  # it was given up meanwhile
                lock = json.loads(path.read_text())
                pid = processes.get(lock["host"], {}).get(lock["pid"])
                if pid is not None and started(pid) == lock["started"]:
                    found.append((path.parent.name, pid))
        return found


WAYS: dict[str, Callable[[Soak, Fault], str]] = {  # each returns what it hit
    "driver killed": Soak._end_driver,
    "driver and its processes killed": Soak._end_driver,
    "driver interrupted": Soak._end_driver,
    "sweep left to a collector": Soak._end_driver,
    "controller killed": Soak._kill_controller,
    "node killed": Soak._kill_node,
    "job suspended": Soak._suspend,
    "job requeued": Soak._requeue,
    "stage killed": Soak._kill_stage,
    "stage stopped": Soak._stop_stage,
}


def chosen(things: list, fault: Fault):
    """The one of the things that a fault hits, None where there are none."""
    return things[int(fault.pick * len(things))] if things else None


def started(pid: int) -> Optional[str]:
    """When a process started, as locks say it; None when there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def signal_to(pid: int, number: int) -> bool:
    """Send a signal, if the process is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def kill(pid: int, group: bool) -> None:
    """Kill a driver, alone or with all processes of its session."""
    for one in [pid, *(members(pid) if group else [])]:
        signal_to(one, signal.SIGKILL)


def main() -> int:
    """Soak as the command line says; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--root", type=Path, help="an empty folder to work in, which is kept (default: a temporary one)"
    )
    parser.add_argument("--dry", action="store_true", help="print the faults, and run nothing")
    options = parser.parse_args()
    if options.dry:
        at = 0.0
        for fault in faults(options.seed, options.minutes > 10):
            if (at := at + fault.gap) > 60 * options.minutes:
                return 0
            print(f"{at:7.1f} s  {fault.what}, pick {fault.pick:.3f}, for {fault.lasts:.1f} s")
    folder = options.root or Path(tempfile.mkdtemp(prefix="soak"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped, too
    settings = {"SlurmdTimeout": 12, "BatchStartTimeout": 2, "MessageTimeout": 5}
    with Cluster(folder / "slurm", nodes=3, cpus=2, **settings) as cluster:
        soak = Soak(folder.resolve(), cluster, options.seed, 60 * options.minutes)
        print(soak.run(), flush=True)
    if options.root is None and not soak.violations:
        shutil.rmtree(folder)
    return 1 if soak.violations else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        sys.exit(command(sys.argv[2:]))
    sys.exit(main())
