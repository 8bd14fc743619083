"""Attention by every backend against a dense reference in double precision, and which backend is chosen when."""

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from encoders import attention as dispatch
from encoders import kernels
from encoders.attention import BACKENDS, Case, Unavailable, attention, chosen, lacking, table, tried
from encoders.batch import Layout

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SHORT = ((3, 1, 7, 2), (1,), (5, 5, 5), (130, 1, 16, 17, 64, 2, 33))  # lengths of sequences
LONG = ((2000, 1, 700),)
WIDTHS = (16, 20, 36, 50, 64, 128)
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 0.015}  # of the largest number in double precision
TF32 = 2e-3  # the same for float32 on CUDA, whose kernels may use it


def cases() -> list:
    """Every backend where it can run, and on a CPU also what is for CUDA."""
    on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    on_both = {"one by one": kernels.one_by_one, "padded": kernels.padded}
    return [
        *(pytest.param(run, name, CPU, id=f"{name} on cpu") for name, run in on_both.items()),
        *(
            pytest.param(run, name, CUDA, id=f"{name} on cuda", marks=on_cuda)
            for name, run in {**BACKENDS, "one by one": kernels.one_by_one}.items()
        ),
    ]


CASES = cases()


def packed(lengths, width, dtype=torch.float32, device=CPU, heads=2):
    """A layout, and q, k and v that are views of one tensor, as in the encoder."""
    layout = Layout(lengths, ("text",) * len(lengths), 1, device)
    qkv = torch.randn(layout.total, 3, heads, width).to(device, dtype)
    return layout, [x.detach().requires_grad_() for x in qkv.unbind(1)]


def dense(q, k, v, layout):
    """Sequence by sequence, by the definition."""
    parts = zip(*(x.split(layout.sequence_lengths) for x in (q, k, v)))
    made = []
    for q_LHE, k_LHE, v_LHE in parts:
        scores = torch.einsum("nhe,mhe->hnm", q_LHE, k_LHE) / q.shape[2] ** 0.5
        made.append(torch.einsum("hnm,mhe->nhe", scores.softmax(-1), v_LHE))
    return torch.cat(made)


def assert_near(mine, reference, bound):
    assert (mine.double().cpu() - reference.cpu()).abs().max() <= bound * reference.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("run", "name", "device"), CASES)
def test_equals_the_dense_reference_forward_and_backward(run, name, device, width, dtype):
    if device == CUDA and name in BACKENDS and (why := lacking(name, Case(device, dtype, width))):
        pytest.skip(f"{name} {why}")
    bound = max(BOUNDS[dtype], TF32) if device == CUDA else BOUNDS[dtype]
    for lengths in (*SHORT, *(LONG if width in (36, 64) else ())):
        layout, qkv = packed(lengths, width, dtype, device)
        exact = [x.detach().double().cpu().requires_grad_() for x in qkv]
        mine, reference = run(*qkv, layout), dense(*exact, layout)
        assert mine.dtype == dtype and mine.shape == qkv[0].shape
        assert_near(mine, reference, bound)
        weight = torch.randn(mine.shape).to(dtype)
        grads = torch.autograd.grad(mine, qkv, weight.to(device))
        for mine, right in zip(grads, torch.autograd.grad(reference, exact, weight.double())):
            assert_near(mine, right, bound)


@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16"])
@pytest.mark.parametrize(("run", "name", "device"), CASES)
def test_neighbours_change_nothing_beyond_rounding(run, name, device, dtype):
    if device == CUDA and name in BACKENDS and (why := lacking(name, Case(device, dtype, 64))):
        pytest.skip(f"{name} {why}")
    layout, qkv = packed((9, 40, 3, 33), 64, dtype, device)
    among = run(*qkv, layout)[9:49]
    alone = run(*(x[9:49] for x in qkv), Layout((40,), ("text",), 1, device))
    assert_near(among.detach(), alone.detach().double(), BOUNDS[dtype] / 4)
    others = [torch.where(torch.arange(len(x), device=device)[:, None, None] < 9, 1e4 * x, x) for x in qkv]
    assert torch.equal(run(*others, layout)[9:49], among)  # what the neighbours hold changes nothing at all


def test_neighbours_do_not_change_a_single_bit_on_a_cpu():
    layout, qkv = packed((3, 1, 7, 2), 6)
    alone = attention(*(x[4:11] for x in qkv), Layout((7,), ("text",)))
    assert torch.equal(attention(*qkv, layout)[4:11], alone)


def test_pairs_attend_across_their_segments():
    layout = Layout((3, 1, 7, 2), ("text", "speech", "text", "speech"), per_sequence=2)
    _, qkv = packed((4, 9), 6)
    reference = dense(*qkv, Layout((4, 9), ("text", "text")))
    torch.testing.assert_close(attention(*qkv, layout), reference)
    torch.testing.assert_close(kernels.padded(*qkv, layout), reference)


def test_bias_is_added_to_scaled_scores():
    layout, qkv = packed((4, 9), 6)
    biases = [torch.randn(2, n, n) for n in (4, 9)]
    mine = attention(*qkv, layout, biases)
    for x, q, k, v, bias in zip(*(x.split((4, 9)) for x in (mine, *qkv)), biases):
        scores = torch.einsum("nhe,mhe->hnm", q, k) / 6**0.5 + bias
        torch.testing.assert_close(x, torch.einsum("hnm,mhe->nhe", scores.softmax(-1), v))


@pytest.mark.parametrize("lengths", SHORT + LONG)
def test_less_than_half_of_the_padded_rows_is_padding(lengths):
    layout = Layout(lengths, ("text",) * len(lengths))
    padding = layout.derived(kernels.Padding.of)
    assert padding is layout.derived(kernels.Padding.of)
    assert layout.total <= padding.rows < 2 * layout.total
    assert len(set(padding.row_N.tolist())) == layout.total and int(padding.row_N.max()) < padding.rows
    for bucket in padding.buckets:
        assert bucket.real_B11L is None or not bucket.real_B11L.all()


def test_xformers_mask_is_the_same_block_diagonal():
    pytest.importorskip("xformers")
    layout = Layout((4, 9), ("text", "text"))
    mask = kernels.block_diagonal_mask(layout).materialize((13, 13))
    same = layout.sequence_N[:, None] == layout.sequence_N
    assert torch.equal(mask == 0, same) and bool((mask[~same] == -torch.inf).all())


# Which backend is chosen -----------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A machine with a CUDA device, on which some backends fail when they are tried."""

    def make(*failing):
        monkeypatch.setattr(kernels, "xformers_fault", lambda: "")
        monkeypatch.setattr(dispatch, "tried", lambda run, case: "it raises E" if run in failing_runs else "")
        failing_runs = [BACKENDS[name] for name in failing]
        chosen.cache_clear()

    yield make
    chosen.cache_clear()


BF16, FP32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("case", "failing", "expected"),
    [
        (Case(CPU, FP32, 64), (), "sdpa"),
        (Case(CPU, BF16, 64), (), "sdpa"),
        (Case(CUDA, BF16, 128), (), "varlen"),
        (Case(CUDA, BF16, 36), (), "xformers"),
        (Case(CUDA, BF16, 264), ("xformers",), "sdpa"),
        (Case(CUDA, BF16, 128), ("varlen",), "xformers"),
        (Case(CUDA, BF16, 128), ("varlen", "xformers"), "sdpa"),
        (Case(CUDA, FP32, 64), (), "xformers"),
        (Case(CUDA, FP32, 64), ("xformers",), "sdpa"),
        (Case(CUDA, BF16, 128, bias=True), (), "sdpa"),
        (Case(CUDA, FP32, 128, bias=True), (), "sdpa"),
        (Case(CUDA, BF16, 128, fake=True), ("varlen", "xformers"), "varlen"),
        (Case(CUDA, FP32, 128, fake=True), (), "sdpa"),
    ],
)
def test_auto_takes_the_first_that_can_run(machine, capsys, case, failing, expected):
    machine(*failing)
    assert chosen(case, "auto") == expected
    said = capsys.readouterr().err
    assert said.startswith(f"attention: {expected} for ") == (case.device == CUDA and not case.fake)
    for name in failing if said and expected == "sdpa" else ():
        assert f"; not {name}: it" in said


@pytest.mark.parametrize(
    ("case", "asked", "why"),
    [
        (Case(CUDA, FP32, 64), "varlen", "it takes bfloat16 and float16 only; choose xformers or sdpa, or auto."),
        (Case(CUDA, BF16, 36), "varlen", "it takes heads whose width is a multiple of 8 and at most 256; choose"),
        (Case(CUDA, BF16, 64, bias=True), "xformers", "it takes no bias, which relative positions need; choose sdpa"),
        (Case(CPU, BF16, 64), "varlen", "for bfloat16 on cpu, heads of 64: it needs CUDA; choose sdpa, or auto."),
    ],
)
def test_one_asked_for_by_name_that_cannot_run_is_refused(machine, case, asked, why):
    machine()
    with pytest.raises(Unavailable, match=re.escape(why)):
        chosen(case, asked)
    assert chosen(case, "sdpa") == "sdpa"


def test_the_environment_names_the_backend(monkeypatch):
    layout, qkv = packed((4, 9), 8)
    for asked, kind in (("varlen", Unavailable), ("varlin", ValueError)):
        monkeypatch.setenv(dispatch.SETTING, asked)
        with pytest.raises(kind, match="varlen"):
            attention(*qkv, layout)
    monkeypatch.setenv(dispatch.SETTING, "sdpa")
    attention(*qkv, layout)


def test_each_is_tried_once_for_a_device_type_and_width(machine, monkeypatch):
    machine()
    calls = []
    monkeypatch.setattr(dispatch, "tried", lambda run, case: calls.append(case) or "")
    for width in (64, 128, 64, 128, 64):
        chosen(Case(CUDA, BF16, width), "auto")
    assert [case.width for case in calls] == [64, 128]


def test_trying_finds_what_raises_and_what_computes_nonsense():
    case = Case(CPU, FP32, 8)
    before = torch.get_rng_state()
    with torch.no_grad():
        assert tried(kernels.padded, case) == "" == tried(kernels.one_by_one, case)

    def raises(*_):
        raise NotImplementedError("no operator\n  for this")

    assert tried(raises, case) == "it raises NotImplementedError: no operator for this"
    assert tried(lambda q, k, v, layout: v * 1.0, case).startswith("it computes [0.0, 1.0, 2.0")
    assert tried(lambda q, k, v, layout: kernels.padded(q, k, v.detach(), layout), case).startswith("it raises")
    assert torch.equal(before, torch.get_rng_state())  # random draws of training do not depend on it


def test_on_a_cpu_xformers_is_not_even_imported(monkeypatch):
    monkeypatch.setattr(kernels, "xformers_fault", lambda: pytest.fail("asked for"))
    assert lacking("xformers", Case(CPU, FP32, 64)) == "it needs CUDA"


def test_an_extension_of_xformers_that_does_not_load_is_named_and_done_without(monkeypatch):
    xformers = pytest.importorskip("xformers")
    from xformers import _cpp_lib

    build = _cpp_lib._BuildInfo({"version": {"torch": "1.2.3+cu1", "cuda": 1, "python": "3"}, "env": {}})
    monkeypatch.setattr(_cpp_lib, "_cpp_library_load_exception", _cpp_lib.xFormersInvalidLibException(build))
    fault = f"its extension is built for torch 1.2.3+cu1, this is {torch.__version__}"
    assert xformers and kernels.xformers_fault() == fault == lacking("xformers", Case(CUDA, FP32, 64))
    monkeypatch.setattr(_cpp_lib, "_cpp_library_load_exception", None)
    assert kernels.xformers_fault() == ""


def test_the_table_names_every_backend():
    rows = table(CPU)
    assert [row[0] for row in rows] == [*BACKENDS, "auto"]
    assert (
        rows[0][1:] == ("it needs CUDA", "it needs CUDA") and rows[-1][1:] == ("sdpa", "sdpa") and rows[2][1] == "yes"
    )


# The kernels of CUDA, where there is none ---------------------------------------------------------------------------


def test_varlen_is_called_with_what_torch_asks_for(monkeypatch):
    from torch.nn.attention import varlen as library

    layout, qkv = packed((4, 9), 8, BF16)
    seen = []

    def reference(q, k, v, first, second, most, most_k, **more):
        assert first.dtype == torch.int32 and first.tolist() == [0, 4, 13] and second is first and not more
        assert (most, most_k) == (9, 9) and type(most) is int
        seen.append(1)
        return dense(q, k, v, layout)

    monkeypatch.setattr(library, "varlen_attn", reference)
    torch.testing.assert_close(kernels.varlen(*qkv, layout), dense(*qkv, layout))
    assert seen == [1]


@pytest.mark.parametrize("run", [kernels.varlen, kernels.padded])
def test_fake_tensors_pass_forward_and_backward(run):
    with FakeTensorMode():
        layout, qkv = packed((4, 9, 2), 16, BF16)
        mine = run(*qkv, layout)
        mine.sum().backward()
    assert mine.shape == (15, 2, 16) and mine.dtype == BF16 and qkv[1].grad.shape == (15, 2, 16)


def test_xformers_is_called_with_padded_heads_and_the_scale_of_the_true_width(monkeypatch):
    pytest.importorskip("xformers")
    import xformers.ops as library

    def reference(q, k, v, attn_bias, scale):
        assert q.shape == (1, 13, 2, 40) and q.dtype == FP32
        scores = torch.einsum("bnhe,bmhe->bhnm", q, k) * scale + attn_bias.materialize((13, 13))
        return torch.einsum("bhnm,bmhe->bnhe", scores.softmax(-1), v)

    monkeypatch.setattr(library, "memory_efficient_attention", reference)
    layout, qkv = packed((4, 9), 36)
    torch.testing.assert_close(kernels.xformers(*qkv, layout), dense(*qkv, layout))
