"""What linear probes can predict from a leaf's speech, layer by layer: phone, word and voice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ablate.data import packing
from ablate.data.table import Example
from ablate.errors import UserError
from ablate.tasks.measured import linear
from ablate.tasks.measured.alignment_by_layer import layered
from ablate.tasks.measured.codes import known, numbered, phones_at
from ablate.tasks.task import AbstractMeasure, Baseline, Dataset, Metric, Score, TaskConfig
from ablate.training.loop import Model, context
from encoders.batch import Batch, Vocabulary
from encoders.frontend import subsampled
from encoders.layers import by_layer
from encoders.ranges import Natural, Size
from objectives.mixture import moved
from objectives.views import Clean

PHONE = Metric("phone", "higher")
WORD = Metric("word", "higher")
VOICE = Metric("voice", "lower")
TRAIN, TEST = slice(0, None, 2), slice(1, None, 2)  # probes are trained on every other utterance


@dataclass(frozen=True)
class Heard:
    """One utterance at every layer: its mean vector, and its vectors [P, D] at some positions."""

    mean: Mapping[str, np.ndarray]
    some: Mapping[str, np.ndarray]
    positions: np.ndarray
    length: int


class ProbesByLayer(AbstractMeasure):
    """Linear probes on speech encoded alone, trained on half of the utterances and scored on the other half.

    `phone`: accuracy of the phone at a position (discriminant analysis). `word`: how well an utterance's mean vector
    predicts whether it contains a frequent word, as the area under the ROC curve averaged over words (ridge regression;
    50 % by chance). `voice`: accuracy of the speaker from the mean vector; a speaker-invariant encoder has a low one.
    These names are of the top layer; `phone/speech_0` is of the input of the speech-only layers, and so on up to the
    shared ones. Labels that the table lacks are left out.
    """

    reads = "speech"
    columns = ("text",)
    sees = ("speech",)
    baseline_split = "dev"
    metrics = (PHONE, WORD, VOICE)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Held-out utterances with `text` and optionally `voice` and `phones` ([first frame, name], in order)."""

        tag: ClassVar[str] = "probes_by_layer"

        table: str = "retrieval"
        steps: Natural = 0
        items: Size = 16
        """Number of utterances encoded at once."""
        positions: Size = 32
        """Number of positions per utterance that the phone probe uses, evenly spaced."""
        often: Size = 5
        """A word is probed if at least this many utterances of each half contain it, and as many do not."""

    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Heard]:
        utterances: list[Heard] = []
        for draws in dataset.chunks(self.config.items):
            batch = Batch(packing.speech(dataset.table, draws, 0))
            view = Clean().build(batch, context(model.encoder, batch, vocabulary, 0))
            _, layers = by_layer(model.encoder, moved(view, next(model.encoder.parameters()).device))
            split = {name: x_TD.float().cpu().split(view.speech_lengths) for name, x_TD in layers.items()}
            for b, length in enumerate(view.speech_lengths):
                positions = self._positions(length)
                own = {name: parts[b].numpy() for name, parts in split.items()}
                utterances.append(
                    Heard(
                        {name: x.mean(0) for name, x in own.items()},
                        {name: x[positions].astype(np.float16) for name, x in own.items()},
                        positions,
                        length,
                    )
                )
        return utterances

    def score(self, rows: Sequence[Example], hypotheses: Sequence[Heard]) -> tuple[list[Score], list[Example]]:
        if len(rows) < 4:
            raise UserError(f"Probes need at least 4 utterances, found {len(rows)}; give the table more rows.")
        layers = list(hypotheses[0].mean)
        scores, items = [], [{"id": row["id"], "reference": row["text"]} for row in rows[TEST]]
        for metric, signature, values in self._probed(rows, hypotheses, layers, items):
            scores.append(metric.score(values[layers[-1]], len(items), signature))
            scores += layered([metric], {layer: [value] for layer, value in values.items()}, len(items), [signature])
        return scores, items

    def _probed(
        self, rows: Sequence[Example], hypotheses: Sequence[Heard], layers: Sequence[str], items: list[Example]
    ) -> Iterator[tuple[Metric, str, dict[str, float]]]:
        """Each probe for which the rows have labels: its metric, signature and score by layer, in percent."""
        if known(rows, "phones"):
            phones = [np.array(phones_at(row["phones"], h.length))[h.positions] for row, h in zip(rows, hypotheses)]
            taught, asked = (np.concatenate(phones[half]) for half in (TRAIN, TEST))
            right = {layer: _classified(hypotheses, layer, taught) == asked for layer in layers}
            cuts = np.cumsum([len(own) for own in phones[TEST]])[:-1]
            for item, own in zip(items, np.split(right[layers[-1]], cuts)):
                item["phone"] = [int(own.sum()), len(own)]
            what = f"discriminant analysis|{len(taught)} positions teach, {len(asked)} are asked"
            yield PHONE, what, {layer: 100 * float(hit.mean()) for layer, hit in right.items()}
        words = self._words(rows)
        if words:
            said = np.array([[word in set(row["text"].split()) for word in words] for row in rows])
            values = {}
            for layer in layers:
                mean_BD = np.stack([h.mean[layer] for h in hypotheses])
                weights, start = linear.regression(mean_BD[TRAIN], said[TRAIN])
                guesses = mean_BD[TEST] @ weights + start
                values[layer] = 100 * float(np.mean([linear.area(g, s) for g, s in zip(guesses.T, said[TEST].T)]))
            yield WORD, f"ridge on the mean vector|area under ROC over {len(words)} words", values
        if known(rows, "voice") and len({row["voice"] for row in rows[TRAIN]}) > 1:
            voice = numbered([row["voice"] for row in rows])
            values = {}
            for layer in layers:
                mean_BD = np.stack([h.mean[layer] for h in hypotheses])
                guess = linear.discriminant(mean_BD[TRAIN], voice[TRAIN], mean_BD[TEST])
                values[layer] = 100 * float((guess == voice[TEST]).mean())
            yield VOICE, f"discriminant analysis on the mean vector|{len(set(voice))} voices", values

    def _positions(self, length: int) -> np.ndarray:
        return np.unique(np.linspace(0, length - 1, self.config.positions).round().astype(int))

    def _words(self, rows: Sequence[Example]) -> list[str]:
        """Words that enough utterances of both halves contain, and enough do not."""
        halves = []
        for half in (rows[TRAIN], rows[TEST]):
            counts = Counter(word for row in half for word in set(row["text"].split()))
            most = len(half) - self.config.often
            halves.append({word for word, count in counts.items() if self.config.often <= count <= most})
        return sorted(halves[0] & halves[1])

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        """Baselines without an encoder; none for the voice: there lower is better, and chance is the lowest."""
        baselines = []
        if known(test, "phones"):
            lengths = subsampled(tuple(row["frames"] for row in test))
            phones = [np.array(phones_at(row["phones"], n))[self._positions(n)] for row, n in zip(test, lengths)]
            taught, heard = (np.concatenate(phones[half]) for half in (TRAIN, TEST))
            commonest = Counter(taught.tolist()).most_common(1)[0][0]
            baselines.append(Baseline("most frequent", PHONE.name, 100 * float((heard == commonest).mean())))
        words, asked = self._words(test), test[TEST]
        if words:
            seconds = np.array([row["seconds"] for row in asked])
            said = [np.array([word in row["text"].split() for row in asked]) for word in words]
            baselines.append(
                Baseline("duration only", WORD.name, 100 * float(np.mean([linear.area(seconds, s) for s in said])))
            )
        return baselines


def _classified(hypotheses: Sequence[Heard], layer: str, taught: np.ndarray) -> np.ndarray:
    one, other = (np.concatenate([h.some[layer] for h in hypotheses[half]]) for half in (TRAIN, TEST))
    return linear.discriminant(one, taught, other)
