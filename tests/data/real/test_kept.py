"""What normal work costs: a small sweep over real corpora is planned, something changes, and it is planned again.

Whatever alters nothing that a stage reads keeps its id; whatever does alters exactly its readers. As a table:

    python tests/data/real/test_kept.py
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path[:0] = [
    str(Path(__file__).resolve().parents[3]),
    str(Path(__file__).resolve().parent),
]  # where this is a script

from real_files import cache, tsv, utterances, world  # noqa: E402, F401 (after the path; a fixture)

from ablate.planning.plan import plan_file  # noqa: E402 (after the path)
from ablate.store.stage import Plan  # noqa: E402 (after the path)

SWEEP = """
name: kept
data: {preset: real, translation: '', digits: '', max_seconds: 4.0}
base:
  tokenizer: {size: 60}
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}
    steps: 4
    decay: 2
rows:
  scratch: {pretrain: {steps: 0, decay: 0}}
  text_only: {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  speech_only: {encoder: {reads: [speech]}, pretrain: {objectives: {masked_text: null}}}
  joint: {}
  joint_tlm: {after: joint, pretrain: {objectives: {tlm: 1.0}}}
tasks: [asr, sentiment, sentence_pair, normalization, retrieval]
"""
WORLD = """
name: kept
data:
  {preset: builtin, speech: 60, text: 60, pairs: 30, asr: 20, dev: 10, test: 10, retrieval: 12,
   text_dev: 10, text_test: 10}
base: {pretrain: {objectives: {contrastive: 1.0, masked_text: 1.0}, steps: 4, decay: 2}}
rows:
  text_only: {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null}}}
  joint: {}
tasks: [asr, sentiment]
"""
SPEECH = ("speech_only / *", "joint / *", "joint_tlm / *")  # rows that hear
ALL = ("scratch / *", "text_only / *", *SPEECH)


@dataclass(frozen=True)
class Change:
    """Something that happens to a root of runs: to its data, to the sweep file, or to the command."""

    what: str
    alters: Collection[str] = ()
    """Titles of exactly the stages that are to be made anew, as patterns; none: everything is kept."""
    data: Callable[[Path], Path | None] = lambda root: None
    """Changes the data; returns the root where that is another now."""
    overrides: Collection[str] = ()
    text: str = SWEEP
    first: Callable[[Path], None] = lambda root: None
    """How the data are before it."""
    start: Collection[str] = ()
    """How the sweep is before it."""
    adds: Collection[str] = ()
    """Titles of stages that there may be more of, and none fewer."""


def write(*changes: tuple[str, str]) -> Callable[[Path], None]:
    """Append lines to files below the root."""

    def make(root: Path) -> None:
        for name, line in changes:
            with open(root / name, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    return make


def leftovers(root: Path) -> None:
    for folder in (root, root / "glue", root / "glue/SST-2", root / "LibriSpeech/train-clean/1/1", root / "text"):
        for name in (".DS_Store", "._notes", ".nfs0001", "train.tsv~"):
            (folder / name).write_bytes(b"x")
        (folder / "__MACOSX").mkdir(), (folder / ".ipynb_checkpoints").mkdir()


def cola(root: Path) -> None:
    for split in ("train", "dev"):
        tsv(root / f"glue/CoLA/{split}.tsv", *[f"x\t{n % 2}\t\tThe {split} sentence {n}." for n in range(20)])


def covost(root: Path) -> None:
    """Speech in two languages with translations."""
    for language in ("fr", "de"):
        clips = root / f"covost/{language}/clips"
        clips.mkdir(parents=True)
        for number, split in enumerate(("train", "dev", "test")):
            wave = np.random.default_rng([ord(language[0]), number]).normal(size=16_000) * 0.1
            soundfile.write(clips / f"{split}.flac", wave, 16_000)
            row = f"{split}.flac\t{language} {split}\tin English {split}\tx"
            tsv(root / f"covost/covost_v2.{language}_en.{split}.tsv", "path\tsentence\ttranslation\tclient_id", row)


def far(*sentences: str) -> Callable[[Path], None]:
    return lambda root: tsv(root / "far.tsv", "sentence\tlabel", *[f"{text}\t1" for text in sentences])


def moved(root: Path) -> Path:
    return Path(shutil.move(root, root.with_name("elsewhere")))


def linked(root: Path) -> Path:
    root.with_name("link").symlink_to(root)
    return root.with_name("link")


def manifest(root: Path) -> None:
    """The training folder as fairseq's manifest, with a recording beside that it does not list."""
    folder = root / "LibriSpeech/train-clean"
    shutil.copy(root / "LibriSpeech/train-lj/2/1/2-1-0000.flac", folder / "unlisted.flac")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*-*.flac"))
    texts = dict(line.split(" ", 1) for path in folder.rglob("*.trans.txt") for line in path.read_text().splitlines())
    tsv(root / "train.tsv", str(folder), *[f"{name}\t16000" for name in names])
    tsv(root / "train.wrd", *[texts[Path(name).stem] for name in names])


def touched(root: Path) -> None:
    for path in root.rglob("*.*"):
        os.utime(path, (1, 1))


def reencoded(root: Path) -> None:
    """Another compression of the same sound."""
    for path in (root / "LibriSpeech").rglob("*.flac"):
        wave, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, wave, rate, compression_level=0.0)


CHANGES = (
    Change("nothing"),
    Change("a GLUE folder that no task reads", data=cola, overrides=["data.glue=[glue/CoLA]"]),
    Change(
        "a test set that no task reads, without overlap",
        data=far("far away"),
        overrides=["+data.tests={sentiment.test_far: far.tsv}"],
    ),
    Change(
        "a second test set of sentiment",
        ["sentiment.test_far*", "* / sentiment test_far score"],
        far("far away"),
        ["data.tests={sentiment.test_far: far.tsv}", "base.tasks.sentiment.splits=[test,test_far]"],
    ),
    Change(
        "a test set that no task reads, whose line is in sentiment.train",
        ["sentiment.train*", "* / sentiment", "* / sentiment score"],
        far("film 7"),
        ["data.tests={sentiment.test_far: far.tsv}"],
    ),
    Change("max_seconds that drops nothing", overrides=["data.max_seconds=9.0"]),
    Change(
        "max_seconds that drops a recording of asr.train (which then equals pairs.train, and is one stage with it)",
        ["asr.train*", "* / asr", "* / asr * score"],
        overrides=["data.max_seconds=2.0"],
    ),
    Change("./ in a path", overrides=["data.asr=[./LibriSpeech/train-clean,text/../LibriSpeech/train-lj]"]),
    Change(
        "an absolute path",
        overrides=["data.asr=[ROOT/LibriSpeech/train-clean,LibriSpeech/train-lj]", "data.sentiment=ROOT/glue/SST-2"],
    ),
    Change("a symbolic link", data=linked),
    Change("a moved disk", data=moved),
    Change(
        "a manifest for a folder, and a recording that it does not list",
        data=manifest,
        overrides=["data.asr=[train.tsv,LibriSpeech/train-lj]"],
    ),
    Change(
        "other audio behind that manifest",
        ["asr.train*", "recordings of asr.train", "* / asr", "* / asr * score"],
        lambda root: utterances(root, "train-clean", 1, "ONE TWO", "TWO THREE", seed=99),
        first=manifest,
        start=["data.asr=[train.tsv]", "data.speech=[LibriSpeech/train-lj]", "data.pairs=[LibriSpeech/train-lj]"],
    ),
    Change(
        "other audio of the pairs (a tokenizer reads their texts alone)",
        [
            "pairs.train*",
            "recordings of pairs.train",
            "speech.train",
            "asr.train*",
            "* / asr",
            "* / asr * score",
            "speech_only / *",
            "joint / *",
            "joint_tlm / *",
        ],
        lambda root: utterances(root, "train-clean", 1, "ONE TWO", "TWO THREE", seed=99),
    ),
    Change(
        "a clip in a corpus's folder that its list does not name",
        data=lambda root: (
            shutil.copy(
                root / "LibriSpeech/train-lj/2/1/2-1-0000.flac", root / "LibriSpeech/train-clean/1/1/1-1-9999.flac"
            )
            and None
        ),
    ),
    Change("what file managers leave behind", data=leftovers),
    Change("every file touched", data=touched),
    Change("the same sound in FLAC of another compression", data=reencoded),
    Change(
        "a new budget of labels",
        [
            "sentiment.train*",
            "* / sentiment",
            "* / sentiment score",
            "sentence_pair.train*",
            "* / sentence_pair",
            "* / sentence_pair score",
        ],
        overrides=["data.labels=15"],
    ),
    Change(
        "one more row of a training table",
        ["normalization.train*", "* / normalization", "* / normalization score"],
        write(("text_normalization/train.tsv", "$7\tseven dollars")),
    ),
    Change(
        "a corrected test label",
        ["sentiment.test*", "* / sentiment score"],
        lambda root: tsv(root / "glue/SST-2/dev.tsv", "sentence\tlabel", "Good film \t0"),
    ),
    Change(
        "another line of unlabelled text (the tokenizer learns from it)",
        ["text.train*", "*as ids", "tokenizer", *ALL],
        write(("text/librispeech_lm.txt", "A NEW LINE")),
    ),
    Change(
        "the same, with a tokenizer of another table",
        ["text.train*", "text_only / *", "joint / *", "joint_tlm / *"],
        write(("text/librispeech_lm.txt", "A NEW LINE")),
        start=["base.tokenizer.fields=[pairs.text]"],
    ),
    Change(
        "another task",
        ["*digits*"],
        lambda root: (
            [
                tsv(root / f"cv/{split}.tsv", "client_id\tpath\tsentence", f"{split}\t{split}.flac\tone")
                or (root / "cv/clips").mkdir(exist_ok=True)
                or shutil.copy(root / f"LibriSpeech/{flac}-1-0000.flac", root / f"cv/clips/{split}.flac")
                for split, flac in (
                    ("train", "train-lj/2/1/2"),
                    ("dev", "dev-clean/3/1/3"),
                    ("test", "test-clean/4/1/4"),
                )
            ]
            and None
        ),
        ["data.digits=cv", "tasks=[asr,sentiment,sentence_pair,normalization,retrieval,digits]"],
    ),
    Change(
        "a new language of translation",
        ["translation.*", "tokenizer of translation", "* / translation*"],
        adds=["recordings of translation.*"],
        first=covost,
        start=["data.translation=covost", "data.directions=[fr_en]", "tasks=[asr,sentiment,translation]"],
        overrides=["data.directions=[fr_en,de_en]"],
    ),
    Change("a longer search in scoring", ["* / asr * score"], overrides=["base.tasks.asr.beam=4"]),
    Change("a renamed row", overrides=["RENAME joint both"]),
    Change(
        "labels, cluster, workers, resources, another root",
        overrides=[
            "labels={joint: SLAM}",
            "cluster=slurm",
            "workers=3",
            "resources={pretrain: {mem_gb: 9}}",
            "root=there",
        ],
    ),
    Change("features read instead of stored, faults skipped", overrides=["data.features=read", "data.on_error=skip"]),
    Change("another seed beside", ["*(seed 1)*"], overrides=["seeds=[0,1]"]),
    Change(
        "a longer horizon where codes anneal", ["joint / *", "joint_tlm / *"], overrides=["rows.joint.pretrain.steps=8"]
    ),
    Change("a longer trunk of text", ["text_only / *"], overrides=["rows.text_only.pretrain.steps=8"]),
    Change(
        "a larger built-in corpus",
        ["speech.train", "recordings of speech.train", "joint / *"],
        overrides=["data.speech=80"],
        text=WORLD,
    ),
    Change(
        "a new budget of built-in labels",
        ["asr.train*", "recordings of asr.train", "joint / asr*"],
        overrides=["data.asr=25"],
        text=WORLD,
    ),
    Change(
        "more built-in tests", ["sentiment.test*", "* / sentiment score"], overrides=["data.text_test=20"], text=WORLD
    ),
)


def planned(folder: Path, root: Path, text: str, overrides: Collection[str] = ()) -> Plan:
    for one in overrides:
        if one.startswith("RENAME "):
            _, old, new = one.split()
            text = text.replace(f"  {old}: ", f"  {new}: ").replace(f"after: {old},", f"after: {new},")
    path = folder / "kept.yaml"
    path.write_text(text)
    given = [f"data.root={root}"] if "preset: real" in text else []
    return plan_file(path, [*given, *(o.replace("ROOT", str(root)) for o in overrides if not o.startswith("RENAME"))])


def kept(change: Change, folder: Path) -> tuple[Plan, Plan]:
    """Make a change: the plans before it and after it."""
    root = world(folder / "data")
    change.first(root)
    before = planned(folder, root, change.text, change.start)
    root = change.data(root) or root
    after = planned(folder, root, change.text, [*change.start, *change.overrides])
    return before, after


def titles(plan: Plan, without: Plan) -> set[str]:
    """What the stages of a plan are called that another has not."""
    return {stage.title for id, stage in plan.stages.items() if id not in without.stages}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_exactly_the_readers_of_what_changed_are_made_again(change: Change, tmp_path: Path) -> None:
    before, after = kept(change, tmp_path)
    new, gone = titles(after, before), titles(before, after)
    unexpected = {
        title for title in new | gone if not any(fnmatch(title, pattern) for pattern in (*change.alters, *change.adds))
    }
    assert not unexpected, f"{len(unexpected)} stages changed that read nothing of it: {sorted(unexpected)[:8]}"
    unused = [pattern for pattern in change.alters if not any(fnmatch(title, pattern) for title in new | gone)]
    assert not unused, f"nothing changed of {unused}"
    assert change.alters or before.stages.keys() == after.stages.keys()
    readers = {
        stage.title
        for stage in before.stages.values()
        if any(fnmatch(stage.title, pattern) for pattern in change.alters)
    }
    assert readers <= gone, (
        f"{len(readers - gone)} stages are kept that read what changed: {sorted(readers - gone)[:8]}"
    )


def main() -> None:
    """Print the table."""
    import tempfile

    print("| what changed | stages kept | made anew |\n|---|---:|---:|")
    for change in CHANGES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ABLATE_CACHE"] = f"{folder}/cache"
            before, after = kept(change, Path(folder))
            all_, same = len(before.stages), len(before.stages.keys() & after.stages.keys())
            print(
                f"| {change.what} | {same} of {all_} ({100 * same / all_:.0f} %) | {len(after.stages) - same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
