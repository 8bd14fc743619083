"""The sources that a configuration of real corpora reads: each once, for all splits that use its rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ablate.data.lines import Faults
from ablate.data.real.layouts import covost, glue, registry
from ablate.data.real.layouts.layout import TableLayout
from ablate.data.real.settings import RealSettings
from ablate.data.table import Example
from ablate.errors import UserError

Place = tuple[str, str]  # table, split


ORIGIN = "_source"  # a mark of rows of a source that is several of the paths in `data`: which of them
OWN = ("digits", "normalization")  # tables of `registry.TABLES` that have a setting of their own
SPEECH = ("speech", "pairs", "asr", "speechstew", "retrieval")  # tables whose sources are speech in any layout
TRANSLATED = ("text", "translation")
DIRECTED = (*TRANSLATED, "direction")
COVOST = re.compile(r"covost_v2\.([^_.]+)_([^_.]+)\.([^/]+)\.tsv")


@dataclass(frozen=True)
class Source:
    """Rows that are read together; all of them go to each of `places`, the first of which gives `held_out` its name.

    With `held_out`, rows go to "dev" or "train" of the only table instead; at most `most` go to train. Either all rows
    have recordings (`spoken`), or none has: then they are the content of `files`, read according to `layout`.
    """

    name: str
    """Its name, unique in a configuration."""
    read: Callable[[Faults], Iterator[Example]]
    places: tuple[Place, ...]
    spoken: bool = False
    held_out: bool = False
    most: int | None = None
    asks: tuple[str, ...] = ("text",)
    """Fields that a spoken row must have, in all tables except unlabelled speech."""
    columns: tuple[str, ...] = ("text",)
    """Columns of all its rows, beside "id" and, for speech, "voice" and the recording."""
    layout: str = ""
    files: Callable[[], list[Path]] = list
    needs: Callable[[], list[str]] = list
    """The files and folders that must be there, below the root or absolute."""
    settings: tuple[str, ...] = ()
    """The settings of the corpus that name it."""
    speakers: Callable[[], bool] = lambda: True
    """Whether its voices are speakers."""
    wordless: Callable[[], str] = str
    """Says what is there instead of transcripts, if there are none."""

    def lacks(self, root: str) -> list[str]:
        """What it needs that is not there, each as "data.SETTING (path)"."""
        settings = ", ".join(f"data.{name}" for name in self.settings)
        there = os.path.isdir(root)
        return [
            f"{settings} ({path})" for path in self.needs() if not there or not os.path.exists(os.path.join(root, path))
        ]


def sources(config: RealSettings) -> list[Source]:
    """List what a configuration reads, in a fixed order: spoken sources come first."""
    root = Path(config.root)
    listed = [
        Source(
            path,
            partial(registry.rows, root / path),
            places,
            spoken=True,
            needs=partial(_files, root, path),
            settings=tuple(dict.fromkeys(name for name, one in _used(config) if one == path)),
            speakers=partial(_speakers, root / path),
            wordless=partial(_wordless, root / path),
        )
        for path, places in _speech(config).items()
    ]
    if config.translation:
        listed += [source for direction in config.directions for source in _translation(config, direction)]
    listed += _labelled(config, spoken=True)
    if config.text:
        files = [root / path for path in config.text]
        read = partial(_texts, list(zip(config.text, files)))
        more = {"layout": _read_as(files), "held_out": True, "needs": lambda: [*config.text], "settings": ("text",)}
        listed.append(_written("text", files, read, ("text", "train"), **more))
    for setting, table, folder, most in _sentences(config):
        task, splits = Path(folder).name, _files_of(root, folder)
        for split, name in splits.items():
            file, more = root / folder / f"{name}.tsv", {"layout": task, "columns": _glue(task)}
            more |= {"needs": lambda path=f"{folder}/{name}.tsv": [path], "settings": (setting,)}
            more |= {"held_out": "dev" not in splits, "most": most} if split == "train" else {}
            read = partial(glue.sentences, file, task)
            listed.append(_written(f"{table} {split}", [file], read, (table, split), **more))
    listed += _labelled(config, spoken=False)
    return listed + [_test(config, *place, path) for place, path in further(config).items() if place[0] not in SPEECH]


def of_split(made: Iterable[Source], place: Place) -> list[Source]:
    """The sources of a split."""
    table, split = place
    return [s for s in made if place in s.places or s.held_out and split == "dev" and s.places[0][0] == table]


def folders(config: RealSettings) -> dict[str, str]:
    """Paths of the tables with a layout of their own, those that are set."""
    listed = {**{table: getattr(config, table) for table in OWN}, **config.labelled}
    return {table: path for table, path in listed.items() if path}


def _labelled(config: RealSettings, spoken: bool) -> Iterator[Source]:
    """The splits of the tables with a layout of their own, spoken or not."""
    for table, path in folders(config).items():
        of, folder = registry.table(table), Path(config.root) / path
        for split in of.splits if of.spoken == spoken else ():
            read, files = partial(of.rows, folder, split), partial(of.needs, folder, split)
            source = _of_table(table, of, f"{table} {split}", read, (table, split), files)
            yield replace(
                source,
                held_out=of.held_out and split == "train",
                needs=lambda path=path, files=files: _below(Path(config.root), path, files()),
                settings=(table if table in OWN else f"labelled.{table}",),
            )


def _of_table(
    table: str,
    of: TableLayout,
    name: str,
    read: Callable[[Faults], Iterator[Example]],
    place: Place,
    files: Callable[[], list[Path]],
) -> Source:
    """A split of a table with a layout of its own."""
    needed = ("voice", "recording", *(one for one in of.columns if one not in of.asks)) if of.spoken else of.columns
    return Source(
        name,
        lambda faults: registry.whole(lambda: read(faults), type(of), needed, name),
        (place,),
        spoken=of.spoken,
        layout=f"{table}:{of.version}",
        files=files,
        asks=of.asks,
        columns=of.columns,
    )


def _written(
    name: str, files: list[Path], read: Callable[[Faults], Iterator[Example]], place: Place, **fields: Any
) -> Source:
    return Source(name, read, (place,), files=lambda: files, **fields)


def _test(config: RealSettings, table: str, split: str, path: str) -> Source:
    """A further test split of a table that is not speech in any layout."""
    file, name, place = Path(config.root) / path, f"{table} {split}", (table, split)
    named = {"needs": lambda: [path], "settings": (f"tests.{table}.{split}",)}
    if table in registry.TABLES:
        of = registry.table(table)
        source = _of_table(table, of, name, partial(of.test, file), place, lambda: of.test_needs(file))
        return replace(source, **named | {"needs": lambda: _below(Path(config.root), path, of.test_needs(file))})
    if table == "translation":
        match = COVOST.fullmatch(file.name)
        if match is None:
            raise UserError(
                f"data.tests.{table}.{split} is '{path}', expected a table called covost_v2.SOURCE_TARGET.NAME.tsv."
            )
        read = _covost(file.parent, *match.groups())
        return Source(name, read, (place,), spoken=True, asks=TRANSLATED, columns=DIRECTED, **named)
    if table == "text":
        return _written(name, [file], partial(_texts, [(path, file)]), place, layout=_read_as([file]), **named)
    task = next(Path(folder).name for _, name, folder, _ in _sentences(config) if name == table)
    return _written(name, [file], partial(glue.sentences, file, task), place, layout=task, columns=_glue(task), **named)


def further(config: RealSettings) -> dict[Place, str]:
    """The further test splits and their sources."""
    places = {name: name.partition(".") for name in config.tests}
    return {(table, split): config.tests[name] for name, (table, _, split) in places.items()}


def tables(made: Iterable[Source]) -> dict[str, set[str]]:
    """Splits of every table that these sources make."""
    splits: dict[str, set[str]] = {}
    for source in made:
        for table, split in source.places:
            splits.setdefault(table, set()).update({split, "dev"} if source.held_out else {split})
    return splits


def columns(made: Iterable[Source]) -> dict[str, set[str]]:
    """The columns that every row has, for each table that these sources make."""
    of: dict[str, set[str]] = {}
    for source in made:
        has = {"id", *source.columns, *(("voice", "seconds", "frames") if source.spoken else ())}
        for table, _ in source.places:
            of[table] = of.get(table, has) & has
    return of


def table_of(folder: str) -> str:
    """The table of a GLUE folder: "glue/SST-2" is "sst2", "glue/MNLI" is "mnli"."""
    return Path(folder).name.lower().replace("-", "")


def _files_of(root: Path, folder: str) -> dict[str, str]:
    """For a GLUE folder, the files by split. GLUE's test has no labels: then its dev is "test", and "dev" is held out
    of train. With labels it is the test, and dev is dev.
    """
    spec = glue.GLUE[Path(folder).name]
    if glue.labelled(root / folder, Path(folder).name):
        return {"train": "train", "dev": spec.dev["test"], **spec.test}
    return {"train": "train", **spec.dev}


def _sentences(config: RealSettings) -> list[tuple[str, str, str, int | None]]:
    """Setting, table, folder and maximum number of training rows of each table in GLUE's layout."""
    fixed = (("sentiment", config.sentiment), ("sentence_pair", config.sentence_pair))
    tasks = [(table, table, folder, config.labels) for table, folder in fixed if folder]
    return [*tasks, *(("glue", table_of(folder), folder, None) for folder in config.glue)]


def _speech(config: RealSettings) -> dict[str, tuple[Place, ...]]:
    """By source of speech, the splits that take all of it."""
    takers: dict[str, tuple[Place, ...]] = {}

    def add(path: str, *places: Place) -> None:
        takers[path] = (*takers.get(path, ()), *places)

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
    for (table, split), path in further(config).items():
        if table in SPEECH:
            add(path, (table, split))
    return {path: places for path, places in takers.items() if path}


def _used(config: RealSettings) -> list[tuple[str, str]]:
    """The fields that name sources of speech, and the sources."""
    fields = {"speech": config.speech, "pairs": config.pairs, "asr": config.asr, "speechstew": config.speechstew}
    named = [(field, path) for field, paths in fields.items() for path in paths]
    evaluated = [("dev", config.dev), ("test", config.test), ("test_unseen", config.test_unseen)]
    further_tests = (
        (f"tests.{'.'.join(place)}", path) for place, path in further(config).items() if place[0] in SPEECH
    )
    return [*named, *evaluated, *further_tests]


def _speakers(path: Path) -> bool:
    """Whether the layout of a source of speech says who speaks."""
    found = registry.known(path)
    return found is None or found[1].speakers


def _wordless(path: Path) -> str:
    """What a source of speech without transcripts has instead."""
    found = registry.known(path)
    return "" if found is None else found[1].wordless(path)


def _files(root: Path, source: str) -> list[str]:
    """The files and folders that a source of speech needs, according to its layout."""
    path = root / source
    found = registry.known(path)
    needed = [path] if found is None else found[1].needs(path)
    return _below(root, source, needed)


def _below(root: Path, source: str, needed: Iterable[Path]) -> list[str]:
    """The paths that a source needs, in the form in which the configuration would write them."""
    return [os.path.normpath(os.path.join(source, os.path.relpath(one, root / source))) for one in needed]


def _glue(task: str) -> tuple[str, ...]:
    """The columns of a GLUE task's tables."""
    return ("text", "label") if glue.GLUE[task].text_b is None else ("text", "text_b", "label")


def _texts(files: Sequence[tuple[str, Path]], faults: Faults) -> Iterator[Example]:
    """Texts of all files, with ids that contain the file's name, and with the file as `data` names it."""
    return (
        {**row, "id": f"{path.name}-{row['id']}", ORIGIN: name}
        for name, path in files
        for row in registry.rows(path, faults, registry.TEXT_LAYOUTS)
    )


def _read_as(files: Sequence[Path]) -> str:
    """How texts are read: the layouts of their files, with their versions."""
    found = (registry.known(path, registry.TEXT_LAYOUTS) for path in files)
    return " ".join(["text", *(f"{one[0]}:{one[1].version}" for one in found if one)])


def _translation(config: RealSettings, direction: str) -> Iterator[Source]:
    """CoVoST's splits of a direction; without a test file its dev is "test", and "dev" is held out of train."""
    source, _, target = direction.partition("_")
    folder = Path(config.root) / config.translation

    apart = (("translation", f"test_{direction}"),) if len(config.directions) > 1 else ()
    tested = (folder / f"covost_v2.{direction}.test.tsv").exists()

    def made(split: str, *places: Place, held_out: bool = False) -> Source:
        file, clips = f"covost_v2.{direction}.{split}.tsv", f"{source}/clips"
        return Source(
            f"{direction} {split}",
            _covost(folder, source, target, split),
            places,
            spoken=True,
            held_out=held_out,
            asks=TRANSLATED,
            columns=DIRECTED,
            needs=lambda: [f"{config.translation}/{file}", f"{config.translation}/{clips}"],
            settings=("translation",),
        )

    yield made("train", ("translation", "train"), held_out=not tested)
    if tested:
        yield made("dev", ("translation", "dev"))
    yield made("test" if tested else "dev", ("translation", "test"), *apart)


def _covost(folder: Path, source: str, target: str, split: str) -> Callable[[Faults], Iterator[Example]]:
    """Read a table of CoVoST, each row with its direction."""

    def rows(faults: Faults) -> Iterator[Example]:
        read, direction = covost.covost(folder, source, target, split, faults), f"{source}_{target}"
        return ({**row, "direction": direction} for row in read)

    name = f"{folder}, {source}_{target} {split}"
    return lambda faults: registry.whole(lambda: rows(faults), covost.covost, ("voice", "recording"), name)
