"""The command that frees disk space. `python -m ablate.prune --help` explains it; no torch."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Optional

from ablate.errors import UserError, nearest
from ablate.store import disk, pruned, pruning
from ablate.store.child import unbroken
from ablate.store.disk import amount
from ablate.store.pruned import DATA, ENCODINGS, MOMENTS, WEIGHTS
from ablate.store.pruning import KEEPABLE, SORTS, Survey

HELP = """\
Show what a root of runs (root=DIR of the sweep command) holds. Then say how much of it nothing needs, ask, and remove
that. Results, scored items, logs and all other records stay, so the report stays the same. Inputs of missing stages and
of running ones stay, too. Removed files are made again when a stage needs them; the plan then says so, and how long it
will take.
"""
MORE = f"""\
what may be removed, unless --keep names it:
{"".join(f"  {name:<14}{SORTS[name]}" + chr(10) for name in KEEPABLE)}
examples:
  python -m ablate.prune runs --dry-run                    show what there is, and what may be removed
  python -m ablate.prune runs                              the same, and remove it after a yes
  python -m ablate.prune runs --keep=trunks,finetuned      keep the weights and moments of all sweeps' models
  python -m ablate.prune runs --sweep objectives --yes     all weights, moments and encodings of one sweep that no other
                                                           sweep refers to
  python -m ablate.prune --restore runs/pretrain/04/04c7   have a stage's files made again when its sweep runs next

To discard a sweep, remove ROOT/sweeps/NAME: no sweep refers to its stages then. To keep its models, first join ROOT to
another root: python -m ablate.store merge ROOT OTHER.
"""


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the command and return its exit status.

    It is 0, 1 if something was left alone, 2 for a mistake, and 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ablate.prune",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("root", metavar="ROOT", type=Path, nargs="?", help="the root of runs")
    parser.add_argument("--sweep", metavar="NAME", default="", help="prune this sweep as a whole, and nothing else")
    parser.add_argument(
        "--keep",
        metavar="SORT[,SORT]",
        action="append",
        default=[],
        help=f"what is not removed: {', '.join(KEEPABLE)}",
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--restore", metavar="FOLDER", type=Path, nargs="+", help="run folders of pruned stages")
    options = parser.parse_args(arguments)
    if (options.root is None) == (options.restore is None):
        parser.error("give a ROOT, or run folders after --restore")
    try:
        with disk.told(folder=options.root):
            return _restore(options.restore) if options.restore else _prune(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command continues where it was.", file=sys.stderr)
        return 130


def _prune(options: argparse.Namespace) -> int:
    keep = [sort for text in options.keep for sort in text.split(",") if sort]
    for sort in keep:
        if sort not in KEEPABLE:
            raise UserError(f"--keep: there is no sort '{sort}'; {nearest(sort, KEEPABLE)}")
    found = pruning.survey(options.root, options.sweep, keep)
    print("\n".join(table(found)))
    if not found.sweeps:
        print(f"warning: there is no sweep under {options.root / 'sweeps'}, so nothing refers to any stage here.")
    if options.dry_run or not found.bytes:
        return 0
    if not options.yes and not _agreed(f"Remove {amount(found.bytes)}? [y/N] "):
        return 0
    shows = sys.stderr.isatty()

    def tell(done: int, all_: int) -> None:
        print(f"\r{done:,} of {all_:,}", end="", file=sys.stderr, flush=True)

    freed, left = pruning.remove(found, tell if shows else lambda done, all_: None)
    print("\r" * shows + f"{amount(freed)} removed.")
    print("".join(f"{line}\n" for line in left), end="")
    return 1 if left else 0


def _agreed(question: str) -> bool:
    """Ask the user. Raises UserError if nobody can answer."""
    if not sys.stdin.isatty():
        raise UserError("Nothing was removed: this command asks first, and nobody can answer here; add --yes.")
    return input(question).strip().lower() in ("y", "yes")


def _restore(folders: list[Path]) -> int:
    for folder in folders:
        if not (folder / "identity.json").is_file():
            raise UserError(
                f"'{folder}' is no run folder; python -m ablate.sweep FILE --where ROW prints those of a row."
            )
        if not pruned.gone(folder):
            raise UserError(f"Nothing was pruned from '{folder}'.")
    for folder in folders:
        pruned.reopen(folder)
        print(f"{folder} is made again when its sweep runs. The next prune removes it again, unless --keep names it.")
    return 0


def table(found: Survey) -> list[str]:
    """Return lines that say what each sweep and each kind of stage holds, and what may be removed."""
    parts = (WEIGHTS, MOMENTS, ENCODINGS, DATA, "")
    head = f"{'stages':>8}{'done':>8}" + "".join(f"{part or 'records':>11}" for part in parts)

    def line(name: str, ids: object) -> str:
        there = [found.entries[id] for id in ids if id in found.entries]
        held = Counter[str]()
        for entry in there:
            held.update(entry.sizes)
        done = sum(entry.done for entry in there)
        return f"{name:<28}{len(there):>8,}{done:>8,}" + "".join(f"{amount(held[part]):>11}" for part in parts)

    referred = {id for ids in found.sweeps.values() for id in ids}
    lines = [f"{'sweep':<28}{head}", *(line(name, ids) for name, ids in found.sweeps.items())]
    lines += [line("(no sweep)", found.entries.keys() - referred), "", f"{'kind':<28}{head}"]
    kinds: dict[str, list[str]] = {}
    for id, entry in found.entries.items():
        kinds.setdefault(entry.kind, []).append(id)
    lines += [*(line(kind, ids) for kind, ids in sorted(kinds.items())), line("all", found.entries), ""]
    running = [entry for entry in found.entries.values() if entry.running]
    lines += [f"running, left alone: {entry.kind} {entry.title}" for entry in running]
    lines += [f"left alone: {entry.damaged}" for entry in found.entries.values() if entry.damaged]
    lines += [f"{'may go':<28}{'stages':>8}{'':>8}{'':>11}"]
    for sort, about in SORTS.items():
        items = [item for item in found.items if item.sort == sort]
        gives = sum(item.bytes for item in items)
        if sort == pruning.CACHES:
            gives = sum(path.stat().st_size for path in found.caches)
        if gives:
            lines.append(f"{sort:<28}{len(items) or '':>8}{'':>8}{amount(gives):>11}   {about}")
    return [*lines, f"{'all':<28}{'':>8}{'':>8}{amount(found.bytes):>11}"]


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
