"""Small corpora in the layouts of the real ones, and the stages of their splits without a planner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ablate.data.real.corpus import RealConfig
from ablate.data.table import Table
from ablate.store import identity


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what is kept of files lies; of every test in a module that imports this."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a `world`."""
    return world(tmp_path / "data")


class Run:
    """What a stage sees of its run folder."""

    def __init__(self, files: Path, id: str = "") -> None:
        self.files, self.id, self.reported = files, id, []
        files.mkdir(parents=True, exist_ok=True)

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        self.reported.append((step, steps))

    def check(self) -> None:
        pass


class Made:
    """Splits of a configuration, planned and written below a folder, recordings once."""

    def __init__(self, config: RealConfig, folder: Path) -> None:
        self.config, self.folder = config.resolved(), folder
        self.decoded: dict[Any, Run] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Run] = {}

    def recordings(self, name: str) -> list[Run]:
        runs = []
        for config in self.config.split(*name.split(".")).recordings:
            if config.recordings not in self.decoded:
                run = self.decoded[config.recordings] = Run(
                    self.folder / f"recordings-{len(self.decoded)}", config.recordings
                )
                self.results[config.source] = config.write(run)
            runs.append(self.decoded[config.recordings])
        return runs

    def result(self, name: str) -> dict[str, Any]:
        if name not in self.results:
            self.runs[name] = Run(self.folder / name, name)
            recordings = self.recordings(name)
            self.results[name] = self.config.split(*name.split(".")).config.write(self.runs[name], recordings)
        return self.results[name]

    def table(self, name: str) -> Table:
        self.result(name)
        recordings = self.config.split(*name.split(".")).recordings
        return Table(self.runs[name].files, name, [one.open(self.decoded[one.recordings].files) for one in recordings])

    def rows(self, *names: str) -> dict[str, int]:
        return {name: self.result(name)["rows"] for name in names}


def ids(config: RealConfig, *names: str) -> dict[str, Any]:
    """What each split is, and what its recordings are."""
    config = config.resolved()
    names = names or tuple(f"{table}.{split}" for table, splits in config.tables().items() for split in splits)
    splits = {name: config.split(*name.split(".")) for name in names}
    return {
        name: [identity.canonical(one) for one in (split.config, *split.recordings)] for name, split in splits.items()
    }


def utterances(
    root: Path, subset: str, speaker: int, *texts: str, seconds: float = 1.0, seed: int | None = None
) -> None:
    chapter = root / "LibriSpeech" / subset / str(speaker) / "1"
    chapter.mkdir(parents=True, exist_ok=True)
    names = [f"{speaker}-1-{number:04}" for number in range(len(texts))]
    rng = np.random.default_rng(speaker if seed is None else seed)
    for name in names:
        soundfile.write(chapter / f"{name}.flac", rng.normal(size=round(16_000 * seconds)) * 0.1, 16_000)
    lines = [f"{name} {text}" for name, text in zip(names, texts)]
    (chapter / f"{speaker}-1.trans.txt").write_text("\n".join(lines) + "\n")


def tsv(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def world(root: Path) -> Path:
    """A small world in the layouts of the real corpora, without translation and digits."""
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
