"""Measure what the statistics find where the truth is known: in planted data, or in a row compared with itself.

    python -m analysis.calibrate [--only NAME ...] [--quick]
    python -m analysis.calibrate SWEEP [--root runs] [--row ROW]

Without a sweep, data are planted (`analysis.statistics.simulate`), and every figure stands beside its bar; the exit
status is 1 if one is missed.

With a sweep, two groups of seeds are drawn without replacement and compared as two rows that share no pre-training.
Any difference found is false; a test at the 5 % level should find one in at most one draw in twenty. Then a constant is
added to one group: the effect that a group of this size should detect in four of five draws. The share of draws that
detect it is reported beside that.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from ablate.errors import UserError, nearest
from ablate.store import disk
from ablate.store.child import unbroken
from analysis.records import items
from analysis.records.frame import Measure, Records, measure, read
from analysis.records.scores import DONE
from analysis.statistics import compare, looks
from analysis.statistics.compare import ALPHA, Estimate
from analysis.statistics.simulate import LOOKS
from analysis.tables import simulations
from analysis.tables.sheet import Sheet
from analysis.tables.simulations import SIMULATIONS

DRAWS = 4000
SIZES = (3, 5, 8)
"""Seeds per group."""
FAMILY = 10
"""Number of rows compared with one reference in the draws with Holm's correction, where the pool has enough seeds."""
POWER = 0.8
HEADS = (
    "",
    "seeds per side",
    "over seeds",
    "over seeds and items",
    "over items only",
    "at two looks",
    "any in a table",
    "planted effect",
    "power found",
    "power predicted",
)
NOTE = (
    "Share of draws called different at 5 %, although both sides are the same row: by the interval over seeds (marks "
    "of the table and of differences), by that over seeds and test items (verdicts on claims), and by that over test "
    "items only (which treats the seeds that ran as all there are, so it is about these checkpoints and not about the "
    "row). At two looks: verdicts at 5 seeds or at 8, as `looks: [5, 8]` takes them. Any in a table: at least one of "
    "the given number of rows marked † against one reference, corrected by Holm over them. Power: draws that detect "
    "the planted effect by the interval over seeds, and the power that it should have. Draws share the pool's seeds."
)
FIELDS = (
    "row",
    "task",
    "split",
    "metric",
    "seeds_in_pool",
    "seeds_a_side",
    "draws",
    "different_over_seeds",
    "different_over_seeds_and_items",
    "different_over_items",
    "different_at_looks",
    "rows_of_table",
    "different_any_of_table",
    "planted",
    "power_found",
    "power_predicted",
)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All seeds of one row on one measure."""

    what: Measure
    values: np.ndarray
    """Value of every seed."""
    parts: np.ndarray | None
    """What clusters of test items contribute to it: seeds × clusters; None without counts per item."""
    effective: float | None = None
    """Effective number of these clusters, if they are unequal."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How often groups of `seeds` seeds were called different; shares between 0 and 1, NaN where a test cannot be
    computed.
    """

    pool: Pool
    seeds: int
    over_seeds: float
    over_both: float
    over_items: float
    at_looks: float
    """By the last of `LOOKS`; NaN where `seeds` are not as many."""
    rows: int
    """Number of rows in the drawn tables."""
    any_of_table: float
    planted: float
    found: float
    predicted: float


def pool(records: Records, row: str, what: Measure) -> Pool:
    """Collect a row's finished seeds, separately for each point of the axes."""
    s = records.of(what)
    s = s[(s.row == row) & (s.status == DONE)]
    values = s.value.to_numpy()
    runs = [{run: 1 / len(drawn) for run in drawn} for drawn in s.drawn]
    sampled = items.of_groups(records, what, [(runs, values)]) if len(s) else None
    if sampled is None:
        return Pool(what=what, values=values, parts=None)
    return Pool(what=what, values=values, parts=sampled.parts[0], effective=sampled.effective)


def calibrate(own: Pool, seeds: int, draws: int = DRAWS) -> Calibration:
    """Draw groups of `seeds` seeds and compare them; NaN where all seeds of the pool have the same value.

    Raises ValueError where the pool has fewer than two groups.
    """
    if len(own.values) < 2 * seeds:
        raise ValueError(f"{len(own.values)} seeds are too few for two groups of {seeds}")
    rng = np.random.default_rng(seeds)
    rows = min(FAMILY, len(own.values) // seeds - 1)
    error = own.values.std(ddof=1) * np.sqrt(2 / seeds)
    each = (float(error**2 / 2), seeds - 1)
    plan = Estimate(mean=0.0, error=error, freedom=2 * (seeds - 1), groups=(each, each), n=seeds)
    planted = compare.detectable(plan, POWER)
    called = np.full((draws, 6), np.nan)
    for draw in called if planted > 0 else ():
        groups = rng.permutation(len(own.values))[: (rows + 1) * seeds].reshape(rows + 1, seeds)
        others, first = own.values[groups[1:]], -own.values[groups[0]]
        estimates = [compare.estimate([each, first]) for each in others]
        draw[0] = estimates[0].excludes_zero
        draw[3] = min(compare.holm({k: e.p() for k, e in enumerate(estimates)}).values()) < ALPHA
        draw[4] = compare.estimate([others[0] + planted, first]).low > 0
        both = _two(own, groups[1], groups[0])
        if own.parts is not None:
            draw[1] = both.excludes_zero
            draw[2] = both.items[0] > 0 or both.items[1] < 0
        if seeds == LOOKS[-1]:
            ps = {n: _two(own, groups[1, :n], groups[0, :n]).p() for n in LOOKS}
            draw[5] = looks.joined(ps, looks.weights(LOOKS)) < ALPHA
    shares = called.mean(axis=0)
    return Calibration(
        pool=own,
        seeds=seeds,
        over_seeds=shares[0],
        over_both=shares[1],
        over_items=shares[2],
        at_looks=shares[5],
        rows=rows,
        any_of_table=shares[3],
        planted=planted,
        found=shares[4],
        predicted=POWER,
    )


def _two(own: Pool, first: np.ndarray, second: np.ndarray) -> Estimate:
    """Estimate the difference of two groups of a pool's seeds, over seeds and, where it has them, items."""
    parts = None if own.parts is None else [own.parts[first], -own.parts[second]]
    return compare.estimate([own.values[first], -own.values[second]], parts, own.effective)


def sheet(records: Records, row: str, sizes: tuple[int, ...] = SIZES, draws: int = DRAWS) -> Sheet:
    """Print one line per column of the sweep's table and group size. Raises `UserError` where too few seeds are
    finished.
    """
    if row not in records.rows:
        raise UserError(f"no row '{row}' in sweep '{records.name}': {nearest(row, records.rows)}")
    names = (records.sweep.get("table") or {}).get("columns") or list(records.sweep["tasks"])
    pools = [pool(records, row, measure(records, name)) for name in names]
    calibrations = [calibrate(own, n, draws) for own in pools for n in sizes if len(own.values) >= 2 * n]
    if not calibrations:
        raise UserError(
            f"row '{row}' has too few finished seeds: comparing it with itself takes at least {2 * min(sizes)}."
        )
    seeds = len(pools[0].values)
    return Sheet(
        name=f"calibration_{row}",
        heads=HEADS,
        lines=[_line(records, c) for c in calibrations],
        note=NOTE,
        fields=FIELDS,
        title=f"{records.label(row)} against itself: share of draws called different, from a pool of {seeds} seeds",
        values=[_values(row, c, draws) for c in calibrations],
    )


def _line(records: Records, calibration: Calibration) -> list[str]:
    def percent(share: float) -> str:
        return "—" if np.isnan(share) else f"{100 * share:.1f} %"

    what = calibration.pool.what
    return [
        f"{records.task_label(what.task)} {what.metric}",
        str(calibration.seeds),
        percent(calibration.over_seeds),
        percent(calibration.over_both),
        percent(calibration.over_items),
        percent(calibration.at_looks),
        f"{percent(calibration.any_of_table)} ({calibration.rows} rows)",
        "—" if np.isnan(calibration.planted) else f"{calibration.planted:.2f}",
        percent(calibration.found),
        percent(calibration.predicted),
    ]


def _values(row: str, calibration: Calibration, draws: int) -> list:
    what = calibration.pool.what
    return [
        row,
        what.task,
        what.split,
        what.metric,
        len(calibration.pool.values),
        calibration.seeds,
        draws,
        calibration.over_seeds,
        calibration.over_both,
        calibration.over_items,
        calibration.at_looks,
        calibration.rows,
        calibration.any_of_table,
        calibration.planted,
        calibration.found,
        calibration.predicted,
    ]


def planted(names: list[str], quick: bool, form: str) -> list[str]:
    """Run simulations and print their sheets, progress on stderr; return those that missed a bar."""
    seconds = sum(SIMULATIONS[name].seconds[quick] for name in names)
    about = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
    print(f"{', '.join(names)}: about {about} on one core", file=sys.stderr)
    missed = []
    for name in names:

        def watch(done: int, cells: int, name: str = name) -> None:
            if done == cells or sys.stderr.isatty():
                end = "\n" if done == cells else "\r"
                print(f"{name}: {done} of {cells} cells", end=end, file=sys.stderr, flush=True)

        one, kept = simulations.sheet(name, quick, watch)
        missed += [] if kept else [name]
        text = getattr(one, form)()
        print(text.split("\n", 1)[1] if name != names[0] and form == "csv" else text, end="", flush=True)
    return missed


def main() -> None:
    """Measure how often the statistics err: on planted data, or on a row of many seeds that is compared with itself."""
    parser = argparse.ArgumentParser(prog="python -m analysis.calibrate", description=main.__doc__)
    parser.add_argument("sweep", nargs="?", help="a sweep's name, or its folder (default: planted data)")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    parser.add_argument("--row", help="row to compare with itself (default: the sweep's first)")
    parser.add_argument("--only", nargs="+", choices=SIMULATIONS, help="simulations to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="simulate fewer cells and draws, within a minute")
    parser.add_argument("--format", default="terminal", choices=["terminal", "md", "tex", "csv"])
    arguments = parser.parse_args()
    if arguments.sweep:
        if arguments.only or arguments.quick:
            parser.error("--only and --quick are of planted data; leave out the sweep, or them")
        try:
            with disk.told():
                records = read(arguments.sweep, arguments.root)
                text = getattr(sheet(records, arguments.row or next(iter(records.rows))), arguments.format)()
        except (UserError, FileNotFoundError) as error:
            parser.exit(2, f"{error}\n")
        print(text)
        return
    if missed := planted(arguments.only or [*SIMULATIONS], arguments.quick, arguments.format):
        parser.exit(1, f"bars were missed: {', '.join(missed)}\n")


if __name__ == "__main__":
    unbroken()
    main()
