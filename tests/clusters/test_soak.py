"""The faults of the soak are those of its seed; `python tests/clusters/soak.py --minutes 20 --seed 0` makes them."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).with_name("soak.py")


def test_the_faults_of_a_seed_are_the_same_again():
    command = [sys.executable, str(SOAK), "--dry", "--minutes", "20", "--seed"]
    first, again, other = (subprocess.run([*command, seed], capture_output=True, check=True).stdout for seed in "001")
    assert first == again != other
    assert first.count(b"\n") > 100
