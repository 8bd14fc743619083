"""What the records say of the data: splits with their sizes, what was left out of them and why, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from analysis.records import manifest
from analysis.records.frame import Records

SAME = "the same "  # reasons begin so for rows that another split has: "the same text is in asr.test"
SAY = ("pretrain", "finetune", "score")  # kinds of stages whose results say what was lost or heard
EXPLAINED = ("no text",)  # reasons that are part of the corpus, and lose nothing


class Split(NamedTuple):
    """One split of one table, as its stage recorded it."""

    name: str
    rows: int
    hours: float
    left_out: Mapping[str, int]
    """Numbers of rows that are not in it, by reason."""
    shared: Mapping[str, Mapping[str, Mapping[str, int]]]
    """What is in it although another split has it, too: "speakers" or "ids", that split, and counts."""

    @property
    def whole(self) -> int:
        """Number of its rows and of those left out."""
        return self.rows + sum(self.left_out.values())


def splits(records: Records) -> list[Split]:
    """The splits that the rows of a sweep read, each once, as far as their stages are finished."""
    found: dict[str, Split] = {}
    for line in records.manifest:
        for kind, name, id in manifest.stages(line):
            result = records.results(kind, id) if kind == "table" and id not in found else None
            if result and "rows" in result:
                kept = (result.get(key) or {} for key in ("left_out", "shared"))
                found[id] = Split(name, result["rows"], result.get("hours") or 0.0, *kept)
    return sorted(found.values(), key=lambda split: split.name)


def removed(splits: list[Split]) -> dict[str, int]:
    """How many texts and recordings were left out of splits because another one has them."""
    counts: Counter[str] = Counter()
    for split in splits:
        for reason, n in split.left_out.items():
            if _same(reason):
                counts[reason.removeprefix(SAME).split()[0]] += n
    return dict(sorted(counts.items()))


def _told(records: Records, key: str) -> dict[str, list[str]]:
    """What results say under a key, a phrase each, with the labels of the rows that it is about: "lost", what trainings
    could not use; "heard", what of a test split they were trained on.
    """
    phrases: dict[str, dict[str, None]] = {}
    for line in records.manifest:
        for kind, _, id in manifest.stages(line):
            for one in (records.results(kind, id) or {}).get(key, ()) if kind in SAY else ():
                said = f"{one['where']}: {one['items']:,} of {one['of']:,} {one['reason']}"
                phrases.setdefault(said, {})[records.label(line["row"])] = None
    return {phrase: list(rows) for phrase, rows in phrases.items()}


def notes(records: Records) -> list[str]:
    """Sentences for below the table: what is in no training because another split has it, which speakers are in both,
    what a limit left out, and what trainings could not use.
    """
    found = splits(records)
    same = [f"{n:,} of {one.name} ({reason})" for one in found for reason, n in one.left_out.items() if _same(reason)]
    limit = [
        f"{n:,} of {one.whole:,} of {one.name} ({reason})"
        for one in found
        for reason, n in one.left_out.items()
        if not _same(reason) and reason not in EXPLAINED
    ]
    heard = [f"{one.name}: {said}" for one in found for said in _kept(one, "speakers")]
    made = "when the split was first made"
    about = (
        (f"Rows left out {made}", same),
        (f"Rows left out by a limit {made}", limit),
        ("Speakers in two splits, kept", heard),
    )
    texts = [f"{what}: {'; '.join(each)}." for what, each in about if each]
    texts += [f"Not learnt from by {', '.join(rows)}: {phrase}." for phrase, rows in _told(records, "lost").items()]
    return texts + [f"{phrase}." for phrase in _told(records, "heard")]


def row(split: Split) -> dict[str, str]:
    """A line of the report's table of splits."""
    why = [f"{n:,} {reason}" for reason, n in split.left_out.items()]
    left = sum(split.left_out.values())
    return {
        "split": split.name,
        "rows": f"{split.rows:,}",
        "hours": f"{split.hours:.3g}" if split.hours else "",
        "left out": f"{left:,}" if left else "",
        "why": "; ".join(why),
        "kept, although in two splits": "; ".join([*_kept(split, "speakers"), *_kept(split, "ids")]),
    }


def _same(reason: str) -> bool:
    return reason.startswith(SAME)


def _kept(split: Split, what: str) -> list[str]:
    """What a split shares with each other one, in words."""
    table = split.name.partition(".")[0]
    return [
        f"{f'{n:,} speakers, ' if (n := counts.get('speakers')) else ''}{counts['rows']:,} of {split.rows:,} rows"
        f"{' by id' if what == 'ids' else ''}, of {other if '.' in other else f'{table}.{other}'}"
        for other, counts in split.shared.get(what, {}).items()
    ]
