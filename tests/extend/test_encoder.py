"""An encoder of one's own, one file and one line, goes from a sweep file to the report; what it lacks is said."""

import importlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from extend.encoder import Recurrent
from tiny import TinyConfig, World

import analysis.records.frame
import analysis.report
from ablate import describe
from ablate.clusters.schedule import Board
from ablate.data.registry import DATA
from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.stages.execute import execute
from ablate.store.record import read_jsonl
from ablate.store.run import RunFolder
from ablate.store.stage import materialise
from ablate.training import conflict
from encoders.batch import Pair
from encoders.encoder import AbstractEncoder, Count, EncoderConfig
from encoders.owner import Incomplete
from encoders.presets import PRESETS
from encoders.trial import tried

ROOT = Path(__file__).resolve().parents[2]
OWN = PRESETS.pop("recurrent")  # the import added it for the whole process; other files' tests want the shipped ones
SWEEP = """
question: Does a recurrent encoder learn from both?
data: tiny
base:
  encoder: {preset: recurrent, width: 16}
  tokenizer: {size: 300}
  pretrain:
    objectives: {contrastive: 1.0, masked_text: 1.0, tlm: 1.0}
    steps: 20
    decay: 5
    update: {speech: 3 s, text: 60 tokens, pairs: 3}
  tasks:
    asr: {steps: 10, items: 4, evaluate_every: 5}
    sentiment: {steps: 10, items: 4, evaluate_every: 5}
rows:
  own: {}
  compared: {encoder: {preset: compared}}
tasks: [asr, sentiment, retrieval, probes_by_layer]
"""


class Compared(Recurrent):
    """The same, and it says what its modalities share."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Recurrent.Config):
        tag: ClassVar[str] = "compared"

    def shared_parameters(self):
        return {"layer_0": [f"layer.{name}" for name, _ in self.layer.named_parameters()]}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setitem(DATA, "tiny", TinyConfig())
    monkeypatch.setitem(PRESETS, "recurrent", OWN)
    monkeypatch.setitem(PRESETS, "compared", Compared.Config(width=16))
    file = tmp_path / "own.yaml"
    file.write_text(SWEEP)
    return lambda *overrides: plan_file(file, overrides, tmp_path / "runs", asking=["slurm"])


def test_it_goes_from_the_sweep_file_to_the_report(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conflict, "EVERY", 5)
    plan, root = sweep(), tmp_path / "runs"
    assert plan.notes == ("Encoder Recurrent has no shared_parameters: gradients of objectives are not compared.",)
    materialise(plan, root)
    for id in Board(plan.stages, root).stages:
        execute(id, root)
    assert "Gradients are not compared: Recurrent has no shared_parameters." in capsys.readouterr().out
    logged = {}
    for row in plan.rows:
        trunk = RunFolder(root, "pretrain", plan.lines(row)[0]["stages"]["trunk"])
        logged[row] = {name for line in read_jsonl(trunk.files / "metrics.jsonl") for name in line}
        assert {"contrastive/contrastive", "masked_text/loss", "tlm/text"} <= logged[row]
        assert trunk.result()["parameters"].keys() == {"total", "embedding"}
    probed = {name for name in logged["compared"] if name.startswith("conflict/")}
    assert {name.split("/")[2] for name in probed} == {"all", "layer_0"} and not probed & logged["own"]
    folder = root / "sweeps" / plan.name
    analysis.report.write(folder, root)
    assert "own" in (folder / "table.md").read_text() and (folder / "report.html").stat().st_size
    scores = analysis.records.frame.read(folder, root).scores
    assert set(scores["status"]) == {"done"} and scores["value"].notna().all()
    assert {*scores["task"]} == {"asr", "sentiment", "retrieval", "probes_by_layer"}


def test_what_a_scheduler_cannot_be_told_is_said_once(sweep):
    plan = sweep("cluster=slurm", "resources.mem_gb=1")
    told = [note for note in plan.notes if note.startswith("Encoder Recurrent ")]
    assert told == [
        "Encoder Recurrent has no shared_parameters: gradients of objectives are not compared.",
        "Encoder Recurrent has no parts: the memory of an update is not estimated.",
        "Encoder Recurrent has no recompute: a stage that runs out of memory is not retried with less.",
    ]
    trained = [stage for stage in plan.stages.values() if stage.trains]
    assert trained and not any(stage.recomputes or stage.memory for stage in trained)


def test_a_run_that_shall_spare_memory_says_that_it_cannot(tmp_path, capsys):
    world = World(tmp_path)
    id = world.pretrain("masked_text", steps=2, encoder=Recurrent.Config(width=16))
    RunFolder(world.root, "pretrain", id).spare_memory("a test")
    world.run(id)
    assert "This stage ran out of memory and still uses as much: Recurrent has no recompute." in capsys.readouterr().out


def test_it_is_described_as_far_as_it_is_known(sweep, capsys):
    assert describe.main(["recurrent", "width=16"]) == 0
    said = capsys.readouterr().out
    assert "recurrent: 518.4 k parameters" in said and "Recurrent has no parts" in said


def test_a_part_that_is_missing_is_refused_where_the_class_is_defined(tmp_path, monkeypatch):
    """One sentence, with the class's file and line."""
    monkeypatch.syspath_prepend(tmp_path)
    top = (
        "from dataclasses import dataclass\n"
        "from encoders.encoder import AbstractEncoder, EncoderConfig\n"
        "class Mine(AbstractEncoder):\n"
    )
    config = "    @dataclass(frozen=True, kw_only=True)\n    class Config(EncoderConfig):\n        {}\n"
    forward = "    def forward(self, view):\n        return None\n"
    for number, (body, at, told) in enumerate(
        [
            (config.format("tag = 'mine'"), 3, "Mine .* has no forward; its base class says what is required"),
            (config.format("depth: int = 3") + forward, 4, 'has no tag, .*write tag: ClassVar.* = "mine"'),
            (
                "    class Config(EncoderConfig):\n        tag = 'mine'\n" + forward,
                4,
                "is not a dataclass; write @data",
            ),
            ("    class Config:\n        tag = 'mine'\n" + forward, 4, "is not a dataclass"),
            (
                config.format("tag = 'mine'\n        reads: tuple[str, ...] = ('speach',)") + forward,
                4,
                "reads an unknown input: Unknown read 'speach': did you mean 'speech'",
            ),
        ]
    ):
        (tmp_path / f"mine_{number}.py").write_text(top + body)
        with pytest.raises(Incomplete, match=told) as caught:
            importlib.import_module(f"mine_{number}")
        assert f"mine_{number}.py, line {at}" in str(caught.value)


def test_a_config_that_no_encoder_has_is_refused_when_it_is_made():
    @dataclass(frozen=True, kw_only=True)
    class Loose(EncoderConfig):
        tag: ClassVar[str] = "loose"

    with pytest.raises(Incomplete, match=r"Loose \(.*test_encoder\.py, line \d+\) is in no encoder; nest it"):
        Loose()


def test_inputs_that_there_are_not_are_refused_when_a_sweep_is_planned(sweep):
    with pytest.raises(
        UserError, match=r"encoder\.reads\[1\]: expected one of speech, text, pair, found 'txt'; did you"
    ):
        sweep("base.encoder.reads=[speech,txt]")


def test_it_is_what_the_contract_asks():
    tried(Recurrent.Config(width=16))
    for preset in ("nano", "nano_late", "nano_experts", "nano_separate"):  # planning does not try those of this project
        tried(PRESETS[preset])
    for frontend in ("conv2d", "separable"):
        tried(replace(PRESETS["nano"], frontend=frontend, block="transformer", positions="relative", dropout=0.1))


def changed(encoding, **stages):
    return replace(encoding, stages={**encoding.stages, **stages})


LACKING = {
    r"'joint' of shape \(17, 16\), expected \(18, 16\)": lambda one: changed(one, joint=one.stages["joint"][1:]),
    "encodes speech with stage 'features' of none, expected": lambda one: changed(one, features=None),
    "lays out speech otherwise": lambda one: replace(one, layout=replace(one.layout, per_sequence=3)),
    r"no speech_layout of \(11, 2, 5\) positions": lambda one: replace(one, speech_layout=None),
    "raises AttributeError: .*with made-up sequences": lambda one: one.nothing,
}


@pytest.mark.parametrize(("told", "made"), LACKING.items())
def test_encodings_that_lack_something_are_refused_when_a_sweep_is_planned(sweep, monkeypatch, told, made):
    whole = Recurrent.forward
    monkeypatch.setattr(Recurrent, "forward", lambda self, view: made(whole(self, view)))
    with pytest.raises(UserError, match=rf"^encoder: Recurrent \(.*extend.encoder\.py, line \d+\) .*{told}"):
        sweep()


def test_of_a_large_one_as_much_is_known_as_without_contents(sweep, monkeypatch):
    whole = Recurrent.forward
    monkeypatch.setattr(Recurrent, "forward", lambda self, view: changed(whole(self, view), features=None))
    with pytest.raises(UserError, match="stage 'features' of none, expected"):
        sweep("base.encoder.width=1024")
    monkeypatch.setattr(Recurrent, "forward", lambda self, view: float(view.inputs.speech.mel_FM.sum()))
    assert sweep("base.encoder.width=1024").stages


PARTS = {
    "shares 'layer.x' in scope 'layer_0', which is no parameter of it": {"layer_0": ["layer.x"]},
    "has a scope 'all' of shared parameters; call it otherwise": {"all": ["layer.weight_hh_l0"]},
}


@pytest.mark.parametrize(("told", "shared"), PARTS.items())
def test_parts_that_speak_of_other_parameters_are_refused(sweep, monkeypatch, told, shared):
    monkeypatch.setattr(Compared, "shared_parameters", lambda self: shared)
    with pytest.raises(UserError, match=told):
        sweep()


def test_parts_count_every_parameter_once(sweep, monkeypatch):
    monkeypatch.setattr(
        Compared, "parts", lambda self, work: {("layer",): Count({"speech": 0, "text": 0, "shared": 9})}
    )
    with pytest.raises(UserError, match="Compared .* counts 9 parameters in its parts, of "):
        sweep()


def test_a_tag_that_another_has_is_refused_when_a_sweep_is_planned(sweep, monkeypatch):
    monkeypatch.setattr(Compared.Config, "tag", "recurrent")
    with pytest.raises(
        UserError,
        match=r"^encoder: Compared.Config \(.*test_encoder\.py, line \d+\) and "
        r"Recurrent.Config \(.*extend.encoder\.py, line \d+\) have one tag, 'recurrent'",
    ):
        sweep()


def centred(self, view, whole):
    one = whole(self, view)
    return changed(one, joint=one.stages["joint"] - one.stages["joint"].mean(0))


def padded(self, view, whole):
    """Averages each sequence over the length of the longest."""
    one = whole(self, view)
    lengths = one.layout.sequence_lengths
    means = [x_LD.sum(0) / max(lengths) + 0 * x_LD for x_LD in one.stages["joint"].split(lengths)]
    return changed(one, joint=one.stages["joint"] + torch.cat(means))


def normed(self, view, whole):
    """Centres over the pack, in training alone."""
    return centred(self, view, whole) if self.training else whole(self, view)


def unmasked(self, view, whole):
    return whole(self, replace(view, speech_masked_I=None))


def ahead(self, view, whole):
    """Sees the first position of the next sequence of speech before the shared layers."""
    one = whole(self, view)
    if "speech_tower" not in one.stages:
        return one
    return changed(one, speech_tower=one.stages["speech_tower"] + one.stages["speech_tower"].roll(-1, 0))


SEEING = {
    "beside others as it does not alone: it sees its neighbours (stage 'joint')": centred,
    "beside others as it does not alone: it sees padding, or how long its neighbours are (stage 'joint')": padded,
    "beside others as it does not alone: it sees its neighbours (stage 'speech_tower')": ahead,
    "sees its neighbours in training, as with a norm over the batch, and `alone` does not say so": normed,
    "sees masked speech: stage 'speech_tower' changes with it": unmasked,
}


@pytest.mark.parametrize(("told", "seeing"), SEEING.items(), ids=[one.__name__ for one in SEEING.values()])
def test_an_encoder_that_sees_what_it_must_not_is_refused_when_a_sweep_is_planned(sweep, monkeypatch, told, seeing):
    whole = Recurrent.forward
    monkeypatch.setattr(Recurrent, "forward", lambda self, view: seeing(self, view, whole))
    with pytest.raises(UserError, match=rf"^encoder: Recurrent \(.*encoder\.py, line \d+\) .*{re.escape(told)}"):
        sweep()
    with pytest.raises(Incomplete, match=re.escape(told)):
        tried(Recurrent.Config(width=16))


def test_an_encoder_that_says_it_sees_its_neighbours_in_training_may(sweep, monkeypatch):
    whole = Recurrent.forward
    monkeypatch.setattr(Recurrent, "forward", lambda self, view: normed(self, view, whole))
    monkeypatch.setattr(Recurrent, "alone", "It has a norm over the batch")
    assert sweep().stages


def test_what_is_drawn_is_drawn_alike_in_a_trial(monkeypatch):
    """Dropout, and noise for what is masked, are no look at neighbours."""
    whole = Recurrent.forward

    def noisy(self, view):
        one = whole(self, view)
        return changed(one, joint=torch.nn.functional.dropout(one.stages["joint"], 0.5, self.training))

    monkeypatch.setattr(Recurrent, "forward", noisy)
    tried(Recurrent.Config(width=16))


def test_a_front_end_that_spreads_masked_speech_is_none_of_the_masks(monkeypatch):
    """As with a group norm over time before the masks (wav2vec 2.0)."""
    whole = Recurrent.forward

    def spread(self, view):
        speech = view.inputs.speech
        if speech is None:
            return whole(self, view)
        mel_FM = torch.cat([x_FM - x_FM.float().mean() for x_FM in speech.mel_FM.split(speech.lengths)])
        inputs = replace(speech, mel_FM=mel_FM)
        return whole(self, replace(view, inputs=inputs if view.inputs is speech else Pair(inputs, view.inputs.text)))

    monkeypatch.setattr(Recurrent, "forward", spread)
    tried(Recurrent.Config(width=16))


def test_bases_without_a_config_need_not_be_whole():
    class Base(AbstractEncoder):
        """Has no forward."""

    assert Base.__abstractmethods__ == {"forward"}
    assert issubclass(Base, torch.nn.Module)
