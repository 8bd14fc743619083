"""python -m ablate.describe: what it prints, its memory against real tensors, its errors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ablate import describe
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders.presets import PRESETS

SIZES = describe.Sizes(speech=4.0, text=64, pairs=2, utterance=2.0, document=32)


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = describe.main(list(arguments))
    return status, *capsys.readouterr()


def test_the_papers_shape(capsys):
    status, out, _ = run(capsys, "slam")
    assert status == 0
    first = out.splitlines()[0]
    millions = float(first.split()[1])
    assert millions == pytest.approx(612, rel=0.01) and "vocabulary of 32,000" in first
    row = next(line for line in out.splitlines() if "16 × conformer" in line)
    assert row.split()[-4:] == ["386.4", "M", "19.8", "780"]
    assert "8 × conformer" in out and "token embedding                          32.8 M" in out


def test_overrides_change_what_is_described(capsys):
    status, out, _ = run(capsys, "nano", "reads=[text]", "shared_layers=3", "--vocabulary", "400")
    assert status == 0 and "3 × conformer" in out and "speech tower" not in out and "GFLOP" not in out
    assert "activations of 400 tokens" in out and "s in utterances" not in out


def test_speech_alone_has_no_text_column(capsys):
    out = run(capsys, "nano", "reads=[speech]")[1]
    assert "token embedding" not in out and "MFLOP per token" not in out and "GFLOP per s of audio" in out


@pytest.mark.parametrize("positions", ["none", "relative"])
@pytest.mark.parametrize("stream", ["speech", "text", "pair"])
def test_activations_of_fake_tensors_are_those_of_real_ones(positions, stream):
    of = describe.resolve("nano", [f"positions={positions}"])
    found = []
    for mode in (FakeTensorMode(), torch.enable_grad()):
        with mode:
            encoder = of.build(describe.vocabulary(50))
            found.append(describe.activations(encoder, SIZES.inputs(of.reads)[stream]))
    assert found[0] == found[1] > 0


def test_activations_grow_with_the_update():
    encoder = PRESETS["nano"].build(describe.vocabulary(50))
    small, large = (describe.Sizes(speech=s, text=0, pairs=0, utterance=2.0, document=32) for s in (4.0, 40.0))
    one, ten = (describe.activations(encoder, sizes.inputs({"speech"})["speech"]) for sizes in (small, large))
    assert ten == pytest.approx(10 * one, rel=0.02)


def test_state_is_what_the_optimizer_holds():
    encoder = PRESETS["nano"].build(describe.vocabulary(50))
    optimizer = FlatAdamW({"all": (encoder.named_parameters(), 1e-3)}, OptimizerConfig())
    optimizer.step(1.0)
    held = [optimizer.flat, optimizer.gradient, *optimizer.state().values()]
    assert sum(x.nbytes for x in held) == describe.BYTES_PER_PARAMETER * sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanno"], "no preset 'nanno'; did you mean 'nano'?"),
        (["nano", "widht=3"], "encoder.widht: unknown key 'widht'; did you mean 'width'?"),
        (["nano", "width=wide"], "encoder.width: expected a whole number from 1, found 'wide'."),
        (["nano", "width=32,64"], "One encoder at a time: give encoder.width one value"),
        (["nano", "width=30"], "width 30 is not divisible by heads 4"),
        (["nano", "--document", "0"], "--document: found 0, expected at least 1."),
    ],
)
def test_mistakes_are_answered(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2 and message in err


def test_help_lists_presets_and_examples(capsys):
    with pytest.raises(SystemExit):
        describe.main(["--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in PRESETS) and "--utterance" in out and "ablate.describe slam" in out


def test_backends_are_shown_with_what_keeps_them(capsys):
    status, out, _ = run(capsys, "--backends")
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line[:1].islower()}
    assert status == 0 and {"varlen", "xformers", "sdpa", "auto"} <= rows.keys()
    assert rows["sdpa"] == "yes" and rows["xformers"] and f"torch {torch.__version__}" in out
    if not torch.cuda.is_available():
        assert rows["varlen"] == "it needs CUDA" and rows["auto"] == "sdpa" and "no CUDA device" in out


def test_a_preset_is_asked_for(capsys):
    with pytest.raises(SystemExit):
        describe.main([])
    assert "give a PRESET: nano_narrow, " in capsys.readouterr().err
