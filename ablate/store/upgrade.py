"""Rewrites the records under a root from the previous format to the current one.

To change the content of a record, raise `record.FORMAT` from N to N+1 and add UPGRADES[N]: for every file that changes,
a function from its old content (for a .jsonl file, that of a line) to the new one. A kill may come between two files of
a folder, so a function may get its own output and must leave it unchanged. The file that states the format is written
last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ablate.errors import UserError, plural
from ablate.store import files, listing, record

Change = Callable[[dict[str, Any]], dict[str, Any]]

UPGRADES: dict[int, Mapping[str, Change]] = {}  # old format -> file name -> change
FIRST = 2  # the oldest format that is rewritten


def upgrade(root: Path) -> list[str]:
    """Rewrite all complete stages and all sweeps under a root; return lines that say how many.

    Safe to repeat, also after a kill. Raises UserError if there are no runs, and for a record of a newer format.
    """
    folders = [(folder, "result.json") for folder in listing.stages(root)]
    folders += [(record.sweep_path(root, name), "sweep.json") for name in listing.sweeps(root)]
    if not folders:
        raise UserError(f"There are no runs under '{root}'; give the root=DIR that sweeps were run with.")
    count: Counter[str] = Counter()
    for folder, last in folders:
        what = "stages" if last == "result.json" else "sweeps"
        if not (folder / last).exists():
            count["open"] += 1
            continue
        written = record.known(folder / last, record.read_json(folder / last)).get("format", 1)
        if written < FIRST:
            count["first"] += 1
        elif written < record.FORMAT:
            _rewrite(folder, last, written)
            count[what] += 1
        else:
            count["new"] += 1
    made = f"{plural(count['stages'], 'stage')} and {plural(count['sweeps'], 'sweep')}"
    lines = [f"{made} rewritten to format {record.FORMAT}."]
    lines += [f"{plural(count['new'], '', 'are')} of format {record.FORMAT} already."] if count["new"] else []
    lines += (
        [f"{plural(count['open'], 'stage', 'are')} not complete; the sweep command goes on from there."]
        if count["open"]
        else []
    )
    if count["first"]:
        lines.append(
            f"{plural(count['first'], 'record', 'are')} of format 1, which stays readable as it is; what a new plan "
            "needs of them is made again."
        )
    return lines


def _rewrite(folder: Path, last: str, written: int) -> None:
    """Rewrite the records in a folder, from each format to the next."""
    for step in range(written, record.FORMAT):
        changes = {name: change for name, change in UPGRADES[step].items() if name != last}
        for name, change in changes.items():
            if (path := folder / name).exists():
                if path.suffix == ".jsonl":
                    lines = [json.dumps(change(line), ensure_ascii=False) + "\n" for line in record.read_jsonl(path)]
                    _write(path, "".join(lines))
                else:
                    _write(path, json.dumps(change(record.read_json(path)), indent=1, ensure_ascii=False) + "\n")
        said = UPGRADES[step].get(last, dict)(record.read_json(folder / last))
        _write(folder / last, json.dumps({**said, "format": step + 1}, indent=1, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    """Replace a file."""
    files.replace(path, text.encode())
