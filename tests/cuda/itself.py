"""What the shadow device does with a few operations, as JSON."""

import shadow  # first  # noqa: I001

import json

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn

from encoders.batch import Layout
from encoders.kernels import one_by_one

torch.manual_seed(0)
HOST, OWN = torch.randn(4, 3), torch.randn(4, 3).to("cuda")
PLACE = torch.tensor([1, 2])
NORM = torch.nn.LayerNorm(3)


def raises(act) -> bool:
    try:
        act()
    except (RuntimeError, TypeError) as error:
        return any(said in str(error) for said in ("same device", "generator", "convert cuda:0"))
    return False


def drawn(device: str) -> torch.Tensor:
    torch.manual_seed(1)
    return F.dropout(torch.ones(50, device=device)).cpu()


def resized() -> bool:
    x = torch.zeros(2, device="cuda")
    x.resize_(100).fill_(3.0)
    return x.sum().item() == 300.0 and x[5:].shape == (95,)


def viewed() -> bool:
    x = torch.zeros(4, 3, device="cuda")
    x.view(2, 6).t()[0].fill_(1.0)
    return x.sum().item() == 2.0


def flat_parameter() -> bool:
    layer, flat = torch.nn.Linear(2, 2).to("cuda"), torch.zeros(4, device="cuda")
    layer.weight.data = flat.view(2, 2)
    layer.weight.grad = torch.ones(2, 2, device="cuda")
    torch.optim.AdamW([layer.weight], lr=0.1, fused=True).step()
    return bool((flat < 0).all()) and flat.is_cuda


REFUSED = {
    "sum": lambda: OWN + HOST,
    "product": lambda: OWN @ HOST.t(),
    "index of index_select": lambda: OWN.index_select(0, PLACE),
    "values of index_put": lambda: OWN.clone().index_put_((PLACE.to("cuda"),), HOST[:2]),
    "concatenation": lambda: torch.cat([OWN, HOST]),
    "in place": lambda: HOST.clone().add_(OWN),
    "module": lambda: NORM(OWN),
    "number in a product": lambda: OWN.index_fill(0, torch.tensor(1), 0.0),
    "generator": lambda: OWN.clone().bernoulli_(0.5, generator=torch.Generator()),
    "numpy": lambda: OWN.numpy(),
}
TAKEN = {
    "number": lambda: (OWN + torch.tensor(1.0)).is_cuda,
    "power of a number": lambda: (2**OWN).is_cuda,
    "division without rest": lambda: (OWN // 2).is_cuda,
    "index on the host": lambda: torch.equal(OWN[PLACE].cpu(), OWN.cpu()[PLACE]),
    "fill": lambda: OWN.clone().masked_fill(OWN > 0, torch.tensor(0.0)).max().item() <= 0,
    "copy": lambda: torch.equal(HOST.clone().copy_(OWN), OWN.cpu()),
    "draws": lambda: torch.equal(drawn("cpu"), drawn("cuda")),
    "autocast": lambda: _autocast() == torch.bfloat16,
    "resize": resized,
    "view": viewed,
    "parameter in a flat buffer": flat_parameter,
}


def _autocast() -> torch.dtype:
    with torch.autocast("cuda", torch.bfloat16):
        return F.linear(OWN, OWN).dtype


def lstm() -> list[float]:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(2)
        net, x = torch.nn.LSTM(3, 5, 2).to(device), torch.randn(6, 2, 3)
        y, (h, c) = net(x.to(device))
        (y.sum() + (h * c).sum()).backward()
        results.append([y, *(p.grad for p in net.parameters())])
    return [float((a.cpu() - b.cpu()).detach().abs().max()) for a, b in zip(*results)]


def flash() -> list[float]:
    q, k, v, g = (torch.randn(7, 2, 8, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    borders = torch.tensor([0, 3, 7], dtype=torch.int32, device="cuda")
    x = varlen_attn(q, k, v, borders, borders, 4, 4)
    found = [x, *torch.autograd.grad(x, (q, k, v), g)]
    q, k, v = (x.detach().float().requires_grad_() for x in (q, k, v))
    x = one_by_one(q, k, v, Layout((3, 4), ("text", "text")))
    right = [x, *torch.autograd.grad(x, (q, k, v), g.float())]
    return [float((a.float() - b).detach().abs().max()) for a, b in zip(found, right)]


def waits() -> list[list]:
    layout = Layout((2, 1), ("text", "speech"), 1, torch.device("cuda", 0))
    with shadow.Watch() as watch:
        layout.positions("text")
        layout.cu_seqlens  # noqa: B018
        assert watch.ran["view"] == 0
        bool((OWN > 0).any()), OWN.sum().item(), OWN[OWN > 0], OWN.cpu(), OWN.tolist()
        OWN.nonzero(), torch.tensor([1.0], device="cuda"), OWN[PLACE]
    return sorted([what, where.partition(":")[0], n] for (what, where), n in watch.waits.items())


EXPECTED = [
    ["a number is read", "elsewhere", 2],
    ["copy to the device", "elsewhere", 1],
    ["copy to the device", "encoders/batch.py", 1],
    ["copy to the device", "encoders/batch.py", 1],
    ["copy to the host", "elsewhere", 2],
    ["index on the host", "elsewhere", 1],
    ["size of a result", "elsewhere", 2],
]

if __name__ == "__main__":
    told = {
        "refused": {name: raises(act) for name, act in REFUSED.items()},
        "taken": {name: act() for name, act in TAKEN.items()},
        "lstm": lstm(),
        "flash": flash(),
        "waits": waits(),
        "expected": EXPECTED,
    }
    print(json.dumps(told))
