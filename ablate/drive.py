"""The work of the sweep command: plan, show, run on a cluster with progress and interrupts, report.

This process imports no torch.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ablate import variants
from ablate.clusters import local
from ablate.clusters.cluster import LATER, AbstractCluster, Program
from ablate.clusters.display import Display, duration, failures_text, plan_text, status_text, where_text
from ablate.clusters.registry import CLUSTERS, asking, named, of_jobs
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, QUEUED, RUNNING, STOPPED, Board
from ablate.errors import UserError, plural
from ablate.planning.again import again
from ablate.planning.since import apart, since
from ablate.store import continuing, declared, disk, files, needs, plugins, pruned
from ablate.store.plugins import VARIABLE
from ablate.store.record import read_sweep, run_path, sweep_path
from ablate.store.stage import Plan, digest_on_disk, keep_file, materialise, stage_ids
from ablate.store.version import CODE, code_version, keep_patch, label, with_plugins

if TYPE_CHECKING:  # it loads pandas
    from analysis.records.frame import Records

ATTENTION = "ABLATE_ATTENTION"  # the variable by which encoders/attention.py is told what to use
PROGRAM = Program("ablate.stages.execute:execute", preload="ablate.warm", main="ablate.sweep:main")


def run(options: argparse.Namespace) -> int:
    """Do what the options of `python -m ablate.sweep` ask for; return the exit status. Raises UserError."""
    plan = planned(options)
    if (text := _looked_at(plan, options)) is not None:
        print(text)
        return 0
    return carry_out(plan, plan.only(options.only) if options.only else plan, options)


def planned(options: argparse.Namespace, counts: Optional[dict[str, int]] = None) -> Plan:
    """Plan what the options ask for; `counts` are numbers of seeds by row (see `ablate.planning.plan.Rows`). Raises
    UserError.
    """
    code_version()  # first, so that it describes the code that workers import
    seen = bool(options.show) or len(options.diff or ()) == 2  # only settings, for which no data are needed
    call = options.file, options.overrides, options.quick
    only = options.only or [options.where] * bool(options.where)
    more = () if seen else (asking(), tuple(only), counts)
    plan = local.call(PROGRAM.preload, _settings if seen else _plan, *call, *more)
    plugins.announce(plan.plugins)
    with_plugins(plan.plugins)
    if options.planned not in (None, plan.digest):
        raise UserError(
            f"Sweep '{plan.name}' has changed since it was left to this job: "
            f"{apart(plan, Path(plan.root))}; run the command again with --detach."
        )
    return plan


def _looked_at(plan: Plan, options: argparse.Namespace) -> Optional[str]:
    """Return the text that the options ask for about a plan; None if they ask to run the sweep."""
    if options.show:
        paths = list(plan.settings(options.show))
        origins = local.call(
            PROGRAM.preload, _origins, options.file, options.overrides, options.show, paths, options.quick
        )
        return plan.show(options.show, origins)
    if options.diff and len(options.diff) == 2:
        return "\n".join(plan.between(*options.diff))
    if options.diff:
        call = options.file, options.diff[0], options.overrides, asking(), options.quick
        return "\n".join(local.call(PROGRAM.preload, _edited, *call))
    if options.where:
        return where_text(plan, Board(plan.stages, Path(plan.root)), options.where)
    return None


def carry_out(full: Plan, whole: Plan, options: argparse.Namespace) -> int:
    """Do what the options ask for, on the requested stages of a plan; return the exit status. Raises UserError."""
    root = Path(full.root)
    plan = whole if options.fresh else needed(whole, root)
    if plan.cluster not in ("", *CLUSTERS):
        plugins.load()  # one may define it; loaded only here, to keep this process light
    try:
        kind = named(plan.cluster)
    except UserError as error:
        raise UserError(local.call(PROGRAM.preload, _located, options.file, options.overrides, str(error))) from None
    if (options.cancel or options.detach) and not kind.outlives:
        raise UserError(f"--cancel and --detach are about jobs that go on without the command; add {of_jobs()}.")
    told = {name: os.environ[name] for name in (CODE, VARIABLE, ATTENTION) if name in os.environ}
    program = replace(PROGRAM, environment=told | ({ATTENTION: plan.attention} if plan.attention != "auto" else {}))

    def cluster() -> AbstractCluster:
        resources = Resources(plan.resources, plan.kinds, kind.asks)
        return kind(Board(plan.stages, root), plan.name, resources, program, plan.workers)

    now = cluster()
    made, asked = made_by(now.board), partial(of_jobs_at, now)
    if (sweep_path(root, plan.name) / "sweep.json").exists():
        read_sweep(root, plan.name)  # raises for a newer format, which must not be changed
    if options.cancel:
        _say(variants.others(plan, asked))
        print(f"{plural(now.cancel(whole=not options.only), 'job')} cancelled; what they saved is kept.")
        return 0
    if options.status:
        _status(plan, now, [*other_code(made), *variants.others(plan, asked)])
        return 0
    if options.dry_run or plan.absent:
        _show(full, whole, now, [*other_code(made), *variants.others(plan)])
        if not options.dry_run:
            raise UserError(plan.absent)
        if not now.board.ended and (preview := now.preview()):
            print(f"\n{preview}")
        return 0
    with variants.alone(plan, asked):
        if options.fresh:
            discard(now.board)
            now = cluster()
        _show(full, whole, now, other_code(made))
        return _sweep(plan, now, options)


def _show(full: Plan, whole: Plan, cluster: AbstractCluster, notes: list[str]) -> None:
    """Print which stages of a plan are to be made and why, with further notes."""
    root, board = Path(full.root), cluster.board
    plan = replace(whole, stages=board.stages)
    board.follow_others()
    print(plan_text(plan, board, cluster.workers, cluster.remaining.estimate()), flush=True)
    left = [stage for id, stage in board.stages.items() if board.state[id] != DONE]
    anew = again(plan, root)
    _say(
        [
            *continuing.notes(left, root),
            *since(full, root, anew),
            *anew,
            *pruned_again(board),
            *preregistered(full),
            *unjudged(full, root),
            *notes,
            *removed(whole, plan),
        ]
    )


def preregistered(plan: Plan) -> list[str]:
    """Return a note on the hash by which the claims can be registered elsewhere before anything runs."""
    number = declared.hash_of(plan.sweep)
    return [f"note: claims, looks, rows and data have the hash {number}, which the report has, too."] if number else []


def unjudged(plan: Plan, root: Path) -> list[str]:
    """Return notes on claims that would get no verdict, as results or verdicts are there already; none of a plan that
    ran before.
    """
    if digest_on_disk(root, plan.name) == plan.digest:
        return []
    folder, stages = sweep_path(root, plan.name), plan.stages.values()
    begun = (folder / declared.LOOKS).exists() or any(
        pruned.complete(run_path(root, stage.kind, stage.id)) for stage in stages
    )
    if not plan.sweep.get("claims") or not begun:
        return []
    from analysis.statistics import claims

    return claims.unjudged(records(plan, root), declared.lines_if_run(folder, plan.sweep))


def records(plan: Plan, root: Path) -> Records:
    """Return the records of a plan, as they are on disk now."""
    from analysis.records.frame import planned

    return planned(root, *json.loads(json.dumps([plan.sweep, plan.manifest])))


def _say(lines: list[str]) -> None:
    print("".join(f"{line}\n" for line in lines), end="", flush=True)


def of_jobs_at(cluster: AbstractCluster) -> list[AbstractCluster]:
    """Return the clusters that may have jobs of this sweep from earlier commands.

    That is `cluster` itself if its stages run as jobs, else every kind of cluster that left jobs in the root.
    """
    if cluster.outlives:
        return [cluster]
    there = [kind for kind in CLUSTERS.values() if kind.left_at(cluster.board.root)]
    return [kind(cluster.board, cluster.name, cluster.resources, cluster.program) for kind in there]


def _status(plan: Plan, cluster: AbstractCluster, notes: list[str]) -> None:
    """Print the state of a sweep, jobs of earlier commands included."""
    cluster.board.follow_others()
    for one in of_jobs_at(cluster):
        one.look()
    left = cluster.remaining.estimate()
    print(plan_text(plan, cluster.board, cluster.workers, left), flush=True)
    _say(notes)
    print(status_text(cluster.board, left))


def _sweep(plan: Plan, cluster: AbstractCluster, options: argparse.Namespace) -> int:
    """Run the missing stages and write the report; return the exit status."""
    root, board = Path(plan.root), cluster.board
    materialise(plan, root)
    board.reopen()
    keep_patch(root)
    print(f"\nRuns go to {root}{os.sep}, the report to {sweep_path(root, plan.name)}{os.sep}.\n", flush=True)
    if options.retry_failed or options.fresh:
        cluster.retry()
    collect = collecting(plan, root, options) if options.detach else None
    if left := drive(cluster, collect):
        return 0 if collect is not None and board.count(QUEUED, RUNNING) else left
    amiss = write_report(board, plan, root)
    print(failures_text(board, cluster.advice), end="", file=sys.stderr)
    if amiss:
        print(f"error: {amiss}", file=sys.stderr)
    return 0 if not amiss and board.count(DONE) == len(board.stages) else 1


def collecting(plan: Plan, root: Path, options: argparse.Namespace) -> list[str]:
    """Return the arguments of the command that continues this plan later.

    It reads a copy of the sweep file, which edits do not affect.
    """
    roots = [text for text in options.overrides if text.startswith("root=")]
    rows = [f"--only={row}" for row in options.only or ()]
    return [str(keep_file(plan, root)), *roots, *rows, "--detach", f"--planned={plan.digest}"]


def _plan(
    file: str,
    overrides: list[str],
    quick: bool,
    asking: tuple[str, ...],
    only: tuple[str, ...],
    counts: Optional[dict[str, int]] = None,
) -> Plan:
    """Plan in a worker, which may import torch; costs are estimated from finished stages. `counts` are numbers of seeds
    by row.
    """
    from ablate.planning import cost
    from ablate.planning.plan import Rows, plan_file
    from ablate.sweepfile.quick import ROOT

    default = ROOT if quick else "runs"
    roots = [default, *(text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("root="))]
    root = Path(roots[-1])
    return plan_file(file, overrides, default, cost.Known.of(root), asking=asking, quick=quick, rows=Rows(only, counts))


def _settings(file: str, overrides: list[str], quick: bool) -> Plan:
    """Resolve the settings of the rows in a worker, without data."""
    from ablate.planning.plan import settings_of

    return settings_of(file, overrides, quick)


def reference(section: str) -> str:
    """Return every key of a sweep file, or of one section, as text. Raises UserError for an unknown section."""
    return local.call(PROGRAM.preload, _reference, section)


def _reference(section: str) -> str:
    from ablate.planning import reference
    from ablate.planning.plan import named_kinds
    from ablate.sweepfile.registry import Registry

    plugins.load()
    return reference.text(Registry.default(named_kinds()), section)


def _edited(file: str, commit: str, overrides: list[str], asking: tuple[str, ...], quick: bool) -> list[str]:
    """Return what an edit of the sweep file changes. Runs in a worker."""
    from ablate.planning.edit import edited

    return edited(file, commit, overrides, asking, quick)


def _located(file: str, overrides: list[str], message: str) -> str:
    """Put the place of the setting that a message begins with before it. Runs in a worker."""
    from ablate.sweepfile.source import Source

    return str(Source(file, overrides).located(UserError(message)))


def _origins(file: str, overrides: list[str], row: str, paths: list[str], quick: bool) -> dict[str, str]:
    """Return where a row's settings come from. Runs in a worker, as reading sweep files loads torch."""
    from ablate.planning.plan import origins

    return origins(file, overrides, row, paths, quick)


def drive(cluster: AbstractCluster, collect: Optional[list[str]] = None) -> int:
    """Run the stages on a cluster's board and show progress. Returns 0, or the exit status of an interrupted run.

    With `collect`, the arguments of a command that continues later, it submits what it can and returns.
    """
    board = cluster.board
    interrupts, restore = _count_interrupts(
        "Leaving; the jobs go on." if cluster.outlives else "Stopping: workers save and stop. Once more kills them."
    )
    began = time.time()
    try:
        with Display(cluster.remaining) as display:
            if collect is not None:
                cluster.detach(display, interrupts, collect)
            else:
                cluster.run(display, interrupts)
            display(board)
    except KeyboardInterrupt:  # the user stopped waiting for an answer
        return 130
    finally:
        restore()
    wall = time.time() - began
    kept = f"{board.count(DONE)} of {plural(len(board.stages), 'stage', 'are')} done and kept."
    if cluster.outlives and not board.ended:
        print(f"\n{kept} {cluster.parting(collect is not None)}", file=sys.stderr)
        return LATER if collect is not None else 130
    if interrupts() and not board.ended or board.count(STOPPED):
        print(f"\nStopped: {kept} Run the same command again to go on.", file=sys.stderr)
        return 130
    if cluster.counts_cores:
        _utilisation(board, cluster.workers, began, wall)
    return 0


def needed(plan: Plan, root: Path) -> Plan:
    """Return the plan without stages that only finished stages start from, except pruned ones that are asked for."""
    folders = {id: run_path(root, stage.kind, id) for id, stage in plan.stages.items()}
    done = {id for id, folder in folders.items() if pruned.complete(folder)}
    asked = {id for id, folder in folders.items() if id not in done and pruned.reopened(folder)}
    return plan.without_idle(done - needs.remade(plan.stages, done, root), asked)


def pruned_again(board: Board) -> list[str]:
    """Return a note on pruned stages that are made again because missing stages read them."""
    if not (again := [board.stages[id] for id in board.again]):
        return []
    titles = [f"{stage.name} ({duration(stage.cost)})" for stage in again]
    more = f" and {len(again) - 3} more" if len(again) > 3 else ""
    return [
        f"note: pruned stages that missing ones read are made again: {', '.join(titles[:3])}{more}; "
        f"{duration(sum(stage.cost for stage in again))} in all."
    ]


def removed(whole: Plan, plan: Plan) -> list[str]:
    """Return a note on stages of rows that were removed and are not made again, as no missing stage needs them."""
    asked = {id for line in whole.manifest for id in stage_ids(line)}
    gone = [stage for id, stage in whole.stages.items() if id in asked and id not in plan.stages]
    if not gone:
        return []
    names = ", ".join(stage.name for stage in gone[:3]) + ", ..." * (len(gone) > 3)
    return [
        f"note: {plural(len(gone), 'stage', 'are')} gone ({names}), and not made again, as all stages that start "
        "from them are done; remove those, too, to have both made again."
    ]


def discard(board: Board) -> None:
    """Remove the records of all stages on the board. Raises UserError if one is running."""
    for id, folder in board.folders.items():
        if folder.holder() is not None:
            raise UserError(
                f"--fresh would remove {board.stages[id].title}, which process {folder.holder()['pid']} on "
                f"{folder.holder()['host']} is running; stop that first."
            )
    for folder in board.folders.values():  # all or none
        if folder.path.exists() and (closed := disk.kept(folder.path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(closed))
    for folder in board.folders.values():
        if folder.path.exists():
            shutil.rmtree(folder.path)


def made_by(board: Board) -> list[str]:
    """Return the code versions that the finished stages were made by. Raises UserError for a newer format or damage."""
    return [label(board.folders[id].result().get("code", {})) for id, state in board.state.items() if state == DONE]


def other_code(made: list[str]) -> list[str]:
    """Return a note on how many finished stages were made by another version of the code; empty if none were."""
    here = label(code_version())
    other = sorted({code for code in made if code and code != here})
    if not other or not here:
        return []
    count = sum(bool(code) and code != here for code in made)
    return [
        f"note: {plural(count, 'finished stage', 'were')} made by other code ({', '.join(other)}), this is {here}; by "
        "the ids nothing relevant changed. --fresh makes all anew."
    ]


def _count_interrupts(text: str) -> tuple[Callable[[], int], Callable[[], None]]:
    """Count requests to stop instead of dying, and print `text` at the first.

    Returns a function that reads the count, and one that restores the signal handlers.
    """
    count = 0

    def interrupted(number: int, _frame: Any) -> None:
        nonlocal count
        count += 1
        if count == 1:
            print(f"\n{text}", file=sys.stderr, flush=True)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupted) for number in numbers}
    return (lambda: count), (lambda: [signal.signal(number, handler) for number, handler in before.items()])


def _utilisation(board: Board, workers: int, began: float, wall: float) -> None:
    """Print the share of core time that was spent in training and scoring steps."""
    busy = 0.0
    for folder in board.folders.values():
        if folder.done and (folder.path / "result.json").stat().st_mtime >= began:
            busy += folder.result().get("busy_seconds", 0.0)
    if busy:
        print(
            f"\n{wall / 60:.1f} min on {workers} workers; {100 * busy / (wall * workers):.0f} % of that core time was "
            "spent inside training and scoring steps."
        )


def write_report(board: Board, plan: Plan, root: Path) -> str:
    """Write table, figures and report of a plan, and print the table and the paths. If nothing changed, only print.

    Returns an empty text, or why it did nothing: the sweep's folder has another plan by now.
    """
    import analysis

    folder = sweep_path(root, plan.name)
    other = f"{folder} now holds another plan than the one run here; run the same command again for its report."
    if digest_on_disk(root, plan.name) != plan.digest:
        return other
    summary, code = folder / "summary.txt", Path(analysis.__file__).parent.rglob("*.py")
    read = [folder / "sweep.json", folder / "manifest.jsonl", *code]
    read += [folder / name for name in declared.FILES if (folder / name).exists()]
    read += [run.path / "result.json" for run in board.folders.values()]
    if not summary.exists() or any(not p.exists() or p.stat().st_mtime > summary.stat().st_mtime for p in read):
        from analysis import report

        paths = report.write(folder, root)
        text = report.summary(folder, root) + "\n\n" + "\n".join(str(path) for path in _flat(paths)) + "\n"
        if digest_on_disk(root, plan.name) != plan.digest:  # meanwhile
            return other
        files.replace(summary, text.encode())
    print("\n" + summary.read_text(encoding="utf-8"), end="")
    return ""


def _flat(paths: Any) -> list[Any]:
    """Return the paths in a mapping or list of paths and lists of paths."""
    values = paths.values() if isinstance(paths, dict) else paths
    return [p for value in values for p in (value if isinstance(value, (list, tuple)) else [value])]
