"""Splits of real layouts: what they hold, what is left out, what is refused, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from real_files import Made, Run, ids, small, tsv, utterances

from ablate.data import audio
from ablate.data.columns import column
from ablate.data.real.corpus import RealConfig
from ablate.data.real.layouts import registry
from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.store import identity
from encoders.frontend import log_mel, normalise

ROWS = {
    "speech.train": 3,
    "speech.dev": 1,  # the long one stays: pre-training crops it
    "pairs.train": 2,
    "pairs.dev": 1,
    "asr.train": 2,
    "asr.dev": 1,
    "asr.test": 1,
    "asr.test_unseen": 1,  # test is whole, long as it is
    "retrieval.dev": 1,
    "retrieval.test": 1,
    "text.train": 45,
    "text.dev": 5,
    "sentiment.train": 14,
    "sentiment.dev": 4,
    "sentiment.test": 1,  # one of 15 drawn is in test
    "sentence_pair.train": 15,
    "sentence_pair.dev": 2,
    "sentence_pair.test": 1,
    "normalization.train": 1,
    "normalization.dev": 1,
    "normalization.test": 1,
}


def test_tables(root: Path, tmp_path: Path) -> None:
    made = Made(small(root, labels=15), tmp_path / "out")
    assert {f"{table}.{split}" for table, splits in made.config.tables().items() for split in splits} == set(ROWS)
    assert made.rows(*ROWS) == ROWS
    planned = {name: made.config.split(*name.split(".")).config.rows for name in ROWS}
    assert planned == ROWS
    left_out = {name: made.result(name)["left_out"] for name in ROWS if made.result(name)["left_out"]}
    assert left_out == {
        "speech.train": {"shorter than 0.1 s": 1},
        "asr.train": {"longer than 2 s": 1, "shorter than 0.1 s": 1},
        "text.train": {"the same text is in asr.test": 1, "the same text is in speech.dev": 1},
        "sentiment.train": {"the same text is in test": 1},
        "normalization.train": {"the same text is in test": 1},
    }
    assert made.runs["text.train"].reported[-1] == (44, 45)
    (row,) = made.table("normalization.train").rows
    assert row == {"id": "train-2", "written": "$1", "spoken": "one dollar"}
    (row,) = made.table("sentence_pair.test").rows
    assert row == {"id": "RTE-dev-2", "text": "a x", "text_b": "c", "label": "not_entailment"}
    (row,) = made.table("asr.dev").rows
    spoken = {"voice": "3", "document": "3-1", "seconds": 0.98, "frames": 98}
    assert row == {"id": "3-1-0000", "text": "dev text", **spoken}
    assert made.result("asr.test")["hours"] == round(2.98 / 3600, 4)
    assert all("text" not in row for row in made.table("speech.train").rows)  # nothing reads it


def test_recordings_are_decoded_once(root: Path, tmp_path: Path) -> None:
    """Speech, pairs and recognition take the same; a file that is there twice is one recording, and a click is none."""
    folder = root / "LibriSpeech/train-clean/1/1"
    (folder / "1-1-0002.flac").write_bytes((folder / "1-1-0000.flac").read_bytes())
    with open(folder / "1-1.trans.txt", "a") as file:
        file.write("1-1-0002 ONE AGAIN\n")
    made = Made(small(root), tmp_path / "out")
    assert made.rows("speech.train", "pairs.train", "asr.train") == {
        "speech.train": 4,
        "pairs.train": 3,
        "asr.train": 3,
    }
    assert len(made.decoded) == 2  # sources
    assert made.results["LibriSpeech/train-clean"] == {"recordings": 2, "hours": round(1.96 / 3600, 4), "skipped": []}
    assert made.results["LibriSpeech/train-lj"]["recordings"] == 1
    first = made.decoded[made.config.split("pairs", "train").recordings[0].recordings]
    assert first.reported[-1] == (2, 2) and column(first.files / "keys.u1", "u1").shape == (32,)
    split = made.config.split("speech", "train")  # which says beforehand what they take
    there = [(made.decoded[one.recordings].files / "mel.f16").stat().st_size for one in split.recordings]
    assert list(split.disk) == there and len(there) == 2
    table = made.table("pairs.train")
    at = {row["text"]: i for i, row in enumerate(table.rows)}
    np.testing.assert_array_equal(table.mel(at["one two"]), table.mel(at["one again"]))


def test_rows_lie_in_the_order_of_their_digests_however_they_are_listed(root: Path, tmp_path: Path) -> None:
    before = Made(small(root), tmp_path / "before").table("text.train").rows[:]
    path = root / "text/librispeech_lm.txt"
    tsv(path, *reversed(path.read_text().splitlines()))
    after = Made(small(root), tmp_path / "after").table("text.train").rows[:]
    assert [row["text"] for row in before] == [
        row["text"] for row in after
    ] and before != after  # the ids say which line


def test_train_and_dev_hold_no_text_of_test(root: Path, tmp_path: Path) -> None:
    made = Made(small(root), tmp_path / "out")
    rows = [row for split in ("train", "dev") for row in made.table(f"sentiment.{split}").rows]
    assert sorted(row["text"] for row in rows) == sorted(f"film {n}" for n in range(40))
    left_out = [n for split in ("train", "dev") for n in made.result(f"sentiment.{split}")["left_out"].values()]
    assert left_out == [1]


def test_frames_are_those_of_the_recording(root: Path, tmp_path: Path) -> None:
    table = Made(small(root), tmp_path / "out").table("speech.train")
    wave, _ = soundfile.read(root / "LibriSpeech/train-lj/2/1/2-1-0000.flac", dtype="float32")
    wave = torch.from_numpy(wave - wave.mean(dtype=np.float64).astype(np.float32))
    expected = normalise(log_mel(wave)).numpy().astype(np.float16)
    np.testing.assert_array_equal(table.mel([row["id"] for row in table.rows].index("2-1-0000")), expected)


def test_writing_twice_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        Made(small(root), folder).rows(*ROWS)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) > 60
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)


@pytest.mark.parametrize("stage", ["split", "recordings", "text"])
def test_data_that_changes_after_planning_is_refused(root: Path, tmp_path: Path, stage: str) -> None:
    made = Made(small(root), tmp_path / "out")
    recordings = made.recordings("asr.train") if stage == "split" else []
    planned = {name: made.config.split(*name.split(".")) for name in ("asr.train", "text.train")}
    utterances(root, "train-clean", 9, "MORE")
    tsv(root / "text/librispeech_lm.txt", "one line")
    with pytest.raises(UserError, match="changed after this sweep was planned; run the command again"):
        if stage == "recordings":
            planned["asr.train"].recordings[0].write(Run(tmp_path / "run"))
        else:
            planned["asr.train" if stage == "split" else "text.train"].config.write(Run(tmp_path / "run"), recordings)


def test_a_stage_is_restored_from_plain_values(root: Path, tmp_path: Path) -> None:
    split = small(root, tests={"asr.test_far": "LibriSpeech/test-other"}).resolved().split("asr", "test_far")
    for config in (split.config, *split.recordings):
        how = json.loads(json.dumps({name: getattr(config, name) for name in config.how}))
        fields = {name: getattr(config, name) for name in identity.canonical(config) if name not in ("type", "recipe")}
        assert type(config)(**fields, **how) == config
    folder = Run(tmp_path / "recordings", "r")
    assert split.recordings[0].write(folder)["recordings"] == 1
    assert split.config.write(Run(tmp_path / "table"), [folder])["rows"] == 1


def test_faults_before_anything_runs(root: Path) -> None:
    config = RealConfig().resolved()  # settings can be looked at without data
    assert "qu_es" in config.directions and set(config.tables()["digits"]) == {"train", "dev", "test"}
    with pytest.raises(UserError, match="data.root is not set"):
        config.split("asr", "train")
    with pytest.raises(UserError, match="which is not a folder"):
        RealConfig(root=str(root / "nowhere")).resolved().need([("asr", "train")])
    missing = r"lacks data.translation \(covost_qu_es/covost_v2.qu_es.train.tsv\).*data.digits \(common_voice_digits"
    config = RealConfig(root=str(root)).resolved()
    with pytest.raises(UserError, match=missing):
        config.need([("asr", "train"), ("translation", "train"), ("digits", "dev")])
    config.need([("asr", "train"), ("sentiment", "dev")])  # nothing else is looked for
    assert not config.missing("asr", "train") and len(config.missing("digits", "train")) == 2
    with pytest.raises(UserError, match="data.glue has 'sst2' twice"):
        small(root, glue=("glue/SST-2", f"{root}/glue/SST-2")).resolved()
    with pytest.raises(UserError, match="data.directions has 'fr_en' twice"):
        small(root, directions=("fr_en", "fr_en")).resolved()
    with pytest.raises(UserError, match="text: is a folder, expected a file"):
        small(root, text=("text",)).resolved().split("text", "train")
    with pytest.raises(UserError, match="data.sentiment has 'glue/RTE', whose last part names no fitting GLUE task"):
        small(root, sentiment="glue/RTE").resolved()


def test_faults_in_the_data(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No row of asr.train can be used \(.*longer than 0.5 s"):
        small(root, max_seconds=0.5).resolved().split("asr", "train")
    path = root / "LibriSpeech/test-other/5/1/5-1-0000.flac"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # its header is good
    with pytest.raises(UserError, match="5-1-0000.flac: (cannot be read as audio|is cut off)"):
        Made(small(root), tmp_path / "out").result("asr.test_unseen")
    path.write_bytes(b"no audio")
    with pytest.raises(UserError, match="5-1-0000.flac: cannot be read as audio"):
        small(root).resolved().split("asr", "test_unseen")
    path.write_bytes(whole[:21] + bytes([whole[21] & 0xF0]) + bytes(20) + whole[42:])  # from a pipe: no length, no MD5
    with pytest.raises(UserError, match="5-1-0000.flac: its header does not say how long it is"):
        small(root).resolved().split("asr", "test_unseen")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tasks=[mnli]"], "tasks.mnli: reads 'mnli.train', which the data do not have"),
        (["tasks=[normalization]", "data.normalization=''"], "tasks.normalization: reads 'normalization.train'"),
        (
            ["tasks=[asr]", "data.test_unseen=''"],
            r"tasks.asr.splits: the data have no 'asr.test_unseen'; write splits: \[test\]",
        ),
        (["tasks=[asr]", "data.dev=''"], "tasks.asr: reads 'asr.dev'"),
        (["tasks=[asr]", "base.tasks.asr.steps=0"], "tasks.asr.steps: found 0, expected at least one update"),
        (["tasks=[retrieval]", "data.asr=[]"], "tasks.retrieval: reads 'retrieval.dev'"),
        (
            ["tasks=[sentiment]", "data.text=[]"],
            "objective 'masked_text' reads 'text.train', which the data do not have",
        ),
    ],
)
def test_what_cannot_be_is_named_before_anything_runs(
    root: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    """It used to be found by the stage that reads it: after pre-training, or after fine-tuning."""
    sweep = {
        "name": "x",
        "data": {"preset": "real", "root": str(root), "translation": "", "digits": ""},
        "base": {"pretrain": {"objectives": {"masked_text": 1.0}, "steps": 1, "decay": 0}},
        "rows": {"only": {}},
    }
    (tmp_path / "x.yaml").write_text(json.dumps(sweep))
    with pytest.raises(UserError, match=message):
        plan_file(tmp_path / "x.yaml", changes)
    plan_file(tmp_path / "x.yaml", ["tasks=[asr,retrieval,sentiment,normalization]"])
    plan_file(
        tmp_path / "x.yaml", ["tasks=[sentiment]", "data.text=[]", "base.pretrain.steps=0"]
    )  # nothing is trained on it


GLUE = {  # header and one row each; {n} differs
    "CoLA": (None, "gj04\t{b}\t*\tsentence {n}"),
    "MRPC": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{b}\t1\t2\tfirst {n}\tsecond"),
    "QNLI": ("index\tquestion\tsentence\tlabel", "{n}\twhat {n}\tthis\tentailment"),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "{n}\t1\t2\twhy {n}\tso\t{b}"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "{n}\tg\tf\ty\to\ts\ts\tone {n}\ttwo\t{b}.5",
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\ts1b\ts2b\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label",
        "{n}\tp\tp\tg\tb\tb\tp\tp\tone {n}\ttwo\tneutral\tneutral",
    ),
}


def test_all_of_glue(root: Path, tmp_path: Path) -> None:
    for task, (header, row) in GLUE.items():
        for number, split in enumerate(("train", *(("dev_matched", "dev_mismatched") if task == "MNLI" else ("dev",)))):
            # MNLI's second test set begins with a row of the first.
            rows = [row.format(n=100 * (1 if (number, n) == (2, 0) else number) + n, b=n % 2) for n in range(20)]
            tsv(root / "glue" / task / f"{split}.tsv", *filter(None, [header]), *rows)
    made = Made(small(root, glue=tuple(f"glue/{task}" for task in (*GLUE, "SST-2", "RTE"))), tmp_path / "out")
    for table in ("cola", "mrpc", "qnli", "qqp", "stsb", "mnli"):
        names = f"{table}.train", f"{table}.dev", f"{table}.test"
        assert made.rows(*names) == dict(zip(names, (18, 2, 20)))
    others = {"mnli.test_mismatched": 20, "sst2.test": 1, "rte.test": 1}
    assert made.rows(*others) == others
    assert {"id": "STS-B-dev-3", "text": "one 101", "text_b": "two", "label": 1.5} in made.table("stsb.test").rows[:]


@pytest.mark.parametrize("normalisation", ["bins", "speaker"])
def test_recordings_that_are_read_when_needed_are_the_same_corpus(
    root: Path, tmp_path: Path, normalisation: str
) -> None:
    stored, read = (small(root, features=features, normalisation=normalisation) for features in ("stored", "read"))
    names = ("speech.dev", "asr.dev", "retrieval.dev")
    assert ids(stored, *names) == ids(read, *names)
    one, other = Made(stored, tmp_path / "stored"), Made(read, tmp_path / "read")
    assert one.rows(*names) == other.rows(*names)
    assert not list((tmp_path / "read").rglob("mel.f16")) and list((tmp_path / "stored").rglob("mel.f16"))
    assert read.resolved().split("asr", "dev").disk == (0.0,) < stored.resolved().split("asr", "dev").disk
    (places,) = (tmp_path / "read").rglob("recordings.jsonl")
    assert json.loads(places.read_text()) == {"path": "LibriSpeech/dev-clean/3/1/3-1-0000.flac"}
    for name in names:
        first, second = one.table(name), other.table(name)
        assert first.rows[0] == second.rows[0]
        assert (first.mel(0) == second.mel(0)).all() and first.centred == second.centred == (normalisation == "bins")


def test_a_speaker_s_recordings_have_mean_0_together(root: Path, tmp_path: Path) -> None:
    hum = 0.1 * np.sin(np.arange(24_000) / 5)  # the second recording of voice 1
    soundfile.write(root / "LibriSpeech/train-clean/1/1/1-1-0001.flac", hum, 16_000)
    table = Made(small(root, normalisation="speaker"), tmp_path / "out").table("pairs.train")
    assert [row["voice"] for row in table.rows] == ["1", "1"]
    mels = [table.mel(i).astype(np.float32) for i in (0, 1)]
    assert np.abs(np.concatenate(mels).mean(0)).max() < 2e-3  # what float16 loses
    assert np.abs(mels[0].mean(0)).max() > 0.1, "a recording by itself is not centred"


def test_several_directions_of_translation(root: Path, tmp_path: Path) -> None:
    for source, target in (("fr", "en"), ("de", "en")):
        clips = root / "covost" / source / "clips"
        clips.mkdir(parents=True)
        for n in range(27):
            wave = np.random.default_rng([ord(source[0]), n]).normal(size=8000) * 0.1
            soundfile.write(clips / f"{source}{n}.wav", wave, 8000)
        splits = {"train": range(20), "dev": range(20, 24), **({"test": range(24, 27)} if source == "fr" else {})}
        for split, numbers in splits.items():
            rows = [f"{source}{n}.wav\tsaid {split} {n}\tTold {n}\tann" for n in numbers]
            tsv(
                root / "covost" / f"covost_v2.{source}_{target}.{split}.tsv",
                "path\tsentence\ttranslation\tclient_id",
                *rows,
            )
    made = Made(small(root, translation="covost", directions=("fr_en", "de_en")), tmp_path / "out")
    sizes = {split: made.result(f"translation.{split}")["rows"] for split in made.config.tables()["translation"]}
    # German has no test file: its dev is tested, and dev is held out of its train.
    assert sizes == {"train": 20 + 18, "dev": 4 + 2, "test": 3 + 4, "test_fr_en": 3, "test_de_en": 4}
    directions = [row["direction"] for row in made.table("translation.test").rows]
    assert sorted(directions) == ["de_en"] * 4 + ["fr_en"] * 3
    tsv(root / "covost/covost_v2.fr_en.other.tsv", "path\tsentence\ttranslation\tclient_id", "fr1.wav\tone\ttwo\tann")
    tests = {"translation.test_other": "covost/covost_v2.fr_en.other.tsv"}
    made = Made(small(root, translation="covost", directions=("fr_en",), tests=tests), tmp_path / "more")
    (row,) = made.table("translation.test_other").rows
    assert (row["direction"], row["text"], row["translation"]) == ("fr_en", "one", "two")
    tsv(
        root / "covost/covost_v2.fr_en.other.tsv", "path\tsentence\ttranslation\tclient_id", *["fr1.wav\ta\tb\tann"] * 2
    )
    config = small(root, translation="covost", directions=("fr_en",), tests=tests)
    twice = (
        r"covost \(.*covost.py, line \d+\) reads two rows of .*, fr_en other with the same id, 'fr1': row 1 .* row 2"
    )
    with pytest.raises(UserError, match=twice):
        config.resolved().split("translation", "test_other")
    tests = {"translation.test_x": "glue/RTE/dev.tsv"}
    with pytest.raises(UserError, match="expected a table called covost_v2.SOURCE_TARGET.NAME.tsv"):
        small(root, translation="covost", directions=("fr_en",), tests=tests).resolved().tables()


def damaged(root: Path) -> None:
    """A silent and a cut-off recording, a transcript without recording, and a row of a wrong width."""
    folder = root / "LibriSpeech/train-clean"
    utterances(root, "train-clean", 6, "SILENT", "CUT OFF", "GOOD")
    soundfile.write(folder / "6/1/6-1-0000.flac", np.zeros(16_000), 16_000)
    whole = (folder / "6/1/6-1-0001.flac").read_bytes()
    (folder / "6/1/6-1-0001.flac").write_bytes(whole[: len(whole) // 2])
    with open(folder / "6/1/6-1.trans.txt", "a") as file:
        file.write("6-1-0009 NO AUDIO\n")
    with open(root / "glue/SST-2/train.tsv", "a") as file:
        file.write("no label\n")


def test_faults_are_skipped_counted_and_not_in_the_split(root: Path, tmp_path: Path) -> None:
    names = ("asr.train", "asr.dev", "sentiment.train")
    good = ids(small(root), *names)
    assert ids(small(root, on_error="skip"), *names) == good  # nothing to skip: the same data
    damaged(root)
    with pytest.raises(UserError, match="6-1-0009' has a transcript but no recording"):
        small(root).resolved().split("asr", "train")
    with pytest.raises(UserError, match="SST-2/train.tsv, line 43: has 1 columns.* leave such out: data.on_error=skip"):
        small(root).resolved().split("sentiment", "train")
    with pytest.raises(UserError, match="More than data.most_skipped=2 rows"):
        small(root, on_error="skip", most_skipped=2).resolved().split("asr", "train")
    made = Made(small(root, on_error="skip"), tmp_path / "out")
    first = "LibriSpeech/train-clean/6/1/6-1.trans.txt, line 4: '6-1-0009'"
    note, *_ = made.config.split("asr", "train").notes
    assert note.startswith(f"data: 3 rows or recordings are skipped in LibriSpeech/train-clean, the first: {first}"), (
        note
    )
    assert {row["id"] for row in made.table("asr.train").rows} == {"1-1-0000", "1-1-0001", "6-1-0002"}
    expected = [
        "LibriSpeech/train-clean/6/1/6-1-0000.flac: holds only silence",
        "LibriSpeech/train-clean/6/1/6-1-0001.flac: ",
        first,
    ]
    skipped = made.results["LibriSpeech/train-clean"]["skipped"]
    assert all(line.startswith(start) for line, start in zip(skipped, expected, strict=True)), skipped
    assert len(made.result("asr.train")["skipped"]) == 3
    for _ in range(2):  # a table that was read before has its faults still
        config = small(root, on_error="skip").resolved()
        assert ids(config, "sentiment.train") == {"sentiment.train": good["sentiment.train"]}
        (note, *_) = config.split("sentiment", "train").notes
        assert "skipped in sentiment train, the first: glue/SST-2/train.tsv, line 43: has 1 columns" in note
    assert made.result("sentiment.train")["skipped"] == ["glue/SST-2/train.tsv, line 43: has 1 columns, expected 2."]


def test_a_recording_is_scanned_once_by_what_it_holds(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(root)
    heard: list[str] = []
    frames = audio.frames
    monkeypatch.setattr(audio, "frames", lambda recording: heard.append(Path(recording.file).name) or frames(recording))
    config = small(root, on_error="skip")
    before = ids(config, "asr.train")
    assert sorted(heard) == ["1-1-0000.flac", "1-1-0001.flac", "2-1-0000.flac", *(f"6-1-000{n}.flac" for n in range(3))]
    heard.clear()
    root = root.rename(tmp_path / "elsewhere")
    assert ids(small(root, on_error="skip"), "asr.train") == before and heard == []
    utterances(root, "train-clean", 9, "MORE")
    assert ids(small(root, on_error="skip"), "asr.train") != before and heard == ["9-1-0000.flac"]
    heard.clear()
    path = root / "LibriSpeech/train-clean/6/1/6-1-0001.flac"  # the one that was cut off is whole again
    soundfile.write(path, np.random.default_rng(6).normal(size=16_000) * 0.1, 16_000)
    assert ids(small(root, on_error="skip"), "asr.train")["asr.train"][0]["rows"] == 5 and heard == ["6-1-0001.flac"]


@pytest.mark.parametrize("speaker", [0, 9])  # the copy is read before the cut one, or after it
@pytest.mark.parametrize("end", ["cut", "zeros"])
def test_a_broken_flac_does_not_take_its_whole_copy_with_it(root: Path, tmp_path: Path, speaker: int, end: str) -> None:
    """Both have one header, and so one digest of what they hold."""
    folder = root / "LibriSpeech/train-clean"
    utterances(root, "train-clean", 7, "CUT OFF")
    utterances(root, "train-clean", speaker, "WHOLE", seed=7)
    path, copy = folder / "7/1/7-1-0000.flac", folder / f"{speaker}/1/{speaker}-1-0000.flac"
    whole = path.read_bytes()
    assert copy.read_bytes() == whole
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2 if end == "zeros" else 0))
    made = Made(small(root, on_error="skip"), tmp_path / "out")
    rows = made.table("asr.train").rows
    assert sorted(row["id"] for row in rows) == sorted(["1-1-0000", "1-1-0001", f"{speaker}-1-0000"])
    (fault,) = made.result("asr.train")["skipped"]
    assert fault.startswith("LibriSpeech/train-clean/7/1/7-1-0000.flac: ")


def test_a_recording_that_is_spoilt_after_its_scan_is_found_by_planning_again(root: Path, tmp_path: Path) -> None:
    made = Made(small(root, on_error="skip"), tmp_path / "out")
    assert made.config.split("asr", "train").config.rows == 2
    path = root / "LibriSpeech/train-clean/1/1/1-1-0000.flac"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) - 100))  # the same header and size
    with pytest.raises(UserError, match="changed after this sweep was planned"):
        made.result("asr.train")
    assert Made(small(root, on_error="skip"), tmp_path / "again").rows("asr.train") == {"asr.train": 1}


def test_without_a_cache_that_can_be_written_planning_says_so_and_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    expected = ids(small(root), "asr.train", "text.train")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "file" / "below"))
    assert ids(small(root), "asr.train", "text.train") == expected
    assert "set ABLATE_CACHE to a writable folder" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/known.sqlite3").write_text("no database at all, but long enough to be taken for one " * 20)
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "bad"))
    with pytest.raises(UserError, match="known.sqlite3: the cache is damaged .*; delete this file"):
        ids(small(root), "asr.train")


def test_real_corpora(real_data: Path, tmp_path: Path) -> None:
    config = RealConfig(
        root=str(real_data),
        speech=("LibriSpeech/train-clean",),
        pairs=("LibriSpeech/train-clean",),
        asr=("LibriSpeech/train-clean",),
        digits="",
        labels=500,
        text=("text/wikitext2_valid.txt",),
    )
    made = Made(config, tmp_path / "out")
    asr = {"asr.train": 168, "asr.dev": 33, "asr.test": 30, "asr.test_unseen": 50}
    assert made.rows(*asr) == asr and made.config.tables()["asr"] == {name.partition(".")[2] for name in asr}
    assert made.rows("translation.test", "translation.dev") == {"translation.test": 12, "translation.dev": 6}
    assert made.rows("sentiment.test", "sentence_pair.test") == {"sentiment.test": 872, "sentence_pair.test": 277}
    assert made.result("asr.train")["left_out"] == {} and made.result("asr.train")["shared"] == {}
    for row in made.table("asr.test").rows:
        assert row["text"] == row["text"].lower() and abs(row["seconds"] - row["frames"] / 100) < 1e-9
    known = {row["id"] for row in registry.rows(real_data / "LibriSpeech/test-clean")}
    assert {row["id"] for row in made.table("retrieval.test").rows} == known
    assert len(made.decoded) == 6  # train, dev, two of test, and two of translation
