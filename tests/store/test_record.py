"""Records are read whole or not at all."""

import json

import pytest

from ablate.store import record
from ablate.store.run import RunFolder


def test_a_torn_last_line_is_left_out_and_other_damage_is_not(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert list(record.read_jsonl(path)) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(json.JSONDecodeError):
        list(record.read_jsonl(path))
    assert list(record.read_jsonl(tmp_path / "none.jsonl")) == []


def test_lines_break_at_newlines_only(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\u0085c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(record.read_jsonl(path)) == [{"text": "a\u2028b\u0085c"}]


def test_read_run(tmp_path):
    run = RunFolder(tmp_path, "score", "ab12")
    run.note("identity.json", {"kind": "score", "id": "ab12"})
    with run.lock():
        run.write_bytes("items.jsonl", b'{"id": "x"}\n')
        before = record.read_run(tmp_path, "score", "ab12")
        assert (before.done, before.result, before.metrics()) == (False, None, [])
        run.log(1, {"loss": 2.0})
        running = record.read_run(tmp_path, "score", "ab12")
        assert running.files == run.files and running.metrics() == [{"step": 1, "loss": 2.0}]
        run.finish({"scores": []})
    after = record.read_run(tmp_path, "score", "ab12")
    assert after.path == tmp_path / "score" / "ab" / "ab12"
    assert after.done and after.result["scores"] == []
    assert after.metrics() == [{"step": 1, "loss": 2.0}] and after.items() == [{"id": "x"}]


def test_read_sweep(tmp_path):
    folder = record.sweep_path(tmp_path, "q")
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text('{"name": "q"}')
    (folder / "manifest.jsonl").write_text('{"row": "a"}\n{"row": "b"}\n')
    sweep = record.read_sweep(tmp_path, "q")
    assert sweep.sweep == {"name": "q"} and [line["row"] for line in sweep.manifest] == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        record.read_sweep(tmp_path, "other")
