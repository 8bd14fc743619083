"""Whole stages on a GPU that is not there (shadow.py): they find what they find on the CPU, and go on from either."""

from __future__ import annotations

import pytest


def test_a_leaf_its_heldout_losses_k_means_of_it_and_all_that_is_measured(shadow, tmp_path):
    found = shadow("chain.py", tmp_path, "leaf")
    assert len(found) == 11 and max(found.values()) < 1e-5, found


@pytest.mark.slow
def test_every_task_is_fine_tuned_and_scored(shadow, tmp_path):
    found = shadow("chain.py", tmp_path, "tasks")
    assert len(found) == 11 and max(found.values()) < 1e-5, found


def test_a_trunk_begun_on_the_cpu_continued_on_cuda_and_ended_on_the_cpu_is_one_training(shadow, tmp_path):
    """Weights, moments, statistics, random draws and the place in the data are those of the trunk that never moved."""
    found = shadow("chain.py", tmp_path, "resume")
    assert found["loaded_on"] == ["cuda"] and found["attempts"] == 4  # one was refused
    assert found["losses"] == 3 and found["loss"] < 1e-5 and found["log"] < 1e-4 and found["second moments"] < 1e-4
    assert found["state"][0] == found["state"][1]
    assert found["refused"].startswith(
        "The checkpoint of update 20 was trained in bf16, and this stage trains in fp32: "
    )
