"""Reading sweep files, overrides in Hydra's grammar, merging, and strict typing."""

import pytest
from fake_registry import Block, Encoder, registry

from ablate.errors import UserError
from ablate.sweepfile import load
from ablate.sweepfile.patch import expand, merge, overlay, patched
from ablate.sweepfile.typed import resolve

BASE = """
base:
  encoder: nano
  pretrain:
    objectives: {masked_text: 1.0, tlm: {weight: 2}}
    steps: 10
    decay: 2
    update: {speech: 60 s, text: 1500 tokens}
rows: {joint: {}}
"""


def written(tmp_path, text, name="sweep.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_shorthand_is_expanded(tmp_path):
    sweep = load.load(written(tmp_path, BASE + "data: builtin\ntasks: [asr]\n"))
    assert sweep["name"] == "sweep" and sweep["data"] == {"preset": "builtin"}
    assert sweep["base"]["encoder"] == {"preset": "nano"}
    assert sweep["base"]["pretrain"]["objectives"] == {"masked_text": {"weight": 1.0}, "tlm": {"weight": 2}}
    assert sweep["base"]["pretrain"]["update"] == {"speech": 60, "text": 1500}


def test_yaml_reads_what_people_write(tmp_path):
    text = BASE + "claims: {c: {effect: a - b, on: asr.wer, above: 1e-4}}\nlabels: {joint: no}\n"
    sweep = load.load(written(tmp_path, text))
    assert sweep["claims"]["c"] == {"effect": "a - b", "on": "asr.wer", "above": 1e-4}
    assert sweep["labels"] == {"joint": "no"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("name: x\nrows: [1,\nbase: 2\n", r"s\.yaml, line \d+, column \d+: this is not valid YAML"),
        ("rows: {a: {}}\nrows: {b: {}}\n", r"s\.yaml, line 2, column 1: .*duplicate key rows"),
        ("- a\n", "expected a mapping .* found a list"),
        ("", "expected a mapping .* found nothing"),
        ("rws: {}\n", r"unknown key 'rws'; did you mean 'rows'\?"),
        ("base: {encodr: nano}\n", r"base\.encodr: unknown key 'encodr'; did you mean 'encoder'\?"),
        ("base: {pretrain: {objectivs: {}}}\n", r"base\.pretrain\.objectivs: .*did you mean 'objectives'\?"),
        ("rows: {a: {aftr: b}}\n", r"rows\.a\.aftr: .*did you mean 'after'\?"),
        ("rows: {a: 3}\n", r"rows\.a: expected a mapping, found 3"),
        (
            "base: {pretrain: {update: {speech: 60 tokens}}}\n",
            r"base\.pretrain\.update\.speech: found '60 tokens', .*of s",
        ),
        ("encoder: nano\n", r"unknown key 'encoder'; did you mean 'base\.encoder'\?"),
        ("extends: s.yaml\n", "extends itself"),
        ("extends: other.yaml\n", "extends: there is no file '.*other.yaml'"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load.load(written(tmp_path, text, "s.yaml"))


def test_a_missing_file_names_a_near_one(tmp_path):
    path = written(tmp_path, BASE, "objectives.yaml")
    with pytest.raises(UserError, match="did you mean '.*objectives.yaml'"):
        load.load(path.with_name("objective.yaml"))


def test_extends_merges_and_rows_stay_patches(tmp_path):
    written(tmp_path, BASE + "seeds: [0, 1]\nquestion: q\n", "parent.yaml")
    child = """
extends: parent.yaml
seeds: [5]
question: null
base: {pretrain: {objectives: {tlm: null}}}
rows: {joint: {pretrain: {objectives: {masked_text: null}}}, more: {after: joint}}
"""
    sweep = load.load(written(tmp_path, child, "child.yaml"))
    assert sweep["name"] == "child" and sweep["seeds"] == [5] and "question" not in sweep
    assert sweep["base"]["pretrain"]["objectives"] == {"masked_text": {"weight": 1.0}}
    assert sweep["rows"] == {"joint": {"pretrain": {"objectives": {"masked_text": None}}}, "more": {"after": "joint"}}
    with pytest.raises(UserError, match=r"rows\.jont: null removes a row, but there is none; did you mean 'joint'"):
        overlay(sweep, {"rows": {"jont": None}})


def test_merge_is_json_merge_patch_and_stricter_about_null():
    assert merge({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": None, "e": 3}, "d": [3]}) == {
        "a": {"c": 2, "e": 3},
        "d": [3],
    }
    with pytest.raises(UserError, match=r"a\.bb: null removes a key, but there is no 'bb'; did you mean"):
        merge({"a": {"bbb": 1}}, {"a": {"bb": None}})


def test_rows_remove_by_name_and_null_is_a_value_elsewhere():
    row = {"pretrain": {"objectives": {"tlm": {"weight": 1}, "stm": {}}}, "tasks": {"asr": {"tokenizer": {"size": 3}}}}
    patch = {"pretrain": {"objectives": {"stm": None}}, "tasks": {"asr": {"tokenizer": None}}}
    assert patched(row, patch, "rows.x") == {
        "pretrain": {"objectives": {"tlm": {"weight": 1}}},
        "tasks": {"asr": {"tokenizer": None}},
    }
    with pytest.raises(UserError, match=r"rows\.x\.pretrain\.objectives\.tml: .*did you mean 'tlm'"):
        patched(row, {"pretrain": {"objectives": {"tml": None}}}, "rows.x")


def test_a_row_removed_by_an_extension_takes_its_label_along():
    base = {"rows": {"a": {}, "b": {}}, "labels": {"a": "A", "b": "B"}}
    assert overlay(base, {"rows": {"a": None}}) == {"rows": {"b": {}}, "labels": {"b": "B"}}
    assert overlay(base, {"rows": {"a": None}, "labels": {"b": "C"}})["labels"] == {"b": "C"}


def test_a_part_may_point_at_another():
    parts = {"tlm": "${rows.a.pretrain.objectives.tlm}"}
    sweep = expand(
        {"rows": {"a": {"pretrain": {"objectives": {"tlm": 0.5}}}, "b": {"pretrain": {"objectives": parts}}}}
    )
    rows = load.interpolated(sweep)["rows"]
    assert rows["b"] == rows["a"] == {"pretrain": {"objectives": {"tlm": {"weight": 0.5}}}}


@pytest.mark.parametrize(
    "override, path, value",
    [
        ("base.pretrain.steps=3", ("base", "pretrain", "steps"), 3),
        ("base.encoder.width=32", ("base", "encoder"), {"preset": "nano", "width": 32}),
        ("base.pretrain.optimizer.lr=1e-4", ("base", "pretrain", "optimizer"), {"lr": 1e-4}),
        ("base.pretrain.objectives.tlm=0.5", ("base", "pretrain", "objectives", "tlm"), {"weight": 0.5}),
        ("~base.pretrain.objectives.tlm", ("base", "pretrain", "objectives"), {"masked_text": {"weight": 1.0}}),
        ("base.pretrain.update.speech='12 s'", ("base", "pretrain", "update", "speech"), 12),
        ("seeds=[0,1,2]", ("seeds",), [0, 1, 2]),
        ("seeds=0,1,2", ("seeds",), [0, 1, 2]),
        ("rows.joint={after: x, pretrain: {steps: 4}}", ("rows", "joint"), {"after": "x", "pretrain": {"steps": 4}}),
        ("rows.joint.pretrain.objectives.tlm=null", ("rows", "joint", "pretrain"), {"objectives": {"tlm": None}}),
        ("~rows.joint", ("rows",), {}),
        ("root=/some/where", ("root",), "/some/where"),
        ("base.encoder.width=32,64", ("axes",), {"encoder.width": [32, 64]}),
        ("data.seed=range(0,3)", ("axes",), {"data.seed": [0, 1, 2]}),
    ],
)
def test_overrides(tmp_path, override, path, value):
    sweep = load.override(load.load(written(tmp_path, BASE)), [override])
    for key in path:
        sweep = sweep[key]
    assert sweep == value


@pytest.mark.parametrize(
    "override, message",
    [
        ("+bse.encoder=nano", "unknown key 'bse'; did you mean 'base'"),
        ("base.encodr=nano", "did you mean 'encoder'"),
        ("~base.encodr", "there is no 'encodr' to remove; did you mean 'encoder'"),
        ("a=[1", r"Override 'a=\[1': .*write key=value"),
        ("base.encoder@x=nano", "no packages"),
        ("rows.joint.pretrain.steps=1,2", "only .base. and .data. have axes"),
        ("base.encoder.width=interval(0,1)", "one by one"),
    ],
)
def test_bad_overrides_get_one_sentence(tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        load.override(load.load(written(tmp_path, BASE)), [override])


def test_interpolation(tmp_path):
    text = BASE + "question: in ${base.pretrain.steps} steps\n"
    sweep = load.override(load.load(written(tmp_path, text)), ["base.pretrain.steps=7"])
    assert load.interpolated(sweep)["question"] == "in 7 steps"
    with pytest.raises(UserError, match="base.pretrain.stps"):
        load.interpolated({**sweep, "question": "${base.pretrain.stps}"})


def test_typed_configs_are_frozen_and_exact():
    presets = registry().encoder
    patch = {"preset": "nano", "reads": ["text"], "dropout": 1, "block": {"kernel": 7}, "extra": {"norm": "layer"}}
    made = resolve(presets, patch, "x")
    assert made == Encoder.Config(reads=("text",), dropout=1.0, block=Block(kernel=7), extra=Block(norm="layer"))
    assert isinstance(made.dropout, float) and isinstance(made.reads, tuple)
    assert presets["nano"] == Encoder.Config(), "presets are never changed"


@pytest.mark.parametrize(
    "patch, message",
    [
        ({"widht": 3}, r"x\.widht: unknown key 'widht'; did you mean 'width'\?"),
        ({"block": {"kernl": 3}}, r"x\.block\.kernl: unknown key 'kernl'; did you mean 'kernel'\?"),
        ({"width": "wide"}, r"x\.width: expected a whole number, found 'wide'"),
        ({"width": 1.5}, r"x\.width: expected a whole number, found 1.5"),
        ({"width": None}, r"x\.width: expected a whole number, found null"),
        ({"dropout": "much"}, r"x\.dropout: expected a number, found 'much'"),
        ({"reads": "text"}, r"x\.reads: expected a list, found 'text'"),
        ({"block": {"kernel": []}}, r"x\.block\.kernel: expected a whole number, found \[\]"),
        ({"block": {"norm": "???"}}, r"x\.block\.norm: must be given; write x\.block\.norm=VALUE"),
        ({"block": 3}, r"x\.block: expected a mapping, found 3"),
        ({"preset": "nanoo"}, r"x: no preset 'nanoo'; did you mean 'nano'\?"),
    ],
)
def test_wrong_keys_types_and_presets_get_one_sentence(patch, message):
    with pytest.raises(UserError, match=message) as error:
        resolve(registry().encoder, {"preset": "nano", **patch}, "x")
    assert "\n" not in str(error.value)


def test_values_that_a_config_refuses_name_the_key():
    with pytest.raises(UserError, match=r"^row: text is 'drwn', expected true or drawn"):
        resolve(registry().objectives, {"text": "drwn"}, "row", "masked_text")
