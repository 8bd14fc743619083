"""The kinds of stages, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ablate.data.contract import Registered
from ablate.stages import finetune, heldout, kmeans, prepare, pretrain, score, tune
from ablate.stages.kind import Kind
from ablate.store import identity
from ablate.store.stage import Stage

# pretrain and finetune 4: heads of weight 0 are clipped apart, and passes draw their dropout by name; Adam counts from
# where parameters enter or are unfrozen; u and v of relative positions have no weight decay; targets that join later
# anneal from there on; of equal dev scores the lower loss, then the later one, is kept; ASR is selected by CER.
KINDS: Registered[Kind] = Registered(
    {
        "recordings": Kind(1, prepare.recordings),
        "table": Kind(1, prepare.table),
        "tokenizer": Kind(3, prepare.tokenizer),
        "tokens": Kind(1, prepare.tokens),
        "kmeans": Kind(1, kmeans.stage),
        "pretrain": Kind(4, pretrain.stage, trains=True),
        "heldout": Kind(1, heldout.stage),
        "tune": Kind(1, tune.stage),
        "finetune": Kind(4, finetune.stage, trains=True),
        "score": Kind(4, score.stage),
    },
    of=lambda kind: kind.run if kind.settings is None else type(kind.settings),
)


def make(
    kind: str,
    config: Any,
    parents: Iterable[tuple[str, str]],
    title: str,
    forms: identity.Forms | None = None,
    *,
    uses: Iterable[tuple[str, str]] = (),
    **expected: Any,
) -> Stage:
    """Make the stage of a typed config and its parents; equal arguments make the same id, whatever it `uses`.

    `forms` caches the canonical forms of parts of configs, for many stages that share few parts.
    """
    form, parents, of = (forms or identity.Forms()).of(config, type(config)), tuple(parents), KINDS[kind]
    return Stage(
        kind,
        form.plain,
        parents,
        identity.hashed(kind, of.version, form.text, parents),
        title,
        **expected,
        how=dict(form.how),
        uses=tuple(uses),
        version=of.version,
        trains=of.trains,
    )
