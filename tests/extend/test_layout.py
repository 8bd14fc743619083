"""A layout of speech is one file and one line: Audacity's label tracks, from YAML to report."""

from __future__ import annotations

import re
from pathlib import Path

import engine
import numpy as np
import pytest
import soundfile

from ablate.data.audio import Recording
from ablate.data.lines import Faults, lines
from ablate.data.real.corpus import RealConfig
from ablate.data.real.layouts import registry
from ablate.data.real.layouts.layout import Layout
from ablate.errors import UserError


def folder(path: Path, utterances: int, seed: int) -> Path:
    """A label track whose utterances are cut out of one recording, a second each."""
    path.mkdir(parents=True)
    sound = np.random.default_rng(seed).normal(0, 0.1, 16_000 * utterances)
    soundfile.write(path / "r.wav", sound, 16_000)
    words = "one two three four".split()
    (path / "r.labels").write_text("".join(f"{n}.0\t{n + 1}.0\tsay {words[n % 4]}\n" for n in range(utterances)))
    return path


def test_a_sweep_over_label_tracks(toy, tmp_path: Path) -> None:
    toy("layout")
    for seed, (split, size) in enumerate({"train": 8, "dev": 4, "test": 4}.items()):
        folder(tmp_path / "data" / split, size, seed)
    data = engine.real(tmp_path / "data", speech=["train"], asr=["train"], dev="dev", test="test")
    pretrain = {
        **engine.SMALL["pretrain"],
        "objectives": {"masked_speech": {"targets": "random_projection"}},
        "steps": 2,
    }
    tokenizer = {"size": 300, "fields": ["asr.text"]}
    tasks = {"asr": {"steps": 2, "items": 4, "splits": ["test"]}}
    made = engine.table(engine.file(tmp_path, data, tasks, pretrain=pretrain, tokenizer=tokenizer))
    assert "| toy" in made and "WER" in made.upper()


def test_what_labels_say(toy, tmp_path: Path) -> None:
    toy("layout")
    path = folder(tmp_path / "train", 2, 0)
    first, second = registry.rows(path)
    assert first == {"id": "r-1", "voice": "r", "text": "say one", "recording": Recording(path / "r.wav", 0.0, 1.0)}
    assert second["recording"] == Recording(path / "r.wav", 1.0, 2.0)
    (path / "r.wav").unlink()
    faults = Faults(skip=True, most=9, root=tmp_path)
    assert not list(registry.rows(path, faults))
    assert faults.skipped == ["train/r.labels, line 1: there is no recording r.wav beside it."]


def test_without_it_labels_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a WebDataset .tar .* a LibriSpeech folder, .* or a Kaldi folder"):
        registry.rows(folder(tmp_path / "train", 2, 0))


def test_half_a_layout_is_refused_with_its_file_and_line() -> None:
    class Half(Layout):
        def knows(self, path: Path) -> bool:
            return False

    with pytest.raises(
        UserError, match=r"Half \(.*test_layout.py, line \d+\) lacks expected, rows; Layout \(.*layout.py"
    ):
        registry.LAYOUTS["half"] = Half
    with pytest.raises(UserError, match="is no Layout: derive a class from it"):
        registry.LAYOUTS["half"] = Half.knows
    assert "half" not in registry.LAYOUTS


@pytest.mark.parametrize(
    "row, words",
    [
        ({"id": "a", "voice": "b", "recording": "a.wav"}, "reads 'a.wav' as a recording, expected a Recording"),
        ({"id": "a", "voice": "b"}, "reads a row without recording"),
        (None, "raises AttributeError: 'NoneType' object has no attribute 'keys'"),
    ],
)
def test_rows_that_are_none_are_refused_with_the_layouts_file_and_line(row: object, words: str) -> None:
    with pytest.raises(UserError, match=rf"Layout \(.*layout.py, line \d+\) {words}"):
        list(registry.whole(lambda: iter([row]), Layout, ("voice", "recording"), "a"))


def test_two_rows_with_one_id_are_refused_while_planning_with_both_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Twice(Layout):
        expected = "a folder of twins"

        def knows(self, path: Path) -> bool:
            return (path / "r.wav").is_file()

        def rows(self, path: Path, faults: Faults):
            for n in range(5):
                name = ("a", "b", "c", "b", "d")[n]
                yield {"id": name, "voice": "v", "text": f"say {n}", "recording": Recording(path / "r.wav", n, n + 1)}

    monkeypatch.setitem(registry.LAYOUTS, "twice", Twice)
    for split in ("train", "dev", "test"):
        folder(tmp_path / split, 5, 0)
    config = RealConfig(root=str(tmp_path), **{**engine.NOTHING, "asr": ("train",), "dev": "dev", "test": "test"})
    wav = re.escape(str(tmp_path / "train/r.wav"))
    with pytest.raises(
        UserError,
        match=rf"Twice \(.*test_layout.py, line \d+\) reads two rows of {tmp_path}/train with the same id, 'b': "
        rf"row 2 \({wav} from 1 s\) and row 4 \({wav} from 3 s\); give each an id of its own",
    ):
        config.resolved().split("asr", "train")


def test_ids_are_compared_by_themselves_and_not_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "hash", lambda id: 1, raising=False)
    rows = [{"id": str(n), "text": "a"} for n in range(9)]
    assert list(registry.whole(lambda: iter(rows), Layout, ("text",), "a")) == rows
    with pytest.raises(UserError, match="two rows of a with the same id, '3': row 4 .* and row 10"):
        list(registry.whole(lambda: iter([*rows, {"id": "3", "text": "b"}]), Layout, ("text",), "a"))


class Listed(Layout):
    """`list`: a recording a line, which nothing checks."""

    expected = "a folder with a list"

    def knows(self, path: Path) -> bool:
        return (path / "list").is_file()

    def rows(self, path: Path, faults: Faults):
        for _, line in lines(path / "list", faults):
            id, _, rest = line.partition(" ")
            yield {"id": id, "voice": "v", "text": "say", "recording": Recording(path / "r.wav", 0.0, float(rest))}


def test_a_recording_that_cannot_be_used_is_told_with_the_line_that_lists_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(registry.LAYOUTS, "listed", Listed)
    for seed, split in enumerate(("dev", "test", "train")):
        (folder(tmp_path / split, 2, seed) / "list").write_text("u1 1.5\nu2 2.0\n")
    config = RealConfig(root=str(tmp_path), **{**engine.NOTHING, "asr": ("train",), "dev": "dev", "test": "test"})
    (tmp_path / "train" / "list").write_text("u1 1.5\nu2 2.5\n")  # u2 is in all three lists
    config.resolved().split("asr", "dev")
    said = rf"^{tmp_path}/train/list, line 2: {tmp_path}/train/r.wav from 0 to 2.5 s: the file ends at 2.00 s"
    with pytest.raises(UserError, match=said):
        config.resolved().split("asr", "train")


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("u1 ./a/b.wav", "/data/a/b.wav"),
        ("x\ta/my b.wav\t3", "/data/a/my b.wav"),
        ('{"path": "b.wav", "text": "b"}', "/elsewhere/b.wav"),
        ("/data/a/b.wav,1.0", "/data/a/b.wav"),
        ("u1 a/cb.wav", ""),
        ("u1 a/b.wav.txt", ""),
    ],
)
def test_the_line_that_names_a_file_is_found_in_any_kind_of_list(tmp_path: Path, line: str, file: str) -> None:
    faults = Faults()
    (tmp_path / "list").write_text(f"other.wav\n{line}\n")
    list(lines(tmp_path / "list", faults))
    assert faults.naming(file or "/data/a/b.wav") == (f"{tmp_path}/list, line 2" if file else "")
