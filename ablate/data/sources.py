"""What a configuration of real corpora reads: each source once, and every split that takes its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.data import readers, spoken
from ablate.data.lines import Faults, lines
from ablate.data.readers import Row

if TYPE_CHECKING:
    from ablate.data.real import RealConfig

Place = tuple[str, str]  # table, split


@dataclass(frozen=True)
class Source:
    """Rows that are read together; all of them go to each of `places`, the first of which gives `held_out` its name.

    With `held_out`, rows go to "dev" or "train" of the only table instead, at most `most` of them to train. All rows
    have recordings (`spoken`), or none has.
    """

    read: Callable[[Faults], Iterator[Row]]
    places: tuple[Place, ...]
    spoken: bool = False
    held_out: bool = False
    most: int | None = None


def sources(config: RealConfig) -> list[Source]:
    """List what a configuration reads, in a fixed order: what is spoken comes first."""
    root = Path(config.root)
    found = [Source(partial(spoken.rows, root / path), places, spoken=True) for path, places in _speech(config).items()]
    if config.translation:
        found += [source for direction in config.directions for source in _translation(config, direction)]
    if config.digits:
        for split in ("train", "dev", "test"):
            reader = partial(spoken.common_voice, root / config.digits, split)
            found.append(Source(reader, (("digits", split),), spoken=True))
    if config.text:
        found.append(Source(partial(_texts, [root / path for path in config.text]), (("text", "train"),), held_out=True))
    for table, folder, most in _sentences(config):
        task, reader = Path(folder).name, partial(readers.glue, (root / folder).parent, Path(folder).name)
        found.append(Source(lambda faults, read=reader: read("train", faults), ((table, "train"),), held_out=True, most=most))
        for split, file in readers.GLUE[task].dev.items():
            found.append(Source(lambda faults, read=reader, file=file: read(file, faults), ((table, split),)))
    if config.normalization:
        for split in ("train", "dev", "test"):
            reader = partial(readers.normalization, root / config.normalization, split)
            found.append(Source(reader, (("normalization", split),)))
    return found


def tables(made: Iterable[Source]) -> dict[str, set[str]]:
    """Splits of every table that these sources make."""
    found: dict[str, set[str]] = {}
    for source in made:
        for table, split in source.places:
            found.setdefault(table, set()).update({split, "dev"} if source.held_out else {split})
    return found


def paths(config: RealConfig) -> list[tuple[str, str]]:
    """Every file and folder used, as (field, path as configured or below it): what must exist, and what is hashed."""
    found = [(field, path) for field, path in _used(config) for path in _files(Path(config.root), path)]
    found += [("text", path) for path in config.text]
    if config.translation:
        for direction in config.directions:
            source = direction.partition("_")[0]
            names = [f"covost_v2.{direction}.{split}.tsv" for split in ("train", "dev")]
            test = f"covost_v2.{direction}.test.tsv"
            names += [test] if (Path(config.root) / config.translation / test).exists() else []
            found += [("translation", f"{config.translation}/{name}") for name in (*names, f"{source}/clips")]
    for table, folder, _ in _sentences(config):
        field = table if table in ("sentiment", "sentence_pair") else "glue"
        files = ("train", *readers.GLUE[Path(folder).name].dev.values()) if Path(folder).name in readers.GLUE else ()
        found += [(field, f"{folder}/{split}.tsv") for split in files]
    if config.normalization:
        folder = Path(config.root) / config.normalization
        files = sorted(p.name for p in folder.glob("output-*-of-*")) or [f"{s}.tsv" for s in ("train", "dev", "test")]
        found += [("normalization", f"{config.normalization}/{name}") for name in files]
    if config.digits:
        parts = ("train.tsv", "dev.tsv", "test.tsv", "clips")
        found += [("digits", f"{config.digits}/{part}") for part in parts]
    return found


def table_of(folder: str) -> str:
    """The table of a GLUE folder: "glue/SST-2" is "sst2", "glue/MNLI" is "mnli"."""
    return Path(folder).name.lower().replace("-", "")


def _sentences(config: RealConfig) -> list[tuple[str, str, int | None]]:
    """Table, folder and most training rows of what is in GLUE's layout."""
    fixed = (("sentiment", config.sentiment), ("sentence_pair", config.sentence_pair))
    found: list[tuple[str, str, int | None]] = [(table, folder, config.labels) for table, folder in fixed if folder]
    return found + [(table_of(folder), folder, None) for folder in config.glue]


def _speech(config: RealConfig) -> dict[str, tuple[Place, ...]]:
    """By source of speech, the splits that take all of it."""
    found: dict[str, tuple[Place, ...]] = {}

    def add(path: str, *places: Place) -> None:
        found[path] = (*found.get(path, ()), *places)

    for table in ("speech", "pairs", "asr", "speechstew"):
        for path in getattr(config, table):
            add(path, (table, "train"))
    trained = [table for table in ("speech", "pairs", "asr", "speechstew") if getattr(config, table)]
    if trained:
        add(config.dev, *((table, "dev") for table in trained))
    if config.asr:
        add(config.test, ("asr", "test"), ("retrieval", "test"))
        add(config.test_unseen, ("asr", "test_unseen"))
        add(config.dev, ("retrieval", "dev"))
    if config.speechstew:
        for name, path in config.speechstew_tests.items():
            add(path, ("speechstew", f"test_{name}"))
    return {path: places for path, places in found.items() if path}


def _used(config: RealConfig) -> list[tuple[str, str]]:
    """The fields that name sources of speech, and the sources."""
    fields = {"speech": config.speech, "pairs": config.pairs, "asr": config.asr, "speechstew": config.speechstew}
    named = [(field, path) for field, paths in fields.items() for path in paths]
    used = _speech(config)
    evaluated = [("dev", config.dev), ("test", config.test), ("test_unseen", config.test_unseen)]
    evaluated += [("speechstew_tests", path) for path in config.speechstew_tests.values()]
    return named + [(field, path) for field, path in evaluated if path in used]


def _files(root: Path, source: str) -> list[str]:
    """The files and folders that a source of speech consists of, where the configuration or a manifest can tell."""
    path, folder = root / source, Path(source).parent
    if path.name in spoken.LIMITED and (path.parent / "1h").is_dir():
        return [(folder / part).as_posix() for part in ("1h", "9h")[: 2 if path.name == "10h" else 1]]
    if path.suffix == ".stm":
        return [folder.as_posix()]
    if path.suffix == ".tsv" and path.is_file():
        _, first = next(lines(path), (0, ""))
        beside = [folder / "clips"] if "\t" in first else [Path(source).with_suffix(s) for s in (".wrd", ".ltr")]
        return [source, *(p.as_posix() for p in beside if "\t" in first or (root / p).exists())]
    return [source]


def _texts(files: Sequence[Path], faults: Faults) -> Iterator[Row]:
    """Texts of all files, with ids that say which one they are from."""
    return ({**row, "id": f"{path.name}-{row['id']}"} for path in files for row in readers.texts(path, faults))


def _translation(config: RealConfig, direction: str) -> Iterator[Source]:
    """CoVoST's splits of a direction; without a test file its dev is "test", and "dev" is held out of train."""
    source, _, target = direction.partition("_")
    folder = Path(config.root) / config.translation

    def read(split: str) -> Callable[[Faults], Iterator[Row]]:
        rows = partial(spoken.covost, folder, source, target, split)
        return lambda faults: ({**row, "direction": direction} for row in rows(faults))

    apart = (("translation", f"test_{direction}"),) if len(config.directions) > 1 else ()
    tested = (folder / f"covost_v2.{direction}.test.tsv").exists()
    yield Source(read("train"), (("translation", "train"),), spoken=True, held_out=not tested)
    if tested:
        yield Source(read("dev"), (("translation", "dev"),), spoken=True)
    yield Source(read("test" if tested else "dev"), (("translation", "test"), *apart), spoken=True)
