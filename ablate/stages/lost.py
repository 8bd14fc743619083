"""What training silently cannot use: counted in the log and in the result of the stage that finds it, refused where it
is more than half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ablate.data import packing
from ablate.data.packing import Order, Stream
from ablate.data.table import Table
from ablate.errors import UserError
from ablate.tasks.reach import LONG, out_of_reach
from ablate.training import distributed
from ablate.training.loop import Model, context
from encoders.batch import Batch, Vocabulary
from objectives.mixture import moved
from objectives.views import Clean

ITEMS = 16  # number of utterances that are encoded at a time
SEEN = 20  # speech positions per entry of a codebook: of 20 expected uses, none is no chance
UNUSED = "entries of the codebook that no position of {} uses"


def told(where: str, reason: str, items: int, of: int, cure: str = "") -> list[dict[str, Any]]:
    """Print a loss of `items` of `of` things, and return it for the record; nothing where there is none.

    Raises UserError with the `cure` for more than half of them; without one they are told only.
    """
    if not items:
        return []
    said = f"{where}: {items:,} of {of:,} {reason}"
    if cure and 2 * items > of:
        raise UserError(f"{said}, more than half; {cure}.")
    print(said, flush=True)
    return [{"where": where, "reason": reason, "items": items, "of": of}]


def of_task(losses: Mapping[str, int], table: Table) -> list[dict[str, Any]]:
    """What a task loses of its training split."""
    cure = "raise the limit, use larger pieces (tokenizer) or another head, or take these rows out"
    return [one for reason, n in losses.items() for one in told(table.name, reason, n, len(table), cure)]


def before(model: Model, feeds: Mapping[str, Stream], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """What pre-training cannot learn, as far as it is known beforehand. Raises UserError for more than half of it."""
    return of_pairs(model, feeds) + of_codes(model, feeds, vocabulary, fixed=True)


def after(model: Model, feeds: Mapping[str, Stream], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """What pre-training has not used of codes that change in training, some of which may collapse."""
    return of_codes(model, feeds, vocabulary, fixed=False)


def of_pairs(model: Model, feeds: Mapping[str, Stream]) -> list[dict[str, Any]]:
    """What objectives cannot learn of the pairs that are drawn."""
    lost = []
    for name, objective in model.mixture.objectives.items():
        feed = feeds.get(objective.reads)
        if feed is not None and feed.tokens is not None:
            n = out_of_reach(objective, model.encoder, feed.tokens, feed.table.frames)[feed.items].sum()
            cure = "use larger pieces (tokenizer), or remove the objective"
            lost += told(f"{name} on {feed.table.name}", LONG, int(n), len(feed.items), cure)
    return lost


@torch.no_grad()
def of_codes(model: Model, feeds: Mapping[str, Stream], vocabulary: Vocabulary, fixed: bool) -> list[dict[str, Any]]:
    """Entries of codebooks that are never used: of targets that never change (`fixed`), or of all others.

    Counted without masks and noise on utterances in random order, `SEEN` positions per entry; on all of them if there
    are fewer, and then more than half may be unused.
    """
    if (feed := feeds.get("speech", feeds.get("pair"))) is None:
        return []
    lost, training, table = [], model.training, feed.table
    model.eval()
    for name, targets in model.mixture.targets.items():
        if targets.config.fixed != fixed:
            continue
        entries, groups = targets.config.entries, targets.config.groups
        used, positions, order = torch.zeros(groups, entries, dtype=torch.bool), 0, Order(len(table), 0, "codes used")
        for first in range(0, len(table), ITEMS):
            draws = [(slot, order.index(slot)) for slot in range(first, min(len(table), first + ITEMS))]
            batch = Batch(packing.speech(table, draws, 0, 1600))
            view = moved(Clean().build(batch, context(model.encoder, batch, vocabulary, 0)), distributed.device())
            ids_TG = targets.codes(targets.read(view, model.encoder(view)), 0, 1.0).best_IG.cpu()
            used.scatter_(1, ids_TG.T, True)
            positions += len(ids_TG)
            if positions >= SEEN * entries:
                break
        enough = positions >= SEEN * entries
        cure = "write fewer entries for these targets" if fixed and enough else ""
        where, reason = f"speech targets '{name}'", UNUSED.format(f"{positions:,} of {table.name}")
        lost += told(where, reason, int((~used).sum()), groups * entries, cure)
    model.train(training)
    return lost
