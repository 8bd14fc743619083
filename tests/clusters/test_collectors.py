"""Which jobs in a queue will run a sweep's command again, whoever left them."""

import types

import fakes
import pytest

from ablate.clusters.resources import Resources
from ablate.clusters.schedule import Board
from ablate.clusters.slurm import controller
from ablate.clusters.slurm.cluster import Slurm
from ablate.clusters.slurm.collectors import Collectors
from ablate.clusters.slurm.job import Collector


@pytest.mark.parametrize("own, there", [("", ["job 3 (running)", "job 4 (pending)"]), ("3", ["job 4 (pending)"])])
def test_collectors_are_known_by_their_mark_and_the_own_job_is_none(tmp_path, monkeypatch, own, there):
    """Of two sweeps of one name under two roots, this one's; two users' (squeue is asked for all by the jobs' name)."""
    board, asked = Board({}, tmp_path), []
    mark = Collectors(board, "why").mark(Collector("main", []))
    other = Collectors(Board({}, tmp_path / "other"), "why").mark(Collector("main", []))
    lines = [f"{job}|{state}|None|N/A|{note}|why.collect" for job, state, note in (
        (3, "RUNNING", mark), (4, "PENDING", mark), (5, "PENDING", other), (6, "PENDING", "")
    )]  # fmt: skip

    def said(*command):
        asked.append(command)
        return "".join(f"{line}\n" for line in lines)

    monkeypatch.setattr(controller, "_said", said)
    monkeypatch.setenv("SLURM_JOB_ID", own) if own else monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    cluster = Slurm(board, "why", Resources({}, fakes.KINDS), fakes.PROGRAM)
    vars(cluster)["jobs"] = types.SimpleNamespace(collectors=Collectors(board, "why"))  # others ask Slurm for more
    assert cluster.collectors() == there
    assert "--name=why.collect" in asked[0] and "--me" not in asked[0]
