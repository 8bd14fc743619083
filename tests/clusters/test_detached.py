"""A sweep that is left to jobs of a real Slurm, and its file edited meanwhile: the jobs go on with what was planned,
and the edited one is refused until they have ended.
"""

import os
import shutil
import subprocess
import sys

import fakes
import pytest
from slurm_cluster import Cluster, emptied

from ablate.clusters.slurm.job import COLLECTED
from ablate.store.record import read_json, read_sweep

pytestmark = pytest.mark.slow

SWEEP = "resources: {mem_gb: 2, pack_min: 60, timeout_min: 20, poll_s: 1}\n" + fakes.SWEEP


def test_a_detached_sweep_goes_on_with_its_plan_and_keeps_the_edited_one_out(tmp_path):
    if shutil.which("slurmctld") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm munge")
    folder, file = tmp_path / "work", tmp_path / "work" / "small.yaml"
    folder.mkdir()

    def command(*arguments):
        line = [sys.executable, "-m", "ablate.sweep", "small.yaml", "root=runs", *arguments]
        told = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
        return told.returncode, told.stdout, told.stderr

    with Cluster(tmp_path / "slurm") as cluster:
        environment = cluster.environment
        (node,) = cluster.nodes
        cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        file.write_text(SWEEP)
        status, out, err = command("cluster=slurm", "base.pretrain.steps=3", "--detach")
        assert status == 0 and "small.collect continues" in err, (out, err)
        planned = read_sweep(folder / "runs", "small")
        assert planned.sweep["rows"]["one"]["steps"] == 4
        file.write_text(SWEEP + "  two: {pretrain: {steps: 4}}\n")
        (collector,) = (job for job, (name, *_) in cluster.queue().items() if name == "small.collect")
        for how in (["cluster=slurm"], ["cluster=slurm", "--detach"], ["workers=1"]):
            status, out, err = command(*how)
            assert status == 2 and f"Another 'small' is left to job {collector} (pending), and this" in err, (out, err)
            assert "rows added: two" in err and "add name=small-2 to run both" in err, err
        status, out, err = command("cluster=slurm", "--status")
        assert status == 0 and f"note: Another 'small' is left to job {collector} (pending)" in out, (out, err)
        assert read_sweep(folder / "runs", "small").sweep == planned.sweep
        os.rename(file, folder / "away.yaml")
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
        emptied(environment, 500)
        (note,) = (folder / "runs" / "slurm").glob(f"small.collect.*/{COLLECTED}")
        assert read_json(note)["why"] == "", (note.parent / f"{collector}_0_log.err").read_text()[-3000:]
        table = (folder / "runs" / "sweeps" / "small" / "table.md").read_text()
        assert "one" in table and "two" not in table
        assert read_sweep(folder / "runs", "small").sweep == planned.sweep
        os.rename(folder / "away.yaml", file)
        status, out, err = command("--dry-run")
        assert status == 0 and "since the last run: rows added: two" in out, (out, err)
        assert "since the last run: one changed" in out and " steps " in out, out
