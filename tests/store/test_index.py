"""The index of a root: never a stale answer, and the sweeps and stages it is asked for."""

import json
import os
import shutil
import time

import pytest

from ablate.errors import UserError
from ablate.store import disk, files, index, listing, pruned
from ablate.store.attempt import facts
from ablate.store.index import NAME, entries
from ablate.store.record import run_path
from ablate.store.run import RunFolder

WEIGHTS = b"w" * 1000
HOW = {"ways": [{"how": {}, "uses": [["recordings", "cc01"]]}, {"how": {}, "uses": []}]}


def plan(root, kind="pretrain", id="aa01", title="joint / leaf", parents=()):
    folder = run_path(root, kind, id)
    folder.mkdir(parents=True)
    what = {"kind": kind, "version": 1, "config": {}, "parents": list(parents), "id": id, "title": title}
    files.replace(folder / "identity.json", files.encoded(what))
    files.replace(folder / "how.json", files.encoded(HOW))
    return folder


def done(root, kind="pretrain", id="aa01", weights=WEIGHTS, **more):
    """Make a stage with weights and a record of 6 bytes."""
    folder = plan(root, kind, id, **more)
    (folder / "a1").mkdir()
    (folder / "a1" / "model.safetensors").write_bytes(weights)
    (folder / "a1" / "items.jsonl").write_bytes(b"{}\n{}\n")
    about = {"format": 2, "ended": "2026-01-31T12:00:00Z", "attempt": "a1", "files": facts(folder / "a1")}
    files.replace(folder / "result.json", files.encoded(about))
    return folder


@pytest.fixture
def settled(monkeypatch):
    """What was made just now is remembered at once: no two changes here fall on one tick of the clock."""
    monkeypatch.setattr(index, "SETTLED_SECONDS", -1.0)


@pytest.fixture
def reads(monkeypatch):
    """Stages that were read from their folders."""
    seen, look = [], index._look
    monkeypatch.setattr(index, "_look", lambda kind, id, folder: seen.append(id) or look(kind, id, folder))
    return seen


def test_an_entry_says_what_a_stage_is_and_holds(tmp_path):
    folder = done(tmp_path, parents=[["tokenizer", "bb01"]])
    one = entries(tmp_path)["aa01"]
    assert (one.kind, one.title, one.folder, one.format, one.done) == ("pretrain", "joint / leaf", folder, 2, True)
    assert one.needs == (("tokenizer", "bb01"), ("recordings", "cc01"))
    assert (one.sizes, one.pruned, one.bytes) == ({"weights": 1000, "": 6}, {}, 1006)
    assert (one.ended, one.running, one.failed) == ("2026-01-31T12:00:00Z", False, "")
    assert one.changed == pytest.approx(folder.stat().st_mtime)


def test_what_is_finished_or_was_never_started_is_read_once(tmp_path, settled, reads):
    done(tmp_path), plan(tmp_path, id="aa02"), plan(tmp_path, id="aa03")
    files.replace(run_path(tmp_path, "pretrain", "aa02") / index.FAILURE, b'{"kind": "killed", "why": "killed"}')
    (run_path(tmp_path, "pretrain", "aa03") / "0123456789ab").mkdir()  # an attempt: it may grow
    first = entries(tmp_path)
    assert reads == ["aa01", "aa02", "aa03"]
    written = (tmp_path / NAME).stat().st_mtime_ns
    assert entries(tmp_path) == first
    assert reads[3:] == ["aa03"] and (tmp_path / NAME).stat().st_mtime_ns == written
    (run_path(tmp_path, "pretrain", "aa01") / "claim.json").touch()  # it is being worked on
    assert entries(tmp_path)["aa01"].running and entries(tmp_path)["aa01"].running
    assert reads[4:] == ["aa01", "aa03", "aa01", "aa03"]


def test_what_changed_just_now_is_read_again(tmp_path, reads):
    """It may change once more within the same tick of the file system's clock."""
    folder = done(tmp_path)
    entries(tmp_path), entries(tmp_path)
    assert reads == ["aa01", "aa01"] and not (tmp_path / NAME).exists()
    assert entries(tmp_path)["aa01"].folder == folder


@pytest.fixture(params=["warm", "cold", "old"])
def now(request, tmp_path, settled):
    """All entries; with the index of before, with none, and with that of the beginning, which somebody else who began
    then wrote only now.
    """
    first = []

    def read():
        if request.param == "cold":
            (tmp_path / NAME).unlink(missing_ok=True)
        if request.param == "old" and first:
            (tmp_path / NAME).write_bytes(first[0])
        found = entries(tmp_path)
        if not first:
            first.append((tmp_path / NAME).read_bytes())
        return found

    return read


def test_no_answer_is_stale(tmp_path, now):
    """Planned, finished, pruned, to be made again, remade, changed in place."""
    folder = plan(tmp_path)
    assert not now()["aa01"].done
    shutil.rmtree(folder)
    folder = done(tmp_path)
    assert now()["aa01"].done
    pruned.write(folder, {"model.safetensors": 1000})
    one = now()["aa01"]
    assert (one.sizes, one.pruned, one.done) == ({"": 6}, {"weights": 1000}, True)
    pruned.reopen(folder)
    assert not now()["aa01"].done
    (folder / pruned.NAME).unlink()
    assert now()["aa01"].sizes == {"weights": 1000, "": 6}
    result = json.loads((folder / "result.json").read_text())
    result["files"]["model.safetensors"]["size"] = 7
    (folder / "result.json").write_text(json.dumps(result))  # in place, as an editor does
    assert now()["aa01"].sizes["weights"] == 7
    files.replace(folder / "how.json", files.encoded({"ways": [{"how": {}, "uses": []}]}))
    assert now()["aa01"].uses == ()


def test_no_answer_is_stale_where_folders_move(tmp_path, now):
    """Renamed, replaced, removed."""
    folder = done(tmp_path)
    assert list(now()) == ["aa01"]
    moved = run_path(tmp_path, "pretrain", "aa09")
    folder.rename(moved)
    assert list(now()) == []  # it says it is aa01
    moved.rename(folder)
    assert list(now()) == ["aa01"]
    folder.rename(tmp_path / "kept")
    done(tmp_path, weights=b"other")
    assert now()["aa01"].sizes["weights"] == 5
    shutil.rmtree(folder)
    (tmp_path / "kept").rename(folder)
    assert now()["aa01"].sizes["weights"] == 1000
    shutil.rmtree(folder)
    assert list(now()) == []


def test_a_run_is_followed_from_its_plan_to_its_end(tmp_path, settled):
    folder = plan(tmp_path)
    assert (entries(tmp_path)["aa01"].running, entries(tmp_path)["aa01"].failed) == (False, "")
    run = RunFolder(tmp_path, "pretrain", "aa01")
    with pytest.raises(ZeroDivisionError), run.lock():
        run.write_bytes("model.1.safetensors", b"12345")
        one = entries(tmp_path)["aa01"]
        assert one.running and not one.done and one.sizes["weights"] == 5
        raise ZeroDivisionError
    assert (entries(tmp_path)["aa01"].running, entries(tmp_path)["aa01"].failed) == (False, "failed")
    files.replace(folder / index.FAILURE, files.encoded({"kind": "out of memory", "why": "killed at 4 GB"}))
    assert entries(tmp_path)["aa01"].failed == "out of memory: killed at 4 GB"
    files.replace(
        folder / index.FAILURE, files.encoded({"kind": "cancelled by --cancel", "why": "cancelled by --cancel"})
    )
    assert entries(tmp_path)["aa01"].failed == ""
    with run.lock():
        assert entries(tmp_path)["aa01"].failed == ""
        run.write_bytes("model.safetensors", b"123")
        run.finish({})
    one = entries(tmp_path)["aa01"]
    assert (one.done, one.failed, one.sizes["weights"]) == (True, "", 3)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"code": "other", "stages": {"pretrain/aa01": 1}}'])
def test_an_index_that_is_damaged_or_of_other_code_is_not_used(tmp_path, settled, content):
    done(tmp_path)
    expected = entries(tmp_path)
    (tmp_path / NAME).write_bytes(content)
    assert entries(tmp_path) == expected
    assert list(json.loads((tmp_path / NAME).read_bytes())["stages"]) == ["pretrain/aa01"]


def test_a_root_that_cannot_be_written_to_has_no_index(tmp_path, settled, monkeypatch):
    done(tmp_path)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files, "replace", refuse)
    assert list(entries(tmp_path)) == ["aa01"] and not (tmp_path / NAME).exists()
    monkeypatch.undo()
    monkeypatch.setattr(index, "clock", refuse)
    assert list(entries(tmp_path)) == ["aa01"] and not (tmp_path / NAME).exists()


def test_a_damaged_record_is_named_and_hides_no_other(tmp_path):
    folder, other = done(tmp_path), done(tmp_path, "tokenizer", "bb01")
    (folder / "identity.json").write_text("")
    found = entries(tmp_path)
    assert found[folder.name].damaged == (
        f"A record in {folder} is damaged; remove that folder, and run its sweep again."
    )
    assert not found[folder.name].done and found[other.name].done and not found[other.name].damaged


# Listed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two sweeps that share a tokenizer; one stage failed, one is planned, one nobody uses."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    done(tmp_path, "tokenizer", "bb01", title="tokenizer")
    done(tmp_path, "recordings", "cc01", title="asr.train")
    done(tmp_path, id="aa01", parents=[["tokenizer", "bb01"]])
    failed = plan(tmp_path, id="aa02", title="tlm / leaf")
    files.replace(failed / index.FAILURE, files.encoded({"kind": "time-out", "why": "time-out"}))
    done(tmp_path, id="aa07", title="left over")
    plan(tmp_path, "score", "dd01", title="asr.test", parents=[["pretrain", "aa02"]])
    for name, stages in (("first", {"leaf": "aa01"}), ("second", {"leaf": "aa02", "score": {"asr": {"test": "dd01"}}})):
        folder = tmp_path / "sweeps" / name
        folder.mkdir(parents=True)
        sweep = {"format": 2, "question": f"What of\n{name}?", "rows": {"a": {}, "b": {}}, "seeds": [0, 1, 2]}
        (folder / "sweep.json").write_text(json.dumps(sweep))
        (folder / "manifest.jsonl").write_text(json.dumps({"row": "a", "stages": stages}) + "\n")
        os.utime(folder / "sweep.json", (0, 0))
    for path in (*tmp_path.glob("*/??/*"), *tmp_path.glob("*/??/*/*")):
        os.utime(path, (86400, 86400))
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


def test_sweeps_are_listed(root):
    assert listing.lines(root) == [
        "sweep   rows × seeds    done  running  failed    size  last change       question",
        "first   2 × 3         3 of 3        0       0  3.0 kB  1970-01-02 00:00  What of first?",
        "second  2 × 3         1 of 3        0       1  1.6 kB  1970-01-02 00:00  What of second?",
        "pretrain    2 of 3 done   2.3 kB",
        "recordings  1 of 1 done   1.0 kB",
        "score       0 of 1 done    277 B",
        "tokenizer   1 of 1 done   1.0 kB",
        "1 stage is used by no sweep here (1.0 kB).",
    ]


def test_the_stages_of_a_sweep_are_listed(root):
    pruned.write(run_path(root, "pretrain", "aa01"), {"model.safetensors": 1000})
    assert listing.of_sweep(root, "first") == [
        "kind        id    state                    size  when              title",
        "pretrain    aa01  done, without weights     6 B  2026-01-31 12:00  joint / leaf",
        "recordings  cc01  done                   1.0 kB  2026-01-31 12:00  asr.train",
        "tokenizer   bb01  done                   1.0 kB  2026-01-31 12:00  tokenizer",
    ]
    assert "1.0 kB of files of 1 stage were pruned; they are made again when needed." in listing.lines(root)
    assert [line.split()[:4] for line in listing.of_sweep(root, "second")[1:]] == [
        ["pretrain", "aa02", "time-out", "291"],
        ["recordings", "cc01", "done", "1.0"],
        ["score", "dd01", "not", "done"],
    ]
    shutil.rmtree(run_path(root, "score", "dd01"))
    assert listing.of_sweep(root, "second")[-1] == "1 more were never planned here, or were removed."
    with pytest.raises(UserError, match=rf"No sweep 'frist' under '{root}'; did you mean 'first'\?"):
        listing.of_sweep(root, "frist")


def test_sizes_are_said_as_people_read_them():
    assert [disk.amount(n) for n in (0, 949, 950, 1.5e6, 2.04e9, 1.2345e12)] == [
        *("0 B", "949 B", "0.9 kB", "1.5 MB", "2.0 GB", "1,234.5 GB")
    ]
