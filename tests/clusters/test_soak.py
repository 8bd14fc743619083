"""The faults of the soak are those of its seed, and two minutes of them change nothing; `python tests/clusters/soak.py
--minutes 20 --seed 0` makes more of them.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import missing

SOAK = Path(__file__).with_name("soak.py")


def test_the_faults_of_a_seed_are_the_same_again():
    command = [sys.executable, str(SOAK), "--dry", "--minutes", "20", "--seed"]
    first, again, other = (subprocess.run([*command, seed], capture_output=True, check=True).stdout for seed in "001")
    assert first == again != other
    assert first.count(b"\n") > 100


@pytest.mark.slow
def test_two_minutes_of_faults_end_in_the_calm_sweeps_scores(tmp_path):
    """Of a sweep that trains: byte for byte, with no job left behind and nothing made twice."""
    if why := missing():
        pytest.skip(why)
    command = [sys.executable, str(SOAK), "--minutes", "2", "--seed", "3", "--root", str(tmp_path / "soak")]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)
    assert made.returncode == 0, made.stdout[-6000:]
    assert "0 violations" in made.stdout
