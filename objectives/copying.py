"""A pointer into the input beside a decoder's softmax (See et al. 2017), which initially copies the input.

If the end of the output so far matches a stretch of the input, the next word is probably the one that follows there.
The pointer receives the length of that match, with initial weights that make it repeat the input to its end.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import Text, Vocabulary
from objectives.padded import Rectangle

LONGEST = 6  # longest match that is distinguished; longer ones count as this long


class Source:
    """The input's tokens as they may be output, [B, L]: its CLS is the start of the output, its last SEP the end."""

    def __init__(self, text: Text, vocabulary: Vocabulary, device: torch.device) -> None:
        rectangle = Rectangle(text.lengths, device)
        ids_S = text.ids_S.to(device).long()
        ids_S = torch.where(ids_S == vocabulary.sep, vocabulary.eos, ids_S)
        self.ids_BL = rectangle.pad(torch.where(ids_S == vocabulary.cls, vocabulary.bos, ids_S), vocabulary.pad)
        self.real_BL = rectangle.mask_BL

    def follows(self, run_BL: Tensor, last_B: Tensor) -> Tensor:
        """Length of the match between the input before each position and the end of the output, after `last` is output.

        `run_BL` is the same before that token (zeros at first, when `last` is the start); the number of rows may be a
        multiple of B.
        """
        ids_BL = self.ids_BL.repeat_interleave(len(last_B) // len(self.ids_BL), 0)
        match_BL = (run_BL + 1) * (ids_BL == last_B[:, None])
        return F.pad(match_BL[:, :-1], (1, 0))


class Pointer(nn.Module):
    """Log-probabilities of the next token from two sources: the softmax, or a copy of an input position."""

    def __init__(self, width: int, memory: int, share: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory, width, bias=False)
        self.gate = nn.Linear(width, 1)
        self.match = nn.Parameter(torch.tensor([0.0, *(7.0 + 2.0 * n for n in range(LONGEST))]))
        for layer in (self.query, self.gate):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.query.bias)
        nn.init.constant_(self.gate.bias, math.log(share / (1 - share)))

    def attention(self, x_RUD: Tensor, key_BLD: Tensor, run_RUL: Tensor, real_BL: Tensor) -> Tensor:
        """Log-probability of copying each input position, [R, U, L]; R may be a multiple of B."""
        hypotheses = len(x_RUD) // len(key_BLD)
        key_RLD, real_RL = (x.repeat_interleave(hypotheses, 0) for x in (key_BLD, real_BL))
        scores_RUL = self.query(x_RUD) @ key_RLD.transpose(1, 2) * x_RUD.shape[-1] ** -0.5
        scores_RUL = scores_RUL + self.match[run_RUL.clamp(max=LONGEST)]
        return scores_RUL.masked_fill(~real_RL[:, None], -torch.inf).float().log_softmax(2)

    def gates(self, x_RUD: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of copying and of using the softmax, [R, U, 1] each."""
        logit_RU1 = self.gate(x_RUD).float()
        return F.logsigmoid(logit_RU1), F.logsigmoid(-logit_RU1)

    def wanted(self, x_BUD: Tensor, attention_BUL: Tensor, made_BU: Tensor, source: Source, ids_BU: Tensor) -> Tensor:
        """Log-probability of each token of `ids`, from both sources together, [B, U]; `made_BU` is the softmax's."""
        same_BUL = source.ids_BL[:, None] == ids_BU[:, :, None]
        copied_BU = attention_BUL.masked_fill(~same_BUL, -1e9).logsumexp(2)  # no -inf: its gradient would be NaN
        copy_BU1, make_BU1 = self.gates(x_BUD)
        return torch.logaddexp(copy_BU1.squeeze(2) + copied_BU, make_BU1.squeeze(2) + made_BU)

    def everything(self, x_R1D: Tensor, attention_R1L: Tensor, made_RV: Tensor, source: Source) -> Tensor:
        """Log-probability of every next token, from both sources together: [R, V]; `made_RV` is the softmax's."""
        ids_RL = source.ids_BL.repeat_interleave(len(made_RV) // len(source.ids_BL), 0)
        copy_R1, make_R1 = (gate.squeeze(2) for gate in self.gates(x_R1D))
        share_RV = torch.zeros_like(made_RV).scatter_add_(1, ids_RL, attention_R1L.squeeze(1).exp())
        return torch.logaddexp(copy_R1 + share_RV.log(), make_R1 + made_RV)


def runs(source: Source, ids_BU: Tensor) -> Tensor:
    """For each output position the match lengths that `Source.follows` would return, [B, U, L]; `ids` begin with the
    start.
    """
    run_BL, stretches = torch.zeros_like(source.ids_BL), []
    for last_B in ids_BU.unbind(1):
        run_BL = source.follows(run_BL, last_B)
        stretches.append(run_BL)
    return torch.stack(stretches, 1)
