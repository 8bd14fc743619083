"""Time tables and figures over ten thousand run folders: cold, warm, and after one run was finished anew.

    PYTHONPATH=. python tests/analysis/at_size.py [--variants 8] [--seeds 8] [--folder DIR]

Makes a fake sweep in DIR (by default a temporary folder; kept when named, and used again), then runs
`python -m analysis.report` on it as a user would, each time in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import conftest

from ablate.store.record import read_jsonl, read_run

ITEMS = 600
"""Test items per split."""


def make(folder: Path, variants: int, seeds: int) -> Path:
    """Write the sweep: `variants` copies of the rows of the fake sweep."""
    names = list(conftest.ROWS)
    for k in range(1, variants):
        conftest.ROWS |= {f"{row}_{k}": conftest.ROWS[row] for row in names}
        conftest.AFTER |= {
            f"{row}_{k}": f"{parent}_{k}" for row, parent in list(conftest.AFTER.items()) if row in names
        }
    rows = tuple(conftest.ROWS)
    table = {"blocks": [{"reference": "joint", "rows": list(rows)}], "compare_with": "scratch"}
    return conftest.FakeSweep(root=folder, rows=rows, seeds=tuple(range(seeds)), table=table, size=ITEMS).write()


def drop_caches() -> str:
    """Empty the page cache where the system lets us; say whether it was emptied."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return "page cache kept"
    return "page cache emptied"


def timed(folder: Path) -> tuple[float, float, float]:
    """Seconds, seconds of a core, and peak memory in GB of one report."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "analysis.report", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, core, after.ru_maxrss / 1e6


def change_one(folder: Path, row: str) -> None:
    """Finish one score of a row anew, with another word wrong."""
    line = next(line for line in read_jsonl(folder / "manifest.jsonl") if line["row"] == row)
    run = read_run(folder.parents[1], "score", line["stages"]["score"]["asr"]["test"])
    items, result = run.items(), run.result
    items[0]["substitutions"] = (items[0]["substitutions"] + 1) % items[0]["words"]
    first = result["scores"][0]
    first["value"] = conftest._score("wer", items)
    (run.files / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (run.path / "result.json").write_text(json.dumps(result))


def main() -> None:
    """Print the timings."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--variants", type=int, default=8, help="copies of the 14 rows (default: 8)")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where to make the sweep, or where it is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        folder = root / "sweeps" / "objectives"
        if not folder.exists():
            make(root, arguments.variants, arguments.seeds)
        runs = sum(1 for _ in root.glob("*/*/*/identity.json"))
        for made in ("index.npz", "logs.npz", ".report.json"):
            (folder / made).unlink(missing_ok=True)
        cached = drop_caches()
        print(f"{runs} run folders", flush=True)
        for name, row in (
            (f"cold ({cached})", ""),
            ("unchanged", ""),
            ("one run anew, which no figure shows", "scratch"),
            ("one run anew, which a figure shows", "joint_contrastive"),
        ):
            if row:
                change_one(folder, row)
            seconds, core, gigabytes = timed(folder)
            print(f"{name}: {seconds:.1f} s, {core:.1f} s of a core, peak so far {gigabytes:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
