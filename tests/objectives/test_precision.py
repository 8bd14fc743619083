"""With an encoder in bf16: heads' products are in bf16; norms, softmaxes, losses and lattices in float32 at least."""

from collections import defaultdict
from dataclasses import replace

import pytest
import supervision
import torch
from pretraining import VOCABULARY, context, pair, speech, text
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from encoders.batch import Batch
from encoders.encoding import Encoding
from encoders.precision import exact, products
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.classification import Classification
from objectives.ctc import CTC
from objectives.kmeans import nearest
from objectives.mixture import Mixture
from objectives.objective import Ports
from objectives.sequence import Sequence
from objectives.targets import TARGETS, RandomProjection
from objectives.transducer import Transducer

CPU = torch.device("cpu")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu")
FULL = (  # what is never rounded to bfloat16
    *("_softmax", "_log_softmax", "logsumexp", "logcumsumexp", "logaddexp", "log_sigmoid_forward", "exp"),
    *("nll_loss_forward", "nll_loss2d_forward", "_ctc_loss", "square", "native_layer_norm", "linalg_vector_norm"),
    *("sum", "cumsum", "mean", "mkldnn_rnn_layer"),
)


class Dtypes(TorchDispatchMode):
    """The types of the floating-point tensors that each operation is given."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, set[torch.dtype]] = defaultdict(set)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        tensors = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)]
        self.of[name] |= {x.dtype for x in tensors if x.is_floating_point()}
        return func(*args, **(kwargs or {}))

    def rounded(self, names) -> set[str]:
        return {name for name in names if torch.bfloat16 in self.of.get(name, ())}


def run(objective, view, encoding, codes=None) -> Dtypes:
    """Score, in training, and check the types of everything that comes out."""
    with Dtypes() as seen:
        terms = objective(view, encoding, codes or {})
    total = torch.stack([term.total for term in terms.values()]).sum()
    assert total.dtype in (torch.float32, torch.float64)
    total.backward()
    assert all(p.grad.dtype == torch.float32 for p in objective.parameters() if p.grad is not None)
    assert seen.rounded(FULL) == set()
    return seen


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_of_pretraining(name, precision):
    torch.manual_seed(0)
    encoder = replace(PRESETS["nano"], precision=precision).build(VOCABULARY)
    ports = Ports(encoder.width, VOCABULARY, encoder.embedding, targets={"learned": TARGETS["learned"]})
    objective = OBJECTIVES[name].build(ports)
    codes = {"learned": TARGETS["learned"].build(ports)}
    inputs = {"speech": speech(120, 200), "text": text(20, 9), "pair": pair((120, 9), (200, 12))}[objective.reads]
    mix = Mixture({name: objective}, {name: 1.0}, codes)
    ((view, _),) = mix.views({objective.reads: Batch(inputs)}, {objective.reads: context(inputs, 0)}).views
    encoding = encoder(view)
    assert encoding.precision == precision and encoding.detached().precision == precision
    made = {need: codes[need](view, encoding, 0.5) for need in objective.needs}
    seen = run(objective, view, encoding, made)
    halves = precision == "bf16" and name in ("contrastive", "masked_text", "tlm")  # others have a softmax alone
    assert bool(seen.rounded(PRODUCTS)) == halves


REFERENCES = {
    "transcript": supervision.text([7, 8], [9]),
    "target": supervision.text([7, 8], [9]),
    "label": ["a", "b"],
}
BUILT = {
    "ctc": lambda ports: CTC.Config().build(ports),
    "transducer": lambda ports: Transducer.Config(hidden=8).build(ports),
    "sequence": lambda ports: Sequence.Config(reads="speech", ctc=0.5, width=8, heads=2).build(ports),
    "copying": lambda ports: Sequence.Config(copying=0.5, width=8, heads=2).build(ports),
    "classes": lambda ports: Classification.Config(reads="speech").build(ports, ("a", "b")),
}


@pytest.mark.parametrize("name", BUILT)
def test_losses_and_searches_of_tasks(name):
    torch.manual_seed(0)
    ports = replace(supervision.ports(), embedding=torch.nn.Embedding(12, 8))
    objective, modality = BUILT[name](ports), "text" if name == "copying" else "speech"
    full = supervision.encoding((9, 6), modality)
    encoding = replace(full, precision="bf16", stages={"joint": full.stages["joint"].requires_grad_()})
    view = supervision.view(REFERENCES, (9, 6))
    if name == "copying":
        view = replace(view, inputs=supervision.text([4, *range(7, 12), 7, 8, 5], [4, 7, 8, 9, 10, 5]))
    seen = run(objective, view, encoding)
    halves = name in ("transducer", "sequence", "copying")
    assert bool(seen.rounded(PRODUCTS)) == halves
    objective.eval()
    exact_total = float(next(iter(objective(view, full, {}).values())).total.detach())
    total = float(next(iter(objective(view, encoding, {}).values())).total.detach())
    assert total == pytest.approx(exact_total, rel=0.01) and (total != exact_total) == halves
    for beam in (1, 3) if name != "classes" else ():
        more = {"view": view} if name == "copying" else {}
        with Dtypes() as searched:
            objective.decode(encoding, beam=beam, **more)
        assert searched.rounded(FULL) == set() and bool(searched.rounded(PRODUCTS)) == halves


def test_codes_do_not_depend_on_what_surrounds_them(monkeypatch):
    """Integers are chosen by exact products, under autocast and where TF32 is allowed."""
    x_NC, centroids_VC = torch.randn(50, 320), torch.randn(64, 320)
    fixed = RandomProjection.Config().build(Ports(16, VOCABULARY, None))
    right = nearest(x_NC, centroids_VC)[0], fixed.codes(x_NC, 0, 1.0).ids_IG
    with products("bf16", CPU), Dtypes() as seen:
        found = nearest(x_NC, centroids_VC)[0], fixed.codes(x_NC, 0, 1.0).ids_IG
    assert all(map(torch.equal, right, found)) and not seen.rounded(PRODUCTS)


def test_exact_products_allow_no_tf32_and_leave_what_was_set():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with exact(torch.device("cuda", 0)):
            assert matmul.fp32_precision == "ieee"
        with pytest.raises(KeyError), exact(torch.device("cuda", 0)):
            raise KeyError
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_heads_follow_the_encoding():
    x = torch.randn(4, 4)
    layout = supervision.encoding((4,)).layout
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with Encoding({"joint": x}, layout, precision=precision).products():
            assert (x @ x).dtype == dtype
