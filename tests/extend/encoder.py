from dataclasses import dataclass

import torch

from encoders.encoder import AbstractEncoder, EncoderConfig
from encoders.encoding import Encoding
from encoders.frontend import stack
from encoders.presets import PRESETS


class Recurrent(AbstractEncoder):
    """A bidirectional GRU over stacked log-mel and embedded tokens."""

    @dataclass(frozen=True, kw_only=True)
    class Config(EncoderConfig):
        tag = "recurrent"  # what it is called in ids, for ever

    def __init__(self, config, vocabulary):
        super().__init__(config, vocabulary)
        self.speech = torch.nn.Linear(self.stacked, self.width)
        self.embedding = torch.nn.Embedding(vocabulary.size, self.width)
        self.layer = torch.nn.GRU(self.width, self.width // 2, bidirectional=True)

    def forward(self, view):
        stages, parts = {}, {}
        if speech := view.inputs.speech:
            stages["stacked"] = stack(speech.mel_FM.float(), speech.lengths)
            x_TD = stages["features"] = self.speech(stages["stacked"])
            if view.speech_masked_I is not None:
                x_TD = x_TD.index_fill(0, view.speech_masked_I, 0.0)
            parts["speech"] = stages["speech_tower"] = x_TD
        if text := view.inputs.text:
            parts["text"] = self.embedding(text.ids_S)
        x_ND, layout, speech_layout = self.side_by_side(view, parts)
        stages["joint"] = torch.cat([self.layer(x_LD)[0] for x_LD in x_ND.split(layout.sequence_lengths)])
        return Encoding(stages, layout, speech_layout)


PRESETS["recurrent"] = Recurrent.Config()
