"""Where settings are written: the place before a mistake, and beside each value of a row."""

import pytest
from fake_registry import registry

from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.sweepfile.source import Source

PARENT = """\
base: &base
  encoder: nano
  pretrain:
    objectives: {masked_text: 1.0}
    steps: 10
    decay: 2
    update: {text: 100 tokens}
rows:
  first: {}
"""
CHILD = """\
extends: parent.yaml
axes:
  pretrain.optimizer.lr: [1e-3, 1e-4]
  size:
    small: {encoder: {width: 32}}
rows:
  second:
    after: first
    pretrain: {steps: 20}
  third: {after: second}
  fourth:
    pretrain:
      objectives: {masked_text: null, tlm: "${base.pretrain.objectives.masked_text}"}
table: {blocks: [{rows: [first]}, {rows: [frist]}]}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "parent.yaml").write_text(PARENT)
    (tmp_path / "child.yaml").write_text(CHILD)
    return tmp_path


@pytest.mark.parametrize(
    "path, place",
    [
        ("rows.first.pretrain.steps", "parent.yaml, line 5, column 5"),
        ("rows.second.pretrain.steps", "child.yaml, line 9, column 16"),
        ("rows.third.pretrain.steps", "child.yaml, line 9, column 16"),
        ("rows.third.pretrain.decay", "parent.yaml, line 6, column 5"),
        ("rows.third.pretrain.unheard", "child.yaml, line 9, column 5"),
        ("rows.third", "child.yaml, line 10, column 3"),
        ("rows.first.encoder.width", "child.yaml, line 5, column 23"),
        ("table.blocks[1]", "child.yaml, line 14, column 35"),
        ("table.columns", "child.yaml, line 14, column 1"),
    ],
)
def test_a_mistake_is_placed_where_it_was_written(files, path, place):
    said = Source(files / "child.yaml").located(UserError(f"{path}: it is wrong."))
    assert str(said) == f"{files}/{place}: {path}: it is wrong."


def test_an_override_is_named_and_wins(files):
    source = Source(files / "child.yaml", ["base.pretrain.steps=1", "base.pretrain.decay=5", "a=["])
    assert str(source.located(UserError("base.pretrain.decay: no."))).startswith("override 'base.pretrain.decay=5': ")
    assert source.origins("first", ["pretrain.steps"]) == {"pretrain.steps": "base.pretrain.steps=1"}


def test_what_says_no_path_that_is_written_stays_as_it_is(files):
    for text in ("No sweep file 'x.yaml'.", "nowhere.at.all: wrong.", "A sentence: with a colon."):
        assert str(Source(files / "child.yaml").located(UserError(text))) == text


def test_origins_of_a_row(files):
    paths = ["encoder.width", "encoder.heads", "pretrain.steps", "pretrain.optimizer.lr", "pretrain.optimizer.clip"]
    paths += ["pretrain.objectives.masked_text.weight", "pretrain.objectives.masked_text.share", "data.seed"]
    found = Source(files / "child.yaml").origins("third", paths)
    assert found == {
        "encoder.width": f"{files}/child.yaml:5",
        "encoder.heads": "preset nano",
        "pretrain.steps": f"{files}/child.yaml:9",
        "pretrain.optimizer.lr": f"{files}/child.yaml:3",
        "pretrain.optimizer.clip": "default",
        "pretrain.objectives.masked_text.weight": f"{files}/parent.yaml:4",
        "pretrain.objectives.masked_text.share": "preset masked_text",
        "data.seed": "default",
    }
    assert Source(files / "child.yaml").origins("fourth", ["pretrain.objectives.tlm.share"]) == {
        "pretrain.objectives.tlm.share": "preset tlm"
    }


def test_below_a_reference_what_is_written_there_has_its_line_and_what_a_preset_fills_has_its_name(tmp_path):
    (tmp_path / "refers.yaml").write_text(
        "base:\n"
        "  pretrain:\n"
        "    objectives: {masked_text: 0.5, mine: {preset: masked_text, span: 3}}\n"
        "rows:\n"
        "  one:\n"
        "    pretrain:\n"
        "      objectives:\n"
        '        tlm: "${base.pretrain.objectives.masked_text}"\n'
        '        other: "${rows.one.pretrain.objectives.again}"\n'
        '        again: "${base.pretrain.objectives.mine}"\n'
    )
    settings = ["tlm.weight", "tlm.share", "other.span", "other.share", "again.weight"]
    found = Source(tmp_path / "refers.yaml").origins("one", [f"pretrain.objectives.{one}" for one in settings])
    assert [*found.values()] == [
        f"{tmp_path}/refers.yaml:8",
        "preset tlm",
        f"{tmp_path}/refers.yaml:9",
        "preset masked_text",
        "preset masked_text",
    ]


def test_a_plan_says_where_its_mistake_is(files):
    (files / "bad.yaml").write_text("extends: parent.yaml\nrows:\n  first: {pretrain: {stps: 3}}\n")
    with pytest.raises(UserError, match=r"bad\.yaml, line 3, column 22: rows\.first\.pretrain\.stps: unknown key"):
        plan_file(files / "bad.yaml", registry=registry())


def test_origins_are_those_at_the_first_values_of_the_axes(tmp_path):
    (tmp_path / "axes.yaml").write_text(
        "base: {encoder: nano}\nrows: {one: {}}\naxes:\n  size:\n    small: {}\n    big: {encoder: {width: 64}}\n"
    )
    source = Source(tmp_path / "axes.yaml")
    assert source.origins("one", ["encoder.width"]) == {"encoder.width": "preset nano"}
    said = source.located(UserError("rows.one.encoder.width: it is wrong."))  # at the second value, perhaps
    assert str(said).startswith(f"{tmp_path}/axes.yaml, line 6, column 21: ")


def test_what_an_override_removes_is_no_origin(files):
    paths = ["pretrain.steps", "pretrain.decay"]
    for removal in ("~rows.second.pretrain.steps", "~rows.second.pretrain"):
        source = Source(files / "child.yaml", ["rows.second.pretrain.decay=5", removal])
        decay = f"{files}/parent.yaml:6" if removal.endswith("pretrain") else "rows.second.pretrain.decay=5"
        assert source.origins("second", paths) == {"pretrain.steps": f"{files}/parent.yaml:5", "pretrain.decay": decay}
    source = Source(files / "child.yaml", ["~rows.second.pretrain", "rows.second.pretrain.steps=7"])
    assert source.origins("second", paths[:1]) == {"pretrain.steps": "rows.second.pretrain.steps=7"}


def test_a_mistake_in_a_file_with_an_alias_in_itself_is_told(tmp_path):
    (tmp_path / "alias.yaml").write_text("rows: &rows\n  one: *rows\n")
    with pytest.raises(UserError, match=r"alias\.yaml, line 2, column 3: rows\.one\.one: unknown key"):
        plan_file(tmp_path / "alias.yaml", registry=registry())


def test_a_mistake_within_the_value_of_an_override_is_the_overrides(files):
    """Also where the file says the same setting in more places than the override does."""
    override = "base.pretrain={steps: 1, update: {pairs: [2, x]}}"
    source = Source(files / "child.yaml", [override])
    for path in ("steps", "update", "update.pairs", "update.pairs[1]", "nothing"):
        said = str(source.located(UserError(f"base.pretrain.{path}: no.")))
        assert said == f"override '{override}': base.pretrain.{path}: no."
    assert source.origins("first", ["pretrain.update.pairs"]) == {"pretrain.update.pairs": override}


def test_an_override_that_a_mistake_names_goes_before_the_place_in_the_file(files):
    message = "base.pretrain.steps: has to be more than base.pretrain.decay."
    for overrides, begins in (
        (["base.pretrain.decay=9"], "override 'base.pretrain.decay=9': "),
        (["base.encoder.width=9"], f"{files}/"),
        (["base.pretrain.steps=1", "base.pretrain.decay=9"], "override 'base.pretrain.steps=1': "),
    ):
        said = str(Source(files / "child.yaml", overrides).located(UserError(message)))
        assert said.startswith(begins) and said.endswith(message)
