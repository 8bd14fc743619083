"""Judge the claims that a sweep file declares: supported, refuted, equivalent, undecided, or no assay.

Claims are declared before running. Their p-values are corrected by Holm's procedure over all of them, finished or not;
marks elsewhere in a table are exploratory. Effects point in the metric's good direction.

An assay guards against a task that shows nothing: it is asked only where no effect is found. A clear effect is itself
proof that the task shows effects, and "equivalent" takes a margin of at most half of what the assay surely shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from analysis.records import origin
from analysis.records.frame import Measure, Records, measure
from analysis.statistics import wording
from analysis.statistics.compare import ALPHA, MANY, Estimate, detectable, effect_with_items, holm, needed


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say about one declared claim."""

    name: str
    statement: str
    measure: Measure
    estimate: Estimate
    p: float
    """Two-sided, uncorrected."""
    adjusted: float
    """Corrected by Holm over all claims of the sweep."""
    decimals: int
    """Decimals to print the effect with."""
    verdict: str
    """"supported", "refuted", "equivalent", "undecided" or "no assay"."""
    reason: str


def verdicts(records: Records) -> list[Verdict]:
    """Judge every claim of the sweep file, in its order.

    The plan has checked each claim: `on`, `coefficients` of rows, one of `above`, `below` and `within`, and optionally
    `margin`, `split`, `unmatched`, and an `assay` with its `assay_coefficients`.
    """
    claims = records.sweep.get("claims") or {}
    estimated = {name: _measure(records, name, claim) for name, claim in claims.items()}
    adjusted = holm({name: verdict.p for name, verdict in estimated.items()})
    judged = {name: replace(verdict, adjusted=adjusted[name]) for name, verdict in estimated.items()}
    return [_judge(claims[name], verdict, records, len(claims)) for name, verdict in judged.items()]


def measured(verdict: Verdict) -> str:
    """Describe an effect in words: its size, its interval or intervals, and the reason for the verdict."""
    e = verdict.estimate
    if e.n == 0:
        return verdict.reason
    d = verdict.decimals
    parts = [f"effect {wording.effect(e.mean, d, verdict.measure)}"]
    if not math.isnan(e.half):
        parts.append(f"95 % {wording.interval(e.low, e.high, d)} over {e.over}{', paired' * e.paired}, n = {e.n}")
        parts.append(f"corrected p = {verdict.adjusted:.2g}")
    elif not math.isnan(e.items[0]):
        parts.append(f"over {e.by} alone 95 % {wording.interval(*e.items, d)}")
    return ", ".join(parts) + (f" ({verdict.reason})" if verdict.reason else "")


def _measure(records: Records, name: str, claim: Mapping[str, Any]) -> Verdict:
    """Estimate and p-value of a claim, before its verdict."""
    what = measure(records, claim["on"], claim.get("split"))
    estimate = effect_with_items(records, claim["coefficients"], what)
    word = next(word for word in ("above", "below", "within") if word in claim)
    bound = float(claim[word])
    p = _p_within(estimate, bound) if word == "within" else estimate.p(bound)
    statement = f"{claim['effect']} on {claim['on']} {'within ±' if word == 'within' else word + ' '}{bound:g}"
    return Verdict(
        name=name,
        statement=statement,
        measure=what,
        estimate=estimate,
        p=p,
        adjusted=math.nan,
        decimals=max(2, records.decimals(what)),
        verdict="",
        reason="",
    )


def _judge(claim: Mapping[str, Any], estimated: Verdict, records: Records, claims: int) -> Verdict:
    """Apply the rules of the verdicts, in order, to one claim; `claims` is the number of claims."""
    estimate = estimated.estimate
    verdict, reason = "undecided", ""
    if estimate.n == 0:
        reason = "nothing to compare yet"
    elif estimate.n == 1:
        reason = "one seed: a claim about rows needs the spread between seeds; run with more, e.g. seeds=[0,1,2]"
    elif math.isnan(estimate.half):
        reason = f"all {estimate.n} seeds give the very same difference: the metric is too coarse for an interval"
    else:
        verdict, reason = decide(claim, estimate, estimated.adjusted, claims)
        if claim.get("assay") and verdict in ("equivalent", "undecided"):
            verdict, reason = _assayed(records, claim, verdict, reason)
    if 0 < estimate.n < len(records.seeds):
        reason = "; ".join(filter(None, (f"so far: {estimate.n} of {len(records.seeds)} seeds are finished", reason)))
    if claim.get("unmatched"):
        reason = "; ".join(filter(None, (reason, "rows differ in steps or exposure, as the claim says")))
    if origin.differ(
        origin.processors(records),
        [row for row, times in claim["coefficients"].items() if times],
        [estimated.measure.task],
    ):
        reason = "; ".join(filter(None, (reason, "rows were made on different kinds of processor")))
    return replace(estimated, verdict=verdict, reason=reason)


def decide(claim: Mapping[str, Any], estimate: Estimate, adjusted: float, claims: int = 1) -> tuple[str, str]:
    """Verdict and reason from an estimate that has an interval, and its p-value corrected for `claims` claims."""
    clear = adjusted < ALPHA
    if "within" in claim:
        bound = float(claim["within"])
        inside = abs(estimate.mean) < bound
        edges = (-bound, bound)
        verdict = "equivalent" if inside else "refuted"
    else:
        bound = float(claim["above"] if "above" in claim else claim["below"])
        edges = (bound,)
        verdict = "supported" if (estimate.mean > bound) == ("above" in claim) else "refuted"
        margin = claim.get("margin")
        near = margin is not None and abs(estimate.mean - bound) < margin
        if not clear and near and (p := _p_within(estimate, margin, bound)) * claims < ALPHA:
            corrected = f", corrected for {claims} claims" if claims > 1 else ""
            return (
                "equivalent",
                f"inside the declared margin of {margin:g} (two one-sided tests, p = {p * claims:.2g}{corrected})",
            )
    if clear:
        return verdict, ""
    if not any(estimate.low <= edge <= estimate.high for edge in edges):
        return "undecided", "clear by itself, but not after correction for the number of claims"
    smallest = detectable(estimate, level=ALPHA / claims)
    corrected = f", corrected for {claims} claims" if claims > 1 else ""
    reason = f"{estimate.n} seeds with this spread would show an effect of {smallest:.2g} four times in five{corrected}"
    if "within" not in claim:
        reason += "; " + _more_seeds(estimate, abs(estimate.mean - edges[0]), claims)
    return "undecided", reason


def _more_seeds(estimate: Estimate, effect: float, claims: int) -> str:
    """Say how many seeds it would take to show an effect of the estimated size, and one that is larger or smaller by
    one standard error, at the level of Holm's first and strictest step.
    """
    few, many = (needed(estimate, max(0.0, effect + e), ALPHA / claims) for e in (estimate.error, -estimate.error))
    if few is None:
        limit = ", it takes more test items" if needed(replace(estimate, shared=0.0), effect, ALPHA / claims) else ""
        return f"if the true effect is near the one found, {MANY:,} seeds would not show it as often{limit}"
    seeds = f"{few} or more" if many is None else f"{few} to {many:,}" if many > few else f"{few}"
    return f"if the true effect is within a standard error of the one found, {seeds} would"


def _p_within(estimate: Estimate, margin: float, centre: float = 0.0) -> float:
    """P-value for "inside `centre` ± `margin`" (two one-sided tests) or for "outside" (two-sided), as the mean lies."""
    if math.isnan(estimate.half):
        return math.nan
    distance = margin - abs(estimate.mean - centre)
    return estimate.tail(distance) if distance > 0 else 2 * estimate.tail(-distance)


def _assayed(records: Records, claim: Mapping[str, Any], verdict: str, reason: str) -> tuple[str, str]:
    """Judge a claim of which no effect is clear by what the assay contrast shows on the same metric."""
    what = measure(records, claim["on"], claim.get("split"))
    shown = effect_with_items(records, claim["assay_coefficients"], what).low
    if not shown > 0:
        return "no assay", f"the task does not clearly show {claim['assay']} either, so it cannot show this"
    margin = float(claim["within"] if "within" in claim else claim.get("margin") or 0.0)
    if verdict == "equivalent" and margin > shown / 2:
        why = f"{claim['assay']} is surely {shown:.2g}, and a margin of {margin:g} is more than half of that"
        return "undecided", f"too wide a margin for this task: {why}"
    return verdict, reason
