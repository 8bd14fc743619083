"""A report made from a root that another was merged into, without weights, is the first one byte for byte."""

import json
import shutil

import pytest
from test_report import FEW, a_table, finished, voices

from ablate.store import files, index, pruned
from ablate.store.__main__ import main
from ablate.store.attempt import facts
from ablate.store.record import files_of, read_result, run_path
from analysis import report
from analysis.records.frame import read

CACHES = {".report.json", "index.npz", "logs.npz"}  # what making it again would take from
LOG = {"looks.jsonl"}  # of when it was first made


@pytest.fixture
def root(fake):
    """A sweep with weights, and with a spoken and a written test table, of which the recordings lie apart."""
    folder = fake(**FEW | {"tasks": ("sentence_pair", "asr"), "seeds": (0, 1)})
    records, root = read(folder), folder.parents[1]
    rows = {
        "sentence_pair": {"id": "test-0", "text": "a boat sank", "text_b": "nothing sank", "label": "no"},
        "asr": {"id": "test-0", "text": "six red boats", "frames": 40, "phones": [[0, "s"], [20, "I"]]},
    }
    tables = records.manifest[-1]["stages"]["tables"]
    for table, row in rows.items():
        a_table(run_path(root, "table", tables[f"{table}.test"]), row, table == "asr", "f00d")
        a_table(run_path(root, "table", tables[f"{table}.train"]), row, table == "asr", "")
    voices(finished(run_path(root, "recordings", "f00d")))
    for result in root.glob("*/??/*/result.json"):
        stage, kind = result.parent, result.parents[2].name
        about = json.loads(result.read_text())
        place = files_of(stage, about)
        if kind in ("pretrain", "finetune"):
            (place / "model.safetensors").write_bytes(stage.name.encode() * 100)
        uses = (
            [["recordings/0", "f00d"]]
            if kind == "table" and "f00d" in str((place / "recordings.json").read_text())
            else []
        )
        what = {"kind": kind, "id": stage.name, "version": 1, "config": {}, "parents": [], "title": ""}
        files.replace(stage / "identity.json", files.encoded(what))
        files.replace(stage / "how.json", files.encoded({"ways": [{"how": {}, "uses": uses}]}))
        files.replace(result, files.encoded({**about, "files": facts(place)}))
    return root


def made(root):
    """All that the report of the one sweep under a root consists of."""
    folder = next(root.glob("sweeps/*"))
    report.write(folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in CACHES | LOG
    }


def test_the_report_of_a_merged_root_without_weights_is_the_same(root, tmp_path):
    to = tmp_path / "another place" / "laptop"
    assert main(["merge", str(root), str(to), "--without-weights"]) == 0
    assert not list(to.rglob("*.safetensors")) and list(root.rglob("*.safetensors"))
    without = {path.parent.parts[-3] for path in to.rglob(pruned.NAME)}
    assert without == {"pretrain", "finetune", "table"}
    assert len(list(to.glob("table/*/*/pruned.json"))) == 2  # those of train, which no report shows
    first = made(root)
    root.rename(tmp_path / "elsewhere")  # it needs nothing of the first
    again = made(to)
    page = first["report.html"].decode()
    assert "a boat sank<br>nothing sank" in page and 'alt="Log-mel spectrogram, 0.4 s: six red boats"' in page
    assert {"report.html", "table.md", "table.tex", "table.csv", "baselines.csv"} < first.keys()
    assert first.keys() == again.keys() and [name for name in first if first[name] != again[name]] == []
    for name, data in first.items():
        assert str(root).encode() not in data and str(tmp_path).encode() not in data, name


def test_a_root_is_copied_with_its_index_and_read_there(root, tmp_path):
    before = index.entries(root)
    shutil.copytree(root, tmp_path / "copy")
    after = index.entries(tmp_path / "copy")
    assert {id: (one.sizes, one.title) for id, one in after.items()} == {
        id: (one.sizes, one.title) for id, one in before.items()
    }
    assert all(read_result(one.folder) for one in after.values())
