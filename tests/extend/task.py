from ablate.data import packing
from ablate.tasks.registry import TASKS
from ablate.tasks.task import AbstractTask, Metric, TaskConfig
from encoders.batch import Batch
from objectives.classification import Classification


class WordCount(AbstractTask):
    """How many words an utterance has: one number of its pooled encoding."""

    reads, columns, metrics = "speech", ("text",), (Metric("words_off", "lower", "words"),)

    class Config(TaskConfig):
        tag = "word_count"

    def objective(self, ports, targets, train):
        return Classification.Config(reads="speech").build(ports)

    def inputs(self, dataset, draws, seed, training=False):
        labels = tuple(len(dataset.table.rows[row]["text"].split()) for _, row in draws)
        return Batch(packing.speech(dataset.table, draws, seed), {"label": labels})

    def score(self, rows, hypotheses):
        words = [len(row["text"].split()) for row in rows]
        off = [abs(number - said) for number, said in zip(words, hypotheses)]
        return self.metrics[0].mean(rows, words, hypotheses, off)


TASKS["word_count"] = WordCount.Config(table="asr")
