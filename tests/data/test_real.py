"""The corpus stage on real layouts: what is written, what is left out, what is refused, and what is its identity."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from ablate import identity
from ablate.data import audio, spoken
from ablate.data.real import RealConfig
from ablate.data.table import Table
from ablate.display import outcome_of
from ablate.errors import UserError
from ablate.plan import plan_file
from encoders.frontend import log_mel, normalise


class Run:
    """What a stage sees of its run folder."""

    def __init__(self, path: Path) -> None:
        self.path = self.files = path
        self.reported = []
        path.mkdir(parents=True, exist_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        (self.path / name).write_text(json.dumps(value), encoding="utf-8")

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        self.reported.append((step, steps))

    def check(self) -> None:
        pass


def utterances(root: Path, subset: str, speaker: int, *texts: str, seconds: float = 1.0) -> None:
    chapter = root / "LibriSpeech" / subset / str(speaker) / "1"
    chapter.mkdir(parents=True, exist_ok=True)
    names = [f"{speaker}-1-{number:04}" for number in range(len(texts))]
    for name in names:
        noise = np.random.default_rng(speaker).normal(size=round(16_000 * seconds)) * 0.1
        soundfile.write(chapter / f"{name}.flac", noise, 16_000)
    lines = [f"{name} {text}" for name, text in zip(names, texts)]
    (chapter / f"{speaker}-1.trans.txt").write_text("\n".join(lines) + "\n")


def tsv(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small world in the layouts of the real corpora, without translation and digits."""
    root = tmp_path / "data"
    utterances(root, "train-clean", 1, "ONE TWO", "TWO THREE")
    utterances(root, "train-lj", 2, "A LONG ONE", seconds=3.0)
    utterances(root, "train-lj", 8, "A CLICK", seconds=0.05)
    utterances(root, "dev-clean", 3, "DEV TEXT")
    utterances(root, "test-clean", 4, "TEST TEXT", seconds=3.0)
    utterances(root, "test-other", 5, "OTHER TEXT")
    tsv(root / "text" / "librispeech_lm.txt", *[f"LINE  {n}" for n in range(50)], "TEST TEXT", "DEV TEXT")
    tsv(root / "glue/SST-2/train.tsv", "sentence\tlabel", *[f"film {n}\t{n % 2}" for n in range(40)], "good film\t1")
    tsv(root / "glue/SST-2/dev.tsv", "sentence\tlabel", "Good film \t1")
    header = "index\tsentence1\tsentence2\tlabel"
    pairs = [f"{n}\tA {n}\tB\tentailment" for n in range(20)]
    tsv(root / "glue/RTE/train.tsv", header, *pairs, "20\tA x\tB\tentailment")
    tsv(root / "glue/RTE/dev.tsv", header, "0\tA x\tC\tnot_entailment")
    for split, rows in {"train": ["$1\tOne dollar", "II\ttwo"], "dev": ["III\tthree"], "test": ["II\ttwo"]}.items():
        tsv(root / "text_normalization" / f"{split}.tsv", "written\tspoken", *rows)
    return root


def small(root: Path, **fields: Any) -> RealConfig:
    return RealConfig(**{"root": str(root), "translation": "", "digits": "", "max_seconds": 2.0, **fields})


def test_tables(root: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    corpus = small(root, labels=15).resolved().prepare(run)
    assert json.loads((run.path / "corpus.json").read_text()) == corpus
    rows = {t: {s: content["rows"] for s, content in splits.items()} for t, splits in corpus["tables"].items()}
    assert rows == {
        "speech": {"train": 3, "dev": 1},  # the long one stays: pre-training crops it
        "pairs": {"train": 2, "dev": 1},
        "asr": {"train": 2, "dev": 1, "test": 1, "test_unseen": 1},  # test is whole, long as it is
        "retrieval": {"dev": 1, "test": 1},
        "text": {"train": 45, "dev": 5},
        "sentiment": {"train": 14, "dev": 4, "test": 1},  # one of 15 drawn is in test
        "sentence_pair": {"train": 15, "dev": 2, "test": 1},
        "normalization": {"train": 1, "dev": 1, "test": 1},
    }
    left_out = corpus["audit"]["left_out"]
    assert left_out["asr.train: longer than 2 s"] == left_out["asr.train: shorter than 0.1 s"] == 1
    assert left_out["text.train: the same text is in asr.test"] == 1
    assert left_out["text.train: the same text is in speech.dev"] == 1
    assert left_out["normalization.train: the same text is in test"] == 1
    assert outcome_of(corpus) == f"{sum(left_out.values())} rows left out, corpus.json says why"  # what the sweep prints
    assert corpus["audit"]["voices_in_train_and_test"] == {"asr": 0, "pairs": 0, "retrieval": 0, "speech": 0}
    steps, total = run.reported[-1]
    assert steps == total == 7  # recordings: the 120 lines of text take no time beside them
    (row,) = Table(run.path, "normalization", "train").rows
    assert row == {"id": "train-2", "written": "$1", "spoken": "one dollar"}
    (row,) = Table(run.path, "sentence_pair", "test").rows
    assert row == {"id": "RTE-dev-2", "text": "a x", "text_b": "c", "label": "not_entailment"}
    (row,) = Table(run.path, "asr", "dev").rows
    assert row == {"id": "3-1-0000", "text": "dev text", "voice": "3", "seconds": 0.98, "frames": 98}


def test_without_text_a_tokenizer_learns_from_transcripts(root: Path, tmp_path: Path) -> None:
    nothing = {"speech": (), "pairs": (), "text": (), "sentiment": "", "sentence_pair": "", "normalization": ""}
    corpus = small(root, **nothing).prepare(Run(tmp_path / "run"))
    assert corpus["fields"]["tokenizer"] == ["asr.text"]
    assert small(root).prepare(Run(tmp_path / "all"))["fields"]["tokenizer"][:2] == ["text.text", "pairs.text"]


def test_train_and_dev_hold_no_text_of_test(root: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    left_out = small(root).prepare(run)["audit"]["left_out"]
    rows = [row for split in ("train", "dev") for row in Table(run.path, "sentiment", split).rows]
    assert sorted(row["text"] for row in rows) == sorted(f"film {n}" for n in range(40))
    assert sum(n for reason, n in left_out.items() if reason.startswith("sentiment.")) == 1


def test_frames_are_those_of_the_recording(root: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    small(root).prepare(run)
    table = Table(run.path, "speech", "train")
    wave, _ = soundfile.read(root / "LibriSpeech/train-lj/2/1/2-1-0000.flac", dtype="float32")
    expected = normalise(log_mel(torch.from_numpy(wave))).numpy().astype(np.float16)
    np.testing.assert_array_equal(table.mel([row["id"] for row in table.rows].index("2-1-0000")), expected)


def test_preparing_twice_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    first, second = Run(tmp_path / "one"), Run(tmp_path / "two")
    for run in (first, second):
        small(root).prepare(run)
    files = sorted(path.relative_to(first.path) for path in first.path.rglob("*") if path.is_file())
    assert len(files) > 20
    assert all((first.path / name).read_bytes() == (second.path / name).read_bytes() for name in files)


def test_identity_follows_the_data_and_not_where_it_lies(root: Path, tmp_path: Path) -> None:
    def form(where: Path) -> dict[str, Any]:
        return identity.canonical(small(where).resolved())

    before = form(root)
    assert "root" not in before and before["fingerprint"]
    shutil.move(root, tmp_path / "elsewhere")
    root = tmp_path / "elsewhere"
    assert form(root) == before
    lines = root / "text" / "librispeech_lm.txt"
    lines.write_text(lines.read_text().replace("LINE  7", "LIME  7"))  # the same size
    changed = form(root)
    assert changed != before
    utterances(root, "train-clean", 9, "MORE")
    assert form(root) not in (before, changed)


def test_data_that_changes_after_planning_is_refused(root: Path, tmp_path: Path) -> None:
    config = small(root).resolved()
    utterances(root, "train-clean", 9, "MORE")
    with pytest.raises(UserError, match="changed after this sweep was planned"):
        config.prepare(Run(tmp_path / "run"))


def test_faults_before_anything_runs(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.root is not set"):
        RealConfig().resolved()
    with pytest.raises(UserError, match="which is no folder"):
        RealConfig(root=str(root / "nowhere")).resolved()
    missing = r"lacks data.translation \(covost_qu_es/covost_v2.qu_es.train.tsv\).*data.digits \(common_voice_digits"
    with pytest.raises(UserError, match=missing):
        RealConfig(root=str(root)).resolved()
    with pytest.raises(UserError, match="data.glue has 'sst2' twice"):
        small(root, glue=("glue/SST-2", f"{root}/glue/SST-2")).resolved()
    with pytest.raises(UserError, match="data.directions has 'fr_en' twice"):
        small(root, directions=("fr_en", "fr_en")).resolved()
    with pytest.raises(UserError, match="text: is a folder, expected a file"):
        small(root, text=("text",)).prepare(Run(tmp_path / "run"))
    with pytest.raises(UserError, match="data.sentiment has 'glue/RTE', whose last part names no fitting GLUE task"):
        small(root, sentiment="glue/RTE").resolved()


def test_faults_in_the_data(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No row of asr.train can be used \(.*longer than 0.5 s"):
        small(root, max_seconds=0.5).prepare(Run(tmp_path / "run"))
    (root / "LibriSpeech/test-other/5/1/5-1-0000.flac").write_bytes(b"no audio")
    with pytest.raises(UserError, match="5-1-0000.flac: cannot be read as audio"):
        small(root).prepare(Run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tasks=[mnli]"], "tasks.mnli: reads 'mnli.train', which the data do not have"),
        (["tasks=[normalization]", "data.normalization=''"], "tasks.normalization: reads 'normalization.train'"),
        (["tasks=[asr]", "data.test_unseen=''"], r"tasks.asr.splits: the data have no 'asr.test_unseen'; write splits: \[test\]"),
        (["tasks=[asr]", "data.dev=''"], "tasks.asr: reads 'asr.dev'"),
        (["tasks=[asr]", "base.tasks.asr.steps=0"], "tasks.asr.steps: found 0, expected at least one update"),
        (["tasks=[retrieval]", "data.asr=[]"], "tasks.retrieval: reads 'retrieval.dev'"),
        (["tasks=[sentiment]", "data.text=[]"], "objective 'masked_text' reads 'text.train', which the data do not have"),
    ],
)
def test_what_cannot_be_is_named_before_anything_runs(root: Path, tmp_path: Path, changes: list[str], message: str) -> None:
    """It used to be found by the stage that reads it: after pre-training, or after fine-tuning."""
    sweep = {"name": "x", "data": {"preset": "real", "root": str(root), "translation": "", "digits": ""},
             "base": {"pretrain": {"objectives": {"masked_text": 1.0}, "steps": 1, "decay": 0}}, "rows": {"only": {}}}  # fmt: skip
    (tmp_path / "x.yaml").write_text(json.dumps(sweep))
    with pytest.raises(UserError, match=message):
        plan_file(tmp_path / "x.yaml", changes)
    plan_file(tmp_path / "x.yaml", ["tasks=[asr,retrieval,sentiment,normalization]"])
    plan_file(tmp_path / "x.yaml", ["tasks=[sentiment]", "data.text=[]", "base.pretrain.steps=0"])  # nothing is trained on it


GLUE = {  # header and one row each; {n} differs
    "CoLA": (None, "gj04\t{b}\t*\tsentence {n}"),
    "MRPC": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{b}\t1\t2\tfirst {n}\tsecond"),
    "QNLI": ("index\tquestion\tsentence\tlabel", "{n}\twhat {n}\tthis\tentailment"),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "{n}\t1\t2\twhy {n}\tso\t{b}"),
    "STS-B": ("index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
              "{n}\tg\tf\ty\to\ts\ts\tone {n}\ttwo\t{b}.5"),
    "MNLI": ("index\tpromptID\tpairID\tgenre\ts1b\ts2b\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label",
             "{n}\tp\tp\tg\tb\tb\tp\tp\tone {n}\ttwo\tneutral\tneutral"),
}  # fmt: skip


def test_all_of_glue(root: Path, tmp_path: Path) -> None:
    for task, (header, row) in GLUE.items():
        for number, split in enumerate(("train", *(("dev_matched", "dev_mismatched") if task == "MNLI" else ("dev",)))):
            # MNLI's second test set begins with a row of the first.
            rows = [row.format(n=100 * (1 if (number, n) == (2, 0) else number) + n, b=n % 2) for n in range(20)]
            tsv(root / "glue" / task / f"{split}.tsv", *filter(None, [header]), *rows)
    corpus = small(root, glue=tuple(f"glue/{task}" for task in (*GLUE, "SST-2", "RTE"))).prepare(Run(tmp_path / "run"))
    found = {table: {split: facts["rows"] for split, facts in splits.items()} for table, splits in corpus["tables"].items()}
    for table in ("cola", "mrpc", "qnli", "qqp", "stsb"):
        assert found[table] == {"train": 18, "dev": 2, "test": 20}
    assert found["mnli"] == {"train": 18, "dev": 2, "test": 20, "test_mismatched": 20}
    assert found["sst2"]["test"] == found["rte"]["test"] == 1
    assert Table(tmp_path / "run", "stsb", "test").rows[1] == {"id": "STS-B-dev-3", "text": "one 101", "text_b": "two", "label": 1.5}
    assert "mnli.text" in corpus["fields"]["tokenizer"]


@pytest.mark.parametrize("normalisation", ["bins", "speaker"])
def test_recordings_that_are_read_when_needed_are_the_same_corpus(root: Path, tmp_path: Path, normalisation: str) -> None:
    stored, read = (small(root, features=features, normalisation=normalisation) for features in ("stored", "read"))
    assert identity.canonical(stored.resolved()) == identity.canonical(read.resolved())
    stored.prepare(Run(tmp_path / "stored")), read.prepare(Run(tmp_path / "read"))
    assert not list((tmp_path / "read").rglob("mel.f16"))
    for table in ("speech", "asr", "retrieval"):
        one, other = (Table(tmp_path / name, table, "dev") for name in ("stored", "read"))
        assert other.rows[0] == one.rows[0] | {"path": "LibriSpeech/dev-clean/3/1/3-1-0000.flac"}
        assert (one.mel(0) == other.mel(0)).all() and one.centred == other.centred == (normalisation == "bins")


def test_a_speaker_s_recordings_have_mean_0_together(root: Path, tmp_path: Path) -> None:
    hum = 0.1 * np.sin(np.arange(24_000) / 5)  # the second recording of voice 1
    soundfile.write(root / "LibriSpeech/train-clean/1/1/1-1-0001.flac", hum, 16_000)
    small(root, normalisation="speaker").prepare(Run(tmp_path / "run"))
    table = Table(tmp_path / "run", "pairs", "train")
    assert [row["voice"] for row in table.rows] == ["1", "1"]
    mels = [table.mel(i).astype(np.float32) for i in (0, 1)]
    assert np.abs(np.concatenate(mels).mean(0)).max() < 2e-3  # what float16 loses
    assert np.abs(mels[0].mean(0)).max() > 0.1, "a recording by itself is not centred"


def test_several_corpora_with_a_test_set_each(root: Path, tmp_path: Path) -> None:
    names = sorted((root / "LibriSpeech/train-clean").rglob("*.flac"))
    tsv(root / "other.tsv", str(root), *(f"{path.relative_to(root)}\t16000" for path in names))
    tsv(root / "other.wrd", "Three Four", "Five")
    run = Run(tmp_path / "run")
    corpus = small(root, speechstew=("LibriSpeech/train-clean", "other.tsv"),
                   speechstew_tests={"clean": "LibriSpeech/test-clean", "other": "LibriSpeech/test-other"}).resolved().prepare(run)  # fmt: skip
    found = {split: facts["rows"] for split, facts in corpus["tables"]["speechstew"].items()}
    assert found == {"train": 4, "dev": 1, "test_clean": 1, "test_other": 1}
    texts = [row["text"] for row in Table(run.path, "speechstew", "train").rows]
    assert texts == ["one two", "two three", "three four", "five"]


def test_several_directions_of_translation(root: Path, tmp_path: Path) -> None:
    for source, target in (("fr", "en"), ("de", "en")):
        clips = root / "covost" / source / "clips"
        clips.mkdir(parents=True)
        for n in range(20):
            soundfile.write(clips / f"{source}{n}.wav", np.random.default_rng(n).normal(size=8000) * 0.1, 8000)
        for split, count in (("train", 20), ("dev", 4), *((("test", 3),) if source == "fr" else ())):
            rows = [f"{source}{n}.wav\tsaid {split} {n}\tTold {n}\tann" for n in range(count)]
            tsv(root / "covost" / f"covost_v2.{source}_{target}.{split}.tsv", "path\tsentence\ttranslation\tclient_id", *rows)
    run = Run(tmp_path / "run")
    corpus = small(root, translation="covost", directions=("fr_en", "de_en")).resolved().prepare(run)
    found = {split: facts["rows"] for split, facts in corpus["tables"]["translation"].items()}
    # German has no test file: its dev is tested, and dev is held out of its train.
    assert found == {"train": 20 + 18, "dev": 4 + 2, "test": 3 + 4, "test_fr_en": 3, "test_de_en": 4}
    assert [row["direction"] for row in Table(run.path, "translation", "test").rows] == ["fr_en"] * 3 + ["de_en"] * 4


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


def test_faults_are_skipped_counted_and_part_of_identity(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    good = identity.canonical(small(root).resolved())
    assert identity.canonical(small(root, on_error="skip").resolved()) == good  # nothing to skip: the same data
    damaged(root)
    with pytest.raises(UserError, match="6-1-0009' has a transcript but no recording"):
        small(root).prepare(Run(tmp_path / "stopped"))
    with pytest.raises(UserError, match="More than data.most_skipped=3 rows"):
        small(root, on_error="skip", most_skipped=3).resolved()
    config = small(root, on_error="skip").resolved()
    base, _, skipped = config.fingerprint.partition("-")
    assert skipped and base == small(root).resolved().fingerprint
    assert "data: 4 rows or recordings are skipped" in capsys.readouterr().err
    run = Run(tmp_path / "run")
    corpus = config.prepare(run)
    expected = [
        "LibriSpeech/train-clean/6/1/6-1-0000.flac: holds only silence", "LibriSpeech/train-clean/6/1/6-1-0001.flac: ",
        "LibriSpeech/train-clean/6/1/6-1.trans.txt, line 4: '6-1-0009'", "glue/SST-2/train.tsv, line 43: has 1 columns",
    ]  # fmt: skip
    assert all(line.startswith(start) for line, start in zip(corpus["audit"]["skipped"], expected, strict=True))
    assert [row["id"] for row in Table(run.path, "asr", "train").rows] == ["1-1-0000", "1-1-0001", "6-1-0002"]
    assert "4 rows skipped" in outcome_of(corpus)


def test_a_scan_is_kept_by_the_content_of_the_data(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    damaged(root)
    first = small(root, on_error="skip").resolved()
    monkeypatch.setattr(audio, "frames", None)  # reading a recording again would fail
    shutil.move(root, tmp_path / "elsewhere")
    assert small(tmp_path / "elsewhere", on_error="skip").resolved().fingerprint == first.fingerprint
    utterances(tmp_path / "elsewhere", "train-clean", 9, "MORE")
    with pytest.raises(TypeError):
        small(tmp_path / "elsewhere", on_error="skip").resolved()


def test_real_corpora(real_data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    config = RealConfig(
        root=str(real_data), speech=("LibriSpeech/dev-clean",), pairs=("LibriSpeech/dev-clean",),
        asr=("LibriSpeech/test-other",), digits="", labels=500, text=("text/wikitext2_valid.txt",),
    )  # fmt: skip
    corpus = config.resolved().prepare(run)
    rows = {t: {s: content["rows"] for s, content in splits.items()} for t, splits in corpus["tables"].items()}
    assert rows["asr"] == {"train": 49, "dev": 33, "test": 30, "test_unseen": 50}
    assert rows["translation"]["test"] == 12 and rows["translation"]["dev"] == 6
    assert rows["sentiment"]["test"] == 872 and rows["sentence_pair"]["test"] == 277
    assert corpus["audit"]["left_out"]["asr.train: longer than 20 s"] == 1
    assert corpus["audit"]["voices_in_train_and_test"]["asr"] == 5
    for row in Table(run.path, "asr", "test").rows:
        assert row["text"] == row["text"].lower() and abs(row["seconds"] - row["frames"] / 100) < 1e-9
    known = {row["id"] for row in spoken.rows(real_data / "LibriSpeech/test-clean")}
    assert {row["id"] for row in Table(run.path, "retrieval", "test").rows} == known
