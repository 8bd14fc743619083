"""The command: plan a sweep, run what is missing, report. `python -m ablate.sweep --help` explains it.

This process imports no torch: planning and stages run in workers forked from a warm server.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from ablate.clusters import local, resources
from ablate.clusters.slurm import controller, submit, watch
from ablate.store import continuing
from ablate.planning.again import again
from ablate.clusters.display import Display, failures_text, plan_text, status_text
from ablate.errors import UserError
from ablate.clusters.slurm.job import LATER, Collector
from ablate.clusters.slurm.preview import slurm_text
from ablate.store.record import read_sweep, sweep_path
from ablate.store.run import RunFolder
from ablate.clusters.schedule import DONE, ELSEWHERE, QUEUED, RUNNING, STOPPED, WAITING, Board, cores
from ablate.store.stage import Plan, materialise, stage_ids
from ablate.store.version import code_version, keep_patch, label

HELP = """\
Run the sweep in FILE: plan it, run the stages that are missing, write the table, the figures and the report.

The same command again goes on where it was, whatever ended it: Ctrl-C, kill -9, a crash, a failed stage. What is done
is not done again, and stages that several rows or several sweeps need are run once.
"""
MORE = """\
examples:
  python -m ablate.sweep sweeps/objectives.yaml                      run it here, one worker per core
  python -m ablate.sweep sweeps/objectives.yaml --dry-run            rows, stages, what is done or made again and why, time
  python -m ablate.sweep sweeps/objectives.yaml seeds=[0,1,2]        three seeds: mean, interval, paired deltas
  python -m ablate.sweep sweeps/objectives.yaml --show joint_tlm     every setting of a row, and what sets it apart
  python -m ablate.sweep sweeps/objectives.yaml --only joint_tlm     this row and what it starts from
  python -m ablate.sweep sweeps/objectives_real.yaml data.root=DIR   real corpora from a directory
  python -m ablate.sweep sweeps/objectives.yaml cluster=slurm resources.partition=gpu
  python -m ablate.sweep sweeps/objectives.yaml cluster=slurm resources.profile=cluster.yaml --detach    then --status

overrides (Hydra's grammar; they change the sweep as if written in FILE; quote them for the shell if need be):
  key=value            seeds=[0,1]   base.pretrain.steps=100   base.tasks.asr.steps=50   base.encoder.width=96
  ~key                 ~rows.joint_longer
  root=DIR             where runs live (default: runs)
  cluster=NAME         local (default): a pool of workers; debug: in this process, one after another; slurm: job arrays
  workers=N            workers of the local pool (default: the cores this process may use)
  resources.NAME=VALUE for slurm: mem_gb, cpus, gpus, timeout_min, partition, account, qos, constraint, parallelism, setup,
                       tasks and nodes (processes of one run, on each of so many nodes), pack_min (minutes that a task of
                       short stages lasts), poll_s (seconds between two looks at the queue), profile (a YAML file of these),
                       gpu_gb and gpu_tflops (of a GPU, for checks and estimates);
                       resources.KIND.NAME=VALUE for one kind of stage (table, tokens, tokenizer, kmeans, pretrain,
                       finetune, score, ...; collect for the job that --detach leaves)

where things lie:
  ROOT/sweeps/NAME/    table.md .tex .csv, baselines.csv, figures/, report.html, manifest.jsonl (which stages make which row)
  ROOT/KIND/AB/ID/     a stage: config.yaml, logs/out.txt, result.json (last: it is complete, and says which attempt's folder
                       has its files: metrics.jsonl, model.safetensors, items.jsonl)
  python -m ablate.store lists a ROOT, and explains how two stages differ

exit status: 0 all runs are done (or left to jobs), 1 a run failed, 2 the sweep or the command is wrong, 3 Slurm takes
nothing now, 130 interrupted.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_intermixed_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOENT, *local.DISK_ERRORS):
            raise
        where = f" '{error.filename}'" if error.filename else ""
        print(f"error: Cannot use{where}: {error.strerror}. What is done is kept; make room or choose root=DIR, then "
              "run the same command again.", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted before anything ran.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.sweep", description=HELP, epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE", help="the sweep: a YAML file, see sweeps/")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the sweep, see below")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="show the plan and run nothing")
    what.add_argument("--status", action="store_true", help="show what is done, running and missing, and run nothing")
    what.add_argument("--show", metavar="ROW", help="show a row's settings and its difference from its reference")
    what.add_argument("--where", metavar="ROW", help="print the folders of a row's stages")
    what.add_argument("--cancel", action="store_true", help="for slurm: cancel this sweep's jobs; what they saved is kept")
    what.add_argument("--detach", action="store_true", help="for slurm: submit and return; a job goes on from there")
    parser.add_argument("--retry-failed", action="store_true", help="for slurm: run what failed again")
    parser.add_argument("--only", metavar="ROW", action="append", help="run only this row and what it starts from; repeat")
    parser.add_argument("--fresh", action="store_true", help="throw away the records of the stages planned here, first")
    return parser


def _run(options: argparse.Namespace) -> int:
    plan = local.call(_plan, options.file, options.overrides)
    root = Path(plan.root)
    if options.show:
        print(plan.show(options.show))
        return 0
    if options.where:
        print(_where(plan, root, options.where))
        return 0
    if options.only:
        plan = plan.only(options.only)
    plan = plan.without_idle(lambda stage: not options.fresh and RunFolder(root, stage.kind, stage.id).done)
    on_slurm = plan.cluster == "slurm"
    if (options.cancel or options.detach) and not on_slurm:
        raise UserError("--cancel and --detach are about jobs on Slurm; add cluster=slurm.")
    workers = plan.workers or (resources.with_profile(plan.resources).get("parallelism", 256) if on_slurm else cores())
    board = Board(plan.stages, root)
    made = _made(board)
    if (sweep_path(root, plan.name) / "sweep.json").exists():
        read_sweep(root, plan.name)  # of a newer format it is not to be touched
    if options.fresh and not (options.dry_run or options.status):
        _discard(board)
        board = Board(plan.stages, root)
    for id, folder in board.folders.items():
        if board.state[id] == WAITING and folder.holder() is not None:
            board.set(id, ELSEWHERE)
    if options.status and (on_slurm or (root / "slurm").is_dir() and controller.here()):
        watch.status(board, submit.Slurm(board, plan.name, plan.resources))
    if options.cancel:
        jobs = submit.Slurm(board, plan.name, plan.resources)
        print(f"{watch.cancel(board, jobs, whole=not options.only)} jobs cancelled; what they saved is kept.")
        return 0
    print(plan_text(plan, board, workers), flush=True)
    if not options.status:
        left = [stage for id, stage in board.stages.items() if board.state[id] != DONE]
        print("".join(f"{line}\n" for line in (*continuing.notes(left, root), *again(plan, root))), end="", flush=True)
    _warn_of_other_code(made)
    if options.status:
        print(status_text(board))
    elif options.dry_run and plan.cluster == "slurm" and not board.ended:
        print("\n" + slurm_text(board, plan.resources))
    if options.dry_run or options.status:
        return 0
    if plan.absent:
        raise UserError(plan.absent)
    materialise(plan, root)
    keep_patch(root)
    print(f"\nRuns go to {root}{os.sep}, the report to {sweep_path(root, plan.name)}{os.sep}.\n", flush=True)
    if on_slurm and (options.retry_failed or options.fresh):
        watch.retry(board, submit.Slurm(board, plan.name, plan.resources))
    collect = None
    if options.detach:
        once = ("--detach", "--retry-failed", "--fresh")
        collect = Collector("ablate.sweep:main", [*(a for a in options.arguments if a not in once), "--detach"])
    left = drive(board, plan.name, plan.cluster, workers, plan.resources, collect=collect)
    if left:
        return 0 if collect is not None and board.count(QUEUED, RUNNING) else left
    _report(board, plan.name, root)
    print(failures_text(board, plan.cluster), end="", file=sys.stderr)
    return 0 if board.count(DONE) == len(board.stages) else 1


def drive(
    board: Board, name: str, cluster: str, workers: int, wanted: Optional[dict[str, Any]] = None,
    execute: str = local.EXECUTE, collect: Optional[Collector] = None,
) -> int:  # fmt: skip
    """Run the board's stages on a cluster, showing progress; 0 if that ended, else the exit status of an interrupted one.

    With a job that will `collect` it only submits what there is to submit. Raises UserError for an unknown cluster or
    resource.
    """
    code_version()  # once, for all workers
    interrupts, restore = _count_interrupts(
        "Leaving; the jobs go on." if cluster == "slurm" else "Stopping: workers save and stop. Once more kills them."
    )
    began = time.time()
    try:
        with Display(workers) as display:
            if cluster == "slurm":
                jobs = submit.Slurm(board, name, wanted or {}, execute)
                poll = float(jobs.resources.get("poll_s", 30))
                if collect is not None:
                    watch.detach(board, jobs, display, poll, collect)
                else:
                    watch.run_slurm(board, jobs, display, interrupts, poll)
            elif cluster in ("local", "debug"):
                here = local.Pool(board.root, workers, execute) if cluster == "local" else local.Inline(board.root, execute)
                local.run_pool(board, here, display, interrupts)
            else:
                raise UserError(f"Unknown cluster '{cluster}'; valid: local, debug, slurm.")
            display(board)
    finally:
        restore()
    wall = time.time() - began
    kept = f"{board.count(DONE)} of {len(board.stages)} stages are done and kept."
    if cluster == "slurm" and not board.ended:
        print(f"\n{kept} {watch.parting(board, jobs, collect is not None)}", file=sys.stderr)
        return LATER if collect is not None else 130
    if interrupts() and not board.ended or board.count(STOPPED):
        print(f"\nStopped: {kept} Run the same command again to go on.", file=sys.stderr)
        return 130
    if cluster == "local":
        _utilisation(board, workers, began, wall)
    return 0


def _plan(file: str, overrides: list[str]) -> Plan:
    """Plan in a worker, which may import torch, with the costs of finished stages as a guide."""
    from ablate.planning import cost
    from ablate.planning.plan import plan_file

    roots = [text.partition("=")[2] for text in overrides if text.startswith("root=")]
    root = Path(roots[-1].strip("'\"") if roots else "runs")
    return plan_file(file, overrides, "runs", cost.timings(root), paces=lambda: cost.paces(root))


def _where(plan: Plan, root: Path, row: str) -> str:
    lines = [f"{sweep_path(root, plan.name)}  the sweep"]
    board = Board(plan.stages, root)
    wanted = {id for line in plan.lines(row) for id in stage_ids(line)}
    for id, stage in board.stages.items():
        if id in wanted:
            lines.append(f"{board.folders[id].path}  {stage.kind} {stage.title}: {board.state[id]}")
    return "\n".join(lines)


def _discard(board: Board) -> None:
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


def _made(board: Board) -> list[str]:
    """By which code the finished stages were made. Raises UserError where one is of a newer format, or damaged."""
    return [label(board.folders[id].result().get("code", {})) for id, state in board.state.items() if state == DONE]


def _warn_of_other_code(made: list[str]) -> None:
    """Say once how many records were made by other code than this."""
    here = label(code_version())
    other = sorted({code for code in made if code and code != here})
    if other and here:
        count = sum(bool(code) and code != here for code in made)
        print(f"note: {count} of the finished stages were made by other code ({', '.join(other)}), this is {here}; "
              "their ids say that nothing relevant changed. --fresh makes them anew.")  # fmt: skip


def _count_interrupts(text: str) -> tuple[Callable[[], int], Callable[[], None]]:
    """Count requests to stop, saying `text` at the first, instead of dying; return the count's reader and the way back."""
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
    for id, folder in board.folders.items():
        if folder.done and (folder.path / "result.json").stat().st_mtime >= began:
            busy += folder.result().get("busy_seconds", 0.0)
    if busy:
        print(f"\n{wall / 60:.1f} min on {workers} workers; {100 * busy / (wall * workers):.0f} % of that core time was "
              "spent inside training and scoring steps.")  # fmt: skip


def _report(board: Board, name: str, root: Path) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
