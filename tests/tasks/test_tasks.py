"""Every trained task from its table to its scores, through an encoder; and what its config refuses."""

from __future__ import annotations

import pytest
import torch

from ablate.errors import UserError
from ablate.planning.summary import described
from ablate.store import identity
from ablate.sweepfile import claims
from ablate.sweepfile.typed import typed
from ablate.tasks.registry import TASKS
from ablate.tasks.supervised.classification import TextClassification
from ablate.tasks.task import TaskConfig
from encoders.joint import Joint
from objectives.objective import Ports, ViewContext

TRAINED = ["asr", "translation", "sentiment", "sentence_pair", "normalization"]


def context(encoder, batch, vocabulary, key: int) -> ViewContext:
    lengths = encoder.subsampled(batch.inputs.lengths) if hasattr(batch.inputs, "mel_FM") else ()
    return ViewContext(lengths, vocabulary, key)


@torch.no_grad()
def hypotheses(task, objective, encoder, data, vocabulary, final: bool, size: int) -> list:
    outputs = []
    for first in range(0, len(data), size):
        batch = task.inputs(data, [(i, i) for i in range(first, min(len(data), first + size))], 0)
        view = objective.view.build(batch, context(encoder, batch, vocabulary, 0))
        outputs += task.predict(objective, view, encoder(view), final=final)
    return outputs


def made(name: str, dataset, patch: dict | None = None):
    torch.manual_seed(0)
    task = typed(TASKS[name], patch or {}, name).build()
    train = dataset(task.config.table, "train")
    vocabulary = train.tokenizer.vocabulary
    encoder = Joint.Config(width=32, ffn=64).build(vocabulary)
    ports = Ports(encoder.width, vocabulary, encoder.embedding)
    own = train.target_tokenizer.vocabulary if task.config.tokenizer else None
    return task, train, vocabulary, encoder, task.objective(ports, own, train.table)


HEADS = [("asr", {"head": "transducer"}), ("asr", {"head": "classes"})]


@pytest.mark.parametrize(("name", "patch"), [(name, {}) for name in TRAINED] + HEADS)
def test_from_table_to_scores(name, patch, dataset):
    task, train, vocabulary, encoder, objective = made(name, dataset, patch)
    batch = task.inputs(train, [(0, 3), (1, 0), (2, 5)], 1)
    view = objective.view.build(batch, context(encoder, batch, vocabulary, 9))
    terms, counts = objective(view, encoder(view), {}), objective.counts(view)
    assert set(terms) == set(counts) == set(objective.term_weights) and all(counts.values())
    sum(term.total for term in terms.values()).backward()
    assert all(p.grad is not None for p in objective.parameters())

    encoder.eval(), objective.eval()
    test = dataset(task.config.table, "test")
    assert len(task.sizes(test)) == len(test) == 20 and min(task.sizes(test)) > 0
    one = hypotheses(task, objective, encoder, test, vocabulary, True, 20)
    assert one == hypotheses(task, objective, encoder, test, vocabulary, True, 3), "a hypothesis depends on its pack"
    scores, items = task.score(test.table.rows, one)
    assert tuple(s.metric for s in scores) == tuple(m.name for m in task.metrics)
    assert [item["id"] for item in items] == [row["id"] for row in test.table.rows]
    assert task.chosen.name == "loss" or task.chosen in task.metrics
    for baseline in task.baselines(train.table.rows, test.table.rows):
        assert baseline.metric in {m.name for m in task.metrics} and 0 <= baseline.value


@pytest.mark.parametrize("name", ["asr", "normalization", "sentence_pair"])
def test_a_perfect_hypothesis_scores_perfectly(name, dataset):
    task = TASKS[name].build()
    rows = dataset(task.config.table, "test").table.rows
    field = {"asr": "text", "normalization": "spoken", "sentence_pair": "label"}[name]
    scores, _ = task.score(rows, [row[field] for row in rows])
    assert all(s.value == (0 if s.better == "lower" else 100) for s in scores)


def test_errors_of_sentences_with_a_class():
    task = TASKS["normalization"].build()
    rows = [
        {"id": str(i), "written": "x", "spoken": said, "classes": classes}
        for i, (said, classes) in enumerate([("one", ["DATE"]), ("two", ["DATE", "MONEY"]), ("three", [])])
    ]
    scores = {score.metric: (score.n, score.value) for score in task.score(rows, ["one", "too", "three"])[0]}
    assert scores["ser"] == (3, pytest.approx(100 / 3))
    assert scores["ser_date"] == (2, 50) and scores["ser_money"] == (1, 100)
    assert scores.keys() == {"ser", "wer", "ser_date", "ser_money"}
    reached = {(one.name, one.metric): one.value for one in task.baselines(rows, rows)}
    assert reached["copy", "ser_date"] == 100 and reached["dictionary", "ser_date"] == 50  # "x" is spoken "one" first


def test_errors_by_class_may_be_columns():
    tasks = {name: described(TASKS[name]) for name in ("normalization", "asr")}
    assert claims.measure("normalization.ser_date", tasks, "table.columns") == ("normalization", "test", "ser_date")
    for column in ("asr.wer_date", "normalization.wer_date", "normalization.date"):
        with pytest.raises(UserError, match="has no metric"):
            claims.measure(column, tasks, "table.columns")


def test_edits_of_all_words_are_counted(dataset):
    task, rows = TASKS["asr"].build(), [{"id": "a", "text": "one two three"}, {"id": "b", "text": "four"}]
    wer = task.score(rows, ["one too three more", ""])[0][0]
    assert wer.counts == {"substitutions": 1, "deletions": 1, "insertions": 1, "units": 4} and wer.value == 75
    assert "jiwer" in wer.signature and "case:lc" in wer.signature


def test_recognition_learns_words(dataset):
    task, train, vocabulary, encoder, objective = made("asr", dataset)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], 4e-3)
    for step in range(60):
        batch = task.inputs(train, [(step * 12 + i, (step * 12 + i) % 48) for i in range(12)], 0)
        view = objective.view.build(batch, context(encoder, batch, vocabulary, step))
        optimizer.zero_grad()
        (objective(view, encoder(view), {})["ctc"].total / objective.counts(view)["ctc"]).backward()
        optimizer.step()
    encoder.eval(), objective.eval()
    test = dataset("asr", "test")
    outputs = hypotheses(task, objective, encoder, test, vocabulary, False, 20)
    wer = task.score(test.table.rows, outputs)[0][0].value
    assert wer < 40, f"WER {wer}"


def test_recognition_by_classes_says_transcripts_of_train_only(dataset, monkeypatch):
    task, train, vocabulary, encoder, objective = made("asr", dataset, {"head": "classes"})
    known = {row["text"] for row in train.table.rows}
    test = dataset("asr", "test")
    assert set(hypotheses(task, objective, encoder, test, vocabulary, True, 20)) <= known == set(objective.labels)
    monkeypatch.setattr("ablate.tasks.supervised.asr.MOST_CLASSES", len(known) - 1)
    with pytest.raises(UserError, match=f"{len(known)} different transcripts"):
        made("asr", dataset, {"head": "classes"})


def test_normalization_begins_as_a_copy_and_learns_what_differs(dataset):
    task, train, vocabulary, encoder, objective = made(
        "normalization", dataset, {"decoder": {"copying": 0.95, "dropout": 0.0}}
    )
    test = dataset("normalization", "test")

    def outputs() -> list[str]:
        encoder.eval(), objective.eval()
        texts = hypotheses(task, objective, encoder, test, vocabulary, False, 20)
        encoder.train(), objective.train()
        return texts

    assert outputs() == [row["written"] for row in test.table.rows]
    optimizer = torch.optim.AdamW(
        [{"params": encoder.parameters(), "lr": 4e-3}, {"params": objective.parameters()}], 1e-2
    )
    for step in range(150):
        batch = task.inputs(train, [(step * 12 + i, (step * 12 + i) % 48) for i in range(12)], 0)
        view = objective.view.build(batch, context(encoder, batch, vocabulary, step))
        optimizer.zero_grad()
        (objective(view, encoder(view), {})["sequence"].total / objective.counts(view)["sequence"]).backward()
        optimizer.step()
    ser = task.score(test.table.rows, outputs())[0][0].value
    assert ser < 90, f"SER {ser}: hardly better than a copy, which has nothing right"


def test_inputs_are_a_function_of_draws_and_seed(dataset):
    task, train, *_ = made("asr", dataset)
    a, b = (task.inputs(train, [(7, 1), (8, 2)], 3) for _ in range(2))
    assert a.inputs.keys == b.inputs.keys != task.inputs(train, [(7, 1), (8, 2)], 4).inputs.keys
    assert torch.equal(a.references["transcript"].ids_S, b.references["transcript"].ids_S)


@pytest.mark.parametrize("name", list(TASKS))
def test_configs_survive_identity_and_patches(name):
    config = TASKS[name]
    assert identity.restore(identity.canonical(config), TaskConfig) == config
    changed = typed(config, {"steps": 7, "splits": ["dev"]}, f"tasks.{name}")
    assert (changed.steps, changed.splits) == (7, ("dev",)) and changed.build().config == changed


def test_patches_reach_into_heads():
    config = typed(TASKS["translation"], {"decoder": {"layers": 4}, "tokenizer": {"size": 100}}, "tasks.translation")
    assert (config.decoder.layers, config.tokenizer.size) == (4, 100)


@pytest.mark.parametrize(
    ("name", "patch", "message"),
    [
        ("asr", {"head": "cct"}, "did you mean 'ctc'"),
        ("asr", {"step": 3}, "did you mean 'steps'"),
        ("asr", {"average": 1.0}, "asr.average: expected a number from 0 to below 1, found 1.0"),
        ("asr", {"evaluate_every": 0}, "asr.evaluate_every: expected a whole number from 1, found 0"),
        ("asr", {"items": 0}, "asr.items: expected a whole number from 1, found 0"),
        ("translation", {"beam": 0}, "translation.beam: expected a whole number from 1, found 0"),
        ("normalization", {"most": 0}, "normalization.most: expected a whole number from 1, found 0"),
        ("normalization", {"decoder": {"copying": 0.9}, "tokenizer": {"size": 99}}, "copies the encoder's own tokens"),
        ("asr", {"head": "classes", "classes": {"reads": "text"}}, "recognition reads speech"),
        ("normalization", {"decoder": {"ctc": 0.5}}, "CTC needs speech"),
        ("normalization", {"decoder": {"heads": 3}}, "multiple of twice the 3 heads"),
        ("sentiment", {"head": {"pool": "men"}}, "did you mean 'mean'"),
        ("sst2", {"tokenizer": {"size": 99}}, "set base.tokenizer for the input"),
        ("digits", {"head": "classes", "tokenizer": {"model": "char"}}, "which has no use for a tokenizer"),
        ("sentiment", {"fields": []}, "expected one text field or two"),
        ("retrieval", {"candidates": 1}, "retrieval.candidates: expected a whole number from 2, found 1"),
    ],
)
def test_mistakes_are_named(name, patch, message):
    with pytest.raises(UserError, match=message):
        typed(TASKS[name], patch, f"tasks.{name}")


def test_labels_come_from_train(dataset):
    task = TextClassification(TASKS["sentence_pair"])
    *_, objective = made("sentence_pair", dataset)
    assert objective.labels == ("no", "yes") and task.reads == "text"
