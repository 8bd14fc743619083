"""What the sweep command does: plan, show, run on a cluster with progress and interrupts, report. No torch in this
process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ablate.clusters import local
from ablate.clusters.cluster import LATER, AbstractCluster, Program
from ablate.clusters.display import Display, duration, failures_text, plan_text, status_text, where_text
from ablate.clusters.registry import CLUSTERS, asking, named, of_jobs
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, QUEUED, RUNNING, STOPPED, Board
from ablate.errors import UserError
from ablate.planning.again import again
from ablate.store import continuing, needs, plugins, pruned
from ablate.store.plugins import VARIABLE
from ablate.store.record import read_sweep, run_path, sweep_path
from ablate.store.run import RunFolder
from ablate.store.stage import Plan, materialise, stage_ids
from ablate.store.version import CODE, code_version, keep_patch, label, with_plugins

PROGRAM = Program("ablate.stages.execute:execute", preload="ablate.warm", main="ablate.sweep:main")


def run(options: argparse.Namespace) -> int:
    """Do what the options of `python -m ablate.sweep` say; the exit status. Raises UserError."""
    code_version()  # before anything is imported that workers run
    plan = local.call(PROGRAM.preload, _plan, options.file, options.overrides, asking())
    plugins.announce(plan.plugins)
    with_plugins(plan.plugins)
    program = replace(PROGRAM, environment={name: os.environ[name] for name in (CODE, VARIABLE) if name in os.environ})
    root = Path(plan.root)
    if options.show:
        paths = list(plan.settings(options.show))
        print(
            plan.show(
                options.show,
                local.call(PROGRAM.preload, _origins, options.file, options.overrides, options.show, paths),
            )
        )
        return 0
    if options.diff:
        print("\n".join(plan.between(*options.diff)))
        return 0
    if options.where:
        print(where_text(plan, Board(plan.stages, root), options.where))
        return 0
    if options.only:
        plan = plan.only(options.only)
    whole, plan = plan, plan if options.fresh else needed(plan, root)
    if plan.cluster not in ("", *CLUSTERS):
        plugins.load()  # one of them may have it; else this process stays light
    kind = named(plan.cluster)
    resources = Resources(plan.resources, plan.kinds, kind.asks)
    if (options.cancel or options.detach) and not kind.outlives:
        raise UserError(f"--cancel and --detach are about jobs that go on without the command; add {of_jobs()}.")
    board = Board(plan.stages, root)
    made = made_by(board)
    if (sweep_path(root, plan.name) / "sweep.json").exists():
        read_sweep(root, plan.name)  # of a newer format it is not to be touched
    if options.fresh and not (options.dry_run or options.status):
        discard(board)
        board = Board(plan.stages, root)
    board.follow_others()
    cluster = kind(board, plan.name, resources, program, plan.workers)
    if options.cancel:
        print(f"{cluster.cancel(whole=not options.only)} jobs cancelled; what they saved is kept.")
        return 0
    if options.status:
        _status(plan, cluster, made)
        return 0
    print(plan_text(plan, board, cluster.workers), flush=True)
    print("".join(f"{line}\n" for line in notes(whole, plan, board, made)), end="", flush=True)
    if options.dry_run:
        if not board.ended and (preview := cluster.preview()):
            print(f"\n{preview}")
        return 0
    return _sweep(plan, cluster, options)


def _status(plan: Plan, cluster: AbstractCluster, made: list[str]) -> None:
    """Say how a sweep stands, jobs that earlier commands left included."""
    left = (
        [cluster]
        if cluster.outlives
        else [
            kind(cluster.board, cluster.name, cluster.resources, cluster.program)
            for kind in CLUSTERS.values()
            if kind.left_at(Path(plan.root))
        ]
    )
    for one in left:
        one.look()
    print(plan_text(plan, cluster.board, cluster.workers), flush=True)
    print("".join(f"{line}\n" for line in other_code(made)) + status_text(cluster.board))


def _sweep(plan: Plan, cluster: AbstractCluster, options: argparse.Namespace) -> int:
    """Run what is missing and report; the exit status."""
    root, board = Path(plan.root), cluster.board
    if plan.absent:
        raise UserError(plan.absent)
    materialise(plan, root)
    board.reopen()
    keep_patch(root)
    print(f"\nRuns go to {root}{os.sep}, the report to {sweep_path(root, plan.name)}{os.sep}.\n", flush=True)
    if options.retry_failed or options.fresh:
        cluster.retry()
    once = ("--detach", "--retry-failed", "--fresh")
    collect = [*(a for a in options.arguments if a not in once), "--detach"] if options.detach else None
    if left := drive(cluster, collect):
        return 0 if collect is not None and board.count(QUEUED, RUNNING) else left
    write_report(board, plan.name, root)
    print(failures_text(board, cluster.advice), end="", file=sys.stderr)
    return 0 if board.count(DONE) == len(board.stages) else 1


def _plan(file: str, overrides: list[str], asking: tuple[str, ...]) -> Plan:
    """Plan in a worker, which may import torch, with the costs of finished stages as a guide."""
    from ablate.planning import cost
    from ablate.planning.plan import plan_file

    roots = [text.partition("=")[2] for text in overrides if text.startswith("root=")]
    root = Path(roots[-1].strip("'\"") if roots else "runs")
    return plan_file(file, overrides, "runs", cost.timings(root), paces=lambda: cost.paces(root), asking=asking)


def _origins(file: str, overrides: list[str], row: str, paths: list[str]) -> dict[str, str]:
    """Where a row's settings come from, found in a worker: what reads sweep files loads torch."""
    from ablate.sweepfile.source import Source

    return Source(file, overrides).origins(row, paths)


def drive(cluster: AbstractCluster, collect: Optional[list[str]] = None) -> int:
    """Run the stages of a cluster's board, showing progress; 0 if that ended, else the exit status of an interrupted
    one.

    With the arguments of a command that will `collect` it only hands over what it can.
    """
    board = cluster.board
    interrupts, restore = _count_interrupts(
        "Leaving; the jobs go on." if cluster.outlives else "Stopping: workers save and stop. Once more kills them."
    )
    began = time.time()
    try:
        with Display(cluster.workers) as display:
            if collect is not None:
                cluster.detach(display, interrupts, collect)
            else:
                cluster.run(display, interrupts)
            display(board)
    except KeyboardInterrupt:  # the user has seen enough of waiting for an answer
        return 130
    finally:
        restore()
    wall = time.time() - began
    kept = f"{board.count(DONE)} of {len(board.stages)} stages are done and kept."
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
    """Leave out of a plan what only finished stages start from, unless it was pruned and is wanted back."""
    done = {id for id, stage in plan.stages.items() if RunFolder(root, stage.kind, id).done}
    asked = {id for id in plan.stages.keys() - done if pruned.reopened(run_path(root, plan.stages[id].kind, id))}
    return plan.without_idle(done - needs.remade(plan.stages, done, root), asked)


def notes(whole: Plan, plan: Plan, board: Board, made: list[str]) -> list[str]:
    """What else is to be said of a plan before it is run: what goes on from something else, what is made again and why,
    what other code made, what is gone.
    """
    left = [stage for id, stage in board.stages.items() if board.state[id] != DONE]
    anew = [*again(plan, board.root), *pruned_again(board)]
    return [*continuing.notes(left, board.root), *anew, *other_code(made), *removed(whole, plan)]


def pruned_again(board: Board) -> list[str]:
    """Say which finished stages are made again because something that is missing reads what was pruned of them."""
    if not (again := [board.stages[id] for id in board.again]):
        return []
    titles = [f"{stage.kind} {stage.title} ({duration(stage.cost)})" for stage in again]
    return [
        f"note: {len(again)} pruned stages are made again, as what is missing reads them: {', '.join(titles[:3])}"
        f"{', ...' if len(again) > 3 else ''}; {duration(sum(stage.cost for stage in again))} in all."
    ]


def removed(whole: Plan, plan: Plan) -> list[str]:
    """Say which stages of rows were removed and are not made again, since nothing that is missing needs them."""
    asked = {id for line in whole.manifest for id in stage_ids(line)}
    gone = [stage for id, stage in whole.stages.items() if id in asked and id not in plan.stages]
    if not gone:
        return []
    names = ", ".join(f"{stage.kind} {stage.title}" for stage in gone[:3]) + ", ..." * (len(gone) > 3)
    return [
        f"note: {len(gone)} stages are gone ({names}), and not made again, as all that starts from them is done; "
        "remove that, too, to have both made again."
    ]


def discard(board: Board) -> None:
    """Remove the records of all stages on the board. Raises UserError when one of them is running."""
    for id, folder in board.folders.items():
        if folder.holder() is not None:
            raise UserError(
                f"--fresh would remove {board.stages[id].title}, which process {folder.holder()['pid']} on "
                f"{folder.holder()['host']} is running; stop that first."
            )
    for folder in board.folders.values():
        if folder.path.exists():
            shutil.rmtree(folder.path)


def made_by(board: Board) -> list[str]:
    """By which code the finished stages were made. Raises UserError where one is of a newer format, or damaged."""
    return [label(board.folders[id].result().get("code", {})) for id, state in board.state.items() if state == DONE]


def other_code(made: list[str]) -> list[str]:
    """Say how many records were made by other code than this; nothing where none was."""
    here = label(code_version())
    other = sorted({code for code in made if code and code != here})
    if not other or not here:
        return []
    count = sum(bool(code) and code != here for code in made)
    return [
        f"note: {count} of the finished stages were made by other code ({', '.join(other)}), this is {here}; "
        "their ids say that nothing relevant changed. --fresh makes them anew."
    ]


def _count_interrupts(text: str) -> tuple[Callable[[], int], Callable[[], None]]:
    """Count requests to stop, saying `text` at the first, instead of dying; return the count's reader and the
    way back.
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
    """Print which share of the cores' time went into training and scoring steps."""
    busy = 0.0
    for folder in board.folders.values():
        if folder.done and (folder.path / "result.json").stat().st_mtime >= began:
            busy += folder.result().get("busy_seconds", 0.0)
    if busy:
        print(
            f"\n{wall / 60:.1f} min on {workers} workers; {100 * busy / (wall * workers):.0f} % of that core time was "
            "spent inside training and scoring steps."
        )


def write_report(board: Board, name: str, root: Path) -> None:
    """Write table, figures and report, and print the table and where all lies; only print if nothing has changed."""
    import analysis

    folder = sweep_path(root, name)
    summary, code = folder / "summary.txt", Path(analysis.__file__).parent.rglob("*.py")
    read = [folder / "sweep.json", folder / "manifest.jsonl", *code]
    read += [run.path / "result.json" for run in board.folders.values()]
    if not summary.exists() or any(not p.exists() or p.stat().st_mtime > summary.stat().st_mtime for p in read):
        from analysis import report

        paths = report.write(folder, root)
        text = report.summary(folder, root) + "\n\n" + "\n".join(str(path) for path in _flat(paths)) + "\n"
        summary.write_text(text, encoding="utf-8")
    print("\n" + summary.read_text(encoding="utf-8"), end="")


def _flat(paths: Any) -> list[Any]:
    """List the paths in a mapping of paths and lists of paths."""
    values = paths.values() if isinstance(paths, dict) else paths
    return [p for value in values for p in (value if isinstance(value, (list, tuple)) else [value])]
