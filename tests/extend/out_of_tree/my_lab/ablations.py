"""An objective in a package of its own: predict how loud the hidden frames are."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from objectives import OBJECTIVES
from objectives.objective import AbstractObjective, ObjectiveConfig, Term, gathered
from objectives.views import SpeechMask


class Loudness(AbstractObjective):
    reads, term_weights, view = "speech", {"loss": 1.0}, SpeechMask(prob=0.1, span=4)

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        tag: ClassVar[str] = "my_lab.loudness"

        def build(self, ports):
            made = Loudness()
            made.output = nn.Linear(ports.width, 1)
            return made

    def counts(self, view):
        return {"loss": float(len(view.speech_masked_I))}

    def forward(self, view, encoding, targets):
        guess_I = self.output(gathered(encoding, "joint", "speech", view.speech_masked_I)).squeeze(1)
        return {"loss": Term((guess_I - encoding.stages["stacked"][view.speech_masked_I].mean(1)).abs().sum())}


OBJECTIVES["loudness"] = Loudness.Config()
