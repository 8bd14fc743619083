"""What a computation runs and holds, found on tensors without contents: its operations with their floating-point
operations and bytes, and the most bytes that live at once. Nothing is computed and no device is needed.

Parameters are fake tensors; whatever else is a tensor may be real, and becomes fake where it meets one. Both count.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.attention import varlen  # noqa: F401  registers its operations
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


class Operation(NamedTuple):
    """One kernel, as a device sees it."""

    name: str
    flops: int
    bytes: int
    """Read and written."""
    type: str
    """Of the numbers it computes with, such as "bfloat16"; "" where it has none."""


@dataclass(frozen=True)
class Trace:
    """What ran, and what it held beyond the parameters and their gradients."""

    peak: int
    """Most bytes that lived at once."""
    operations: Mapping[Operation, int]
    """How often each ran."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"peak": self.peak, "operations": [[*one, count] for one, count in self.operations.items()]}

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Trace:
        return Trace(plain["peak"], {Operation(*one): count for *one, count in plain["operations"]})

    @property
    def flops(self) -> int:
        return sum(one.flops * count for one, count in self.operations.items())


FAKE = FakeTensorMode(allow_non_fake_inputs=True)  # one for all, so that what it has looked up serves every trace
DEVICE = torch.ops.prim.device.default  # no operation, but two of three calls: fake tensors are asked for their device
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}  # these only allocate
GATHERS = {"embedding", "gather", "index", "index_select"}  # these read as much of their first argument as they write


class on_cuda(TorchFunctionMode):
    """Within this block every tensor says that it is on a CUDA device, so that code that asks takes that path."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return True if func == torch.Tensor.is_cuda.__get__ else func(*args, **(kwargs or {}))


def with_gradients(module: nn.Module) -> nn.Module:
    """Give every fake parameter a gradient to be added to, as the optimizer does."""
    with FAKE:
        for parameter in module.parameters():
            parameter.grad = torch.empty_like(parameter)
    return module


def traced(run: Callable[[], Any]) -> Trace:
    """Trace `run`, forward and backward, which uses modules of fake parameters."""
    with Tracer() as tracer:
        run()
    return Trace(tracer.peak, tracer.operations)


class Tracer(TorchDispatchMode):
    """Runs operations on fake tensors, and writes down what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.operations: Counter[Operation] = Counter()
        self._held: dict[int, weakref.ref] = {}  # storages that live, by address

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is DEVICE:
            return torch.device("meta") if args[0].fake_mode.in_kernel_invocation else args[0].fake_device
        kwargs = kwargs or {}
        given = [*_tensors((args, kwargs))]
        fakes = sum(isinstance(x, FakeTensor) for x in given)
        if fakes and func._overloadpacket in STAND_INS:
            out = STAND_INS[func._overloadpacket](*args, **kwargs)
        elif fakes:
            a, k = (args, kwargs) if fakes == len(given) else tree_map_only(Tensor, _fake, (args, kwargs))
            with FAKE:
                out = func(*a, **k)
        else:
            out = func(*args, **kwargs)
        made, before = [*_tensors(out)], {x.untyped_storage()._cdata for x in given}
        new = [x for x in made if x.untyped_storage()._cdata not in before]  # the others are views, or written in place
        for x in new:
            self._hold(x)
        if (new or func._schema.is_mutable) and func._schema.name.partition("::")[2] not in EMPTY:
            self._note(func, args, kwargs, given, out, made)
        return out

    def _hold(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._held:
            return

        def freed(_: weakref.ref) -> None:
            del self._held[address]
            self.live -= size

        self._held[address] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _note(self, func: Any, args: Any, kwargs: Any, given: list[Tensor], out: Any, made: list[Tensor]) -> None:
        name = func._schema.name.partition("::")[2]
        count = FLOPS.get(func._overloadpacket)
        flops = int(count(*args, **kwargs, out_val=out)) if count else 0
        moved = [*made, *made, *given[1:]] if name in GATHERS else [*given, *made]
        floating = next((x.dtype for x in (*given, *made) if x.dtype.is_floating_point), None)
        of = "" if floating is None else str(floating).removeprefix("torch.")
        self.operations[Operation(name, flops, sum(x.numel() * x.element_size() for x in moved), of)] += 1


def _tensors(nested: Any) -> Iterator[Tensor]:
    """The tensors of an operation's arguments or results."""
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, (tuple, list)):
        for one in nested:
            yield from _tensors(one)
    elif isinstance(nested, dict):
        yield from _tensors([*nested.values()])


def _fake(x: Tensor) -> Tensor:
    return x if isinstance(x, FakeTensor) else FAKE.from_tensor(x)


def _bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Its length is known when it runs; it only serves metrics."""
    with FAKE:
        return torch.empty(max(1, minlength), dtype=torch.int64)


STAND_INS: dict[Any, Callable[..., Any]] = {  # of operations whose results' shapes depend on contents
    aten.bincount: _bincount,
    aten._local_scalar_dense: lambda x: 1.0 if x.dtype.is_floating_point else 1,
}


def _convolution(x: Tensor, weight: Tensor, *rest: Any, out_val: Any, **named: Any) -> int:
    """Two for each weight at each output position; a weight has as many channels as its group."""
    return 2 * weight[0].numel() * out_val.numel()


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any, out_val: Any, **named: Any) -> int:
    """As many again for the gradient of the input, if that is wanted, and for that of the weight."""
    return 2 * weight[0].numel() * grad.numel() * sum(one is not None for one in out_val[:2])


def _varlen(q: Tensor, k: Tensor, v: Tensor, borders: Tensor, *rest: Any, **named: Any) -> int:
    return sum(sdpa_flop_count(*[(1, q.shape[1], n, q.shape[2])] * 3) for n in borders.diff().tolist())


def _varlen_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any, **named: Any) -> int:
    borders = rest[2]
    return sum(sdpa_backward_flop_count(*[(1, q.shape[1], n, q.shape[2])] * 4) for n in borders.diff().tolist())


FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,  # torch's own count takes every group for all channels
    torch.ops.torch_attn._varlen_attn: _varlen,
    torch.ops.torch_attn._varlen_attn_backward: _varlen_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *rest, out_val, **named: sdpa_flop_count(
        q.shape, k.shape, v.shape
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *rest, out_val, **named: (
        sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)
    ),
}
