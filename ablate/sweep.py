"""The command: plan a sweep, run what is missing, report. `python -m ablate.sweep --help` explains it.

This process imports no torch: planning and stages run in workers forked from a warm server.
"""

from __future__ import annotations

import argparse
import sys
from typing import Optional

from ablate.clusters.cluster import AbstractCluster
from ablate.clusters.registry import described, names
from ablate.drive import reference, run
from ablate.errors import UserError
from ablate.new import new
from ablate.store import disk

HELP = """\
Run the sweep in FILE: plan it, run the stages that are missing, write the table, the figures and the report.

The same command again goes on where it was, whatever ended it: Ctrl-C, kill -9, a crash, a failed stage. What is done
is not done again, and stages that several rows or several sweeps need are run once.
"""
MORE = """\
examples:
  python -m ablate.sweep sweeps/objectives.yaml                      run it here, one worker per core
  python -m ablate.sweep sweeps/objectives.yaml --dry-run            rows, stages, what is done or made again
                                                                     and why, time
  python -m ablate.sweep sweeps/objectives.yaml seeds=[0,1,2]        three seeds: mean, interval, paired deltas
  python -m ablate.sweep sweeps/objectives.yaml --show joint_tlm     every setting of a row, and what sets it apart
  python -m ablate.sweep sweeps/objectives.yaml --diff joint joint_tlm    what sets two rows apart
  python -m ablate.sweep sweeps/objectives.yaml --diff HEAD~1        what edits of the file since then change
  python -m ablate.sweep --reference claims                          every key of a section of the file
  python -m ablate.sweep sweeps/objectives.yaml --only joint_tlm     this row and what it starts from
  python -m ablate.sweep sweeps/objectives.yaml --quick              a small report within minutes, into runs-quick
  python -m ablate.sweep --new mine                                  writes mine.yaml: asks what is compared, on what
                                                                     data, with how many seeds, and where
  python -m ablate.sweep --new mine compare=values setting=pretrain.decay values=100,200 data=DIR seeds=5 partition=gpu
  python -m ablate.sweep sweeps/objectives_real.yaml data.root=DIR   real corpora from a directory
  python -m ablate.sweep sweeps/objectives.yaml cluster=slurm resources.partition=gpu
  python -m ablate.sweep sweeps/objectives.yaml cluster=slurm resources.profile=cluster.yaml --detach    then --status

overrides (Hydra's grammar; they change the sweep as if written in FILE; quote them for the shell if need be):
  key=value            seeds=[0,1]   base.pretrain.steps=100   base.tasks.asr.steps=50   base.encoder.width=96
  ~key                 ~rows.joint_longer
  root=DIR             where runs live (default: runs)
  cluster=NAME         CLUSTERS
  workers=N            stages at a time (default: one a core that this process may use)
  attention=NAME       what computes attention: varlen, xformers or sdpa (default: auto)
  resources.NAME=VALUE for ASKING: mem_gb (40 or 40G), cpus, gpus (4 or a100:4), timeout_min (120 or 2:00:00),
                       partition, account, qos, constraint, nodelist, exclude, gres, reservation, nice, sbatch (any
                       other option by its name), parallelism, setup, tasks and nodes (processes of one run, on each of
                       so many nodes), pack_min (minutes that a task of short stages lasts), poll_s (seconds between two
                       looks at the queue), profile (a YAML file of these), gpu_gb and gpu_tflops (of a GPU, for checks
                       and estimates);
                       resources.KIND.NAME=VALUE for one kind of stage (table, tokens, tokenizer, kmeans, pretrain,
                       finetune, score, ...; collect for the job that --detach leaves)

where things lie:
  ROOT/sweeps/NAME/    table.md .tex .csv, baselines.csv, figures/, report.html, manifest.jsonl (which stages make which
                       row)
  ROOT/KIND/AB/ID/     a stage: config.yaml, logs/out.txt, result.json (last: it is complete, and says which attempt's
                       folder has its files: metrics.jsonl, model.safetensors, items.jsonl)
  python -m ablate.store lists a ROOT, joins another to it, and explains how two stages differ

exit status: 0 all runs are done (or left to jobs), 1 a run failed, 2 the sweep or the command is wrong, or another
sweep of its name runs, or the disk refuses, 3 Slurm takes nothing now, 130 interrupted.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.file is None and options.reference is None:
        parser.error("give a sweep FILE; those in sweeps/ are examples, and --new NAME writes one")
    try:
        if options.reference is not None:
            print(reference(options.reference))
            return 0
        with disk.told("What is done is kept: mend that, or choose root=DIR, and run the same command again."):
            return new(options) if options.new else run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted before anything ran.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.sweep",
        description=HELP,
        epilog=MORE.replace("CLUSTERS", described()).replace("ASKING", names(lambda kind: kind.asks)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="the sweep: a YAML file, see sweeps/")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the sweep, see below")
    jobs = names(lambda kind: kind.outlives)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--new", action="store_true", help="write a new sweep FILE from a few answers, and plan it")
    what.add_argument("--dry-run", action="store_true", help="show the plan and run nothing")
    what.add_argument("--status", action="store_true", help="show what is done, running and missing, and run nothing")
    what.add_argument(
        "--show",
        metavar="ROW",
        help="show a row's settings, where each comes from, and its difference from its reference",
    )
    what.add_argument(
        "--diff",
        metavar="ROW",
        nargs="+",
        help="show the settings in which two rows differ; or, with a commit in their place, what an edit of FILE since "
        "then changes in rows and stages",
    )
    what.add_argument(
        "--reference",
        metavar="SECTION",
        nargs="?",
        const="",
        help="print every key that a sweep file may have, or those of a section (rows, claims, asr, ...)",
    )
    what.add_argument("--where", metavar="ROW", help="print the folders of a row's stages")
    what.add_argument(
        "--cancel", action="store_true", help=f"for {jobs}: cancel this sweep's jobs; what they saved is kept"
    )
    what.add_argument("--detach", action="store_true", help=f"for {jobs}: submit and return; a job goes on from there")
    retrying = names(lambda kind: kind.retry is not AbstractCluster.retry)
    parser.add_argument("--retry-failed", action="store_true", help=f"for {retrying}: run what failed again")
    parser.add_argument(
        "--only", metavar="ROW", action="append", help="run only this row and what it starts from; repeat"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small part of it, on built-in data: shows how all works, decides nothing",
    )
    parser.add_argument("--planned", metavar="DIGEST", help=argparse.SUPPRESS)  # of what a collector goes on with
    parser.add_argument("--fresh", action="store_true", help="throw away the records of the stages planned here, first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
