"""The command `python -m ablate.store`: lists a root of runs, explains differences, joins roots, upgrades records."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Optional

from ablate.errors import UserError
from ablate.store import differ, disk, listing, merge, upgrade
from ablate.store.child import unbroken

HELP = """\
Look at a root of runs (root=DIR of the sweep command), join another root to it, and upgrade it to the current format.
Nothing is trained or removed.
"""
MORE = """\
examples:
  python -m ablate.store ls runs                               sweeps: their progress, question and size
  python -m ablate.store ls runs objectives                    the stages of one, with their ids
  python -m ablate.store explain 0d89321e1ee33c45 306b0c64234a12db --root runs
                                                               how two stages differ, and where that begins
  python -m ablate.store explain runs/pretrain/04/04c7... other/pretrain/25/2589...      the same, of two roots
  python -m ablate.store merge /data/ann/runs runs --dry-run   what another root has that this one lacks, and its size
  python -m ablate.store merge /data/ann/runs runs             join it: by hard links if possible, else by copies
  python -m ablate.store merge /mnt/runs laptop --without-weights
                                                               only what tables, figures and the report need
  python -m ablate.store adopt /data/ann/runs/pretrain/04/04c7... --root runs
                                                               one finished stage
  python -m ablate.store upgrade runs                          rewrite records of the previous format

merge adds the finished stages and the sweeps of FROM to TO; `python -m analysis.report SWEEP --root TO` then makes the
report anew. FROM does not change. If both have finished a stage, its results and records must agree; otherwise it is
refused, and TO keeps its own. Weights may differ, as processors round differently. Files that TO pruned and FROM still
has are put back. After Ctrl-C or a kill, the same command continues. A linked file takes space once, until both roots
prune it.

A stage's id is a hash of its kind, the version of its code, its settings, and the ids of the stages it starts from. So
two stages differ if any of these does; explain follows the stages that they start from to the first difference.
`python -m ablate.sweep FILE --where ROW` prints ids. With --dry-run, a sweep says which stages it must make again, and
why.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status.

    It is 0, 1 if a merge refused something, 2 for a mistake, and 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        with disk.told():
            return _do(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _do(options: argparse.Namespace) -> int:
    if options.what == "merge":
        return merge.run(options.source, options.to, options.without_weights, options.dry_run)
    if options.what == "ls":
        lines = listing.of_sweep(options.root, options.sweep) if options.sweep else listing.lines(options.root)
    elif options.what == "adopt":
        lines = [merge.take_in(options.folder, options.root)]
    elif options.what == "upgrade":
        lines = upgrade.upgrade(options.root)
    else:
        lines = differ.explain(options.first, options.second, options.root)
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # the reader has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.store",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)
    one = what.add_parser("ls", help="the sweeps under ROOT, or the stages of one")
    one.add_argument("root", metavar="ROOT", type=Path)
    one.add_argument("sweep", metavar="SWEEP", nargs="?", help="name of a sweep, to list its stages")
    one = what.add_parser("explain", help="how two stages differ, in words")
    one.add_argument("first", metavar="A", help="id or folder of the older stage")
    one.add_argument("second", metavar="B", help="id or folder of the newer stage")
    one.add_argument(
        "--root", metavar="ROOT", type=Path, default=Path("runs"), help="where ids are looked up (default: runs)"
    )
    one = what.add_parser("merge", help="join the finished stages and the sweeps of another root")
    one.add_argument("source", metavar="FROM", type=Path, help="the other root, which stays as it is")
    one.add_argument("to", metavar="TO", type=Path, help="the root that it is joined to")
    one.add_argument(
        "--without-weights",
        action="store_true",
        help="leave out weights, optimizer moments, encoded texts, and data that no report shows; they count as pruned",
    )
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    one = what.add_parser("adopt", help="add one finished stage of another root")
    one.add_argument("folder", metavar="FOLDER", type=Path, help="the stage's folder, ROOT/KIND/AB/ID")
    one.add_argument("--root", metavar="TO", type=Path, default=Path("runs"), help="root to add it to (default: runs)")
    one = what.add_parser("upgrade", help="rewrite records of an earlier format under ROOT in the current one")
    one.add_argument("root", metavar="ROOT", type=Path)
    return parser


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
