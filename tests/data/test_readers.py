"""Every reader on small hand-written corpora, with their faults, and on the real ones where they are."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ablate.data import readers
from ablate.errors import UserError


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_librispeech(tmp_path: Path) -> None:
    chapter = tmp_path / "dev-clean" / "84" / "121123"
    touch(chapter / "84-121123-0000.flac", chapter / "84-121123-0001.flac")
    write(chapter / "84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR", "84-121123-0001 BUT IN LESS")
    touch(tmp_path / "dev-clean" / "101" / "7" / "101-7-0000.wav")
    write(tmp_path / "dev-clean" / "101" / "7" / "101-7.trans.txt", "101-7-0000 YES")
    rows = list(readers.librispeech(tmp_path, "dev-clean"))
    assert [(r["id"], r["text"], r["voice"]) for r in rows] == [
        ("101-7-0000", "YES", "101"),
        ("84-121123-0000", "GO DO YOU HEAR", "84"),
        ("84-121123-0001", "BUT IN LESS", "84"),
    ]
    assert rows[1]["path"] == chapter / "84-121123-0000.flac"


def test_librispeech_faults(tmp_path: Path) -> None:
    chapter = tmp_path / "dev-clean" / "1" / "2"
    touch(chapter / "1-2-0000.flac")
    with pytest.raises(UserError, match="1-2.trans.txt: there is no such file"):
        list(readers.librispeech(tmp_path, "dev-clean"))
    write(chapter / "1-2.trans.txt", "1-2-0000 A", "1-2-0001 B")
    with pytest.raises(UserError, match=r"1-2.trans.txt, line 2: '1-2-0001' has a transcript but no recording"):
        list(readers.librispeech(tmp_path, "dev-clean"))
    touch(chapter / "1-2-0001.flac", chapter / "1-2-0002.flac")
    with pytest.raises(UserError, match="1-2.trans.txt: has no transcript of '1-2-0002'"):
        list(readers.librispeech(tmp_path, "dev-clean"))
    with pytest.raises(UserError, match="no such folder; did you mean 'dev-clean'"):
        list(readers.librispeech(tmp_path, "dev-claen"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected the LibriSpeech layout"):
        list(readers.librispeech(tmp_path, "empty"))


def test_common_voice(tmp_path: Path) -> None:
    touch(tmp_path / "clips" / "a.mp3")
    write(tmp_path / "dev.tsv", "client_id\tpath\tsentence\tage", 'ann\ta.mp3\tShe said "go.\t')
    row = {"id": "a", "text": 'She said "go.', "path": tmp_path / "clips" / "a.mp3", "voice": "ann"}
    assert list(readers.common_voice(tmp_path, "dev")) == [row]
    write(tmp_path / "dev.tsv", "client_id\tpath\tsentence", "ann\tb.mp3\tNo.")
    with pytest.raises(UserError, match=r"dev.tsv, line 2: the recording .*b.mp3 does not exist"):
        list(readers.common_voice(tmp_path, "dev"))
    write(tmp_path / "dev.tsv", "client_id\tpath\ttext", "ann\ta.mp3\tNo.")
    with pytest.raises(UserError, match="dev.tsv, line 1: has no column 'sentence'; its columns are client_id, path"):
        list(readers.common_voice(tmp_path, "dev"))
    write(tmp_path / "dev.tsv", "client_id\tpath\tsentence", "", "ann\ta.mp3")
    with pytest.raises(UserError, match="dev.tsv, line 3: has 2 columns, expected 3"):
        list(readers.common_voice(tmp_path, "dev"))


def test_covost(tmp_path: Path) -> None:
    touch(tmp_path / "fr" / "clips" / "a.mp3")
    write(tmp_path / "covost_v2.fr_en.dev.tsv", "path\tsentence\ttranslation\tclient_id", "a.mp3\tOui.\tYes.\tann")
    (row,) = readers.covost(tmp_path, "fr", "en", "dev")
    assert (row["id"], row["text"], row["translation"], row["voice"]) == ("a", "Oui.", "Yes.", "ann")
    with pytest.raises(UserError, match="covost_v2.fr_de.dev.tsv: there is no such file"):
        list(readers.covost(tmp_path, "fr", "de", "dev"))


MNLI_HEADER = "index\tpromptID\tpairID\tgenre\ts1b\ts2b\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label"
STS_HEADER = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"


@pytest.mark.parametrize(
    ("task", "split", "lines", "row"),
    [
        ("SST-2", "dev", ["sentence\tlabel", '"quoted \t1'], {"text": '"quoted ', "label": "positive"}),
        ("CoLA", "train", ["gj04\t0\t*\tHim likes us."], {"text": "Him likes us.", "label": "unacceptable"}),
        (
            "MRPC", "dev", ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t7\t8\t"A" is b.\tA is "b.'],
            {"text": '"A" is b.', "text_b": 'A is "b.', "label": "paraphrase"},
        ),
        (
            "RTE", "dev", ["index\tsentence1\tsentence2\tlabel", "0\tA.\tB.\tnot_entailment"],
            {"text": "A.", "text_b": "B.", "label": "not_entailment"},
        ),
        (
            "QNLI", "dev", ["index\tquestion\tsentence\tlabel", "0\tA?\tB.\tentailment"],
            {"text": "A?", "text_b": "B.", "label": "entailment"},
        ),
        (
            "MNLI", "dev_matched", [MNLI_HEADER, "0\t1\t1n\tx\ta\tb\tc\td\tA.\tB.\tneutral\tneutral"],
            {"text": "A.", "text_b": "B.", "label": "neutral"},
        ),
        (
            "QQP", "dev", ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\tA?\tB?\t0"],
            {"text": "A?", "text_b": "B?", "label": "different"},
        ),
        (
            "STS-B", "dev", [STS_HEADER, "0\tg\tf\t2012\t1\tn\tn\tA.\tB.\t3.750"],
            {"text": "A.", "text_b": "B.", "label": 3.75},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_glue(tmp_path: Path, task: str, split: str, lines: list[str], row: dict, end: str) -> None:
    write(tmp_path / task / f"{split}.tsv", *lines, end=end)
    assert list(readers.glue(tmp_path, task, split)) == [{"id": f"{task}-{split}-{len(lines)}", **row}]


def test_glue_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no GLUE task 'SST2': did you mean 'SST-2'"):
        list(readers.glue(tmp_path, "SST2", "dev"))
    write(tmp_path / "RTE" / "dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\tA\tB\tmaybe")
    with pytest.raises(UserError, match="line 2: the label is 'maybe', expected one of entailment, not_entailment"):
        list(readers.glue(tmp_path, "RTE", "dev"))
    write(tmp_path / "CoLA" / "dev.tsv", "gj04\t1\tone column too few")
    with pytest.raises(UserError, match="line 1: has 3 columns, expected 4"):
        list(readers.glue(tmp_path, "CoLA", "dev"))


def test_broken_rows_of_qqp_are_skipped_with_a_warning(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    write(tmp_path / "QQP" / "train.tsv", header, "1\t2\t3\tcut", "1\t2\t3\tA?\tB?\t1")
    with pytest.warns(UserWarning, match="skipped 1 rows with too few columns, first at line 2"):
        assert [row["text"] for row in readers.glue(tmp_path, "QQP", "train")] == ["A?"]


def test_text_lines(tmp_path: Path) -> None:
    expected = [{"id": "1", "text": "first"}, {"id": "3", "text": "with\x85and\u2028inside"}]
    plain = write(tmp_path / "a.txt", "first", "  ", "with\x85and\u2028inside ")
    assert list(readers.text_lines(plain)) == expected
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(readers.text_lines(packed)) == expected
    plain.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(UserError, match=r"a.txt, line 2: is not UTF-8 \(byte 3 of the line\)"):
        list(readers.text_lines(plain))


def test_normalization(tmp_path: Path) -> None:
    table = write(tmp_path / "dev.tsv", "written\tspoken", '"$5"\tfive "dollars')
    assert list(readers.normalization_tsv(table)) == [{"id": "2", "written": '"$5"', "spoken": 'five "dollars'}]
    with pytest.raises(UserError, match="line 1: has no column 'written'"):
        list(readers.normalization_tsv(write(tmp_path / "empty.tsv")))


def test_real_corpora_are_as_documented(real_data: Path) -> None:
    subsets = {"train-clean": (168, 168), "train-lj": (320, 1), "dev-clean": (33, 33)}
    subsets |= {"test-clean": (30, 30), "test-other": (50, 5)}
    for subset, (utterances, voices) in subsets.items():
        rows = list(readers.librispeech(real_data / "LibriSpeech", subset))
        assert (len(rows), len({row["voice"] for row in rows})) == (utterances, voices)
        assert all(row["text"] for row in rows)
    glue = {"SST-2": (67_349, 872), "RTE": (2_490, 277), "CoLA": (8_551, 527), "MRPC": (3_668, 408)}
    for task, counts in glue.items():
        found = [list(readers.glue(real_data / "glue", task, split)) for split in ("train", "dev")]
        assert tuple(map(len, found)) == counts
        assert all({row["label"] for row in rows} == set(readers.GLUE[task].classes.values()) for rows in found)
    digits = [list(readers.common_voice(real_data / "common_voice_digits/en", s)) for s in ("train", "dev", "test")]
    assert list(map(len, digits)) == [1500, 500, 500]
    assert len({row["text"] for row in digits[0]}) == 10
    covost = [list(readers.covost(real_data / "covost_qu_es", "qu", "es", split)) for split in ("train", "dev")]
    assert list(map(len, covost)) == [60, 12]
    assert len(list(readers.text_lines(real_data / "text/librispeech_lm.txt"))) == 19_175
    folder = real_data / "text_normalization"
    pairs = [list(readers.normalization_tsv(folder / f"{split}.tsv")) for split in ("train", "dev", "test")]
    assert list(map(len, pairs)) == [6_677, 400, 600]
