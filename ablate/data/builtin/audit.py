"""What a built-in corpus contains, and which of its tasks can be solved by shallow rules: counted from its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby
from typing import Any

from ablate.data.builtin.espeak import measure
from ablate.data.builtin.redundancy import redundancy
from ablate.data.builtin.sample import Entry

Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # by "table.split"

_KINDS = {"train": "train", "dev": "dev", "test": "test", "test_unseen": "test"}  # of splits
_READ = ("asr", "translation", "sentiment", "sentence_pair", "normalization", "retrieval")  # the built-in world's tasks
_WORDS = {  # fields of a table that hold English words as spoken
    "asr": ("text",),
    "translation": ("text",),
    "sentiment": ("text",),
    "sentence_pair": ("text", "text_b"),
    "normalization": ("spoken",),
    "retrieval": ("text",),
    "pairs": ("text",),
    "speech": ("text",),
}


def seconds(entries: Sequence[Entry]) -> list[float | None]:
    """Synthesise every spoken entry, sample by sample as in the corpus, to measure its duration; None for the
    others.
    """
    lengths: list[float | None] = []
    for _, sample in groupby(entries, lambda entry: entry.sample):
        said = [entry.said for entry in sample]
        lengths += [None] * len(said) if said[0] is None else measure(said)
    return lengths


def audit(
    entries: Sequence[Entry], tasks: Mapping[str, Any], lengths: Sequence[float | None] | None = None
) -> dict[str, Any]:
    """Count vocabulary, voices, shared and repeated sentences, redundancy and shallow baselines.

    `shared_sentences` names all pairs of splits that have sentences in common. `leaks` counts sentences that splits of
    different kinds (train, dev, test) have in common, over all tables. `duplicates` counts rows that repeat an earlier
    row of their split. `tasks` are the configs of tasks by name, whose shallow baselines are computed; those of
    retrieval need `lengths`, the `seconds` of the entries.
    """
    rows, sentences, voices = _by_split(entries, lengths)
    shared = {
        f"{a} & {b}": len(sentences[a] & sentences[b])
        for a, b in combinations(sorted(sentences), 2)
        if sentences[a] & sentences[b]
    }
    kinds: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for split, said in sentences.items():
        kinds[_KINDS[split.split(".")[1]]] |= said
    spoken = [entry.row["text"].split() for entry in entries if entry.said is not None]
    german = [row["translation"].split() for split in ("train", "test") for row in rows[f"translation.{split}"]]
    return {
        "vocabulary": {
            "english": len({word for said in sentences.values() for line in said for word in line.split()}),
            "german": len({word for line in german for word in line}),
        },
        "coverage": coverage(rows),
        "words_per_utterance": round(sum(map(len, spoken)) / len(spoken), 2),
        "voices": {split: sorted(names) for split, names in sorted(voices.items())},
        "shared_sentences": shared,
        "leaks": sum(len(kinds[a] & kinds[b]) for a, b in combinations(kinds, 2)),
        "duplicates": {split: duplicates(examples) for split, examples in sorted(rows.items())},
        "redundancy": {
            place: redundancy([entry.sentences for entry in entries if (place.split(".")[0], "train") in entry.places])
            for place in ("text.train", "pairs.train")
        },
        "baselines": shallow(rows, tasks),
    }


def coverage(rows: Rows) -> dict[str, dict[str, float]]:
    """How much of the words of a task's test split its train split contains: of distinct and of running words, in %.

    The figure for recognition from the transcripts of the pairs is included.
    """
    figures: dict[str, dict[str, float]] = {}
    for train, test in (*((name, name) for name in _WORDS if f"{name}.test" in rows), ("pairs", "asr")):
        if f"{train}.train" not in rows:
            continue
        known, tested = (
            Counter(word for row in rows[split] for field in _WORDS[split.split(".")[0]] for word in row[field].split())
            for split in (f"{train}.train", f"{test}.test")
        )
        running = sum(n for word, n in tested.items() if word in known)
        figures[f"{test}.test by {train}.train"] = {
            "train": len(known),
            "test": len(tested),
            "different": round(100 * len(known.keys() & tested) / len(tested), 1),
            "running": round(100 * running / tested.total(), 1),
        }
    return figures


def duplicates(rows: Sequence[Mapping[str, Any]]) -> int:
    """Number of rows whose texts an earlier row has too."""
    fields = ("text", "text_b", "written")
    return len(rows) - len({tuple(row.get(field) for field in fields) for row in rows})


def shallow(rows: Rows, tasks: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Test scores of rules that know no word order beyond bigrams: by task, metric and rule, the best first.

    They are the baselines of the sweep's table. Retrieval has them only if its rows have "seconds".
    """
    baselines: dict[str, dict[str, dict[str, float]]] = {}
    for name in _READ:
        task = tasks[name].build()
        train, test = rows[f"{task.config.table}.{task.baseline_split}"], rows[f"{task.config.table}.test"]
        if task.reads == "pair" and "seconds" not in test[0]:
            continue
        values = task.baselines(train, test)
        for metric in task.metrics:
            own = [(b.name, round(b.value, 2)) for b in values if b.metric == metric.name]
            own.sort(key=lambda item: item[1], reverse=metric.better == "higher")
            if own:
                baselines.setdefault(name, {})[metric.name] = dict(own)
    return baselines


def sizes(
    entries: Sequence[Entry], lengths: Sequence[float | None] | None = None
) -> dict[str, tuple[int, float | None]]:
    """Rows and hours of every split; the hours of spoken ones are None without `lengths`."""
    totals: dict[str, tuple[int, float | None]] = {}
    for number, entry in enumerate(entries):
        own = 0.0 if entry.said is None else None if lengths is None else lengths[number]
        for table, split in entry.places:
            rows, hours = totals.get(f"{table}.{split}", (0, 0.0))
            totals[f"{table}.{split}"] = rows + 1, None if own is None or hours is None else hours + own / 3600
    return dict(sorted(totals.items()))


def text(facts: dict[str, Any], counted: dict[str, tuple[int, float | None]]) -> str:
    """Format an audit for reading."""
    lines = ["rows and hours"]
    for split, (rows, hours) in counted.items():
        told = "" if hours == 0 else "(not measured)" if hours is None else f"{hours:.3f} h"
        lines.append(f"  {split:24}{rows:8}  {told}")
    lines += _block("different words", facts["vocabulary"].items())
    lines.append(f"words per utterance: {facts['words_per_utterance']}")
    lines += _block(
        "words of test that train has (train, test: different words)",
        (
            (name, f"{v['train']:4} {v['test']:4} {v['different']:6.1f} % of these, {v['running']:5.1f} % of running")
            for name, v in facts["coverage"].items()
        ),
    )
    lines += _block("voices", ((split, f"{len(names)}: {' '.join(names)}") for split, names in facts["voices"].items()))
    lines += _block("sentences that two splits share (all others share none)", facts["shared_sentences"].items())
    lines.append(f"sentences shared between train, dev and test: {facts['leaks']}")
    lines += _block(
        f"rows that a split has twice: {sum(facts['duplicates'].values())}",
        ((split, n) for split, n in facts["duplicates"].items() if n),
    )
    told = ((place, ", ".join(f"{name} {v}" for name, v in x.items())) for place, x in facts["redundancy"].items())
    lines += _block("content words that the rest of their text predicts, in %", told)
    lines.append("shallow baselines on test, the strongest first")
    for task, metrics in facts["baselines"].items():
        for metric, values in metrics.items():
            told = ", ".join(f"{name} {value}" for name, value in values.items())
            lines.append(f"  {f'{task}.{metric}':40} {told}")
    if "retrieval" not in facts["baselines"]:
        lines.append("  retrieval                                (needs the hours)")
    return "\n".join(lines)


def _block(title: str, items: Iterable[tuple[str, Any]]) -> list[str]:
    return [title, *(f"  {name:40} {value}" for name, value in items)]


def _by_split(entries: Sequence[Entry], lengths: Sequence[float | None] | None = None) -> tuple[dict, dict, dict]:
    """Rows (with "seconds" if there are `lengths`), sentences and voices by "table.split"."""
    rows: dict[str, list[dict[str, Any]]] = {}
    sentences: dict[str, set[str]] = {}
    voices: dict[str, set[str]] = {}
    for number, entry in enumerate(entries):
        row = entry.row if lengths is None or entry.said is None else {**entry.row, "seconds": lengths[number]}
        for table, split in entry.places:
            name = f"{table}.{split}"
            rows.setdefault(name, []).append(row)
            sentences.setdefault(name, set()).update(entry.sentences)
            if entry.said is not None:
                voices.setdefault(name, set()).add(entry.said.voice)
    return rows, sentences, voices
