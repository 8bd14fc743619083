"""What a built-in corpus holds, and what could be learnt from it without learning: counted from its rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ablate.data.espeak import measure
from ablate.tasks import baselines

if TYPE_CHECKING:
    from ablate.data.builtin import Entry

_KINDS = {"train": "train", "dev": "dev", "test": "test", "test_unseen": "test"}  # of splits


def audit(entries: Sequence[Entry]) -> dict[str, Any]:
    """Count vocabulary, voices, shared sentences and shallow baselines; no speech is needed.

    `shared_sentences` names every two splits that have sentences in common; `leaks` counts sentences that splits of
    different kinds (train, dev, test) have in common, over all tables.
    """
    rows, sentences, voices = _by_split(entries)
    shared = {
        f"{a} & {b}": len(sentences[a] & sentences[b])
        for a, b in combinations(sorted(sentences), 2)
        if sentences[a] & sentences[b]
    }
    kinds: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for split, said in sentences.items():
        kinds[_KINDS[split.split(".")[1]]] |= said
    spoken = [entry.row["text"].split() for entry in entries if entry.said is not None]
    known = {word for row in rows["asr.train"] for word in row["text"].split()}
    german = [row["translation"].split() for split in ("train", "test") for row in rows[f"translation.{split}"]]
    tested = [word for row in rows["asr.test"] for word in row["text"].split()]
    return {
        "vocabulary": {
            "english": len({word for said in sentences.values() for line in said for word in line.split()}),
            "german": len({word for line in german for word in line}),
        },
        "words_per_utterance": round(sum(map(len, spoken)) / len(spoken), 2),
        "asr_test_words_not_in_asr_train": round(sum(word not in known for word in tested) / len(tested), 4),
        "voices": {split: sorted(names) for split, names in sorted(voices.items())},
        "shared_sentences": shared,
        "leaks": sum(len(kinds[a] & kinds[b]) for a, b in combinations(kinds, 2)),
        "baselines": shallow(rows),
    }  # fmt: skip


def shallow(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Accuracy in % on test of rules that read no order and no meaning, by task."""
    found: dict[str, dict[str, float]] = {}
    for table in ("sentiment", "sentence_pair"):
        train, test = rows[f"{table}.train"], rows[f"{table}.test"]
        labels = [row["label"] for row in train], [row["label"] for row in test]
        last = "text_b" if table == "sentence_pair" else "text"
        texts = [row[last] for row in train], [row[last] for row in test]
        found[table] = {
            "majority": baselines.majority(*labels),
            f"bag of words of {last}": naive_bayes(texts[0], labels[0], texts[1], labels[1]),
        }
        if table == "sentence_pair":
            pairs = [[(row["text"], row["text_b"]) for row in part] for part in (train, test)]
            found[table]["overlap rule"] = baselines.overlap_rule(pairs[0], labels[0], pairs[1], labels[1])
    test = rows["normalization.test"]
    copied = [row["written"].lower().rstrip(".") == row["spoken"] for row in test]
    found["normalization"] = {"copy": 100 * sum(copied) / len(copied)}
    return {table: {name: round(value, 2) for name, value in values.items()} for table, values in found.items()}


def naive_bayes(train: Sequence[str], labels: Sequence[str], test: Sequence[str], wanted: Sequence[str]) -> float:
    """Accuracy in % of multinomial naive Bayes on words, add-one smoothed."""
    words: dict[str, Counter[str]] = {label: Counter() for label in sorted(set(labels))}
    for text, label in zip(train, labels, strict=True):
        words[label].update(text.split())
    size = len(set().union(*words.values()))
    prior = Counter(labels)

    def score(text: str, label: str) -> float:
        counts, total = words[label], sum(words[label].values())
        return math.log(prior[label]) + sum(math.log((counts[w] + 1) / (total + size)) for w in text.split())

    return baselines.accuracy([max(words, key=lambda label: score(text, label)) for text in test], wanted)


def sizes(entries: Sequence[Entry], measured: bool = False) -> dict[str, tuple[int, float | None]]:
    """Rows and hours of every split; hours of spoken ones only if `measured`, which speaks them (else None)."""
    seconds = iter(measure([entry.said for entry in entries if entry.said is not None]) if measured else ())
    found: dict[str, tuple[int, float | None]] = {}
    for entry in entries:
        own = 0.0 if entry.said is None else next(seconds) if measured else None
        for table, split in entry.places:
            rows, hours = found.get(f"{table}.{split}", (0, 0.0))
            found[f"{table}.{split}"] = rows + 1, None if own is None or hours is None else hours + own / 3600
    return dict(sorted(found.items()))


def text(found: dict[str, Any], counted: dict[str, tuple[int, float | None]]) -> str:
    """Lay an audit out for people."""
    lines = ["rows and hours"]
    for split, (rows, hours) in counted.items():
        told = "" if hours == 0 else "(--hours)" if hours is None else f"{hours:.3f} h"
        lines.append(f"  {split:24}{rows:8}  {told}")
    lines += _block("vocabulary", found["vocabulary"].items())
    lines.append(f"words per utterance: {found['words_per_utterance']}")
    unknown = 100 * found["asr_test_words_not_in_asr_train"]
    lines.append(f"words of asr.test that asr.train does not have: {unknown:.1f} %")
    lines += _block("voices", ((split, f"{len(names)}: {' '.join(names)}") for split, names in found["voices"].items()))
    lines += _block("sentences that two splits share (all others share none)", found["shared_sentences"].items())
    lines.append(f"sentences shared between train, dev and test: {found['leaks']}")
    for table, values in found["baselines"].items():
        lines += _block(f"baselines on {table}.test, accuracy in %", values.items())
    return "\n".join(lines)


def _block(title: str, items: Iterable[tuple[str, Any]]) -> list[str]:
    return [title, *(f"  {name:40} {value}" for name, value in items)]


def _by_split(entries: Sequence[Entry]) -> tuple[dict, dict, dict]:
    """Rows, sentences and voices by "table.split"."""
    rows: dict[str, list[dict[str, Any]]] = {}
    sentences: dict[str, set[str]] = {}
    voices: dict[str, set[str]] = {}
    for entry in entries:
        for table, split in entry.places:
            name = f"{table}.{split}"
            rows.setdefault(name, []).append(entry.row)
            sentences.setdefault(name, set()).update(entry.sentences)
            if entry.said is not None:
                voices.setdefault(name, set()).add(entry.said.voice)
    return rows, sentences, voices
