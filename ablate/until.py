"""`--until-decided`: a sweep gets seeds look by look, for the rows of claims that are undecided, within a budget.

A look is a plan of its own, which runs as any other: its rows have as many seeds as they were asked for so far. What
is decided follows from the records alone, so that a command that is repeated goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate import drive
from ablate.clusters.display import duration
from ablate.errors import UserError, plural
from ablate.store import pruned
from ablate.store.declared import rows
from ablate.store.record import read_result, run_path
from ablate.store.stage import Plan

if TYPE_CHECKING:  # it loads pandas
    from analysis.statistics.claims import Verdict

REFUSED = ("detach", "only", "fresh", "show", "diff", "where")
NEXT = {
    "decided": "no more seeds",
    "finished": "this was the last look",
    "futile": "given up: the last look would hardly decide it",
    "on": "goes on to {} seeds",
}
"""What is said of a claim's next step (see `analysis.statistics.looks.next_step`)."""


def run(options: argparse.Namespace) -> int:
    """Do what the options of `python -m ablate.sweep --until-decided` ask for; return the exit status.

    Raises UserError.
    """
    if given := [name for name in REFUSED if getattr(options, name)]:
        raise UserError(f"--until-decided waits for every look to choose the rows of the next; leave --{given[0]} out.")
    plan = drive.planned(options, counts={})
    looks, claims, root = plan.sweep["looks"], _judged(plan.sweep), Path(plan.root)
    if not claims:
        raise UserError("claims: --until-decided needs claims that get a verdict; write one, or leave it out.")
    counts = {row: looks[-1] for claim in claims.values() for row in rows(claim)}
    print(_outlook(plan, drive.planned(options, counts=counts), root), flush=True)
    counts, judged, shown, why = {}, plan, None, "All looks were taken."
    for number, look in enumerate(looks, 1):
        after = looks[number] if number < len(looks) else 0
        if open_ := _open(plan, root):
            if (amiss := _over(plan, open_, number, root)) and not _looking(options):
                if number == 1:
                    raise UserError(amiss)
                plan, why = judged, amiss
                break
            status, shown = drive.carry_out(plan, plan, options), plan
            if amiss:
                print(f"note: {amiss}")
            if status or _looking(options):
                return status
        judged, verdicts = plan, _verdicts(plan, root)
        print(f"\nLook {number} of {len(looks)}, {look} seeds:", *(_line(one, after) for one in verdicts), sep="\n")
        on = [one.name for one in verdicts if one.step == "on"]
        if not on:
            why = _left([one for one in verdicts if one.name in claims and one.late], len(claims)) if after else why
            break
        counts |= {row: after for name in on for row in rows(claims[name])}
        plan = drive.planned(options, counts=counts)
    status = drive.carry_out(plan, plan, options) if shown is not plan else 0
    print(f"\nStopped after {plural(len(plan.sweep['seeds']), 'seed')}. {why}", flush=True)
    return status


def _looking(options: argparse.Namespace) -> bool:
    """Whether nothing is to run."""
    return options.dry_run or options.status or options.cancel


def _judged(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """The claims that may get a verdict, by name."""
    return {name: claim for name, claim in sweep["claims"].items() if claim.get("family") != "exploratory"}


def _open(plan: Plan, root: Path) -> float:
    """Estimated seconds of what is missing of a plan; 0 only if nothing is."""
    stages = drive.needed(plan, root).stages.values()
    left = [stage.cost for stage in stages if not pruned.complete(run_path(root, stage.kind, stage.id))]
    return max(sum(left), 1.0) if left else 0.0


def _spent(plan: Plan, root: Path) -> float:
    """Seconds that the finished stages of a plan took."""
    results = (read_result(run_path(root, stage.kind, stage.id)) for stage in plan.stages.values())
    return sum(result.get("seconds", 0.0) for result in results if result)


def _over(plan: Plan, open_: float, number: int, root: Path) -> str:
    """Why a look does not fit into the budget; "" if it does."""
    spent = _spent(plan, root)
    if plan.budget is None or spent + open_ <= plan.budget:
        return ""
    return (
        f"Look {number} takes about {duration(open_)} of work beyond the {duration(spent)} of its finished stages, "
        f"more than the budget of {duration(plan.budget)}; give a larger one, as in budget='"
        f"{duration(1.2 * (spent + open_))}'."
    )


def _left(late: list[Verdict], claims: int) -> str:
    """Why no claim gets more seeds, where those that are `late` get no verdict."""
    parts = ["no claim is left for which more seeds are worth running"] * (len(late) < claims)
    why = "; ".join([*parts, *(f"no verdict for {one.name}: {one.late}" for one in late)])
    return f"{why[0].upper()}{why[1:]}."


def _outlook(plan: Plan, whole: Plan, root: Path) -> str:
    """Say what the looks are, and what they cost at least and at most."""
    looks = [str(look) for look in plan.sweep["looks"]]
    least, most = (_spent(one, root) + _open(one, root) for one in (plan, whole))
    at = f"Verdicts at {' and '.join(filter(None, (', '.join(looks[:-1]), looks[-1])))} seeds: "
    cost = f"all stages come to {duration(least)} of work, and at most to {duration(most)}"
    return at + cost + (f"; the budget is {duration(plan.budget)}.\n" if plan.budget else ".\n")


def _verdicts(plan: Plan, root: Path) -> list[Verdict]:
    from analysis.statistics import claims

    return claims.verdicts(drive.records(plan, root))


def _line(one: Verdict, after: int) -> str:
    from analysis.statistics.claims import p_of

    p = "" if one.adjusted != one.adjusted else f", {p_of(one)}"
    step = "" if one.late or one.verdict == "exploratory" else f"; {NEXT[one.step].format(after)}"
    return f"  {one.name}: {one.verdict}{p}{step}"
