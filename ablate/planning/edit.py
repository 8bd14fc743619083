"""Says what an edit of a sweep file changes: plans the file as it is and as a commit has it, both with today's code."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.planning.since import named
from ablate.store.stage import Plan, changes
from ablate.store.version import own_repository
from ablate.sweepfile.load import document

MOST = 20  # most settings of a row that are shown


def edited(
    path: str, commit: str, overrides: Iterable[str] = (), asking: Collection[str] = (), quick: bool = False
) -> list[str]:
    """Return lines that say how a sweep's rows, settings and stages differ from those at `commit`. `quick` compares the
    small sweeps that `--quick` makes of both.

    Raises UserError without git, for a file that the commit does not have, and for a sweep that cannot be planned.
    """
    plan = partial(plan_file, overrides=list(overrides), asking=asking, quick=quick)
    now = plan(path)
    if commit in now.rows:
        raise UserError(f"--diff: '{commit}' is a row; name another row beside it, or a commit in its place.")
    return differences(_at(Path(path), commit, plan), now, commit)


def differences(before: Plan, now: Plan, since: str) -> list[str]:
    """Return lines that say how two plans differ. The first plan is called `since`."""
    lines = named("rows", before.rows, now.rows)
    for row in now.rows:
        if row in before.rows and (changed := changes(before.settings(row), now.settings(row))):
            more = [f"    and {len(changed) - MOST} more"] if len(changed) > MOST else []
            lines += [f"{row}:", *(f"    {one}" for one in changed[:MOST]), *more]
    both = before.stages.keys() & now.stages.keys()
    new, gone = now.stages.keys() - both, before.stages.keys() - both
    lines += [f"stages: {len(new):,} new, {len(gone):,} no longer needed, {len(both):,} as at {since}"]
    return lines


def _at(path: Path, commit: str, plan: Callable[[Path], Plan]) -> Plan:
    """The plan of a file as a commit has it; a mistake in it is told of the file at that commit."""
    with tempfile.TemporaryDirectory() as folder:
        place = _as_of(path, commit, Path(folder))
        try:
            return plan(place)
        except UserError as error:
            raise UserError(f"At {commit}: {str(error).replace(folder, str(path.parent))}") from None


def _as_of(path: Path, commit: str, folder: Path) -> Path:
    """Write a sweep file and those that it extends as a commit has them. Return the path of the first."""
    text = _git(path, "show", f"{commit}:./{path.name}")
    place = folder / f"{path.stem}.yaml"
    place.write_text(text, encoding="utf-8")
    if parent := document(place).get("extends"):
        _as_of(path.parent / str(parent), commit, (folder / str(parent)).parent)
    return place


def _git(path: Path, *arguments: str) -> str:
    try:
        here = ["git", "-C", str(path.parent)]
        run = subprocess.run([*here, *arguments], capture_output=True, text=True, env=own_repository())
    except FileNotFoundError:
        raise UserError("--diff COMMIT needs git, which is not here.") from None
    if run.returncode:
        said = run.stderr.strip().splitlines()[-1].removeprefix("fatal: ")
        raise UserError(f"--diff: git does not show {path} at that commit: {said.rstrip('.')}.")
    return run.stdout
