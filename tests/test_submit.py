"""What is submitted to Slurm, without Slurm; tests/test_slurm.py has the real one."""

from pathlib import Path

import fakes
import pytest

from ablate import submit
from ablate.errors import UserError
from ablate.schedule import DONE, ELSEWHERE, Board

HERE = Path(__file__).resolve().parent



def test_arrays_wait_for_exactly_their_parents(tmp_path):
    s = fakes.stage
    stages = [s("co", kind="corpus"), s("to", "co", kind="tokenizer")]
    stages += [s(f"t{i}", "co", "to", kind="pretrain") for i in range(3)]
    stages += [s(f"f{i}{j}", "co", "to", f"t{i}", kind="finetune") for i in range(2) for j in range(2)]
    board = Board(fakes.write(tmp_path, *stages), tmp_path)
    assert submit.batches(board, [], 1000) == [
        ("corpus", ["co"], []),
        ("tokenizer", ["to"], ["co"]),
        ("pretrain", ["t0", "t1", "t2"], ["to"]),
        ("finetune", ["f00", "f01"], ["t0"]),
        ("finetune", ["f10", "f11"], ["t1"]),
    ]
    for id in ("co", "to", "t0", "t1"):
        board.set(id, DONE)
    board.set("t2", ELSEWHERE)
    fakes.write(tmp_path, f2 := s("f2", "t2", kind="finetune"))
    board.stages["f2"], board.state["f2"] = f2, "waiting"
    assert submit.batches(board, [], 3) == [
        ("finetune", ["f00", "f01", "f10"], []),
        ("finetune", ["f11"], []),
    ]
    assert submit.batches(board, ["t2"], 3)[-1] == ("finetune", ["f2"], ["t2"])


def test_resources():
    wanted = submit.resources_for("pretrain", {"mem_gb": 8, "partition": "gpu", "pretrain": {"gpus": 1, "mem_gb": 30}})
    assert wanted == {"mem": "30GB", "cpus_per_task": 1, "time": 120, "partition": "gpu", "gpus_per_node": 1}
    with pytest.raises(UserError, match="did you mean 'partition'"):
        submit.resources_for("score", {"partion": "gpu"})
    with pytest.raises(UserError, match="did you mean 'timeout_min'"):
        submit.resources_for("score", {"score": {"timeout": 3}})
    with pytest.raises(UserError, match="did you mean 'pretrain'"):
        submit.resources_for("score", {"pretrian": {"gpus": 1}})


def test_the_code_is_copied_once(tmp_path):
    first = submit.snapshot(tmp_path)
    assert (first / "ablate" / "submit.py").read_bytes() == (HERE.parent / "ablate" / "submit.py").read_bytes()
    assert submit.snapshot(tmp_path) == first and len(list((tmp_path / "code").iterdir())) == 1
