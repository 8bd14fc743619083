"""On a GPU that is not there (shadow.py) everything that computes runs without mixing devices, to the CPU's values; and
faults that are planted are found.
"""

from __future__ import annotations

import pytest
from scenarios import SCENARIOS

PLANTED = {  # and the file in which each is found
    "front end": "encoders/frontend.py",
    "layout": "objectives/stm.py",
    "convolution": "encoders/convolution.py",
    "index of an objective": "objectives/objective.py",
    "centroids": "objectives/kmeans.py",
    "optimizer": "ablate/training/optim.py",
    "state of a search": "objectives/transducer.py",
    "generator": "encoders/blocks.py",
}


@pytest.fixture(scope="module")
def compared(shadow):
    return shadow("devices.py")


@pytest.fixture(scope="module")
def planted(shadow):
    return shadow("planted.py")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_device_gives_the_values_of_the_cpu(compared, name):
    found = compared[name]
    assert "error" not in found, found["error"]
    if "bf16" in name:  # the CPU's convolution is in fp32, and outputs that tie may change places
        assert found["loss"] < 1e-3 and found["tensors"] < 0.1
    else:
        assert max(found["loss"], found["values"], found["tensors"]) < 1e-5, found["worst"]


def test_there_is_something_to_compare(compared):
    assert compared.keys() == SCENARIOS.keys()
    assert all(found["compared"] > 5 for name, found in compared.items() if not name.startswith("k-means fit"))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mix_of_devices_is_found(planted, name):
    assert planted[name]["place"] == PLANTED[name]
    assert "same device" in planted[name]["error"] or "device type for generator" in planted[name]["error"]


def test_every_planted_mix_is_looked_at(planted):
    assert planted.keys() == PLANTED.keys()
