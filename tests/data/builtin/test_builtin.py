"""The built-in corpus: its sentences, its labels, its shortcuts, its voices, and its audit."""

import itertools
import json
import re
from collections import Counter
from dataclasses import fields, replace

import pytest
from small_world import SMALL, drawn, places

from ablate.data.builtin import __main__ as command
from ablate.data.builtin import audit as auditing
from ablate.data.builtin import items, sample, world
from ablate.data.builtin.corpus import BuiltinConfig
from ablate.data.builtin.redundancy import redundancy
from ablate.tasks.registry import TASKS
from encoders import seeds


@pytest.fixture(scope="module")
def entries():
    return list(BuiltinConfig().entries())


@pytest.fixture(scope="module")
def rows(entries):
    by_place = {}
    for entry in entries:
        for table, split in entry.places:
            by_place.setdefault((table, split), []).append(entry.row_of(table))
    return by_place


@pytest.fixture(scope="module")
def sentences(entries):
    by_place = {}
    for entry in entries:
        for place in entry.places:
            by_place.setdefault(place, set()).update(entry.sentences)
    return by_place


def test_the_tables_are_those_that_planning_is_told(rows):
    assert set(places(BuiltinConfig())) == rows.keys()


# Splits, labels and shortcuts ---------------------------------------------------------------------------------------


def test_no_sentence_is_in_splits_of_different_kinds(sentences):
    kinds = {"train": "train", "dev": "dev", "test": "test", "test_unseen": "test"}
    assert len(sentences) == 24
    for a_, b in itertools.combinations(sentences, 2):
        if kinds[a_[1]] != kinds[b[1]]:
            assert not sentences[a_] & sentences[b], (a_, b)


def test_a_sentence_has_its_split_by_itself(entries):
    """Also where another seed or size asks, and in about the stated shares of all sentences."""
    kinds = Counter(sample.kind(0, f"anna met paul at {i}") for i in range(4000))
    assert all(abs(kinds[name] / 4000 - share) < 0.03 for name, share in sample.SHARES.items())
    moved = sum(sample.kind(0, f"anna met paul at {i}") != sample.kind(1, f"anna met paul at {i}") for i in range(1000))
    assert 480 < moved < 640  # two draws differ with 1 - .6² - 2 · .2² = .56
    for entry in entries:
        split = entry.places[0][1].removesuffix("_unseen")
        assert {sample.kind(0, said) for said in entry.sentences} == {split}


def test_stories_are_audited_sentence_by_sentence(entries):
    for entry in entries:
        if entry.places[0][0] == "text":
            told = entry.row["text"]
            spoken = told == told.lower()
            assert 2 <= len(entry.sentences) <= 3
            if spoken:
                assert told == " ".join(entry.sentences)
            else:
                assert told.count(".") - len(re.findall(r"\d\.\d", told)) == len(entry.sentences)


def test_half_of_the_stories_are_written(rows):
    written = sum(row["text"] != row["text"].lower() for row in rows["text", "train"])
    assert 0.47 < written / len(rows["text", "train"]) < 0.53


def test_rows_differ_within_a_split(rows):
    for (table, split), examples in rows.items():
        content = [(row.get("text"), row.get("text_b"), row.get("written")) for row in examples]
        assert len(set(content)) == len(content), (table, split)
        assert len({row["id"] for row in examples}) == len(examples)


def test_spoken_forms_are_words_only(rows):
    for (table, split), examples in rows.items():
        for row in examples:
            for field in ("text", "text_b", "translation", "spoken"):
                if field in row and table != "text":
                    assert re.fullmatch(r"[a-zäöüß']+( [a-zäöüß']+)*", row[field]), (table, split, row)


def test_spoken_sentences_are_short(rows):
    for table in ("speech", "pairs", "asr", "translation"):
        lengths = Counter(len(row["text"].split()) for row in rows[table, "train"])
        assert set(lengths) == set(range(5, 10))


@pytest.mark.parametrize("table", ["sentiment", "sentence_pair"])
def test_labels_are_balanced(rows, table):
    for split in ("train", "dev", "test"):
        counts = Counter(row["label"] for row in rows[table, split])
        assert len(counts) == 2 and len(set(counts.values())) == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shortcuts_do_not_pay(seed):
    config = BuiltinConfig(seed=seed, speech=1, text=1, pairs=1, asr=1, translation=1, text_dev=2)
    baselines = auditing.shallow(auditing._by_split(list(config.entries()))[0], TASKS)
    pairs, opinions = baselines["sentence_pair"]["accuracy"], baselines["sentiment"]["accuracy"]
    assert pairs["majority"] == opinions["majority"] == 50
    for rule in ("word overlap", "words of the second (naive Bayes)", "changed words (naive Bayes)"):
        assert pairs[rule] < 58, rule
    assert 53 < opinions["words (naive Bayes)"] < 66 < opinions["bigrams (naive Bayes)"] < 80
    # What is left to learn: which exchanges of words are right ("paris/france") tells of the words that labels have.
    assert 60 < pairs["exchanged words (naive Bayes)"] < 80
    assert baselines["normalization"]["ser"]["copy"] == 100
    assert list(pairs.values()) == sorted(pairs.values(), reverse=True)


def test_pairs_of_sentences_are_tested_on_words_that_labels_lack(entries):
    """Rare words are drawn like common ones there; in the other tests of tasks they are rarer."""
    rows = auditing._by_split(entries)[0]

    def unknown(table, *fields):
        train, test = (
            [word for row in rows[f"{table}.{split}"] for field in fields for word in row[field].split()]
            for split in ("train", "test")
        )
        known = set(train)
        return sum(word not in known for word in test) / len(test)

    assert unknown("sentence_pair", "text", "text_b") > 0.08 and unknown("asr", "text") > 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_stories_are_redundant_and_pairs_are_not(seed):
    entries = list(
        BuiltinConfig(seed=seed, speech=1, text=1500, asr=1, sentence_pair=2, text_dev=2, text_test=2).entries()
    )
    texts = {place: [e.sentences for e in entries if e.places[0] == (place, "train")] for place in ("text", "pairs")}
    stories, pairs = redundancy(texts["text"]), redundancy(texts["pairs"])
    assert stories["repeated"] > 60 and stories["guessed"] > 55
    assert pairs["repeated"] < 1 and pairs["guessed"] < 16
    assert stories["guessed alone"] < 20


def test_redundancy_by_hand():
    told = [("anna saw the dog", "the dog saw paul")] * 3  # dog twice in each; neighbours tell the rest
    assert redundancy(told) == {"repeated": 66.7, "guessed": 100.0, "guessed alone": 100.0}
    assert redundancy([("anna met paul",), ("paul met anna",)])["guessed"] == 0  # the other text had it the other way
    assert redundancy([])["repeated"] == 0


def test_coverage_and_duplicates_by_hand():
    rows = {"asr.train": [{"text": "a b b"}, {"text": "a c"}], "asr.test": [{"text": "a a a d"}]}
    assert auditing.coverage(rows) == {
        "asr.test by asr.train": {"train": 3, "test": 2, "different": 50.0, "running": 75.0}
    }
    assert auditing.duplicates([*rows["asr.train"], {"text": "a c"}]) == 1


def test_worlds_differ_in_words_and_not_in_balance(rows):
    """Another seed is another draw of the same design: as many words, as well covered, no leaks."""
    small = BuiltinConfig(speech=50, text=500, sentence_pair=500, text_dev=20, text_test=500)
    audits = [auditing.audit(list(replace(small, seed=seed).entries()), TASKS) for seed in (0, 1)]
    one, other = audits
    assert one["coverage"] != other["coverage"]
    for name in ("asr.test by asr.train", "sentence_pair.test by sentence_pair.train"):
        assert abs(one["coverage"][name]["running"] - other["coverage"][name]["running"]) < 4
    for each in audits:
        assert each["leaks"] == 0 and not any(each["duplicates"].values())
        assert 60 < each["coverage"]["asr.test by asr.train"]["different"] < 90  # labels know some 60 % of open classes
        assert each["coverage"]["asr.test by asr.train"]["running"] < 95
    assert abs(one["vocabulary"]["english"] - other["vocabulary"]["english"]) < 10


def test_hypotheses_of_a_contrast_share_as_much_with_the_premise(rows):
    draw = world.World(0).draw(seeds.rng(5))
    shares = {True: Counter(), False: Counter()}
    for i in range(2000):
        row = items.sentence_pair(draw, lambda said: True, entailed=i % 2 == 0).row
        given, words = set(row["text"].split()), set(row["text_b"].split())
        shares[i % 2 == 0][round(len(given & words) / len(words), 2)] += 1
    for share in set(shares[True]) | set(shares[False]):
        assert abs(shares[True][share] - shares[False][share]) < 80, share


def test_labels_use_common_words_and_evaluation_all(rows):
    config = BuiltinConfig()
    common = world.World(config.seed, config.coverage, config.rare).common
    rare = {
        o.english.lower()
        for kind, words in world.OPEN.items()
        if kind in ("name", "role", "object", "color")
        for o in words
        if o not in common[kind]
    }
    for kind, words in world.OPEN.items():
        assert abs(len(common[kind]) / len(words) - 0.6) < 0.1, kind

    def used(table, split):
        return {word for row in rows[table, split] for f in ("text", "text_b") for word in row.get(f, "").split()}

    for table in ("asr", "sentiment", "sentence_pair"):
        assert not used(table, "train") & rare
    assert rare <= used("pairs", "train") and rare <= used("text", "train") and len(rare & used("asr", "test")) > 5


def test_smaller_budgets_are_the_beginning_of_larger_ones():
    large, small = (drawn(replace(SMALL, asr=rows), "asr", "train") for rows in (30, 10))
    assert small == large[:10]


def test_worlds_differ_by_seed():
    def content(seed):
        return {json.dumps(e.row, sort_keys=True) for e in replace(SMALL, seed=seed).entries()}

    assert content(1) == content(1)
    assert len(content(1) & content(2)) < 3
    assert world.World(1).common != world.World(2).common


def test_unseen_voices_are_heard_nowhere_else(entries):
    voices = auditing._by_split(entries)[2]
    unseen = voices.pop("asr.test_unseen")
    assert len(unseen) == 6
    assert all(not unseen & names for names in voices.values())
    assert len(voices["speech.train"]) == 24 and len(voices["asr.train"]) == 2


def test_labelled_voices_are_never_tested_but_tested_ones_are_known_from_unlabelled_speech(entries):
    voices = auditing._by_split(entries)[2]
    assert voices["asr.train"] == voices["translation.train"]
    for split in ("asr.dev", "asr.test", "translation.dev", "translation.test", "retrieval.test"):
        assert voices[split] <= voices["speech.train"] and not voices[split] & voices["asr.train"], split


def test_unseen_voices_say_what_known_ones_say(rows):
    known, unseen = rows["asr", "test"], rows["asr", "test_unseen"]
    assert [row["text"] for row in known] == [row["text"] for row in unseen]


# The audit as a command ----------------------------------------------------------------------------------------------


def test_the_audit_is_a_command(capsys):
    arguments = [f"{field.name}={getattr(SMALL, field.name)}" for field in fields(BuiltinConfig)]
    assert command.main(["--audit", "--no-hours", *arguments]) == 0
    short = capsys.readouterr().out
    assert "sentences shared between train, dev and test: 0" in short and "rows that a split has twice: 0" in short
    tasks = "asr.wer", "translation.bleu", "sentiment.accuracy", "sentence_pair.accuracy", "normalization.ser"
    assert all(f"  {task} " in short for task in tasks)
    assert "(not measured)" in short and "duration only" not in short
    assert command.main(["--audit", "pears=3"]) == 2
    assert "'pears' is no setting of the built-in corpus; did you mean 'pairs'?" in capsys.readouterr().err
    assert command.main([]) == 2


def test_the_audit_measures_hours_and_what_needs_them(capsys):
    pytest.importorskip("espeakng_loader")
    arguments = [f"{field.name}={getattr(SMALL, field.name)}" for field in fields(BuiltinConfig)]
    assert command.main(["--audit", *arguments]) == 0
    told = capsys.readouterr().out
    assert re.search(r"asr.train +20 +0\.\d{3} h", told) and "(not measured)" not in told
    assert re.search(r"retrieval.recall@1 +.*duration only", told)
