"""Work shared among processes comes back in order, fails loudly, and dies with its parent."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablate.data.parallel import ordered


def test_little_work_is_done_here() -> None:
    assert set(ordered(_pid, range(50), each=100)) == {os.getpid()}


def _pid(_: int) -> int:
    return os.getpid()


def test_results_come_in_order_and_errors_arrive() -> None:
    items, roots = [*range(100), -1, *range(100)], []
    with pytest.raises(ValueError):
        for root in ordered(math.sqrt, items, each=10):
            roots.append(root)
    assert roots == [math.sqrt(i) for i in range(len(roots))] and 90 < len(roots) <= 100


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    results = ordered(math.sqrt, (taken.append(i) or i for i in range(100_000)), each=10)
    assert next(results) == 0 and len(taken) < 1000
    results.close()


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core makes no processes")
def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import os, time\n"
        "from ablate.data.parallel import ordered\n"
        "def slow(_):\n"
        "    time.sleep(0.05)\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for pid in ordered(slow, range(2000)):\n"
        "        print(pid, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pids = {int(parent.stdout.readline()) for _ in range(30)}
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while alive := [pid for pid in pids if _running(pid)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.1)


def _running(pid: int) -> bool:
    """Whether a process exists and is no zombie (containers may have nobody who buries orphans)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
