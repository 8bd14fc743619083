"""Judge the claims that a sweep file declares: supported, refuted, equivalent, undecided, no assay, or exploratory.

A verdict is taken at a look: when the first seeds of the sweep, as many as the look says, are finished for all rows of
the claim; everything that is said of the claim then comes from exactly these seeds. Looks are those that the sweep file
declares, or one, at all seeds. p-values are joined over looks and corrected over the claims of a family, finished or
not (`analysis.statistics.looks`); marks elsewhere in a table are exploratory. Effects point in the metric's good
direction.

An assay guards against a task that shows nothing: it is asked only where no effect is found. A clear effect is itself
proof that the task shows effects, and "equivalent" takes a margin of at most half of what the assay surely shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablate.errors import plural
from analysis.records import declared, manifest, origin
from analysis.records.frame import Measure, Records, measure
from analysis.statistics import looks, wording
from analysis.statistics.compare import MANY, Estimate, detectable, effect_with_items, needed
from analysis.statistics.futility import hopeless
from analysis.statistics.looks import DIFFERENCE, EQUIVALENCE

EXPLORATORY = "exploratory"
CLEAR = ("supported", "refuted", "equivalent")
"""Verdicts that more seeds would not change."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say about one declared claim."""

    name: str
    statement: str
    measure: Measure
    estimate: Estimate
    """At the last look; before the first, from all seeds that are finished."""
    p: float
    """Two-sided, joined over looks, not corrected for the number of claims; NaN before the first look."""
    adjusted: float
    """p of what `hypothesis` names, corrected over the claims of its family."""
    hypothesis: str
    """What decides, or comes nearest to it: "difference" or "equivalence"."""
    decimals: int
    """Decimals to print the effect with."""
    verdict: str
    """"supported", "refuted", "equivalent", "undecided", "no assay" or "exploratory"."""
    reason: str
    declared: str = ""
    """Whether the claim was declared before its first result."""
    late: str = ""
    """Why further seeds of this plan give it no verdict; "" if they may."""
    step: str = looks.FINISHED
    """What happens next: see `looks.next_step`."""
    seen: tuple[declared.Seen, ...] = field(default=(), repr=False)
    """The looks taken."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What the records hold of one claim."""

    name: str
    claim: Mapping[str, Any]
    measure: Measure
    family: str
    declared: str
    late: str
    """Why it was declared too late; "" if it was not."""
    looks: list[int]
    """Numbers of seeds of all looks, whether they are declared or the one at all seeds."""
    finished: int
    """Seeds that all rows have finished."""
    at: dict[int, Estimate]
    """By look that was taken."""
    estimate: Estimate
    seen: tuple[declared.Seen, ...]
    barred: str = ""
    """Why its looks give no verdict; "" if they do."""

    @property
    def p(self) -> dict[str, dict[int, float]]:
        """By hypothesis and look."""
        names = [DIFFERENCE, *[EQUIVALENCE] * ("margin" in self.claim)]
        looks = {} if self.barred else self.at
        return {name: {look: _p(self.claim, of, name) for look, of in looks.items()} for name in names}


def verdicts(records: Records) -> list[Verdict]:
    """Judge every claim of the sweep file, in its order.

    The plan has checked each claim: `on`, `coefficients` of rows, one of `above`, `below` and `within`, and optionally
    `margin`, `split`, `family`, `unmatched`, and an `assay` with its `assay_coefficients`.
    """
    claims = records.sweep.get("claims") or {}
    found = {name: _measure(records, name, claim) for name, claim in claims.items()}
    counted = {name: one for name, one in found.items() if one.family != EXPLORATORY}
    joined = {
        name: {key: looks.joined(ps, looks.weights(one.looks)) for key, ps in one.p.items()}
        for name, one in counted.items()
    }
    lapsed = [family for _, family in declared.lapsed(records)]
    sizes, adjusted = Counter([*lapsed, *(one.family for one in counted.values())]), {}
    for family in sizes:
        of_family = {name: joined[name] for name, one in counted.items() if one.family == family}
        gone = {number: {DIFFERENCE: math.nan} for number, own in enumerate(lapsed) if own == family}
        adjusted |= looks.stepdown(of_family | gone)
    return [
        _judge(records, one, joined.get(name, {}), adjusted.get(name, {}), sizes[one.family])
        for name, one in found.items()
    ]


def log(records: Records, verdicts: Sequence[Verdict]) -> None:
    """Note in the sweep's folder which looks were taken, unless it is noted there."""
    declared.log(records, {verdict.name: verdict.seen for verdict in verdicts})


def registered(records: Records) -> list[str]:
    """Return sentences about what the sweep declared as a whole: its hash and time, and claims that it dropped."""
    now, lapsed = declared.registered(records), dict.fromkeys(name for name, _ in declared.lapsed(records))
    if now is None:
        return []
    return [
        f"Claims, looks, rows and data have the hash {now[0]}"
        + (f", declared {now[1]} (claims.jsonl)." if now[1] else ", declared at a time that is not known."),
        *[f"Dropped or changed after the first result, and still counted: {', '.join(lapsed)}."] * bool(lapsed),
    ]


def told(records: Records, verdicts: Sequence[Verdict]) -> list[str]:
    """Return a line for each verdict, and what was declared as a whole; empty without claims."""
    lines = [f"{v.verdict.upper():12} {v.name}: {v.statement}; {measured(v)}; {v.declared}" for v in verdicts]
    return [*lines, *registered(records)] if lines else []


def unjudged(records: Records, lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return notes, while planning, on claims that would get no verdict, as results or verdicts are there already.

    `lines` are those of claims.jsonl once the plan runs.
    """
    late: dict[str, list[str]] = {}
    for name, claim in (records.sweep.get("claims") or {}).items():
        when, what = declared.status(records, name, lines), measure(records, claim["on"], claim.get("split"))
        by_seed = _finished(records, claim["coefficients"], what)
        why = _undeclared(records, name, frozenset().union(*by_seed.values()))
        if when.word not in declared.IN_TIME:
            why = f"{when}; {_advice(records, name)}"
        if claim.get("family") != EXPLORATORY and why:
            late.setdefault(why, []).append(name)
    return [f"note: no verdict for {', '.join(names)}: {why}." for why, names in late.items()]


def p_of(verdict: Verdict) -> str:
    """Say the corrected p-value that decides, by name."""
    return f"corrected p of {verdict.hypothesis} = {verdict.adjusted:.2g}"


def measured(verdict: Verdict) -> str:
    """Describe an effect in words: its size, its interval or intervals, and the reason for the verdict."""
    e = verdict.estimate
    if e.n == 0:
        return verdict.reason
    d = verdict.decimals
    parts = [f"effect {wording.effect(e.mean, d, verdict.measure)}"]
    if not math.isnan(e.half):
        parts.append(f"95 % {wording.interval(e.low, e.high, d)} over {e.over}{', paired' * e.paired}, n = {e.n}")
        if not math.isnan(verdict.adjusted):
            parts.append(p_of(verdict))
    elif not math.isnan(e.items[0]):
        parts.append(f"over {e.by} alone 95 % {wording.interval(*e.items, d)}")
    return ", ".join(parts) + (f" ({verdict.reason})" if verdict.reason else "")


def _measure(records: Records, name: str, claim: Mapping[str, Any]) -> _Measured:
    """Estimates and p-values of a claim at its looks, before its verdict."""
    what = measure(records, claim["on"], claim.get("split"))
    by_seed = _finished(records, claim["coefficients"], what)
    every = declared.seeds(records)
    planned = list(records.sweep.get("looks") or [len(every)])
    at, seen = {}, []
    for number, look in enumerate(planned, 1):
        seeds = every[:look]
        if len(seeds) == look and all(seed in by_seed for seed in seeds):
            at[look] = one = effect_with_items(records, claim["coefficients"], what, seeds=seeds)
            runs = frozenset().union(*(by_seed[seed] for seed in seeds))
            p = _p(claim, one, DIFFERENCE)
            new = declared.Seen(look=number, of=len(planned), seeds=tuple(seeds), effect=one.mean, p=p, runs=runs)
            seen.append(new)
    when = declared.status(records, name)
    family = claim.get("family", "primary") if when.word in declared.IN_TIME else EXPLORATORY
    last = list(at.values())[-1:] if family != EXPLORATORY else []
    return _Measured(
        name=name,
        claim=claim,
        measure=what,
        family=family,
        declared=str(when),
        late=str(when) * (when.word not in declared.IN_TIME),
        looks=planned,
        finished=len(by_seed),
        at=at,
        estimate=last[0] if last else effect_with_items(records, claim["coefficients"], what),
        seen=tuple(seen) if family != EXPLORATORY else (),
        barred=_undeclared(records, name, frozenset().union(*by_seed.values()) if by_seed else frozenset()),
    )


def _finished(records: Records, effect: Mapping[str, float], what: Measure) -> dict[int, set[str]]:
    """The seeds that all rows of an effect have finished, at all points, each with its score runs."""
    done, ends = records.finished(what), [(row, point) for row in effect if effect[row] for point in records.points]
    return {
        seed: {run for end in ends for run in done[(*end, seed)][0]}
        for seed in records.seeds
        if all((*end, seed) in done for end in ends)
    }


def _undeclared(records: Records, name: str, runs: frozenset[str]) -> str:
    """Why looks give no verdict: one was taken before that is none of them; "" if they do."""
    seeds, planned = declared.seeds(records), records.sweep.get("looks")
    before = [
        one
        for one in declared.alike(records, name, runs)
        if (len(one.seeds) not in planned or not _begins(seeds, one.seeds) if planned else {*one.seeds} != {*seeds})
    ]
    if not before:
        return ""
    added = {*before[0].seeds} < {*seeds}
    return (
        f"seeds were {'added' if added else 'changed'} after the verdict at {plural(len(before[0].seeds), 'seed')} on "
        f"{before[0].time[:10]}, and a look that was not declared gives no verdict; {'keep those, or ' * (not added)}"
        f"{_advice(records, name)}"
    )


def _advice(records: Records, name: str) -> str:
    """Say what can be done where a verdict would come too late."""
    seeds = declared.seeds(records)
    read = declared.taken(records, name)
    ran = [line["seed"] for line in records.manifest if any(records.result(*run) for run in _scores(records, line))]
    start = max([-1, *ran, *(seed for one in read for seed in one.seeds)]) + 1
    fresh = ",".join(str(start + n) for n in range(len(seeds)))
    named = "another name of the claim and " if read else ""
    return f"take {named}seeds that have not run, as in seeds=[{fresh}], or read the interval as exploratory"


def _scores(records: Records, line: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and id of all scores of a line of the manifest."""
    return [(records.kind(task), id) for task in records.sweep["tasks"] for id in manifest.every_score(line, task)]


def _begins(seeds: Sequence[int], look: Sequence[int]) -> bool:
    """Whether these seeds begin with those of a look, or are the beginning of them."""
    return {*seeds[: len(look)]} <= {*look}


def _statement(claim: Mapping[str, Any]) -> str:
    word = _word(claim)
    return f"{claim['effect']} on {claim['on']} {'within ±' if word == 'within' else word + ' '}{float(claim[word]):g}"


def _word(claim: Mapping[str, Any]) -> str:
    return next(word for word in ("above", "below", "within") if word in claim)


def _edges(claim: Mapping[str, Any]) -> tuple[float, ...]:
    """The bound of a claim, or both bounds."""
    bound = float(claim[_word(claim)])
    return (-bound, bound) if "within" in claim else (bound,)


def _p(claim: Mapping[str, Any], estimate: Estimate, hypothesis: str) -> float:
    """p-value of one of a claim's null hypotheses; NaN where there is no interval."""
    if "within" in claim:
        return _p_within(estimate, float(claim["within"]))
    (bound,) = _edges(claim)
    if hypothesis == DIFFERENCE:
        return estimate.p(bound)
    return math.nan if math.isnan(estimate.half) else estimate.tail(claim["margin"] - abs(estimate.mean - bound))


def _judge(
    records: Records, one: _Measured, joined: Mapping[str, float], adjusted: Mapping[str, float], claims: int
) -> Verdict:
    """Apply the rules of the verdicts, in order, to one claim; `claims` is the number of claims of its family."""
    claim, estimate = one.claim, one.estimate
    verdict, reasons, step = "undecided", [], looks.FINISHED
    hypothesis = looks.found(adjusted) or DIFFERENCE
    if "within" in claim and abs(estimate.mean) < claim["within"]:
        hypothesis = EQUIVALENCE
    if one.family == EXPLORATORY:
        verdict = EXPLORATORY
        reasons = ["nothing to compare yet"] * (not estimate.n)
    elif one.barred:
        reasons = [one.barred]
    elif not one.at:
        reasons = [_so_far(records, one, claims)] if estimate.n else ["nothing to compare yet"]
        if records.sweep.get("looks"):
            estimate = Estimate(mean=math.nan, n=0)  # what nobody sees chooses no seeds
    elif estimate.n == 1:
        reasons = ["one seed: a claim about rows needs the spread between seeds; run with more, e.g. seeds=[0,1,2]"]
    elif math.isnan(estimate.half):
        reasons = [f"all {estimate.n} seeds give the very same difference: the metric is too coarse for an interval"]
    else:
        deciding = looks.deciding(one.p[DIFFERENCE], looks.weights(one.looks))
        verdict, reason = decide(
            claim, estimate, adjusted, claims, one.looks, one.at[deciding], wording.units(one.measure)
        )
        if claim.get("assay") and verdict not in ("supported", "refuted"):
            verdict, reason = _assayed(records, claim, verdict, reason, declared.seeds(records)[: max(one.at)])
        reasons = [reason]
    if one.at and one.family != EXPLORATORY and not one.barred:
        look = max(one.at)
        futile = look < one.looks[-1] and hopeless(*_prospects(one, claims))
        step = looks.next_step(verdict in CLEAR, futile, look, one.looks)
        reasons += _about_looks(records, one, step)
    reasons += [_later(records, one)]
    reasons += ["rows differ in steps or exposure, as the claim says"] * bool(claim.get("unmatched"))
    rows = [row for row, times in claim["coefficients"].items() if times]
    if origin.differ(origin.processors(records), rows, [one.measure.task]):
        reasons.append("rows were made on different kinds of processor")
    return Verdict(
        name=one.name,
        statement=_statement(claim),
        measure=one.measure,
        estimate=estimate,
        p=joined.get(DIFFERENCE, math.nan),
        adjusted=adjusted.get(DIFFERENCE if "within" in claim else hypothesis, math.nan),
        hypothesis=hypothesis,
        decimals=max(2, records.decimals(one.measure)),
        verdict=verdict,
        reason="; ".join(filter(None, reasons)),
        declared=one.declared,
        late=one.late or one.barred,
        step=step,
        seen=() if one.barred else one.seen,
    )


def _prospects(one: _Measured, claims: int) -> tuple[Estimate, tuple[float, ...], float | None, int, float]:
    """What `hopeless` asks: the estimate so far, the claim's bounds and margin, the last look and its level."""
    last = one.looks[-1]
    return one.estimate, _edges(one.claim), one.claim.get("margin"), last, looks.remaining(one.looks, claims)


def _so_far(records: Records, one: _Measured, claims: int) -> str:
    """What can be said of a claim before its first look: never a verdict."""
    first = one.looks[0]
    if not records.sweep.get("looks"):
        return (
            f"so far {one.finished} of {first} seeds are finished; the verdict is taken at {first} (leave a seed that "
            "cannot be finished out of seeds)"
        )
    parts = [f"so far {one.finished} of {first} seeds are finished; the first of {len(one.looks)} looks is at {first}"]
    if not math.isnan(one.estimate.half):
        error = math.sqrt(one.estimate.with_seeds(one.looks[-1])[0][1])
        parts.append(f"standard error {one.estimate.error:.2g}, with {one.looks[-1]} seeds near {error:.2g}")
        if hopeless(*_prospects(one, claims)):
            parts.append(_futile(one))
    return "; ".join(parts)


def _futile(one: _Measured) -> str:
    return f"{one.looks[-1]} seeds would hardly decide it"


def _about_looks(records: Records, one: _Measured, step: str) -> list[str]:
    """Say which look this is, whether more seeds are finished, and what is next."""
    look, total = max(one.at), len(one.looks)
    parts = [f"look {one.looks.index(look) + 1} of {total}"] if records.sweep.get("looks") else []
    after = next((n for n in one.looks if n > look), None)
    if after is not None and step != looks.DECIDED:
        ahead = f"{one.finished} seeds are finished; " if one.finished > look else ""
        parts.append(f"{ahead}the next look is at {after}")
        parts += [_futile(one)] * (step == looks.FUTILE)
    elif one.finished > look:
        parts.append(f"{one.finished} seeds are finished; the verdict is of the first {look}")
    return parts


def _later(records: Records, one: _Measured) -> str:
    """Say that a look was taken with more seeds than the sweep has now; "" if none was."""
    runs = frozenset().union(*(of.runs for of in one.seen))
    later = [of for of in declared.taken(records, one.name) if of.runs & runs and {*of.seeds} > {*records.seeds}]
    if not later or one.barred:
        return ""
    most = max(later, key=lambda of: len(of.seeds))
    return (
        f"a verdict with {len(most.seeds)} seeds was taken on {most.time[:10]}, and this plan has "
        f"{len(records.seeds)}: run with --until-decided, or with all these seeds"
    )


def decide(
    claim: Mapping[str, Any],
    estimate: Estimate,
    adjusted: Mapping[str, float],
    claims: int = 1,
    declared: Sequence[int] = (),
    deciding: Estimate | None = None,
    units: str = "",
) -> tuple[str, str]:
    """Verdict and reason from an estimate that has an interval, and the corrected p-values of the claim's hypotheses.

    `claims` are corrected together, at looks `declared` (by default one, at the estimate's seeds). `deciding` is the
    estimate at the look that gave the p-value of the difference, which has the effect's side. `units` are the effect's.
    """
    edges, found, of = _edges(claim), looks.found(adjusted), deciding or estimate
    earlier = f"found at {of.n} seeds" if of.n < estimate.n else ""
    if found == DIFFERENCE and "within" in claim:
        return ("equivalent" if abs(of.mean) < edges[1] else "refuted"), earlier
    if found == DIFFERENCE:
        return ("supported" if (of.mean > edges[0]) == ("above" in claim) else "refuted"), earlier
    numbers = [f"{len(declared)} looks"] * (len(declared) > 1) + [f"{claims} claims"] * (claims > 1)
    corrected = f", corrected for {' and '.join(numbers)}" if numbers else ""
    if found == EQUIVALENCE:
        return (
            "equivalent",
            f"inside the declared margin of {claim['margin']:g} (two one-sided tests{corrected})",
        )
    if not any(estimate.low <= edge <= estimate.high for edge in edges):
        return "undecided", f"clear by itself, but not after correction for {' and '.join(numbers)}"
    last = declared[-1] if declared else estimate.n
    level = looks.remaining(declared or [last], claims)
    smallest = detectable(estimate, level=level, seeds=last)
    reason = (
        f"{last} seeds with this spread would show an effect of {smallest:.2g}{f' {units}' * bool(units)} four times "
    )
    reason += f"in five{corrected}"
    if "within" not in claim:
        reason += "; " + _more_seeds(estimate, abs(estimate.mean - edges[0]), level)
    return "undecided", reason


def _more_seeds(estimate: Estimate, effect: float, level: float) -> str:
    """Say how many seeds it would take to show an effect of the estimated size, and one that is larger or smaller by
    one standard error, at the level of the first and strictest step.
    """
    few, many = (needed(estimate, max(0.0, effect + e), level) for e in (estimate.error, -estimate.error))
    if few is None:
        limit = ", it takes more test items" if needed(replace(estimate, shared=0.0), effect, level) else ""
        return f"if the true effect is near the one found, {MANY:,} seeds would not show it as often{limit}"
    seeds = f"{few} seeds or more" if many is None else f"{few} to {many:,} seeds" if many > few else f"{few} seeds"
    return f"if the true effect is within a standard error of the one found, {seeds} would"


def _p_within(estimate: Estimate, margin: float) -> float:
    """P-value for "inside ± `margin`" (two one-sided tests) or for "outside" (two-sided), as the mean lies."""
    if math.isnan(estimate.half):
        return math.nan
    distance = margin - abs(estimate.mean)
    return estimate.tail(distance) if distance > 0 else 2 * estimate.tail(-distance)


def _assayed(
    records: Records, claim: Mapping[str, Any], verdict: str, reason: str, seeds: Sequence[int]
) -> tuple[str, str]:
    """Judge a claim of which no effect is clear by what the assay contrast shows on the same metric and seeds."""
    what, assay = measure(records, claim["on"], claim.get("split")), claim["assay_coefficients"]
    lacking = len(seeds) - len({*seeds} & {*_finished(records, assay, what)})
    if lacking:
        return "undecided", f"{claim['assay']}, its assay, lacks {plural(lacking, 'seed')}"
    shown = effect_with_items(records, assay, what, seeds=seeds).low
    if not shown > 0:
        return "no assay", f"the task does not clearly show {claim['assay']} either, so it cannot show this"
    margin = float(claim["within"] if "within" in claim else claim.get("margin") or 0.0)
    if verdict == "equivalent" and margin > shown / 2:
        why = f"{claim['assay']} is surely {shown:.2g}, and a margin of {margin:g} is more than half of that"
        return "undecided", f"too wide a margin for this task: {why}"
    return verdict, reason
