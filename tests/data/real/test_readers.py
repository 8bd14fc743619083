"""Every reader on small hand-written corpora, with their faults, and on the real ones where they are."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ablate.data.lines import Faults
from ablate.data.real.layouts import common_voice, covost, glue, normalization, registry
from ablate.errors import UserError


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


MNLI_HEADER = "index\tpromptID\tpairID\tgenre\ts1b\ts2b\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label"
STS_HEADER = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"


@pytest.mark.parametrize(
    ("task", "split", "lines", "row"),
    [
        ("SST-2", "dev", ["sentence\tlabel", '"quoted \t1'], {"text": '"quoted ', "label": "positive"}),
        ("CoLA", "train", ["gj04\t0\t*\tHim likes us."], {"text": "Him likes us.", "label": "unacceptable"}),
        (
            "MRPC",
            "dev",
            ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t7\t8\t"A" is b.\tA is "b.'],
            {"text": '"A" is b.', "text_b": 'A is "b.', "label": "paraphrase"},
        ),
        (
            "RTE",
            "dev",
            ["index\tsentence1\tsentence2\tlabel", "0\tA.\tB.\tnot_entailment"],
            {"text": "A.", "text_b": "B.", "label": "not_entailment"},
        ),
        (
            "QNLI",
            "dev",
            ["index\tquestion\tsentence\tlabel", "0\tA?\tB.\tentailment"],
            {"text": "A?", "text_b": "B.", "label": "entailment"},
        ),
        (
            "MNLI",
            "dev_matched",
            [MNLI_HEADER, "0\t1\t1n\tx\ta\tb\tc\td\tA.\tB.\tneutral\tneutral"],
            {"text": "A.", "text_b": "B.", "label": "neutral"},
        ),
        (
            "QQP",
            "dev",
            ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\tA?\tB?\t0"],
            {"text": "A?", "text_b": "B?", "label": "different"},
        ),
        (
            "STS-B",
            "dev",
            [STS_HEADER, "0\tg\tf\t2012\t1\tn\tn\tA.\tB.\t3.750"],
            {"text": "A.", "text_b": "B.", "label": 3.75},
        ),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_glue(tmp_path: Path, task: str, split: str, lines: list[str], row: dict, end: str) -> None:
    write(tmp_path / task / f"{split}.tsv", *lines, end=end)
    assert list(glue.glue(tmp_path, task, split)) == [{"id": f"{task}-{split}-{len(lines)}", **row}]


def test_glue_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no GLUE task 'SST2': did you mean 'SST-2'"):
        list(glue.glue(tmp_path, "SST2", "dev"))
    write(tmp_path / "RTE" / "dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\tA\tB\tmaybe")
    with pytest.raises(UserError, match="line 2: the label is 'maybe', expected one of entailment, not_entailment"):
        list(glue.glue(tmp_path, "RTE", "dev"))
    write(tmp_path / "STS-B" / "dev.tsv", STS_HEADER, "0\tg\tf\t2012\t1\tn\tn\tA.\tB.\tnan")
    with pytest.raises(UserError, match="line 2: the label is 'nan', expected a number"):
        list(glue.glue(tmp_path, "STS-B", "dev"))
    write(
        tmp_path / "SST-2" / "dev.tsv", "sentence\tlabel", "a tab\t1\twithin\t0"
    )  # its label is not where it should be
    with pytest.raises(UserError, match="line 2: has 4 columns, expected 2"):
        list(glue.glue(tmp_path, "SST-2", "dev"))
    write(tmp_path / "CoLA" / "dev.tsv", "gj04\t1\tone column too few")
    with pytest.raises(UserError, match="line 1: has 3 columns, expected 4"):
        list(glue.glue(tmp_path, "CoLA", "dev"))


def test_rows_that_qqp_is_known_to_lack_columns_in_are_counted(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    write(tmp_path / "QQP" / "train.tsv", header, "1\t2\t3\tcut", "1\t2\t3\tA?\tB?\t1")
    faults = Faults(root=tmp_path)
    assert [row["text"] for row in glue.glue(tmp_path, "QQP", "train", faults)] == ["A?"]
    assert faults.known == {"QQP/train.tsv: too few columns": 1} and not faults.skipped


def test_faults_are_skipped_and_listed_up_to_a_limit(tmp_path: Path) -> None:
    table = tmp_path / "RTE" / "dev.tsv"
    write(table, "index\tsentence1\tsentence2\tlabel", "0\tA\tB\tmaybe", "1\tA\tB\tentailment", "2\tA")
    with open(table, "ab") as file:
        file.write(b"3\tna\xefve\tB\tentailment\n4\tC\tD\tentailment\n")
    faults = Faults(skip=True, most=3, root=tmp_path)
    assert [row["text"] for row in glue.glue(tmp_path, "RTE", "dev", faults)] == ["A", "C"]
    assert faults.skipped == [
        "RTE/dev.tsv, line 2: the label is 'maybe', expected one of entailment, not_entailment.",
        "RTE/dev.tsv, line 4: has 2 columns, expected 4.",
        "RTE/dev.tsv, line 5: is not UTF-8 (byte 5 of the line); convert the file.",
    ]
    with pytest.raises(UserError, match="More than data.most_skipped=1 rows or recordings(?s:.*)line 2: the label"):
        list(glue.glue(tmp_path, "RTE", "dev", Faults(skip=True, most=1, root=tmp_path)))
    with pytest.raises(UserError, match="has no column 'label'"):  # nothing of the file could be read
        write(table, "index\tsentence1\tsentence2\tlable")
        list(glue.glue(tmp_path, "RTE", "dev", faults))


def test_texts(tmp_path: Path) -> None:
    expected = [{"id": "1", "text": "first"}, {"id": "3", "text": "with\x85and\u2028inside"}]
    plain = write(tmp_path / "a.txt", "first", "  ", "with\x85and\u2028inside ")
    records = write(tmp_path / "a.jsonl", '{"text": "first"}', "", '{"text": "with\\u0085and\u2028inside", "n": 1}')
    for path in (plain, records):
        assert list(registry.rows(path, layouts=registry.TEXT_LAYOUTS)) == expected
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert list(registry.rows(packed, layouts=registry.TEXT_LAYOUTS)) == expected
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UserError, match="a.jsonl.gz: cannot be unpacked"):
        list(registry.rows(packed, layouts=registry.TEXT_LAYOUTS))
    damaged = bytearray(gzip.compress(" ".join(map(str, range(9999))).encode()))
    damaged[2000:2040] = bytes(40)
    packed.write_bytes(damaged)
    with pytest.raises(UserError, match="a.jsonl.gz: cannot be unpacked"):
        list(registry.rows(packed, layouts=registry.TEXT_LAYOUTS))
    plain.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(UserError, match=r"a.txt, line 2: is not UTF-8 \(byte 3 of the line\)"):
        list(registry.rows(plain, layouts=registry.TEXT_LAYOUTS))
    write(records, '{"text": "fine"}', '{"texts": "no"}', "[1]", "{")
    faults = Faults(skip=True, most=9, root=tmp_path)
    assert len(list(registry.rows(records, faults, registry.TEXT_LAYOUTS))) == 1
    assert [message.partition(" (")[0] for message in faults.skipped] == [
        'a.jsonl, line 2: has no text in "text"; its fields are texts.',
        "a.jsonl, line 3: is a JSON list, expected an object.",
        "a.jsonl, line 4: is not JSON",
    ]


def test_normalization(tmp_path: Path) -> None:
    table = write(tmp_path / "dev.tsv", "written\tspoken", '"$5"\tfive "dollars')
    assert list(normalization.normalization(tmp_path, "dev")) == [
        {"id": "dev-2", "written": '"$5"', "spoken": 'five "dollars'}
    ]
    for column in ("class", "classes"):
        write(table, f"written\t{column}\tspoken", "on 5/5 for $5\tMONEY,DATE\tx", "so\t\tso")
        assert [row["classes"] for row in normalization.normalization(tmp_path, "dev")] == [["DATE", "MONEY"], []]
    write(table, "writen\tspoken", "a\tb")
    with pytest.raises(UserError, match="line 1: has no column 'written'"):
        list(normalization.normalization(tmp_path, "dev"))


GOOGLE = (
    "PLAIN\tOn\t<self>",
    "DATE\tMay 5, 2010\tmay fifth twenty ten",
    "PUNCT\t,\tsil",
    "MONEY\t$5\tfive dollars",
    "MONEY\t$6\tsix dollars",
    "PUNCT\t.\tsil",
    "<eos>\t<eos>",
    "PLAIN\tYes\t<self>",
)


def test_google_tokens_become_sentences(tmp_path: Path) -> None:
    first = {
        "id": "1",
        "written": "On May 5, 2010 , $5 $6 .",
        "spoken": "On may fifth twenty ten five dollars six dollars",
        "classes": ["DATE", "MONEY"],
    }
    last = {"id": "8", "written": "Yes", "spoken": "Yes", "classes": []}
    assert list(normalization.google_tokens(write(tmp_path / "a", *GOOGLE))) == [first, last]
    write(tmp_path / "train.tsv", *GOOGLE)
    assert list(normalization.normalization(tmp_path, "train")) == [first | {"id": "train-1"}, last | {"id": "train-8"}]
    faults = Faults(skip=True, most=1)
    write(tmp_path / "a", *GOOGLE[:3], "MONEY\t$5", *GOOGLE[4:])
    assert list(normalization.google_tokens(tmp_path / "a", faults)) == [last]  # half a sentence is none
    assert "a, line 4: has 2 columns, expected 3 (class, token, spoken)." in faults.skipped[0]


def test_marks_of_google_are_read_wherever_they_stand(tmp_path: Path) -> None:
    lines = (
        "ELECTRONIC\twww.a.com\tw w w sil dot a - dot com",
        "VERBATIM\t&\tand <self>",
        "PLAIN\tSil\t<self>",
        "PLAIN\t-\t<self>",
        "PLAIN\tten - one\t<self>",
        "PUNCT\t...\tsil sil",
        "DASH\t–\t-",
    )
    (row,) = normalization.google_tokens(write(tmp_path / "a", *lines))
    assert row["spoken"] == "w w w dot a dot com and & Sil ten one"
    assert row["written"] == "www.a.com & Sil - ten - one ... –" and row["classes"] == ["ELECTRONIC", "VERBATIM"]
    write(tmp_path / "dev.tsv", "written\tclass\tspoken", "so\t-\tso")
    assert [row["classes"] for row in normalization.normalization(tmp_path, "dev")] == [[]]


def test_pairs_without_an_agreed_label_are_counted(tmp_path: Path) -> None:
    write(
        tmp_path / "MNLI/train.tsv",
        "sentence1\tsentence2\tgold_label",
        "A\tB\t-",
        "C\tD\tneutral",
    )
    faults = Faults(root=tmp_path)
    assert [row["text"] for row in glue.glue(tmp_path, "MNLI", "train", faults)] == ["C"]
    assert dict(faults.known) == {"MNLI/train.tsv: rows whose annotators did not agree on a label": 1}


def test_google_files_are_split_as_their_authors_do(tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path / f"output-{number:05}-of-00100", f"PLAIN\tw{number}\t<self>", "<eos>\t<eos>")
    rows = {split: list(normalization.normalization(tmp_path, split)) for split in ("train", "dev", "test")}
    assert {split: len(examples) for split, examples in rows.items()} == {"train": 90, "dev": 5, "test": 5}
    assert rows["dev"][0] == {"id": "dev-output-00090-of-00100-1", "written": "w90", "spoken": "w90", "classes": []}


def test_real_corpora_are_as_documented(real_data: Path) -> None:
    subsets = {"train-clean": (168, 168), "train-lj": (320, 1), "dev-clean": (33, 33)}
    subsets |= {"test-clean": (30, 30), "test-other": (50, 5)}
    for subset, (utterances, voices) in subsets.items():
        rows = list(registry.rows(real_data / "LibriSpeech" / subset))
        assert (len(rows), len({row["voice"] for row in rows})) == (utterances, voices)
        assert all(row["text"] for row in rows)
    sizes = {"SST-2": (67_349, 872), "RTE": (2_490, 277), "CoLA": (8_551, 527), "MRPC": (3_668, 408)}
    for task, counts in sizes.items():
        splits = [list(glue.glue(real_data / "glue", task, split)) for split in ("train", "dev")]
        assert tuple(map(len, splits)) == counts
        assert all({row["label"] for row in rows} == set(glue.GLUE[task].classes.values()) for rows in splits)
    digits = [
        list(common_voice.common_voice(real_data / "common_voice_digits/en", s)) for s in ("train", "dev", "test")
    ]
    assert list(map(len, digits)) == [1500, 500, 500]
    assert len({row["text"] for row in digits[0]}) == 10
    translations = [list(covost.covost(real_data / "covost_qu_es", "qu", "es", split)) for split in ("train", "dev")]
    assert list(map(len, translations)) == [60, 12]
    assert len(list(registry.rows(real_data / "text/librispeech_lm.txt", layouts=registry.TEXT_LAYOUTS))) == 19_175
    folder = real_data / "text_normalization"
    pairs = [list(normalization.normalization(folder, split)) for split in ("train", "dev", "test")]
    assert list(map(len, pairs)) == [6_677, 400, 600]
