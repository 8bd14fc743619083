"""The pointer: an untrained decoder repeats its input, search and training agree on probabilities, and it
learns edits.
"""

from __future__ import annotations

import pytest
import torch
from supervision import encoding, ports, text, vocabulary

from encoders.batch import Text, View
from objectives.copying import Source, runs
from objectives.sequence import Sequence, _Copier

CLS, SEP, BOS, EOS = 4, 5, 2, 3


def shown(*lines: list[int]) -> Text:
    return text(*([CLS, *line, SEP] for line in lines))


def seen(inputs: Text, *targets: list[int]) -> View:
    return View(inputs=inputs, references={"target": text(*targets)})


def decoder(**fields) -> Sequence:
    torch.manual_seed(1)
    return Sequence.Config(width=16, heads=2, ffn=32, copying=0.95, **fields).build(ports()).eval()


def test_runs_by_hand():
    source = Source(shown([7, 8, 7, 9]), vocabulary(), torch.device("cpu"))  # bos 7 8 7 9 eos
    assert source.ids_BL.tolist() == [[BOS, 7, 8, 7, 9, EOS]]
    lengths = runs(source, torch.tensor([[BOS, 7, 9]]))
    assert lengths.tolist() == [
        [
            [0, 1, 0, 0, 0, 0],  # after the start comes the first token
            [0, 0, 2, 0, 1, 0],  # "start 7" ends before position 2, a lone 7 before position 4
            [0, 0, 0, 0, 0, 2],  # "7 9" ends before the last
        ]
    ]


def test_an_untrained_decoder_repeats_its_input():
    lines = [[7, 8, 9, 8, 7, 8, 10, 11], [9], [7, 7, 8]]
    inputs = shown(*lines)
    for beam in (1, 3):
        assert decoder().decode(encoding(inputs.lengths, "text"), beam, most=12, view=seen(inputs)) == lines


@torch.no_grad()
def test_search_gives_what_training_scores():
    objective, line, target = decoder(), [7, 8, 9], [7, 11, 9]
    inputs = shown(line)
    one = encoding(inputs.lengths, "text")
    loss = objective(seen(inputs, target), one, {})["sequence"].total
    total, x, memories = 0.0, [BOS, *target], objective._memories(one)
    copier, pasts = _Copier(objective, one, seen(inputs), 1), [None] * len(objective.layers)
    for u, wanted in enumerate([*target, EOS]):
        y = objective._embed(torch.tensor([[x[u]]]), u)
        for i, layer in enumerate(objective.layers):
            y, pasts[i] = layer(y, memories[i], pasts[i])
        log_p_RV = copier.next(y, objective._logits(y.squeeze(1)), torch.tensor([x[u]]))
        assert float(log_p_RV.exp().sum()) == pytest.approx(1, abs=1e-4)
        total -= float(log_p_RV[0, wanted])
    assert float(loss) == pytest.approx(total, rel=1e-4)


def test_gradients_are_finite_where_nothing_can_be_copied():
    objective, inputs = decoder().train(), shown([7, 8], [9])
    term = objective(seen(inputs, [10, 11], []), encoding(inputs.lengths, "text"), {})["sequence"]
    term.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())


def test_copying_is_of_text():
    with pytest.raises(ValueError, match="only text can be copied"):
        Sequence.Config(reads="speech", copying=0.9)
    with pytest.raises(ValueError, match="needs the view"):
        decoder().decode(encoding((3,), "text"))
