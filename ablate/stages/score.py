"""The `score` stage: evaluate a finished model once on a test split, with per-item records and shallow baselines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from ablate.data.corpus import SplitConfig
from ablate.data.repeated import repeated
from ablate.data.speaker import Alone
from ablate.data.table import Example
from ablate.data.tokenizer import Tokenizer
from ablate.stages import lost
from ablate.stages.evaluate import predictions
from ablate.stages.finetune import build, dataset
from ablate.stages.kind import restored
from ablate.stages.pretrain import load_leaf
from ablate.stages.tuned import settled
from ablate.store.run import RunFolder
from ablate.tasks.task import AbstractTask, Score, TaskConfig
from ablate.training import checkpoint
from encoders.encoder import EncoderConfig

HEARD = "recordings are in {} in another encoding, so that their scores say nothing of unseen ones; take them out"


@dataclass(frozen=True, kw_only=True)
class ScoreStage:
    """Identity of the score of one split, the only one in its task's config."""

    tag: ClassVar[str] = "score"

    encoder: EncoderConfig
    task: TaskConfig
    seed: int = 0


def stage(config: ScoreStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Score the task's split; write items.jsonl, return scores and baselines."""
    began = time.monotonic()
    config = settled(config, parents)
    task = config.task.build()
    if task.trained:
        model, task, tokenizer = build(config, parents)
        model.load_state_dict(checkpoint.of(parents["finetune"]).weights)
        model.eval()
    else:
        tokenizer = Tokenizer(parents["tokenizer"].sound())
        model = load_leaf(tokenizer, parents["pretrain"])
    vocabulary = tokenizer.vocabulary
    (split,) = config.task.splits
    train, data = dataset(task, parents, task.baseline_split).table, dataset(task, parents, split)
    rows, heard = data.table.rows, []
    passes = 1 + bool(task.alone and not data.table.centred)
    data.told = lambda done: run.progress(done, passes * len(rows), unit="items")
    if task.trained:
        heard = lost.told(data.table.name, HEARD.format(train.name), len(repeated(train, data.table)), len(rows))
        hypotheses = predictions(model, task, data, vocabulary, final=True)
    else:
        hypotheses = task.measure(model, data, vocabulary)
    scores, items = task.score(rows, hypotheses)
    baselines = task.baselines(train.rows, rows)
    if passes > 1:
        data.told = lambda done: run.progress(len(rows) + done, passes * len(rows), unit="items")
        data.table = Alone(data.table, train.means.mean(0))
        score, rates = one_by_one(task, rows, predictions(model, task, data, vocabulary, final=True))
        whole = "mean of all recordings of a speaker in the split"
        scores = [*(replace(one, signature=f"{one.signature}|{whole}") for one in scores), score]
        items = [item | rate for item, rate in zip(items, rates, strict=True)]
        main = task.metrics[0].name
        baselines += [replace(one, metric=score.metric) for one in baselines if one.metric == main]
    shared = restored(parents[f"table/{split}"], SplitConfig).clusters(rows)
    clusters = {row["id"]: own for row, own in zip(rows, shared, strict=True)}
    lines = [
        json.dumps({"split": split, **item, "cluster": clusters.get(item["id"], {})}, ensure_ascii=False)
        for item in items
    ]
    run.write_bytes("items.jsonl", ("\n".join(lines) + "\n").encode())
    return {
        "task": task.name,
        **({"empty": empty} if (empty := _empty(hypotheses)) else {}),
        "heard": heard,
        "scores": [{"split": split, **asdict(score)} for score in scores],
        "baselines": [{"split": split, **asdict(baseline)} for baseline in baselines],
        "busy_seconds": time.monotonic() - began,
    }


def one_by_one(task: AbstractTask, rows: Sequence[Example], hypotheses: Sequence[Any]) -> tuple[Score, list[Example]]:
    """The main metric of recordings that were transcribed one by one, and for word errors its counts by item."""
    scores, items = task.score(rows, hypotheses)
    of = task.alone
    whole = next(one for one in scores if one.metric == task.metrics[0].name)
    score = replace(whole, metric=of.name, signature=f"{whole.signature}|mean of each recording alone")
    if of.name != "wer_alone":
        return score, [{} for _ in items]
    errors = [item["substitutions"] + item["deletions"] + item["insertions"] for item in items]
    return score, [{of.name: [100 * wrong, item["words"]]} for wrong, item in zip(errors, items, strict=True)]


def _empty(hypotheses: Sequence[Any]) -> int:
    """Number of outputs that are empty texts."""
    return sum(isinstance(one, str) and not one.strip() for one in hypotheses)
