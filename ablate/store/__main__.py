"""`python -m ablate.store`: look at a root of runs, explain how stages differ, join roots, bring them up to date."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Optional

from ablate.errors import UserError
from ablate.store import differ, disk, listing, merge, upgrade

HELP = """\
Look at a root of runs (root=DIR of the sweep command), join another to it, and bring it to the format of today. Nothing
is trained or removed.
"""
MORE = """\
examples:
  python -m ablate.store ls runs                               sweeps: how far they are, what they ask, how large
  python -m ablate.store ls runs objectives                    the stages of one, with their ids
  python -m ablate.store explain 0d89321e1ee33c45 306b0c64234a12db --root runs
                                                               how two stages differ, down to where it begins
  python -m ablate.store explain runs/pretrain/04/04c7... other/pretrain/25/2589...      the same, of two roots
  python -m ablate.store merge /data/ann/runs runs --dry-run   what another root has that this one lacks, and how much
  python -m ablate.store merge /data/ann/runs runs             join it: hard links where they can be, else copies
  python -m ablate.store merge /mnt/runs laptop --without-weights
                                                               what tables, figures and the report need
  python -m ablate.store adopt /data/ann/runs/pretrain/04/04c7... --root runs
                                                               one finished stage
  python -m ablate.store upgrade runs                          rewrite records of the format before this one

merge takes the finished stages of FROM into TO, and its sweeps; `python -m analysis.report SWEEP --root TO` then makes
the report anew. FROM stays as it is. A stage that both have finished must agree in its results and records, else it is
refused and TO's stays; weights may differ, as processors round. What TO pruned and FROM still has is put back. Ctrl-C
or a kill does no harm: the same command goes on. A linked file is one on the disk, and free when both roots pruned it.

A stage's id is a hash of what it is: its kind and the version of its code, its settings, and the ids of what it starts
from. So two stages differ where one of these does, or where one of those they start from does: explain goes down to
there. Ids are printed by `python -m ablate.sweep FILE --where ROW`. A sweep says itself, with --dry-run, what it must
make again and why.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status: 0, or 2 when there is nothing at what it was given."""
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
    except BrokenPipeError:  # `| head` has seen enough
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
    one.add_argument("first", metavar="A", help="id or folder of a stage, the older one")
    one.add_argument("second", metavar="B", help="id or folder of another")
    one.add_argument(
        "--root", metavar="ROOT", type=Path, default=Path("runs"), help="where ids are looked up (default: runs)"
    )
    one = what.add_parser("merge", help="join the finished stages and the sweeps of another root")
    one.add_argument("source", metavar="FROM", type=Path, help="the other root, which stays as it is")
    one.add_argument("to", metavar="TO", type=Path, help="the root that it is joined to")
    one.add_argument(
        "--without-weights",
        action="store_true",
        help="leave out weights, their moments, encoded texts and data that no report shows: they count as pruned",
    )
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    one = what.add_parser("adopt", help="take one finished stage of another root")
    one.add_argument("folder", metavar="FOLDER", type=Path, help="of the stage, ROOT/KIND/AB/ID")
    one.add_argument("--root", metavar="TO", type=Path, default=Path("runs"), help="that takes it (default: runs)")
    one = what.add_parser("upgrade", help="rewrite what an earlier version of this code wrote under ROOT")
    one.add_argument("root", metavar="ROOT", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
