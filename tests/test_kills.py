"""A small sweep killed at random moments ends as one left alone; `python tests/kills.py` does it more often."""

import kills
import pytest


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path):
    said = kills.campaign(tmp_path, 10, seed=1)
    assert said.startswith("10 kills")


def test_a_trace_that_goes_back_before_a_checkpoint_is_caught(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text(
        "start a\nfit 0\n"
        + "".join(f"update {n}\n" for n in range(12))
        + "saved 10\nstart a\nfit 10\nupdate 10\nupdate 11\n"
    )
    assert kills.made_again(tmp_path) == 2
    trace.write_text(trace.read_text().replace("fit 10", "fit 0"))
    with pytest.raises(AssertionError, match="went on from 0, though 10 was saved"):
        kills.made_again(tmp_path)
    trace.write_text("half .model.1.safetensors.part\n")
    with pytest.raises(AssertionError):
        kills.made_again(tmp_path)
