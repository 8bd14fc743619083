"""A CUDA device that is not there: import before torch; SHADOW in the environment names the library of shadow.cpp.

Tensors on it are ordinary ones that say cuda:0, hold real values, and are computed by the CPU's kernels; tensors on two
devices in one operation are an error, as on a GPU. `using(device)` says whether the project sees the device, so that a
script can run the same thing on both; `Watch` writes down where a GPU would make the host wait.

What it lacks: kernels of its own (results equal the CPU's, but for what only CUDA has: the LSTM cell and flash
attention below), memory of its own (a pointer is the host's), streams, and random numbers as CUDA draws them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

assert "torch" not in sys.modules, "import the shadow before torch"
_TORCH = Path(importlib.util.find_spec("torch").submodule_search_locations[0]) / "lib"
# torch's own first, and its kernels and hooks for CUDA in a build that has them: the shadow's then replace these
for _name in ("libtorch_global_deps.so", "libc10.so", "libtorch_cpu.so", "libtorch_cuda.so"):
    if (_TORCH / _name).exists():
        ctypes.CDLL(str(_TORCH / _name), mode=ctypes.RTLD_GLOBAL)
_errors, _null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)  # torch warns that kernels are replaced
ctypes.CDLL(os.environ["SHADOW"], mode=ctypes.RTLD_GLOBAL)
os.dup2(_errors, 2)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [ROOT / name for name in ("ablate", "encoders", "objectives")]  # ROOT itself may hold a .venv, too
PRESENT = [True]

# what Python asks the driver
torch.cuda.is_available = lambda: PRESENT[0]
torch.cuda.device_count = lambda: int(PRESENT[0])
torch.cuda.current_device = lambda: 0
torch.cuda.set_device = lambda device: None
torch.cuda.is_bf16_supported = lambda *args, **kwargs: True
torch.cuda.get_device_capability = lambda *args: (9, 0)
torch.cuda.is_current_stream_capturing = lambda: False
torch.cuda._lazy_init = lambda: None
torch.backends.cudnn.is_acceptable = lambda tensor: False
for _kind in ("flash", "mem_efficient", "cudnn"):  # attention in plain operations
    getattr(torch.backends.cuda, f"enable_{_kind}_sdp")(False)


@contextmanager
def using(device: str) -> Iterator[torch.device]:
    """Within the block a GPU is there ("cuda"), or is not ("cpu")."""
    PRESENT[0] = device == "cuda"
    try:
        yield torch.device("cuda", 0) if PRESENT[0] else torch.device("cpu")
    finally:
        PRESENT[0] = True


_only_cuda = torch.library.Library("aten", "IMPL", "CUDA")


def _kernel(name: str):
    return lambda function: _only_cuda.impl(name, function) or function


@_kernel("_thnn_fused_lstm_cell")
def _lstm_cell(input_gates, hidden_gates, cx, input_bias=None, hidden_bias=None):
    gates = input_gates + hidden_gates
    for bias in (input_bias, hidden_bias):
        gates = gates if bias is None else gates + bias
    i, f, c, o = gates.chunk(4, 1)
    i, f, c, o = i.sigmoid(), f.sigmoid(), c.tanh(), o.sigmoid()
    cy = f * cx + i * c
    return o * cy.tanh(), cy, torch.cat([i, f, c, o], 1)


@_kernel("_thnn_fused_lstm_cell_backward_impl")
def _lstm_cell_backward(grad_hy, grad_cy, cx, cy, workspace, has_bias):
    i, f, c, o = workspace.chunk(4, 1)
    squashed = cy.tanh()
    to_hy = torch.zeros_like(cy) if grad_hy is None else grad_hy
    to_cy = to_hy * o * (1 - squashed.square()) + (0 if grad_cy is None else grad_cy)
    parts = to_cy * c * i * (1 - i), to_cy * cx * f * (1 - f), to_cy * i * (1 - c * c), to_hy * squashed * o * (1 - o)
    to_gates = torch.cat(parts, 1)
    return to_gates, to_cy * f, to_gates.sum(0) if has_bias else None


def _shares(
    q_NHE: Tensor, k_NHE: Tensor, borders: Tensor, scale: float | None
) -> Iterator[tuple[slice, float, Tensor]]:
    """Of each sequence its place, the scale, and how much every position attends to every other, [H, L, L]."""
    scale = q_NHE.shape[2] ** -0.5 if scale is None else scale
    ends = borders.cpu().tolist()
    for place in map(slice, ends, ends[1:]):
        q_HLE, k_HLE = (x[place].float().transpose(0, 1) for x in (q_NHE, k_NHE))
        yield place, scale, (scale * q_HLE @ k_HLE.transpose(1, 2)).softmax(2)


@_kernel("_flash_attention_forward")
def _flash(query, key, value, borders, *_, **how):
    if query.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    out = torch.empty_like(query)
    for place, _, share_HLL in _shares(query, key, borders, how.get("scale")):
        out[place] = (share_HLL @ value[place].float().transpose(0, 1)).transpose(0, 1).to(out.dtype)
    logsumexp = out.new_zeros(query.shape[1], query.shape[0], dtype=torch.float32)
    return out, logsumexp, *(out.new_zeros(2, dtype=torch.uint64) for _ in range(2)), out.new_zeros(0)


@_kernel("_flash_attention_backward")
def _flash_backward(grad_out, query, key, value, out, logsumexp, borders, *_, **how):
    grads = [torch.empty_like(x) for x in (query, key, value)]
    for place, scale, share_HLL in _shares(query, key, borders, how.get("scale")):
        q, k, v, g = (x[place].float().transpose(0, 1) for x in (query, key, value, grad_out))
        slope_HLL = g @ v.transpose(1, 2)
        slope_HLL = scale * share_HLL * (slope_HLL - (slope_HLL * share_HLL).sum(2, keepdim=True))
        own = slope_HLL @ k, slope_HLL.transpose(1, 2) @ q, share_HLL.transpose(1, 2) @ g
        for grad, part in zip(grads, own):
            grad[place] = part.transpose(0, 1).to(grad.dtype)
    return tuple(grads)


for _name in ("_use_cudnn_ctc_loss", "_use_miopen_ctc_loss"):
    for _overload in getattr(getattr(torch.ops.aten, _name, None), "overloads", list)():
        _kernel(f"{_name}.{_overload}".removesuffix(".default"))(lambda *args, **kwargs: False)


class Watch(TorchDispatchMode):
    """Counts, while it is entered, the operations on the device in `ran`, and in `waits` the places (what, "file:line")
    where the host waits for the device.
    """

    WAIT = {
        "_local_scalar_dense": "a number is read",
        "nonzero": "size of a result",
        "masked_select": "size of a result",
        "_unique2": "size of a result",
        "bincount": "size of a result",
        "equal": "a number is read",
    }

    def __init__(self) -> None:
        super().__init__()
        self.ran: Counter[str] = Counter()
        self.waits: Counter[tuple[str, str]] = Counter()
        self._made = _Made(self.waits)

    def __enter__(self):
        self._made.__enter__()
        return super().__enter__()

    def __exit__(self, *how):
        super().__exit__(*how)
        self._made.__exit__(*how)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        own = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        name = func._schema.name.partition("::")[2]
        if any(x.is_cuda for x in own):
            self.ran[name] += 1
        if what := self._wait(name, args, kwargs, own):
            self.waits[what, _place()] += 1
        return func(*args, **kwargs)

    def _wait(self, name: str, args, kwargs, own) -> str | None:
        if not any(x.is_cuda for x in own):
            to = kwargs.get("device")
            copied = name == "_to_copy" and to is not None and torch.device(to).type == "cuda"
            return "copy to the device" if copied and not kwargs.get("non_blocking") else None
        if name == "_to_copy" and kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu":
            return "copy to the host"
        if name in ("index", "index_put", "index_put_"):
            places = [x for x in args[1] if x is not None]
            if any(x.dtype in (torch.bool, torch.uint8) for x in places):
                return "size of a result"
            return "index on the host" if any(not x.is_cuda for x in places) else None
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            return "size of a result"
        if name == "copy_" and len({x.is_cuda for x in own}) > 1:
            return "copy between host and device"
        return self.WAIT.get(name)


class _Made(TorchFunctionMode):
    """Writes down tensors that are made of numbers of Python's: their copy to the device is no operation of its own."""

    def __init__(self, waits: Counter[tuple[str, str]]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and made.is_cuda:
            self.waits["copy to the device", _place()] += 1
        return made


def own(file: str) -> str:
    """A file of the project's own code, relative to its folder; else ""."""
    return str(Path(file).relative_to(ROOT)) if any(Path(file).is_relative_to(room) for room in ROOMS) else ""


def _place() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        if file := own(frame.f_code.co_filename):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"  # as in a backward pass, which has no frames of the project


sys.path.insert(0, str(ROOT))
from encoders import kernels  # noqa: E402

kernels.xformers_fault = lambda: "its kernels are a GPU's own"
