"""Write what a sweep found: tables, figures, and one self-contained HTML page that opens from disk.

    python -m analysis.report SWEEP [--root runs]

Everything is made from the records, with whatever is finished; nothing is made again while neither the records nor the
code of `analysis` has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

from pandas import DataFrame, concat

from ablate.errors import UserError
from analysis import against, baselines, claims, formats, paper, table
from analysis.claims import measured
from analysis.frame import Records, read
from analysis.page import Drawing, page, stages
from analysis.sheet import Sheet
from analysis.table import Table

STATE = ".report.json"
"""What the files in a sweep's folder were made from."""

FIGURES = {  # name -> (title, what it shows)
    "interference": (
        "Interference", "What joint training costs each task against the row trained on its own modality alone."
    ),
    "harm_over_training": ("Interference over training", "Harm by step: of the best dev score so far, and of a loss while pre-training."),
    "gradients": (
        "Gradient interference",
        "Cosine of the gradients of every two losses over the shared layers, and whether it foretells harm.",
    ),
    "layers": (
        "Representation by layer",
        "Alignment of speech and text, linear probes, and what true speech tells about masked text, over the layers.",
    ),
    "frontier": ("Frontier", "What rows trade of one measure for another."),
    "losses": ("Held-out losses", "Likelihoods of fixed targets by encoder size, with a fitted law where sizes suffice."),
    "capacity": ("Capacity", "Metrics, and the gap between joint and single-modality rows, by encoder size."),
    "pretraining": ("Pre-training", "Training metrics of each objective; a continuing row branches from its parent."),
    "finetuning": ("Fine-tuning", "Dev score over fine-tuning steps; the best step of each run is the one scored."),
}


def write(sweep: str | Path, root: str | Path = "runs") -> dict[str, Path | list[Path]]:
    """Write table.md, table.tex, table.csv, figures/ and report.html into the sweep's folder; return their paths.

    Beside them baselines.csv, published.csv where rows mirror the paper's and, where the sweep file names a row to compare
    with, against_ROW.md and .csv; beside every figure its data. `sweep` is a name or a sweep folder. Cells that are not
    finished are shown as missing. Raises `UserError` when the sweep file names what does not exist, FileNotFoundError
    when there is no such sweep.
    """
    records = read(sweep, root)
    state = fingerprint(records)
    made = _unchanged(records.folder, state) or _write(records)
    names = {
        key: [path.relative_to(records.folder).as_posix() for path in paths] if isinstance(paths, list) else paths.name
        for key, paths in made.items()
    }
    _replace(records.folder / STATE, json.dumps({"state": state, "made": names}))
    return made


def _unchanged(folder: Path, state: str) -> dict[str, Path | list[Path]] | None:
    """Files made earlier from this very state, if all of them are still there."""
    path = folder / STATE
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if before.get("state") != state:
        return None
    made = {
        key: [folder / name for name in names] if isinstance(names, list) else folder / names
        for key, names in before["made"].items()
    }
    every = [path for paths in made.values() for path in (paths if isinstance(paths, list) else [paths])]
    return made if all(path.exists() for path in every) else None


def fingerprint(records: Records) -> str:
    """Name all that the report is made from: plan, results, what unfinished stages have logged, and the code."""
    name = hashlib.blake2b(digest_size=16)
    here = Path(__file__).parent
    code = sorted(path for pattern in ("*.py", "page.*", "published/*.csv") for path in here.glob(pattern))
    for path in [*code, records.folder / "sweep.json", records.folder / "manifest.jsonl"]:
        name.update(path.read_bytes())
    name.update(" ".join(version(library) for library in ("numpy", "pandas", "matplotlib", "scipy")).encode())
    for kind, id in dict.fromkeys((kind, id) for line in records.manifest for kind, _, id in stages(line)):
        digest = records.results.digest(kind, id)
        if not digest:
            logs = (records.path(kind, id) / file for file in ("metrics.jsonl", "attempts.jsonl"))
            digest = str([path.stat().st_size for path in logs if path.exists()])
        name.update(f"{kind} {id} {digest}\n".encode())
    return name.hexdigest()


def _write(records: Records) -> dict[str, Path | list[Path]]:
    """Make all files anew."""
    made = table.build(records)
    verdicts = claims.verdicts(records)
    below, compared = _below(made), against.sheet(made)
    records.index.write(records.results.digests())
    texts = {f"table.{form}": formats.joined(made, form, below) for form in ("md", "tex", "csv")}
    texts |= {f"{sheet.name}.csv": sheet.csv() for sheet in below}
    if compared:
        texts |= {f"{compared.name}.md": compared.md(), f"{compared.name}.csv": compared.csv()}
    tables = [_replace(records.folder / name, text) for name, text in texts.items()]
    drawn, drawings = _figures(records)
    report = _replace(records.folder / "report.html", page(made, below, compared, verdicts, drawings))
    return {"table": tables, "figures": drawn, "report": report}


def summary(sweep: str | Path, root: str | Path = "runs", width: int | None = None) -> str:
    """What to print at the end of a sweep: the table for a terminal, and a line per claim."""
    records = read(sweep, root)
    lines = [f"{v.verdict.upper():12} {v.name}: {v.statement}; {measured(v)}" for v in claims.verdicts(records)]
    made = table.build(records)
    return "\n".join([formats.joined(made, "terminal", _below(made), width=width), *lines])


def _below(made: Table) -> list[Sheet]:
    """Sheets below the table, those that have something to say."""
    return [sheet for sheet in (baselines.sheet(made), paper.sheet(made)) if sheet]


def _replace(path: Path, text: str) -> Path:
    """Write beside and rename: a reader never meets half a file."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return path


def _figures(records: Records) -> tuple[list[Path], list[Drawing]]:
    """Draw every figure the records have something for, and write the data of each beside it."""
    from analysis import capacity, curves, figures, frontier, gradients, harm_over_training, interference, layers, losses

    figures.theme()
    folder = records.folder / "figures"
    makers = {
        "interference": interference.figure, "harm_over_training": harm_over_training.figure,
        "gradients": gradients.figure, "layers": layers.figure, "capacity": capacity.figure,
        "losses": losses.figure, "frontier": frontier.figure,
        "pretraining": curves.pretraining, "finetuning": curves.finetuning,
    }  # fmt: skip
    data = {
        "interference": interference.harm, "harm_over_training": _panels, "gradients": gradients.read_probes,
        "layers": layers.by_layer, "capacity": capacity.measurements, "losses": losses.table,
        "frontier": frontier.frontier,
        "pretraining": lambda records: _once(curves.averaged(curves.pretraining_curves(records)), "/"),
        "finetuning": lambda records: _once(curves.averaged(curves.finetuning_curves(records)), "dev/"),
    }  # fmt: skip
    paths, drawings = [], []
    for name, make in makers.items():
        figure = make(records)
        if figure is None:
            continue
        png, pdf = figures.save(figure, folder, name)
        csv = None
        if name in data:
            text = data[name](records).to_csv(index=False, lineterminator="\n", float_format="%.6g")
            csv = _replace(folder / f"{name}.csv", text)
        paths += [png, pdf, *([csv] if csv else [])]
        drawings.append(Drawing(name=name, title=FIGURES[name][0], text=FIGURES[name][1], png=png, csv=csv))
    return paths, drawings


def _panels(records: Records) -> DataFrame:
    """The lines of all panels of harm over training, each with its panel's title."""
    from analysis import harm_over_training

    panels = harm_over_training.curves(records)
    return concat([frame.assign(panel=title) for title, (frame, _) in panels.items()])


def _once(curves: DataFrame, part: str) -> DataFrame:
    """Curves whose metric's name has `part`; a stage that rows share is there once, for the first, as it is drawn."""
    return curves[curves.metric.str.contains(part, regex=False)].drop_duplicates(["stage", "step", "metric"])


def main() -> None:
    """Write a sweep's tables, figures and report.html from its records."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=main.__doc__)
    parser.add_argument("sweep", help="a sweep's name, or its folder")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    arguments = parser.parse_args()
    try:
        made = write(arguments.sweep, arguments.root)
    except (UserError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    for paths in made.values():
        for path in paths if isinstance(paths, list) else [paths]:
            print(path)


if __name__ == "__main__":
    main()
