"""A root of runs: listed, explained in words, and brought to the format of today; format 1 is read for ever."""

import json
import re
import shutil
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.stages.registry import make
from ablate.store import differ, listing, record, upgrade
from ablate.store.__main__ import main
from ablate.store.record import read_run, read_sweep, run_path
from ablate.store.stage import Plan, materialise, places

OLD = Path(__file__).resolve().parents[1] / "data" / "root-e7f69db"


def write(root, kind, id, config, parents=(), version=1, title="", done=True, **result):
    """Write a stage's records by hand."""
    folder = run_path(root, kind, id)
    folder.mkdir(parents=True)
    what = {"kind": kind, "version": version, "config": config, "parents": list(parents), "id": id, "title": title}
    (folder / "identity.json").write_text(json.dumps(what))
    (folder / "how.json").write_text('{"ways": [{"how": {}, "uses": []}]}')
    if done:
        (folder / "result.json").write_text(json.dumps({"format": 2, **result}))
    return folder


def files(root):
    return {path: path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


# Format 1 -------------------------------------------------------------------------------------------------------


def test_a_root_of_format_1_is_listed(tmp_path, capsys):
    shutil.copytree(OLD, tmp_path / "root")
    assert main(["ls", str(tmp_path / "root")]) == 0
    head, sweep, *kinds, last = capsys.readouterr().out.splitlines()
    assert head.split() == "sweep rows × seeds done running failed size last change question".split()
    assert re.fullmatch(
        r"old +3 × 2 +44 of 44 +0 +0 +[\d.]+ kB  \d{4}-\d\d-\d\d \d\d:\d\d  "
        r"\(format 1\) Does speech-text pre-training help, at a size that says nothing\?",
        sweep,
    )
    assert [re.sub(" +[0-9.]+ kB$", "", line) for line in kinds] == [
        "corpus      1 of  1 done",
        "finetune   12 of 12 done",
        "pretrain   12 of 12 done",
        "score      18 of 18 done",
        "tokenizer   1 of  1 done",
    ]
    assert last == "44 stages are of format 1: reports show them, but no new plan uses them."


def test_a_root_of_format_1_is_read():
    sweep = read_sweep(OLD, "old")
    assert sweep.format == 1 and {line["row"] for line in sweep.manifest} == {"scratch", "joint", "joint_tlm"}
    stages = sweep.manifest[0]["stages"]
    assert "corpus" in stages and set(places(stages)) >= {"leaf", "trunks/0", "score/asr", "finetune/sentiment"}
    score = read_run(OLD, "score", stages["score"]["asr"])
    assert (score.format, score.done) == (1, True)
    assert {one["split"] for one in score.result["scores"]} == {"test", "test_unseen"}
    assert {item["split"] for item in score.items()} == {"test", "test_unseen"}
    leaf = read_run(OLD, "pretrain", sweep.manifest[-1]["stages"]["leaf"])
    assert any(name.startswith("tlm/") for name in leaf.result["final"]) and leaf.metrics()


def test_format_1_stays_as_it_is(tmp_path):
    shutil.copytree(OLD, tmp_path / "root")
    before = files(tmp_path / "root")
    assert upgrade.upgrade(tmp_path / "root") == [
        "0 stages and 0 sweeps rewritten to format 2.",
        ("45 records are of format 1, which stays readable as it is; what a new plan needs of them is made again."),
    ]
    assert files(tmp_path / "root") == before


# Newer and older ------------------------------------------------------------------------------------------------


def test_a_newer_format_is_refused_in_a_sentence(tmp_path, capsys):
    folder = write(tmp_path, "score", "ab12", {})
    (folder / "result.json").write_text('{"format": 3}')
    message = r"result\.json was written by a newer version \(format 3\), this one reads up to 2; update ablate\.$"
    readers = (lambda root: read_run(root, "score", "ab12"), upgrade.upgrade, listing.lines)
    for read in readers:
        with pytest.raises(UserError, match=message):
            read(tmp_path)
    assert main(["ls", str(tmp_path)]) == 2 and "update ablate" in capsys.readouterr().err
    sweep = tmp_path / "sweeps" / "x"
    sweep.mkdir(parents=True)
    (sweep / "sweep.json").write_text('{"format": 9}')
    with pytest.raises(UserError, match=r"sweep\.json was written by a newer version \(format 9\)"):
        read_sweep(tmp_path, "x")


@pytest.fixture
def third(monkeypatch):
    """A made-up format 3, in which a leaf's losses are called "losses" and a line of the manifest has a number."""
    calls = []

    def renamed(result):
        calls.append("result.json")
        return {"losses" if key == "final" else key: value for key, value in result.items()}

    changes = {"result.json": renamed, "manifest.jsonl": lambda line: {"number": 0, **line}}
    monkeypatch.setattr(record, "FORMAT", 3)
    monkeypatch.setattr(upgrade, "UPGRADES", {2: changes})
    return calls


def test_a_root_of_the_format_before_is_rewritten_once(tmp_path, third):
    leaf = write(tmp_path, "heldout", "ab12", {"type": "x"}, final={"tlm/loss": 1.5}, seconds=2.0)
    write(tmp_path, "score", "cd34", {}, done=False)
    sweep = tmp_path / "sweeps" / "x"
    sweep.mkdir(parents=True)
    (sweep / "sweep.json").write_text('{"format": 2, "name": "x", "rows": {}}')
    (sweep / "manifest.jsonl").write_text('{"row": "a"}\n{"row": "b"}\n')
    said = upgrade.upgrade(tmp_path)
    assert said[0] == "1 stage and 1 sweep rewritten to format 3." and "1 stage is not complete" in said[1]
    assert read_run(tmp_path, "heldout", "ab12").result == {"format": 3, "losses": {"tlm/loss": 1.5}, "seconds": 2.0}
    assert read_sweep(tmp_path, "x").manifest == [{"number": 0, "row": "a"}, {"number": 0, "row": "b"}]
    assert read_sweep(tmp_path, "x").format == 3
    before = files(tmp_path)
    assert upgrade.upgrade(tmp_path)[:2] == [
        "0 stages and 0 sweeps rewritten to format 3.",
        "2 are of format 3 already.",
    ]
    assert files(tmp_path) == before and third == ["result.json"]
    assert not list(leaf.glob("*.tmp"))


def test_a_kill_between_two_files_is_made_good(tmp_path, third, monkeypatch):
    sweep = tmp_path / "sweeps" / "x"
    sweep.mkdir(parents=True)
    (sweep / "sweep.json").write_text('{"format": 2, "name": "x", "rows": {}}')
    (sweep / "manifest.jsonl").write_text('{"row": "a"}\n')
    whole = upgrade._write

    def killed(path, text):
        if path.name == "sweep.json":
            raise KeyboardInterrupt
        whole(path, text)

    monkeypatch.setattr(upgrade, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        upgrade.upgrade(tmp_path)
    assert record.read_json(sweep / "sweep.json")["format"] == 2
    monkeypatch.setattr(upgrade, "_write", whole)
    upgrade.upgrade(tmp_path)
    assert (read_sweep(tmp_path, "x").format, read_sweep(tmp_path, "x").manifest) == (3, [{"number": 0, "row": "a"}])


@pytest.mark.parametrize("command", ["ls", "upgrade"])
def test_where_there_is_nothing_it_says_so(command, tmp_path, capsys):
    assert main([command, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: There are no runs under '{tmp_path}'; give the root=DIR that sweeps were run with.\n"


# Explained ------------------------------------------------------------------------------------------------------


def table(root, id, **config):
    write(root, "table", id, {"type": "split", **config}, title="text.train")


def test_explain_goes_down_to_where_it_begins(tmp_path, capsys):
    table(tmp_path, "aa01", rows=19175, digest="x")
    table(tmp_path, "aa02", rows=19163, digest="y")
    write(tmp_path, "tokenizer", "bb01", {"type": "sentencepiece", "size": 400}, [["table/text.train", "aa01"]])
    more = [["table/text.train", "aa02"], ["table/glue.cola", "aa09"]]
    write(tmp_path, "tokenizer", "bb02", {"type": "sentencepiece", "size": 400}, more)
    config = {"type": "pretrain", "optimizer": {"type": "adamw", "lr": 0.001}, "objectives": {}}
    parents = [[["table/text.train", f"aa0{i}"], ["tokenizer", f"bb0{i}"]] for i in (1, 2)]
    write(tmp_path, "pretrain", "cc01", config, parents[0], version=3, title="joint / trunk")
    changed = {
        **config,
        "optimizer": {"type": "adamw", "lr": 0.002, "gain": 2.0},
        "objectives": {"tlm": {"type": "tlm"}},
    }
    write(tmp_path, "pretrain", "cc02", changed, parents[1], version=4, title="joint / trunk")
    assert main(["explain", "cc01", "cc02", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "A is pretrain cc01 (joint / trunk)",
        "B is pretrain cc02 (joint / trunk)",
        "version of pretrain was raised 3 -> 4",
        "pretrain: optimizer.lr 0.001 -> 0.002",
        "pretrain: optimizer.gain is new, 2.0",
        "pretrain: objectives.tlm is new, tlm",
        "text.train has 19,163 rows, had 19,175",
        "table glue.cola is new in the tokenizer's texts",
    ]
    folder = str(run_path(tmp_path, "pretrain", "cc01"))
    assert differ.explain(folder, folder, tmp_path)[-1] == "They are the same: what made them does not differ."
    assert differ.explain("cc01", "aa01", tmp_path)[-1] == "They are of different kinds: pretrain and table."


def test_explain_tells_other_rows_from_other_settings(tmp_path):
    table(tmp_path, "aa01", rows=5, digest="x")
    table(tmp_path, "aa02", rows=5, digest="y")
    write(tmp_path, "table", "aa03", {"type": "split", "of": {"type": "builtin", "recipe": 2}}, title="asr.test")
    write(tmp_path, "table", "aa04", {"type": "split", "of": {"type": "builtin", "recipe": 3}}, title="asr.test")
    assert differ.explain("aa01", "aa02", tmp_path)[2:] == ["text.train holds other rows than it did"]
    assert differ.explain("aa03", "aa04", tmp_path)[2:] == ["recipe of the built-in corpus was raised 2 -> 3"]


def test_explain_says_what_was_raised_since_format_1(tmp_path):
    write(tmp_path, "table", "aa01", {"type": "split", "of": {"type": "builtin", "recipe": 3}})
    write(tmp_path, "tokenizer", "bb01", {"type": "sentencepiece"}, [["table/text.train", "aa01"]], version=3)
    old = read_sweep(OLD, "old").manifest[0]["stages"]["tokenizer"]
    assert differ.explain(str(run_path(OLD, "tokenizer", old)), "bb01", tmp_path)[2:] == [
        "records of format 1 are not reused",
        "recipe of the built-in corpus was raised 2 -> 3",
        "version of tokenizer was raised 2 -> 3",
    ]


def test_an_unknown_stage_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"No stage 'ffff' under '.*'; give an id and --root ROOT, or the folder of a stage\."
    ):
        differ.explain("ffff", "ffff", tmp_path)


def test_planned_stages_are_listed_beside_finished_ones(tmp_path):
    from test_stage import Grain

    stage = make("table", Grain(size=9), [], "grain")
    materialise(Plan("x", {"rows": {"a": {}}}, [], {stage.id: stage}, {}), tmp_path)
    _, sweep, *kinds = listing.lines(tmp_path)
    assert re.match(r"x +1 × 0 +0 of 0 +0 +0 +0 B ", sweep)
    assert kinds[0].startswith("table  0 of 1 done") and kinds[1].startswith("1 stage is used by no sweep")
