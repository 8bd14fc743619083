"""Ids outlive the code: a copy of it is changed as code is, by renaming, moving and adding, and plans the shipped
sweeps.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ablate.planning.plan import plan_file

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ablate", "encoders", "objectives", "analysis", "sweeps")
PLAN = """
import json, sys
sys.path[:0] = ["tests", "."]
from test_golden import SWEEPS, ids
print(json.dumps({sweep: ids(sweep) for sweep in SWEEPS}))
"""
FIELD = (r"^from typing import", "from dataclasses import field\nfrom typing import")
GAIN = '{pad}gain: float = field(default=1.0, metadata={{"absent": "1.0"}})\n'
FIVE = {  # file: a field before which a new one is put
    "encoders/joint.py": "width",
    "objectives/contrastive.py": "at",
    "ablate/training/optim.py": "eps",
    "ablate/training/update.py": "speech",
    "ablate/tasks/supervised/asr.py": "table",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path):
    """A copy of the code, with edits by file: (pattern, replacement); "*" is all files."""

    def make(edits):
        where = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        for room in ROOMS:
            shutil.copytree(ROOT / room, where / room, ignore=shutil.ignore_patterns("__pycache__", "results"))
        (where / "tests").mkdir()
        for name in ("test_golden.py", "golden.json"):
            shutil.copy(ROOT / "tests" / name, where / "tests")
        for name, pairs in edits.items():
            for path in where.rglob("*.py") if name == "*" else [where / name]:
                text = path.read_text()
                for pattern, new in pairs:
                    text, count = re.subn(pattern, new, text, flags=re.M)
                    assert count or name == "*", f"nothing to change in {path}: {pattern}"
                path.write_text(text)
        return where

    return make


def planned(where):
    """Hashes of ids by sweep, row and kind, as the code in a folder makes them."""
    environment = {**os.environ, "PYTHONPATH": str(where)}
    done = subprocess.run([sys.executable, "-c", PLAN], cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def before():
    return planned(ROOT)


def test_fields_with_absent_in_five_classes_keep_all_ids(copy, before):
    edits = {
        file: [(rf"^( +)({name}: )", lambda found: GAIN.format(pad=found[1]) + found[0]), FIELD]
        for file, name in FIVE.items()
    }
    assert planned(copy(edits)) == before


def test_a_renamed_class_a_moved_module_and_a_renamed_field_keep_all_ids(copy, before):
    where = copy(
        {
            "*": [(r"\bOptimizerConfig\b", "AdamW"), (r"\bobjectives\.tlm\b", "objectives.paired")],
            "ablate/training/optim.py": [
                (r"^( +)eps: \w+ = 1e-8", r'\1epsilon: float = field(default=1e-8, metadata={"name": "eps"})'),
                (r"\.eps\b", ".epsilon"),
                FIELD,
            ],
        }
    )
    (where / "objectives" / "tlm.py").rename(where / "objectives" / "paired.py")
    assert planned(where) == before


def test_a_changed_default_changes_exactly_the_rows_that_use_it(copy, before):
    """STM's share of false pairs: used by the rows that have STM, or continue one that has."""
    after = planned(copy({"objectives/stm.py": [(r"^( +negatives: \w+ = )[0-9.]+", r"\g<1>0.375")]}))
    assert {sweep: {row for row in rows if after[sweep][row] != rows[row]} for sweep, rows in before.items()} == {
        sweep: {row for row in rows if uses_stm(sweep, row)} for sweep, rows in before.items()
    }
    row = "joint_tlm_stm"
    assert after["objectives"][row]["tokenizer"] == before["objectives"][row]["tokenizer"]


@cache
def of(sweep):
    return plan_file(ROOT / "sweeps" / f"{sweep}.yaml")


def uses_stm(sweep, row):
    stages = of(sweep).only([row]).stages.values()
    return any("stm" in stage.config["objectives"] for stage in stages if stage.kind == "pretrain")
