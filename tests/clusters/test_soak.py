"""Two minutes of the soak, with a fixed seed; `python tests/clusters/soak.py --minutes 20` does it for longer."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import missing

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
def test_two_minutes_of_faults_change_nothing(tmp_path):
    if why := missing():
        pytest.skip(why)
    command = [sys.executable, str(SOAK), "--minutes", "2", "--seed", "4", "--root", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-10000:]
    assert "seed 4: 0 violations" in done.stdout, done.stdout


def test_the_faults_of_a_seed_are_the_same_again():
    command = [sys.executable, str(SOAK), "--dry", "--minutes", "20", "--seed"]
    first, again, other = (subprocess.run([*command, seed], capture_output=True, check=True).stdout for seed in "001")
    assert first == again != other
    assert first.count(b"\n") > 100
