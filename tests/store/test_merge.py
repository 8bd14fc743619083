"""Roots that are joined: what is taken, refused, put back and left out, and kills at every moment of it."""

import errno
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest
from test_index import plan

from ablate.errors import UserError
from ablate.store import adopt, attempt, continuing, files, index, merge, needs, progress, pruned, record, version
from ablate.store.__main__ import main
from ablate.store.record import read_result, run_path
from ablate.store.run import RunFolder, find

LEFT_BEHIND = (".part", ".dead")  # suffixes of what a killed writer leaves, which nobody reads


@pytest.fixture(autouse=True)
def code(monkeypatch):
    """The code is a commit, whatever it is just now."""
    monkeypatch.setenv(version.CODE, json.dumps({"commit": "c", "dirty": False, "patch": None}))
    monkeypatch.setattr(version, "PATCH", [])


def stage(root, kind="pretrain", id="aa01", weights=b"w" * 1000, result=(), records=b"{}\n", parents=(), code=None):
    """Finish a stage as `RunFolder` does, with weights, moments, a checkpoint, records, a log and what a plan wrote."""
    folder = plan(root, kind, id, parents=parents)
    files.replace(folder / "how.json", b'{"ways": [{"how": {}, "uses": []}]}\n')
    run = RunFolder(root, kind, id)
    (run.path / "config.yaml").write_text("# joint / leaf\ntype: x\n")
    with run.lock():
        if kind in pruned.DERIVED:
            run.write_bytes("own/rows.jsonl", weights)
        else:
            run.write_bytes("model.safetensors", weights)
            run.write_bytes("moments.1.safetensors", weights[::-1])
            run.write_json("checkpoint.json", {"step": 9, "files": ["model.safetensors"], "busy_seconds": os.getpid()})
        run.write_bytes("items.jsonl", records)
        (run.path / "logs" / "out.txt").write_text("all is well\n")
        run.finish({"score": 1.5, **dict(result)})
    if code:
        about = read_result(run.path)
        files.replace(run.path / "result.json", files.encoded({**about, "code": {"commit": "c", "patch": code}}))
    return run.path


def sweep(root, name="first", rows=("a",), ids=("aa01",), **more):
    folder = root / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": 2, "name": name, "question": "?", "rows": dict.fromkeys(rows, {}), "seeds": [0], **more}
    (folder / "sweep.json").write_text(json.dumps(about))
    lines = [{"row": row, "stages": {"leaf": id}} for row, id in zip(rows, ids)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def content(root):
    """What is under a root, file by file, folders of attempts by one name."""
    held = {}
    for path in sorted(Path(root).rglob("*")):
        if path.is_file() and not path.name.endswith(LEFT_BEHIND) and path.name != index.NAME:
            parts = ["ATTEMPT" if attempt.TOKEN.fullmatch(part) else part for part in path.relative_to(root).parts]
            data = path.read_bytes()
            if path.name == "result.json":
                data = json.dumps({**json.loads(data), "attempt": "ATTEMPT"}).encode()
            held["/".join(parts)] = data
    return held


def exactly(root):
    """Every file with its bytes, and its time but for the index."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(root).rglob("*") if path.is_file()}


def whole(root, beside=()):
    """Every finished stage under a root has all its files as its result says, but for what was pruned."""
    found = 0
    for path in Path(root).glob("*/??/*/result.json"):
        folder, result = path.parent, read_result(path.parent)
        for name, facts in result["files"].items():
            if name not in pruned.gone(folder):
                file = record.files_of(folder, result) / name
                assert (file.stat().st_size, attempt.digest(file)) == (facts["size"], facts["digest"]), file
        assert (folder / "identity.json").exists() and (folder / "how.json").exists()
        found += 1
    return found


@pytest.fixture
def roots(tmp_path):
    """A root with a table, two trunks of which the second was made from the first, a sweep, and what belongs to
    them; and the path of another root.
    """
    here = tmp_path / "from"
    stage(here, "table", "cc01")
    stage(here, id="aa01", parents=[["table/speech", "cc01"]])
    stage(here, id="aa02", parents=[["pretrain", "aa01"]], result={"score": 2.5}, code="feed")
    plan(here, id="aa03", parents=[["pretrain", "aa01"]])
    sweep(here, ids=["aa02"])
    (here / "code").mkdir()
    (here / "code" / "feed.patch").write_text("a patch")
    (here / "trunks" / "fam").mkdir(parents=True)
    (here / "trunks" / "fam" / "9-aa01").touch()
    return here, tmp_path / "to"


def joined(source, to, capsys=None, *more):
    status = main(["merge", str(source), str(to), *more])
    return status, capsys.readouterr() if capsys else None


def without_the_open_one(held):
    return {name: data for name, data in held.items() if "/aa03/" not in name}


# Taken -----------------------------------------------------------------------------------------------------------


def test_a_merge_takes_all_that_is_finished_and_links_it(roots, capsys):
    source, to = roots
    before = exactly(source)
    status, said = joined(source, to, capsys)
    assert (status, said.out.splitlines()) == (
        0,
        [
            f"{source} has 3 finished stages: 3 are joined to {to} (5.2 kB to link), 0 are there already.",
            "Left out: 1 not finished.",
            "Sweeps: first.",
            f"Joined 3 stages. python -m analysis.report first --root {to} makes its report.",
        ],
    )
    assert exactly(source) == before
    assert content(to) == without_the_open_one(content(source))
    assert whole(to) == 3 and find(to, "aa02").done
    for root in roots:
        run = RunFolder(root, "pretrain", "aa01")
        assert (run.sound() / "model.safetensors").stat().st_nlink == 2
        assert (run.path / "attempts.jsonl").stat().st_nlink == 1  # it grows when the stage is made again
        assert not (run.path / "claim.json").exists()


def test_merged_twice_changes_nothing(roots, capsys):
    source, to = roots
    joined(source, to)
    before = exactly(to)
    capsys.readouterr()
    status, said = joined(source, to, capsys)
    assert status == 0 and "0 are joined" in said.out and "3 are there already" in said.out
    assert said.out.splitlines()[-1] == "Joined 0 stages."
    assert exactly(to) == before


def test_a_dry_run_writes_nothing(roots, capsys):
    source, to = roots
    before = exactly(source)
    assert joined(source, to, capsys, "--dry-run")[1].out.startswith(f"{source} has 3 finished stages: 3 are joined")
    assert exactly(source) == before and not to.exists() and list(to.parent.iterdir()) == [source]


@pytest.mark.parametrize("number", sorted(files.NO_LINKS))
def test_without_links_files_are_copied(roots, monkeypatch, number):
    """On a file system without them, on another one, and where the file is somebody else's."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    source, to = roots
    assert joined(source, to)[0] == 0
    assert content(to) == without_the_open_one(content(source)) and whole(to) == 3
    assert all(path.stat().st_nlink == 1 for path in to.rglob("*.safetensors"))


def test_a_copy_that_came_out_wrong_is_not_taken(roots, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EXDEV, "")

    def torn(source, target):
        data = Path(source).read_bytes()
        Path(target).write_bytes(data.replace(b"w", b"v") if "model" in str(source) else data)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", torn)
    status, said = joined(*roots, capsys)
    assert status == 1 and said.out.count("has other bytes than its record says.") == 2
    assert [path.parent.name for path in roots[1].glob("*/??/*/result.json")] == ["cc01"]
    monkeypatch.undo()
    assert joined(*roots)[0] == 0 and content(roots[1]) == without_the_open_one(content(roots[0]))


def test_a_file_that_is_gone_or_damaged_there_costs_its_stage_alone(roots, capsys):
    source, to = roots
    lost = RunFolder(source, "pretrain", "aa01").sound() / "model.safetensors"
    lost.unlink()
    next(run_path(source, "table", "cc01").rglob("items.jsonl")).write_bytes(b"[]\n")
    status, said = joined(source, to, capsys)
    assert status == 1 and "Joined 1 stage" in said.out
    assert f"{lost} is missing, though the record names it; pretrain aa01 (joint / leaf) was not taken." in said.out
    assert "has other bytes than its record says" in said.out
    assert [path.parent.name for path in to.glob("*/??/*/result.json")] == ["aa02"]


def test_what_a_plan_and_earlier_attempts_wrote_here_stays(roots):
    source, to = roots
    folder = plan(to, id="aa01", title="another title")
    files.replace(folder / "how.json", b'{"ways": [{"how": {"workers": 2}, "uses": []}]}\n')
    with pytest.raises(ZeroDivisionError), RunFolder(to, "pretrain", "aa01").lock() as run:
        run.write_bytes("model.safetensors", b"half")
        raise ZeroDivisionError
    files.replace(folder / "failure.json", b'{"kind": "killed", "why": "killed"}')
    joined(source, to)
    assert [line["outcome"] for line in record.read_jsonl(folder / "attempts.jsonl")] == ["failed", "done"]
    assert [way["how"] for way in record.read_json(folder / "how.json")["ways"]] == [{"workers": 2}, {}]
    assert record.read_json(folder / "identity.json")["title"] == "another title"
    assert whole(to) == 3 and index.entries(to)["aa01"].failed == ""
    kept = [path.name for path in folder.iterdir() if path.is_dir() and path.name != "logs"]
    assert kept == [read_result(folder)["attempt"]]


def test_a_stage_that_is_running_here_is_left_out(roots, capsys):
    source, to = roots
    plan(to, id="aa01")
    with RunFolder(to, "pretrain", "aa01").lock() as run:
        status, said = joined(source, to, capsys)
        assert status == 0 and f"1 being run in {to}" in said.out
        assert not run.done and run.holder()
        assert merge.take_in(run_path(source, "pretrain", "aa01"), to).endswith("it was left alone.")
    joined(source, to)
    assert content(to)["pretrain/aa/aa01/result.json"] == content(source)["pretrain/aa/aa01/result.json"]


def test_a_dead_lock_is_taken_over(roots):
    source, to = roots
    folder = plan(to, id="aa01")
    dead = {"host": "gone", "space": "x", "pid": 1, "started": "1", "job": None, "restart": "0", "token": "0" * 12}
    (folder / "claim.json").write_text(json.dumps({**dead, "began": 1.0}))
    os.utime(folder / "claim.json", (1, 1))
    joined(source, to)
    assert whole(to) == 3 and not (folder / "claim.json").exists()
    assert [line["outcome"] for line in record.read_jsonl(folder / "attempts.jsonl")] == ["lost", "done"]


# Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"result": {"score": 1.25}}, "score"),
        ({"result": {"final": {"tlm": 1.0}}}, "final.tlm"),
        ({"records": b"[]\n"}, "items.jsonl"),
        ({"result": {"a": 1, "b": 2, "c": 3, "d": 4}}, "a, b, c and 1 more"),
    ],
)
def test_what_disagrees_is_refused_and_what_was_made_from_it(roots, capsys, other, told):
    source, to = roots
    stage(to, id="aa01", **other)
    before = exactly(run_path(to, "pretrain", "aa01"))
    status, said = joined(source, to, capsys)
    assert status == 1
    why = f"pretrain aa01 (joint / leaf) is finished in both and differs in {told}; that of {to} stays."
    assert said.out.count(why) == 1 and "1 made from what is refused." in said.out
    assert exactly(run_path(to, "pretrain", "aa01")) == before
    assert sorted(path.parent.name for path in to.glob("*/??/*/result.json")) == ["aa01", "cc01"]
    shutil.rmtree(run_path(to, "pretrain", "aa01"))  # the way out
    assert joined(source, to)[0] == 0 and whole(to) == 3


def test_other_weights_and_other_circumstances_agree(roots, capsys):
    """Processors round: which weights are here does not matter where all that was measured is the same."""
    source, to = roots
    stage(to, id="aa01", weights=b"v" * 1000, result={"busy_seconds": 3.0, "waiting": 0.5, "machine": {"threads": 9}})
    before = exactly(run_path(to, "pretrain", "aa01"))
    assert joined(source, to)[0] == 0
    assert exactly(run_path(to, "pretrain", "aa01")) == before and whole(to) == 3


def test_another_sweep_of_that_name_is_refused(roots, capsys):
    source, to = roots
    mine = sweep(to, ids=["ffff"], question="!")
    before = exactly(mine)
    status, said = joined(source, to, capsys)
    assert status == 1 and exactly(mine) == before and whole(to) == 3
    assert (
        f"Sweep first is different in {to} (in question); rename the folder {source / 'sweeps' / 'first'}, "
        f"or that in {to}, and merge again."
    ) in said.out
    sweep(to, ids=["ffff"])
    assert "(in its stages)" in joined(source, to, capsys)[1].out
    (source / "sweeps" / "first").rename(source / "sweeps" / "second")
    assert joined(source, to)[0] == 0
    assert (to / "sweeps" / "second" / "manifest.jsonl").exists()


def test_a_newer_format_is_refused_in_a_sentence(roots, capsys):
    source, to = roots
    path = run_path(source, "pretrain", "aa02") / "result.json"
    result = path.read_text()
    path.write_text(result.replace('"format": 2', '"format": 3'))
    for arguments in (["merge", str(source), str(to)], ["adopt", str(path.parent), "--root", str(to)]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == (
            f"error: {path} was written by a newer version (format 3), this one reads up to 2; update ablate.\n"
        )
    path.write_text(result)
    plan = source / "sweeps" / "first" / "sweep.json"
    plan.write_text(plan.read_text().replace('"format": 2', '"format": 3'))
    assert main(["merge", str(source), str(to)]) == 2 and "sweep.json was written by a newer" in capsys.readouterr().err
    assert not to.exists()


def test_format_1_is_left_out(tmp_path, capsys):
    old = Path(__file__).resolve().parents[1] / "data" / "root-e7f69db"
    status, said = joined(old, tmp_path / "to", capsys)
    assert status == 0 and "Left out: 45 of an earlier format, which no new plan uses." in said.out
    assert not (tmp_path / "to").exists() and not (old / index.NAME).exists()
    with pytest.raises(UserError, match="is of format 1, which no new plan uses"):
        merge.take_in(next(old.glob("score/*/*")), tmp_path / "to")


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("from", "are the same root; give two"),
        ("link", "are the same root; give two"),
        ("from/in", "lie in each other"),
        (".", "lie in each other"),
    ],
)
def test_roots_that_do_not_lie_apart_are_refused(roots, capsys, to, told):
    source, _ = roots
    (source.parent / "link").symlink_to(source)
    before = exactly(source)
    assert main(["merge", str(source), str(source.parent / to)]) == 2
    assert told in capsys.readouterr().err and exactly(source) == before


def test_where_there_is_nothing_it_says_so(tmp_path, capsys):
    assert main(["merge", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.startswith(f"error: There are no runs under '{tmp_path / 'a'}'")


def test_a_disk_without_room_is_said_before(roots, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "")

    monkeypatch.setattr(os, "link", refuse)
    fields = (1, 1, 9000, 1000, 1000, 9, 9, 9, 0, 255)  # bytes a block twice, blocks, free ones twice
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    source, to = roots
    assert main(["merge", str(source), str(to)]) == 2 and not to.exists()
    assert f"{to} would need 5.2 kB, and its disk has 1.0 kB left; make room" in capsys.readouterr().err


# Pruned ----------------------------------------------------------------------------------------------------------


def prune(folder, *names):
    result = read_result(folder)
    pruned.write(folder, {name: result["files"][name]["size"] for name in names})
    for name in names:
        (record.files_of(folder, result) / name).unlink()


def test_what_was_pruned_here_is_put_back(roots, capsys):
    source, to = roots
    joined(source, to)
    folder = run_path(to, "pretrain", "aa01")
    before = content(to)
    prune(folder, "model.safetensors", "moments.1.safetensors")
    pruned.reopen(folder)
    capsys.readouterr()
    status, said = joined(source, to, capsys)
    assert status == 0 and f"1 was pruned in {to}: 2.0 kB to link are put back." in said.out
    assert said.out.splitlines()[-1] == "Joined 0 stages, put files of 1 back."
    assert content(to) == before and find(to, "aa01").done and not (folder / pruned.NAME).exists()


def test_what_was_pruned_in_both_or_made_otherwise_stays_gone(roots):
    source, to = roots
    stage(to, id="aa02", weights=b"v" * 1000, result={"score": 2.5}, parents=[["pretrain", "aa01"]])
    joined(source, to)
    for root, id, names in (
        (source, "aa01", ["moments.1.safetensors"]),
        (to, "aa01", ["model.safetensors", "moments.1.safetensors"]),
        (to, "aa02", ["model.safetensors"]),
    ):
        prune(run_path(root, "pretrain", id), *names)
    assert joined(source, to)[0] == 0
    assert pruned.gone(run_path(to, "pretrain", "aa01")) == {"moments.1.safetensors": 1000}
    assert pruned.gone(run_path(to, "pretrain", "aa02")) == {"model.safetensors": 1000}
    assert whole(to) == 3


def test_what_was_pruned_there_is_pruned_here(roots):
    source, to = roots
    prune(run_path(source, "pretrain", "aa01"), "model.safetensors")
    pruned.reopen(run_path(source, "pretrain", "aa01"))
    joined(source, to)
    folder = run_path(to, "pretrain", "aa01")
    assert pruned.gone(folder) == {"model.safetensors": 1000} and not pruned.reopened(folder)
    with pytest.raises(pruned.Pruned, match="model.safetensors of .* was pruned"):
        find(to, "aa01").sound()


def test_without_weights_what_is_left_out_counts_as_pruned(roots, capsys):
    source, to = roots
    status, said = joined(source, to, capsys, "--without-weights")
    assert status == 0 and "5.0 kB are left out as if they were pruned" in said.out
    assert not list(to.rglob("*.safetensors")) and whole(to) == 3
    gone = {"model.safetensors": 1000, "moments.1.safetensors": 1000}
    assert pruned.gone(run_path(to, "pretrain", "aa02")) == gone
    assert pruned.gone(run_path(to, "table", "cc01")) == {"own/rows.jsonl": 1000, "items.jsonl": 3}
    planned = RunFolder(to, "pretrain", "aa03")
    plan(to, id="aa03", parents=[["pretrain", "aa01"]])
    files.replace(planned.path / "how.json", b'{"ways": [{"how": {}, "uses": []}]}')
    assert [(role, run.id) for role, run in needs.lacking(planned)] == [("pretrain", "aa01")]
    assert continuing.shorter(to, {**planned.identity(), "config": {"steps": 99}}) == []
    before = exactly(to)
    assert joined(source, to, capsys, "--without-weights")[0] == 0 and exactly(to) == before
    assert joined(source, to)[0] == 0 and not list(to.rglob(pruned.NAME)) and whole(to) == 3


def test_without_weights_over_a_root_that_has_them_changes_nothing(roots):
    source, to = roots
    joined(source, to)
    before = exactly(to)
    assert joined(source, to, None, "--without-weights")[0] == 0 and exactly(to) == before


def test_without_weights_what_a_report_shows_is_taken(tmp_path):
    source, to = tmp_path / "from", tmp_path / "to"
    for id, uses in (("aa01", "cc01"), ("aa02", "cc02")):
        how = {"ways": [{"how": {}, "uses": [["recordings/0", uses]]}]}
        files.replace(stage(source, "table", id) / "how.json", files.encoded(how))
        stage(source, "recordings", uses)
    folder = sweep(source, tasks={"asr": {"splits": ["test", "test_unseen"]}})
    line = {"row": "a", "stages": {"tables": {"asr.test_unseen": "aa01", "asr.train": "aa02"}}}
    (folder / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    assert joined(source, to, None, "--without-weights")[0] == 0
    assert {path.parent.name for path in to.rglob(pruned.NAME)} == {"aa02", "cc02"}
    assert whole(to) == 4


# Interrupted -----------------------------------------------------------------------------------------------------


def test_ctrl_c_says_that_the_same_command_goes_on(roots, capsys, monkeypatch):
    source, to = roots
    bring, calls = adopt._bring, []

    def interrupted(one, name, target, tell):
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        bring(one, name, target, tell)

    monkeypatch.setattr(adopt, "_bring", interrupted)
    status, said = joined(source, to, capsys)
    assert status == 130 and said.err.endswith("Stopped. What was joined is whole; the same command goes on.\n")
    assert whole(to) == 1 and not list(to.rglob("claim.json"))
    monkeypatch.undo()
    assert joined(source, to)[0] == 0 and content(to) == without_the_open_one(content(source))


EVENTS = ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "shutil.rmtree")


def killed(number, work):
    """Run `work` in a child that is killed at its `number`-th touch of the disk, or in the midst of copying a file;
    True if it was killed before it ended.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def touched(event, _):
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        def halved(source, target):
            data = Path(source).read_bytes()
            with open(target, "wb", buffering=0) as file:
                file.write(data[: len(data) // 2])
                open(os.devnull).close()  # a moment for a kill
                file.write(data[len(data) // 2 :])

        shutil.copyfile = halved
        sys.stdout = sys.stderr = open(os.devnull, "w")
        sys.addaudithook(touched)
        os._exit(work())
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def age(root):
    """Let ten seconds pass for locks that a kill left half-written."""
    for path in root.rglob("claim.json"):
        if not path.read_bytes():
            os.utime(path, (1, 1))


@pytest.mark.parametrize("links", [True, False])
def test_kills_at_any_moment_change_nothing(roots, links, monkeypatch):
    """Each kill is followed by the same command, killed at another moment, until it ends; then all begins anew."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "")))
    source, to = roots
    expected, draw, kills, ends = without_the_open_one(content(source)), random.Random(7), 0, 0
    before = exactly(source)
    while kills < 30 or to.exists():
        dies = killed(draw.randint(1, 400), lambda: main(["merge", str(source), str(to)]))
        whole(to)
        age(to)
        kills += dies
        if not dies:
            assert content(to) == expected and whole(to) == 3
            shutil.rmtree(to)
            ends += 1
    assert ends >= 2 and exactly(source) == before


def test_kills_while_pruned_files_are_put_back(roots):
    source, to = roots
    joined(source, to)
    expected, draw, kills = content(to), random.Random(3), 0
    while kills < 25:
        for id in ("aa01", "aa02"):
            if not pruned.gone(run_path(to, "pretrain", id)):
                prune(run_path(to, "pretrain", id), "model.safetensors", "moments.1.safetensors")
        dies = True
        while dies:
            dies = killed(draw.randint(1, 150), lambda: main(["merge", str(source), str(to)]))
            whole(to)
            age(to)
            kills += dies
        assert content(to) == expected


# One stage -------------------------------------------------------------------------------------------------------


def test_adopt_takes_one_stage(roots, capsys):
    source, to = roots
    folder = run_path(source, "pretrain", "aa01")
    assert main(["adopt", str(folder), "--root", str(to)]) == 0
    assert capsys.readouterr().out.startswith(
        f"pretrain aa01 (joint / leaf) was taken into {to}, 2.1 kB. python -m ablate.prune removes weights"
    )
    assert content(to) == {
        name: data for name, data in content(source).items() if name.startswith(("pretrain/aa/aa01/", "trunks/"))
    }
    assert main(["adopt", str(folder), "--root", str(to)]) == 0 and "is in" in capsys.readouterr().out
    prune(run_path(to, "pretrain", "aa01"), "model.safetensors")
    assert main(["adopt", str(folder), "--root", str(to)]) == 0
    assert "1.0 kB that were pruned of it are back." in capsys.readouterr().out
    for what, told in (
        (source / "nothing", "No stage in"),
        (run_path(source, "pretrain", "aa03"), "is not finished; only finished stages are taken."),
        (run_path(to, "pretrain", "aa01"), f"lies in {to} already."),
    ):
        assert main(["adopt", str(what), "--root", str(to)]) == 2 and told in capsys.readouterr().err


def test_adopt_takes_a_copy_that_lies_anywhere(roots, monkeypatch):
    source, to = roots
    shutil.copytree(run_path(source, "pretrain", "aa02"), source.parent / "copy")
    monkeypatch.chdir(source.parent)
    assert main(["adopt", "copy", "--root", "to"]) == 0 and whole(to) == 1
    assert not (to / "code").exists()  # nothing beside it


def test_a_watcher_sees_that_a_stage_is_being_taken(roots, monkeypatch):
    source, to = roots
    bring, seen = adopt._bring, []

    def watched(one, name, target, tell):
        seen.append(RunFolder(to, one.kind, one.id).holder())
        bring(one, name, target, tell)

    monkeypatch.setattr(adopt, "_bring", watched)
    merge.take_in(run_path(source, "pretrain", "aa01"), to)
    assert {(one["step"], one["steps"], one["note"]) for one in seen} == {(0, 0, "taken from another root")}


def test_adopt_refuses_what_disagrees(roots, capsys):
    source, to = roots
    stage(to, id="aa01", result={"score": 9.0})
    assert main(["adopt", str(run_path(source, "pretrain", "aa01")), "--root", str(to)]) == 2
    assert "differs in score; that of" in capsys.readouterr().err


def test_progress_is_one_line_on_a_terminal_and_a_few_elsewhere(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for live, told in ((True, 100), (False, 3)):
        one = progress.Progress(100, 2e9)
        one.live = live
        for _ in range(100):
            now[0] += 1.0
            one.file(2e7)
            one.stage()
        one.end()
        said = capsys.readouterr().err
        assert said.count("\r" if live else "\n") in (told, told + 1)
    assert "89 of 100 stages" in said and "of 2.0 GB" in said
