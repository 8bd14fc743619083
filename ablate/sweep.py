"""The sweep command: plans a sweep, runs the missing stages and writes the report.

This process imports no torch: planning and stages run in workers forked from a preloaded server.
"""

from __future__ import annotations

import argparse
import sys
from typing import Optional

from ablate import until
from ablate.clusters.cluster import AbstractCluster
from ablate.clusters.registry import described, names
from ablate.drive import reference, run
from ablate.errors import UserError
from ablate.new import new
from ablate.store import disk
from ablate.store.child import unbroken

HELP = """\
Run the sweep in FILE: plan it, run the stages that are missing, write the table, the figures and the report.

To continue a run, repeat the command, whatever ended it: Ctrl-C, kill -9, a crash, a failed stage. Finished stages are
not run again, and stages that several rows or sweeps need are run once.
"""
MORE = """\
examples:
  python -m ablate.sweep sweeps/objectives.yaml                      run it here, one worker per core
  python -m ablate.sweep sweeps/objectives.yaml --dry-run            rows, stages, what is done or made again
                                                                     and why, time
  python -m ablate.sweep sweeps/objectives.yaml seeds=[0,1,2]        three seeds: mean, interval, differences
  python -m ablate.sweep sweeps/objectives.yaml looks=[5,8] budget='3 h' --until-decided     five seeds, and eight of
                                                                     what is then undecided
  python -m ablate.sweep sweeps/objectives.yaml --show joint_tlm     every setting of a row, and how it differs from
                                                                     its reference row
  python -m ablate.sweep sweeps/objectives.yaml --diff joint joint_tlm    how two rows differ
  python -m ablate.sweep sweeps/objectives.yaml --diff HEAD~1        what edits of the file since a commit change
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
  workers=N            stages at a time (default: one per core that this process may use)
  attention=NAME       what computes attention: varlen, xformers or sdpa (default: auto)
  resources.NAME=VALUE for ASKING: mem_gb (40 or 40G), cpus, gpus (4 or a100:4), timeout_min (120 or 2:00:00),
                       partition, account, qos, constraint, nodelist, exclude, gres, reservation, nice, sbatch (any
                       other option by its name), parallelism, setup, tasks (processes of one run per node), nodes,
                       pack_min (minutes of short stages that are packed into one task), poll_s (seconds between two
                       looks at the queue), profile (a YAML file of these), gpu_gb and gpu_tflops (of a GPU, for checks
                       and estimates);
                       resources.KIND.NAME=VALUE for one kind of stage (table, tokens, tokenizer, kmeans, pretrain,
                       finetune, score, ...; collect for the job that --detach leaves)

where things lie:
  ROOT/sweeps/NAME/    table.md .tex .csv, baselines.csv, figures/, report.html, manifest.jsonl (which stages make which
                       row), claims.jsonl and looks.jsonl (what was declared when, and when verdicts were taken)
  ROOT/KIND/AB/ID/     a stage: config.yaml, logs/out.txt, and result.json, which is written when the stage is complete
                       and names the folder of its files: metrics.jsonl, model.safetensors, items.jsonl
  python -m ablate.store lists a ROOT, joins another to it, and explains how two stages differ

exit status: 0 all runs are done (or left to jobs), 1 a run failed, 2 a mistake in the sweep or the command, another
sweep of the same name is running, or an error of the disk, 3 Slurm accepts no jobs now, 130 interrupted.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.diff:  # overrides may stand behind it
        options.overrides += [word for word in options.diff if "=" in word or word.startswith("~")]
        options.diff = [word for word in options.diff if word not in options.overrides]
        if not 1 <= len(options.diff) <= 2:
            parser.error("--diff takes two rows, or a commit; FILE stands before it")
    if options.file is None and options.reference is None:
        parser.error("give a sweep FILE; those in sweeps/ are examples, and --new NAME writes one")
    try:
        if options.reference is not None:
            print(reference(options.reference))
            return 0
        with disk.told("What is done is kept: solve that, or choose root=DIR, and run the same command again."):
            return (new if options.new else until.run if options.until_decided else run)(options)
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
        help="show the settings in which two rows differ; or, given one commit, how edits of FILE since then change "
        "rows and stages",
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
        help="run a small version on built-in data: it shows how everything works and decides nothing",
    )
    parser.add_argument(
        "--until-decided",
        action="store_true",
        help="run the seeds of the first of the sweep's looks, take verdicts, and go on to the next look with the rows "
        "of undecided claims only; stop where none is left, where more seeds would hardly decide one, or at the budget",
    )
    parser.add_argument("--planned", metavar="DIGEST", help=argparse.SUPPRESS)  # the plan that a collector continues
    parser.add_argument("--fresh", action="store_true", help="first discard the records of the stages planned here")
    return parser


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
