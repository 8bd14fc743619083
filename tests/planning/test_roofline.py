"""Hours of GPUs from operations, by hand."""

import pytest

from ablate.planning import roofline
from ablate.planning.roofline import DEVICES, named, told
from ablate.planning.trace import Operation


def test_each_operation_is_bound_by_what_is_slowest():
    a100 = DEVICES["a100"]
    product = Operation("mm", 312 * 10**12, 1, "bfloat16")
    assert a100.seconds({product: 2}) == pytest.approx(2 / 0.7)
    assert a100.seconds({product._replace(type="float32"): 1}) == pytest.approx(2 / 0.7)  # TF32 is half as fast
    assert DEVICES["h200"].seconds({product: 1}) == pytest.approx(312 / 989 / 0.7)
    moved = Operation("add", 0, 2 * 10**12, "float32")
    assert a100.seconds({moved: 1}) == pytest.approx(1 / 0.8)
    assert DEVICES["h200"].seconds({moved: 1}) == pytest.approx(2 / 4.8 / 0.8)
    assert a100.seconds({Operation("add", 0, 8, "float32"): 1000}) == pytest.approx(1000 * 2.5e-6)


def test_gpus_are_known_by_the_names_that_slurm_gives_them():
    assert [named(kind) for kind in ("a100", "NVIDIA_H200_141GB", "")] == ["a100", "h200", "a100"]


def test_hours_stand_beside_what_they_rest_on():
    said = told({"a100": 1234.4, "h200": 500.0})
    assert "1,234 of A100 or 500 of H200" in said
    assert all(part in said for part in ("70%", "80%", "2.5 µs", "not counted"))
    assert roofline.PRODUCTS == 0.7 and roofline.BANDWIDTH == 0.8
