"""What there is under a root: its sweeps, and its stages by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ablate.errors import UserError
from ablate.store.record import read_json, read_result, read_sweep


def lines(root: Path) -> list[str]:
    """Describe what lies under a root. Raises UserError when that is nothing, or of a newer format."""
    report, planned, done = [], Counter(), Counter()
    for name in sweeps(root):
        sweep = read_sweep(root, name)
        size = f"{len(sweep.sweep['rows'])} rows, {len(sweep.manifest)} lines"
        report.append(f"sweep {name}: {size}, format {sweep.format}")
    old = 0
    for folder in stages(root):
        kind, result = folder.parents[1].name, read_result(folder)
        planned[kind] += 1
        done[kind] += result is not None
        old += format_of(folder) == 1
    if not report and not planned:
        raise UserError(f"There are no runs under '{root}'; give the root=DIR that sweeps were run with.")
    width = max(map(len, planned), default=0)
    report += [f"{kind:{width}}  {done[kind]:,} of {planned[kind]:,} done" for kind in sorted(planned)]
    if old:
        report.append(
            f"{old:,} of these stages are of format 1: they are read and reported, and no new plan starts from them."
        )
    return report


def sweeps(root: Path) -> list[str]:
    """Names of the sweeps under a root."""
    return sorted(path.parent.name for path in Path(root).glob("sweeps/*/sweep.json"))


def stages(root: Path) -> Iterator[Path]:
    """Folders of all planned stages under a root."""
    yield from (path.parent for path in sorted(Path(root).glob("*/??/*/identity.json")))


def format_of(folder: Path) -> int:
    """Format of a stage's records: until it is complete how.json tells, which named Python modules in format 1."""
    result = read_result(folder)
    if result is not None:
        return result.get("format", 1)
    how = folder / "how.json"
    return 1 if how.exists() and "modules" in read_json(how) else 2
