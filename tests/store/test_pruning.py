"""What nothing needs is removed and nothing else; what is needed again is made again; a kill at any moment loses
nothing.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import fakes
import pytest

from ablate import prune
from ablate.clusters import debug
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, FAILED, WAITING, Board
from ablate.errors import UserError
from ablate.store import continuing, files, index, lock, needs, pruned, pruning
from ablate.store.lock import me
from ablate.store.pruned import DATA, ENCODINGS, MOMENTS, WEIGHTS
from ablate.store.record import files_of, read_jsonl, read_result, run_path
from ablate.store.run import RunFolder
from ablate.store.stage import Plan, Stage, materialise

KINDS = {"t": "table", "k": "tokens", "r": "recordings", "p": "pretrain", "f": "finetune", "s": "score", "u": "tune"}
SIZES = {"pretrain": 100, "finetune": 60}
LARGE = 2_448_000_000  # bytes of the weights of 612 M parameters


def stage(id, *parents, uses=(), phase="trunk"):
    """A stage named by its kind's letter and a number; parents as "role=id"."""
    kind = KINDS[id[0]]
    roles = [tuple(one.split("=")) for one in parents]
    config = {"phase": phase, "horizon": 1, "steps": 10, "start": 0} if kind == "pretrain" else {"name": id}
    return Stage(kind, config, tuple(roles), id, title=f"title of {id}", uses=tuple(one.split("=") for one in uses))


def sweep():
    """A small plan: a table, a trunk and its leaf, a further trunk and its leaf, a fine-tuning each, their scores."""
    table = [stage("r0"), stage("t0", uses=["recordings/0=r0"]), stage("k0", "table/split=t0")]
    stages = [*table, stage("p0", "table/speech=t0", "tokens/text=k0")]
    stages += [
        stage("p1", "table/speech=t0", "pretrain=p0", phase="decay"),
        stage("p2", "pretrain=p0", "tokens/text=k0"),
    ]
    stages += [stage("p3", "pretrain=p2", phase="decay")]
    for number, leaf in enumerate(("p1", "p3")):
        stages += [
            stage(f"f{number}", f"pretrain={leaf}", "tokens/train=k0"),
            stage(f"s{number}", f"finetune=f{number}"),
        ]
    return {one.id: one for one in stages}


def write(root, stages, name="one", leaves=("s0", "s1")):
    """Lay a plan whose manifest asks for `leaves`."""
    described = {"table": {"blocks": []}, "rows": {}}
    manifest = [{"row": "a", "point": {}, "seed": 0, "stages": {"score": list(leaves)}}]
    materialise(Plan(name, described, manifest, stages, {}), root)
    return stages


def content(one, large=None):
    """The files of a finished stage and their bytes; weights of `large` bytes where that is given."""
    if one.kind in ("pretrain", "finetune"):
        trunk = one.config.get("phase") == "trunk"
        weights = large or SIZES[one.kind]
        held = {"model.safetensors": weights} | ({"moments.safetensors": 2 * weights} if trunk else {})
        return {**held, "metrics.jsonl": 12, "checkpoint.json": 2}
    return {"score": {"items.jsonl": 7}, "tokens": {"text.i32": 30}, "recordings": {"mel.f16": 500}}.get(
        one.kind, {"rows.jsonl": 20}
    )


def finish(root, *stages, large=None, filled=False):
    """Finish stages; files are sparse, unless they are to be filled."""
    for one in stages:
        run = RunFolder(root, one.kind, one.id)
        with run.lock():
            for name, size in content(one, large).items():
                with open(run.files / name, "wb") as file:
                    file.write(bytes(size)) if filled else file.truncate(size)
            result = {"winner": "f0"} if one.kind == "tune" else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ablate.store.attempt.digest", lambda path: "0")  # gigabytes are not read
                run.finish(result)


@pytest.fixture
def finished(tmp_path):
    """A finished sweep; its stages by id."""
    stages = write(tmp_path, sweep())
    finish(tmp_path, *stages.values())
    return stages


def names(root, one):
    """The files of a stage that are there."""
    path = run_path(root, one.kind, one.id)
    return {file.name for file in files_of(path, read_result(path)).iterdir()}


def may_go(root, **how):
    """What may go: sort and parts by stage."""
    return {item.entry.id: (item.sort, *item.parts) for item in pruning.survey(root, **how).items}


# What may go --------------------------------------------------------------------------------------------------------


def test_of_a_finished_sweep_the_leaves_weights_stay_and_the_data_and_all_records(tmp_path, finished):
    trunks = dict.fromkeys(("p0", "p2"), ("trunks", WEIGHTS, MOMENTS))
    expected = {**trunks, **dict.fromkeys(("f0", "f1"), ("finetuned", WEIGHTS)), "k0": ("encodings", ENCODINGS)}
    assert may_go(tmp_path) == expected
    freed, left = pruning.remove(pruning.survey(tmp_path))
    assert (freed, left) == (2 * 300 + 2 * 60 + 30, [])
    assert names(tmp_path, finished["p0"]) == {"metrics.jsonl", "checkpoint.json"}
    assert names(tmp_path, finished["p1"]) == {"model.safetensors", "metrics.jsonl", "checkpoint.json"}
    assert names(tmp_path, finished["s0"]) == {"items.jsonl"} and names(tmp_path, finished["r0"]) == {"mel.f16"}
    assert may_go(tmp_path) == {} and pruning.survey(tmp_path).bytes == 0
    assert all(RunFolder(tmp_path, one.kind, one.id).done for one in finished.values())


def test_what_rows_start_from_that_no_command_was_asked_for_stays(tmp_path, finished):
    """A row goes on from the trunk p2 and was left out by --only: its own stages have no folders."""
    lines = [
        {"row": "a", "point": {}, "seed": 0, "stages": {"trunks": ["p0", "p2"], "leaf": "p3", "score": {"x": "s1"}}},
        {"row": "b", "point": {}, "seed": 0, "stages": {"trunks": ["p0", "p2", "p8"], "leaf": "p9", "score": {}}},
    ]
    materialise(Plan("one", {"table": {"blocks": []}, "rows": {}}, lines, finished, {}), tmp_path)
    assert {"p0", "p2", "f1"} & may_go(tmp_path).keys() == {"f1"}
    lines[1]["stages"]["leaf"] = "p1"  # it is finished, and a trunk was removed by hand since
    materialise(Plan("one", {"table": {"blocks": []}, "rows": {}}, lines, finished, {}), tmp_path)
    assert {"p0", "p2", "f1"} & may_go(tmp_path).keys() == {"p0", "p2", "f1"}


def test_what_is_kept_is_kept(tmp_path, finished):
    assert set(may_go(tmp_path, keep=["trunks", "encodings"])) == {"f0", "f1"}


@pytest.mark.parametrize(
    "missing, stays",
    [
        (stage("s9", "finetune=f0"), {"f0"}),
        (stage("f9", "pretrain=p1", "tokens/train=k0"), {"k0"}),
        (stage("p9", "pretrain=p2", phase="decay"), {"p2"}),
        (stage("p9", "tokens/text=k0", uses=["continues=p0"]), {"k0", "p0"}),
        (stage("s9", "tune=u0"), set()),
        (stage("f9", "tune=u0"), {"f0"}),
    ],
)
def test_what_a_missing_stage_of_any_sweep_reads_stays(tmp_path, finished, missing, stays):
    choice = stage("u0", "finetune/0=f0", "finetune/1=f1")
    write(tmp_path, {**finished, "u0": choice, missing.id: missing}, "two", [missing.id])
    finish(tmp_path, choice)
    assert {"p0", "p2", "f0", "f1", "k0"} - may_go(tmp_path).keys() == stays


def test_what_is_pruned_and_wanted_again_wants_in_turn(tmp_path, finished):
    pruning.remove(pruning.survey(tmp_path, keep=["finetuned"]))
    more = stage("p9", "pretrain=p2", phase="decay")
    write(tmp_path, {**finished, "p9": more}, "two", ["p9"])
    assert Board({**finished, "p9": more}, tmp_path).again == {"p2", "p0", "k0"}
    assert set(may_go(tmp_path)) == {"f0", "f1"}


def test_stages_that_no_sweep_refers_to_keep_their_records_alone(tmp_path, finished):
    orphan, begun = stage("p8", phase="decay"), stage("p7", phase="decay")
    write(tmp_path, {"p8": orphan, "p7": begun, "r9": stage("r9")}, "gone", ["p8", "p7"])
    finish(tmp_path, orphan, stage("r9"))
    with pytest.raises(RuntimeError), (run := RunFolder(tmp_path, "pretrain", "p7")).lock():
        run.write_bytes("model.1.safetensors", bytes(50))
        raise RuntimeError
    files.aside(tmp_path / "sweeps" / "gone", "elsewhere")
    (tmp_path / "sweeps" / "elsewhere").rename(tmp_path / "elsewhere")
    keep = [sort for sort in pruning.KEEPABLE if sort != "unreferenced"]
    assert {id: sort for id, (sort, *_) in may_go(tmp_path, keep=keep).items()} == dict.fromkeys(
        ("p7", "p8", "r9"), "unreferenced"
    )
    assert pruning.remove(pruning.survey(tmp_path, keep=keep))[0] == 50 + 100 + 500
    assert names(tmp_path, orphan) == {"metrics.jsonl", "checkpoint.json"}
    assert not list(run.path.glob("*/model*")) and (run.path / "attempts.jsonl").exists()
    assert may_go(tmp_path, keep=keep) == {}


def test_recordings_that_a_finished_table_points_into_stay_when_it_is_planned_from_others(tmp_path, finished):
    grown = stage("t0", uses=["recordings/0=r9"])  # the source has more files by now; the table's rows are the same
    write(tmp_path, {"r9": stage("r9"), **finished, "t0": grown})
    finish(tmp_path, stage("r9"))
    assert may_go(tmp_path).keys() == {"p0", "p2", "f0", "f1", "k0"}


def test_a_whole_sweep_gives_what_no_other_refers_to(tmp_path, finished):
    other = stage("s7", "pretrain=p3")
    write(tmp_path, {**finished, "s7": other}, "two", ["s7"])
    finish(tmp_path, other)
    assert may_go(tmp_path, sweep="one") == {
        **dict.fromkeys(("f0", "f1"), ("finetuned", WEIGHTS)),
        "p1": ("leaves", WEIGHTS),
    }
    with pytest.raises(UserError, match="No sweep 'on'.*one"):
        pruning.survey(tmp_path, "on")


def test_what_runs_is_left_alone(tmp_path, finished):
    claim = run_path(tmp_path, "finetune", "f0") / "claim.json"
    lock.create(claim, {**me(), "token": "0" * 12, "began": 0.0})
    assert "f0" not in may_go(tmp_path) and "f1" in may_go(tmp_path)
    lock.take(claim.parent, "0" * 12)
    found = pruning.survey(tmp_path)
    lock.create(claim, {**me(), "token": "0" * 12, "began": 0.0})  # since it was looked at
    said = pruning.remove(found)[1]
    assert "finetune f0 is being run by process" in said[0]
    assert said[1:] == ["tokens k0 is read by a running stage. It was left alone."]
    assert "model.safetensors" in names(tmp_path, finished["f0"])


def test_what_a_stage_that_began_meanwhile_reads_is_taken_back(tmp_path, finished):
    found, child = pruning.survey(tmp_path), stage("s9", "finetune=f0")
    write(tmp_path, {**finished, "s9": child}, "two", ["s9"])
    lock.create(run_path(tmp_path, "score", "s9") / "claim.json", {**me(), "token": "0" * 12, "began": 0.0})
    said = pruning.remove(found)[1]
    assert said == ["finetune f0 is read by a running stage. It was left alone."]
    assert "model.safetensors" in names(tmp_path, finished["f0"])
    assert not needs.lacking(RunFolder(tmp_path, "score", "s9"))
    assert needs.lacking(RunFolder(tmp_path, "score", "s1"))[0][1].id == "f1"


def test_the_shorter_trunk_that_one_which_began_meanwhile_goes_on_from_is_taken_back(tmp_path):
    long = {"phase": "trunk", "horizon": None, "start": 0}
    short, longer = (Stage("pretrain", {**long, "steps": n}, (), f"p{n}", title="trunk") for n in (10, 20))
    write(tmp_path, {"p10": short}, leaves=["p10"])
    finish(tmp_path, short)
    continuing.note(RunFolder(tmp_path, "pretrain", "p10"), 10)
    found = pruning.survey(tmp_path)
    assert [item.parts for item in found.items] == [(WEIGHTS, MOMENTS)]
    write(tmp_path, {"p10": short, "p20": longer}, "two", ["p20"])
    lock.create(run_path(tmp_path, "pretrain", "p20") / "claim.json", {**me(), "token": "0" * 12, "began": 0.0})
    assert pruning.remove(found) == (0, ["pretrain p10 is read by a running stage. It was left alone."])
    assert "moments.safetensors" in names(tmp_path, short) and continuing.shorter(tmp_path, longer.identity) == ["p10"]


def between(monkeypatch, path, act):
    """Have `act` happen after files of a stage are noted as gone, and before they are removed."""
    real, acts = pruning._read_now, [act]

    def read_now(root):
        if acts and pruned.gone(path):
            acts.pop()()
        return real(root)

    monkeypatch.setattr(pruning, "_read_now", read_now)


def test_what_is_made_again_before_it_is_removed_stays(tmp_path, finished, monkeypatch):
    run = RunFolder(tmp_path, "tokens", "k0")

    def make():
        pruned.reopen(run.path)
        finish(tmp_path, finished["k0"])

    between(monkeypatch, run.path, make)
    freed, _ = pruning.remove(pruning.survey(tmp_path))
    assert freed == 720 and run.done and names(tmp_path, finished["k0"]) == {"text.i32"}
    assert not pruned.gone(run.path)


def test_what_is_put_back_before_it_is_removed_stays(tmp_path, finished, monkeypatch):
    path = run_path(tmp_path, "finetune", "f0")
    between(monkeypatch, path, lambda: pruned.withdraw(path, ["model.safetensors"]))
    assert pruning.remove(pruning.survey(tmp_path))[0] == 690
    assert "model.safetensors" in names(tmp_path, finished["f0"]) and not pruned.gone(path)


def test_of_an_interrupted_prune_no_more_goes_than_it_noted(tmp_path, finished):
    path = run_path(tmp_path, "tokens", "k0")
    other = files_of(path, read_result(path)) / "other.i32"
    other.write_bytes(bytes(5))
    pruned.write(path, {"text.i32": 30})
    (tmp_path / pruning.NOTES).mkdir()
    (tmp_path / pruning.NOTES / "k0").touch()
    found = pruning.survey(tmp_path, keep=pruning.KEEPABLE)
    assert [(item.sort, item.bytes) for item in found.items] == [("left", 30)]
    assert pruning.remove(found) == (30, []) and names(tmp_path, finished["k0"]) == {"other.i32"}


def test_a_stage_that_changed_since_the_survey_is_left_alone(tmp_path, finished):
    orphan, removed = stage("p8", phase="decay"), stage("p7", phase="decay")
    write(tmp_path, {"p8": orphan, "p7": removed}, "gone", ["p8", "p7"])
    finish(tmp_path, orphan, removed)
    shutil.rmtree(tmp_path / "sweeps" / "gone")
    found = pruning.survey(tmp_path, keep=["trunks", "finetuned", "encodings"])
    assert {item.entry.id for item in found.items} == {"p7", "p8"}
    for one in (orphan, removed):
        shutil.rmtree(run_path(tmp_path, one.kind, one.id))
    write(tmp_path, {"p8": orphan}, "anew", ["p8"])
    with pytest.raises(RuntimeError), (run := RunFolder(tmp_path, "pretrain", "p8")).lock():
        run.write_bytes("model.1.safetensors", bytes(50))
        raise RuntimeError
    assert pruning.remove(found) == (0, []) and list(run.path.glob("*/model.1.safetensors"))


def test_what_is_asked_back_is_not_said_to_go(tmp_path, finished):
    path = run_path(tmp_path, "pretrain", "p0")
    pruned.write(path, {"moments.safetensors": 200})
    shutil.rmtree(tmp_path / "sweeps" / "one")
    assert may_go(tmp_path)["p0"] == ("unreferenced", WEIGHTS)
    pruned.reopen(path)
    assert may_go(tmp_path)["p1"] == ("unreferenced", WEIGHTS) and "p0" not in may_go(tmp_path)


def test_a_plan_of_the_papers_size_shrinks_to_its_leaves_weights(tmp_path):
    stages = {}
    for number in range(11):  # 22 stages a seed: a trunk and a leaf each
        trunk = stage(f"p{number}a", *([f"pretrain=p{number - 1}a"] if number else []))
        leaf = stage(f"p{number}b", f"pretrain={trunk.id}", phase="decay")
        stages |= {trunk.id: trunk, leaf.id: leaf}
    write(tmp_path, stages, leaves=list(stages))
    finish(tmp_path, *stages.values(), large=LARGE)
    held = index.entries(tmp_path).values()
    assert sum(one.bytes for one in held) > 11 * 4 * LARGE
    pruning.remove(pruning.survey(tmp_path))
    held = index.entries(tmp_path).values()
    assert sum(one.sizes.get(WEIGHTS, 0) for one in held) == 11 * LARGE
    assert not any(one.sizes.get(MOMENTS) for one in held)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_says_how_much_before_it_asks(tmp_path, finished, capsys, monkeypatch):
    assert prune.main([str(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "750 B" in said.splitlines()[-1] and may_go(tmp_path)
    assert prune.main([str(tmp_path)]) == 2 and "--yes" in capsys.readouterr().err and may_go(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert prune.main([str(tmp_path)]) == 0 and may_go(tmp_path)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert prune.main([str(tmp_path)]) == 0 and not may_go(tmp_path)
    assert "750 B removed." in capsys.readouterr().out


def test_what_was_pruned_is_asked_back_by_its_folder(tmp_path, finished, capsys):
    prune.main([str(tmp_path), "--yes"])
    folder = run_path(tmp_path, "finetune", "f0")
    assert prune.main(["--restore", str(run_path(tmp_path, "pretrain", "p1"))]) == 2
    assert "Nothing was pruned" in capsys.readouterr().err
    assert prune.main(["--restore", str(folder)]) == 0
    board = Board(finished, tmp_path)
    assert {id for id, state in board.state.items() if state == WAITING} == {"f0", "k0"}


# Made again ---------------------------------------------------------------------------------------------------------


def test_a_stage_that_is_made_again_keeps_its_record_until_the_new_one_is_there(tmp_path, finished):
    pruning.remove(pruning.survey(tmp_path))
    run, old = RunFolder(tmp_path, "finetune", "f0"), read_result(run_path(tmp_path, "finetune", "f0"))
    pruned.reopen(run.path)
    assert not run.done and read_result(run.path) == old
    with pytest.raises(RuntimeError), run.lock():
        run.write_bytes("model.1.safetensors", b"half")
        run.write_json("checkpoint.json", {"step": 3, "files": {"model.1.safetensors": {}}})
        raise RuntimeError
    assert read_result(run.path) == old and names(tmp_path, finished["f0"]) == {"metrics.jsonl", "checkpoint.json"}
    with run.lock():
        assert json.loads((run.files / "checkpoint.json").read_text())["step"] == 3  # it goes on
        assert (run.files / "model.1.safetensors").exists() and read_result(run.path) == old
        (run.files / "model.safetensors").write_bytes(b"anew")
        run.finish({"final": 1})
    assert run.done and run.result()["final"] == 1 and run.result()["attempts"] == 2
    assert not pruned.gone(run.path) and not (run.path / pruned.NAME).exists()
    assert {"model.safetensors", "checkpoint.json", "model.1.safetensors"} == names(tmp_path, finished["f0"])
    assert len([entry for entry in run.path.iterdir() if entry.is_dir()]) == 2  # logs, and one attempt


def test_a_note_of_an_earlier_attempt_says_nothing(tmp_path, finished):
    pruning.remove(pruning.survey(tmp_path))
    run = RunFolder(tmp_path, "finetune", "f0")
    pruned.reopen(run.path)
    note = (run.path / pruned.NAME).read_bytes()
    finish(tmp_path, finished["f0"])
    (run.path / pruned.NAME).write_bytes(note)  # by a process that was suspended since
    assert run.done and not pruned.gone(run.path)
    pruned.reopen(run.path)
    assert run.done


def test_what_is_pruned_after_it_was_planned_is_made_again(tmp_path, finished):
    before, child = pruning.survey(tmp_path), stage("s9", "finetune=f0")
    board = Board(write(tmp_path, {**finished, "s9": child}, "two", ["s9"]), tmp_path)
    assert board.state["f0"] == DONE and not board.again
    pruning.remove(before)
    pool = debug.Debug(board, "two", Resources({}, fakes.KINDS), Reading, 1)
    pool.run(lambda board: None, lambda: 0)
    assert board.count(DONE) == len(board.stages) and Reading.ran == ["s9", "k0", "f0", "s9"]
    assert "model.safetensors" in names(tmp_path, finished["f0"])


def test_a_stage_that_reads_what_no_stage_of_the_plan_makes_again_fails(tmp_path):
    board = Board(write(tmp_path, {"s9": stage("s9")}, leaves=["s9"]), tmp_path)
    ran = []

    class Lacking:
        preload = ""

        @staticmethod
        def run(id, root):
            ran.append(id)
            raise pruned.Pruned("model.safetensors of elsewhere was pruned")

    debug.Debug(board, "one", Resources({}, fakes.KINDS), Lacking, 1).run(lambda board: None, lambda: 0)
    assert ran == ["s9", "s9"] and board.state["s9"] == FAILED and "reads what was pruned" in board.why["s9"]


class Reading:
    """A program whose stages read what they start from."""

    preload = ""
    ran: list[str] = []

    @classmethod
    def run(cls, id, root):
        cls.ran.append(id)
        kind = KINDS[id[0]]
        run = RunFolder(root, kind, id)
        if lost := needs.lacking(run):
            raise pruned.Pruned(str(lost))
        finish(root, stage(id))


# Kills --------------------------------------------------------------------------------------------------------------

CALLS = ("unlink", "replace", "rename", "open", "link", "fsync", "mkdir")  # of os: what a prune does to a disk


def killed_at(moment, root):
    """Prune in a process that is killed before its `moment`-th call that changes a disk; False when it ended before."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] != 0
    count = 0

    def counted(call):
        def counting(*arguments, **more):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return counting

    found = pruning.survey(root)
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    pruning.remove(found)
    os._exit(0)


def test_a_kill_at_any_moment_leaves_what_is_wanted_whole_and_the_next_call_ends_it(tmp_path):
    moment, more, calm = 1, stage("s9", "finetune=f1"), tmp_path / "calm"
    stages = write(calm, sweep())
    finish(calm, *stages.values())
    write(calm, {**stages, "s9": more}, "two", ["s9"])
    for kind in "xyz":  # of no sweep
        finish(calm, *write(calm, {f"k{kind}": stage(f"k{kind}")}, "gone", [f"k{kind}"]).values())
    shutil.rmtree(calm / "sweeps" / "gone")
    while True:
        root = tmp_path / str(moment)
        shutil.copytree(calm, root)
        survived = not killed_at(moment, root)
        wanted = [stages[id] for id in ("f1", "p1", "p3", "t0", "r0", "s0", "s1")]
        assert all(set(content(one)) == names(root, one) for one in wanted), moment
        assert all(RunFolder(root, one.kind, one.id).done for one in stages.values()), moment
        for one in stages.values():  # a file is noted as gone before it is
            noted = pruned.gone(run_path(root, one.kind, one.id))
            assert set(content(one)) - names(root, one) <= noted.keys(), moment
        pruning.remove(pruning.survey(root))
        assert may_go(root) == {} and not list((root / pruning.NOTES).iterdir()), moment
        assert [one.id for one in stages.values() if names(root, one) != set(content(one))] == ["k0", "p0", "p2", "f0"]
        assert not list(root.glob("*/??/*/claim.json"))
        assert all(len([*read_jsonl(path)]) == 1 for path in root.glob("*/??/*/attempts.jsonl"))  # a prune is none
        if survived:
            break
        moment += 1
    assert moment > 50


def test_parts_are_told_by_names_and_kinds():
    part = pruned.part
    assert part("pretrain", "model.safetensors") == part("mine", "deep/model.3.safetensors") == WEIGHTS
    assert part("pretrain", "moments.safetensors") == MOMENTS and part("pretrain", "metrics.jsonl") == ""
    assert part("tokens", "text.i32") == ENCODINGS and part("recordings", "mel.f16") == part("table", "x") == DATA
    assert part("score", "items.jsonl") == part("kmeans", "centroids.npy") == part("mine", "other.safetensors") == ""


# Roots that are not as they should be ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a disk of a few megabytes")
def test_a_full_disk_is_given_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        stages = write(disk, sweep())
        finish(disk, *stages.values(), large=20_000, filled=True)
        index.entries(disk)
        (disk / "sweeps" / "one" / "index.npz").write_bytes(bytes(40_000))
        found = pruning.survey(disk)
        with open(disk / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        assert os.statvfs(disk).f_bavail == 0
        assert pruning.remove(found)[1] == [] and may_go(disk) == {}
        assert names(disk, stages["p0"]) == {"metrics.jsonl", "checkpoint.json"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_lock_is_there_whole_or_not(tmp_path, monkeypatch):
    """A process that is killed while it makes one leaves none that others would wait for."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", killed)
    with pytest.raises(KeyboardInterrupt):
        lock.create(tmp_path / "claim.json", {**me(), "token": "0" * 12})
    assert not (tmp_path / "claim.json").exists()


def test_of_two_that_make_a_lock_one_gets_it_where_there_are_no_links(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as each sees it that comes at the same time
    path = tmp_path / "claim.json"
    assert lock.create(path, {**me(), "token": "0" * 12}) and not lock.create(path, {**me(), "token": "1" * 12})
    assert json.loads(path.read_bytes())["token"] == "0" * 12 and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", ["result.json", "identity.json"])
def test_a_damaged_record_is_named_and_the_rest_is_dealt_with(tmp_path, finished, capsys, name):
    folder = run_path(tmp_path, "finetune", "f0")
    (folder / name).write_text("{")
    assert prune.main([str(tmp_path), "--yes"]) == 0
    assert f"A record in {folder} is damaged" in capsys.readouterr().out
    assert names(tmp_path, finished["f1"]) == {"metrics.jsonl", "checkpoint.json"} and list(folder.glob("*/model*"))


def test_stages_that_may_not_be_written_to_are_named_and_the_rest_is_dealt_with(tmp_path, finished, monkeypatch):
    shut, write_note = run_path(tmp_path, "finetune", "f0"), pruned.write

    def closed(path, names):
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        write_note(path, names)

    monkeypatch.setattr(pruned, "write", closed)
    freed, (said,) = pruning.remove(pruning.survey(tmp_path))
    assert f"Cannot use {shut}: no permission" in said and "finetune f0 was left alone." in said
    assert freed and "model.safetensors" not in names(tmp_path, finished["f1"])


def test_sorts_are_kept_by_name(tmp_path, finished, capsys):
    assert prune.main([str(tmp_path), "--keep=trunks,finetuned", "--keep", "caches", "--yes"]) == 0
    assert "model.safetensors" in names(tmp_path, finished["p0"]) and not names(tmp_path, finished["k0"])
    assert prune.main([str(tmp_path), "--keep=trunk"]) == 2 and "did you mean 'trunks'" in capsys.readouterr().err
