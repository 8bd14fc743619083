"""The shadow device itself: it refuses and takes what a GPU does, and knows where a host waits."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def told(shadow):
    return shadow("itself.py")


def test_it_refuses_what_a_gpu_refuses(told):
    assert len(told["refused"]) == 10 and all(told["refused"].values()), told["refused"]


def test_it_takes_what_a_gpu_takes(told):
    assert len(told["taken"]) == 11 and all(told["taken"].values()), told["taken"]


def test_its_kernels_of_cuda_alone_are_right(told):
    """The LSTM cell against the CPU's LSTM; flash attention in bfloat16 against softmax attention in fp32."""
    assert max(told["lstm"]) < 1e-6 and max(told["flash"]) < 0.02


def test_it_writes_down_where_the_host_waits(told):
    assert told["waits"] == told["expected"]
