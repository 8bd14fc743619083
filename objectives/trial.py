"""Checks an objective against its contract on a few made-up sequences: for objectives that others add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from encoders.batch import Batch, Inputs, Vocabulary
from encoders.owner import Incomplete, incomplete, raised
from objectives.mixture import Mixture
from objectives.objective import ObjectiveConfig, Ports, Term, ViewContext

DRAWS = 10  # number of views drawn: with few positions some views mask nothing
READS = ("speech", "text", "pair")


def tried(
    config: ObjectiveConfig,
    targets: Mapping[str, Any],
    encoder: Any,
    vocabulary: Vocabulary,
    inputs: Callable[[str], Inputs],
) -> None:
    """Build an objective and score what an `encoder` of all modalities gives for `inputs("speech")`, "text" or "pair".

    Raises Incomplete, with the class's file and line, if it lacks something, if the keys of counts, scores and
    term_weights differ, if a total is not a single number, and for any error it raises itself. Nothing is scored if it
    `needs` speech targets (configs by name) that are fitted beforehand.
    """
    cls = config.owner
    if any(targets[need].fitted for need in config.needs):
        return
    ports = Ports(encoder.width, vocabulary, encoder.embedding, encoder.stacked, targets)
    try:
        made = config.build(ports)
    except Exception as error:
        raise raised(cls, error) from error
    if lacking := [name for name in ("reads", "view", "term_weights") if not hasattr(made, name)]:
        raise incomplete(cls, f"has no {' and no '.join(lacking)}; AbstractObjective says what each is")
    if made.reads not in READS:
        raise incomplete(cls, f"reads '{made.reads}', expected one of {', '.join(READS)}")
    batch = Batch(inputs(made.reads))
    lengths = encoder.subsampled(batch.inputs.speech.lengths) if batch.inputs.speech else ()
    try:
        mixture = Mixture({"it": made}, {"it": 1.0}, {need: targets[need].build(ports) for need in config.needs})
        for key in range(DRAWS):
            views = mixture.views({made.reads: batch}, {made.reads: ViewContext(lengths, vocabulary, key)})
            _same(cls, "counts", {name.partition("/")[2] for name in views.counts}, made.term_weights)
            for _, terms in mixture.terms(encoder, views, {}, key):
                _check(cls, terms, made.term_weights)
    except Incomplete:
        raise
    except Exception as error:
        raise raised(cls, error) from error


def _same(cls: type, what: str, found: Any, weights: Mapping[str, float]) -> None:
    if {*found} != {*weights}:
        said, named = (", ".join(sorted(names)) or "nothing" for names in (found, weights))
        raise incomplete(cls, f"{what} {said}, and its term_weights are of {named}")


def _check(cls: type, terms: Mapping[str, Term], weights: Mapping[str, float]) -> None:
    _same(cls, "scores", terms, weights)
    for name, term in terms.items():
        total = term.total if isinstance(term, Term) else term
        if not isinstance(term, Term) or not isinstance(total, Tensor) or total.dim():
            found = f"shape {tuple(total.shape)}" if isinstance(total, Tensor) else type(total).__name__
            raise incomplete(cls, f"scores {name} as {found}, expected a Term whose total is one summed number")
