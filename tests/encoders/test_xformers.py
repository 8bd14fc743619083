"""Which of xformers' operators would compute attention on a GPU, asked of xformers itself without one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip("xformers")

from xformers import _cpp_lib
from xformers.ops import fmha
from xformers.ops.fmha.dispatch import _dispatch_bw, _dispatch_fw

LOADS = _cpp_lib._cpp_library_load_exception is None


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["A100", "H200"])
def capability(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: request.param)
    return request.param


def inputs(dtype: torch.dtype, width: int, lengths: tuple[int, ...] = (1, 5, 2000)) -> fmha.Inputs:
    """What attention over packed sequences hands to xformers, as tensors that say `cuda` and hold nothing."""
    mask = fmha.attn_bias.BlockDiagonalMask.from_seqlens(list(lengths), device=torch.device("cpu"))
    with FakeTensorMode():
        q, k, v = (torch.empty(1, sum(lengths), 4, width, dtype=dtype, device="cuda") for _ in range(3))
    return fmha.Inputs(query=q, key=k, value=v, attn_bias=mask)


@pytest.mark.skipif(not LOADS, reason=f"xformers' extension does not load beside torch {torch.__version__}")
@pytest.mark.parametrize("width", [16, 24, 64, 128])
@pytest.mark.parametrize(("dtype", "operator"), [(torch.bfloat16, "fa2"), (torch.float32, "cutlass")])
def test_an_operator_takes_every_shape_forward_and_backward(capability, dtype, width, operator):
    asked = inputs(dtype, width)
    forward = _dispatch_fw(asked, needs_gradient=True)
    backward = _dispatch_bw(asked, forward.VARLEN_LSE_PACKED)  # what the forward operator leaves for it
    assert forward.NAME.startswith(operator) and backward.NAME.startswith(operator)


@pytest.mark.skipif(LOADS, reason="xformers' extension loads")
def test_without_its_extension_every_operator_refuses(capability):
    asked = inputs(torch.bfloat16, 64)
    for operator in (*fmha.ALL_FW_OPS, *fmha.ALL_BW_OPS):
        assert operator.not_supported_reasons(asked), operator.NAME
    with pytest.raises(NotImplementedError, match="wasn't build with CUDA support"):
        _dispatch_fw(asked, needs_gradient=True)
