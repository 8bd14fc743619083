"""Use a finished run on new input: the model of a fine-tuned row, and items that are in no table.

`python -m ablate.transcribe` gives it recordings, `python -m ablate.predict` lines of text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.likeness import Likeness
from ablate.data.spelling import composed, lowered
from ablate.data.table import Example
from ablate.data.tokenizer import Tokenizer
from ablate.errors import UserError, close, nearest
from ablate.stages.evaluate import predictions
from ablate.stages.finetune import LIKENESS, FinetuneStage, build, dataset
from ablate.stages.kind import restored
from ablate.stages.tuned import settled
from ablate.store import disk
from ablate.store.record import FORMAT, read_json
from ablate.store.run import RunFolder
from ablate.store.stage import parents_of
from ablate.training import checkpoint, numerics

SEEN = 2000  # number of training rows that are read to learn how a task's text is written


class NewItems:
    """Items given by the user, with frames if they are spoken; offers what a task needs of a `Dataset`, without a table
    on disk.
    """

    def __init__(self, rows: Sequence[Example], mels: Sequence[np.ndarray], tokenizer: Tokenizer, targets: Tokenizer):
        self.rows, self.mels = list(rows), list(mels)
        self.frames = np.array([len(mel_FM) for mel_FM in self.mels])
        self.tokenizer, self.target_tokenizer = tokenizer, targets
        self.table = self  # has a table's rows, frames and mel
        self.told = lambda done: None

    def __len__(self) -> int:
        return len(self.rows)

    def mel(self, index: int) -> np.ndarray:
        return self.mels[index]

    def tokens(self, field: str) -> Encoded:
        return Encoded([self.tokenizer.encode(row.get(field, "")) for row in self.rows])

    def target_tokens(self, field: str) -> Encoded:
        """References are unknown: empty."""
        return Encoded([[] for _ in self.rows])


class Encoded(list):
    """Ids of each text, in the form that `Tokens` has."""

    def __init__(self, lines: Sequence[Sequence[int]]):
        super().__init__(np.array(line, np.int32) for line in lines)
        self.lengths = np.array([len(line) for line in lines])


class Finished:
    """The model of a finished fine-tuning run, ready to predict.

    `folder` is that of the fine-tuning stage or of one of its scores, as printed by `python -m ablate.sweep FILE
    --where ROW`.
    """

    def __init__(self, folder: str | Path) -> None:
        numerics.begin()
        tuned = _finetuning(Path(folder))
        parents = parents_of(tuned)
        config = settled(restored(tuned, FinetuneStage), parents)
        config = replace(config, task=replace(config.task, **config.search))
        self.model, self.task, tokenizer = build(config, parents)
        self.model.load_state_dict(checkpoint.of(tuned).weights)
        self.model.eval()
        self.tokenizer = tokenizer
        self.target_tokenizer = Tokenizer(parents["targets"].sound()) if "targets" in parents else tokenizer
        said = tuned.checked(LIKENESS) if LIKENESS in tuned.result()["files"] else None
        self.likeness = None if said is None else Likeness(**read_json(said))
        self.train = dataset(self.task, parents, "train").table
        self.normalisation = self.train.recordings[0].normalisation if self.train.recordings else "bins"
        # Readers of corpora may write text in lower case; typed text must look like the training text.
        self.lower = all(
            row[field] == lowered(row[field]) for row in self.train.rows[:SEEN] for field in self.task.given
        )

    def check_speech(self, into: str = "") -> None:
        """Raise UserError for a text task, or if `into` is not a target language of a model with several."""
        self._must_read("speech", "ablate.predict RUN < lines")
        known = self.model.mixture.objectives["task"].languages
        if into not in (known or ("",)):
            raise UserError(f"--into is '{into}', which is no output language of this run: {nearest(into, known)}")

    def hear(self, mels: Sequence[np.ndarray], into: str = "") -> list[str]:
        """The model's output for each recording, given its normalised frames [F, 80]."""
        return self._predict([{"id": str(number), "direction": f"_{into}"} for number in range(len(mels))], mels)

    def predict(self, lines: Sequence[str]) -> list[Any]:
        """The model's output for each line; a line has the task's fields separated by tabs."""
        self._must_read("text", "ablate.transcribe RUN FILE ...")
        fields, rows = self.task.given, []
        for number, line in enumerate(lines, 1):
            cells = [composed(cell) for cell in line.rstrip("\n").split("\t")]
            cells = [" ".join((lowered(cell) if self.lower else cell).split()) for cell in cells]
            if len(cells) != len(fields) or not all(cells):
                raise UserError(
                    f"Line {number} has {len(list(filter(None, cells)))} texts, expected {len(fields)} "
                    f"({', '.join(fields)}), separated by tabs; each line is one item."
                )
            rows.append({"id": str(number), "label": None, **dict(zip(fields, cells))})
        return self._predict(rows, [])

    def _must_read(self, what: str, instead: str) -> None:
        if self.task.reads != what:
            raise UserError(
                f"This run is of '{self.task.name}', which reads {self.task.reads}; use python -m {instead}"
            )

    def _predict(self, rows: Sequence[Example], mels: Sequence[np.ndarray]) -> list[Any]:
        if not rows:
            return []
        items = NewItems(rows, mels, self.tokenizer, self.target_tokenizer)
        return predictions(self.model, self.task, items, self.tokenizer.vocabulary, final=True)


def _finetuning(folder: Path) -> RunFolder:
    """The run folder of the finished fine-tuning stage at `folder`, or the one behind the stage there, such as a
    score.
    """
    if not (folder / "identity.json").is_file():
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        near = close(folder.name, [one.name for one in beside if (one / "identity.json").is_file()])
        hint = f"did you mean '{folder.parent / near}'? " if near else ""
        raise UserError(
            f"'{folder}' is no run folder; {hint}python -m ablate.sweep FILE --where ROW prints those of a row."
        )
    what = read_json(folder / "identity.json")
    root = folder.resolve().parents[2]
    finetunes = [id for role, id in what["parents"] if role == "finetune"]
    if finetunes:
        return _finetuning(RunFolder(root, "finetune", finetunes[0]).path)
    if what["config"].get("type") != FinetuneStage.tag:
        raise UserError(
            f"'{folder}' is a run of kind '{what['kind']}', expected finetune: only that has a task's model."
        )
    run = RunFolder(root, "finetune", what["id"])
    if not run.done:
        raise UserError(f"The run in '{folder}' is not finished; run its sweep to the end first.")
    if (made := run.result().get("format", 1)) != FORMAT:
        raise UserError(
            f"The run in '{folder}' is of format {made}, which is listed and reported but no longer used; run its "
            "sweep again."
        )
    return run


def command(act: Callable[[], None]) -> int:
    """Run a command; a user's mistake is printed as one line, with exit status 2."""
    try:
        with disk.told():
            act()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
