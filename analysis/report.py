"""Write the results of a sweep: tables, figures, and one self-contained HTML page that opens from disk.

    python -m analysis.report SWEEP [--root runs]

Everything is made from the records, with whatever is finished. Nothing is made again while neither the records nor the
code of `analysis` have changed.
"""

from __future__ import annotations

import argparse
import json
import logging
import pickle
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ablate.errors import UserError
from ablate.store import child, disk
from ablate.store.child import unbroken
from analysis import table
from analysis.figures import drawings
from analysis.figures.drawings import Drawing, Key
from analysis.page.page import page
from analysis.records import declared
from analysis.records.files import save_text
from analysis.records.fingerprint import code, fingerprint
from analysis.records.frame import Records, read
from analysis.statistics import claims
from analysis.tables import across, against, baselines, corpora, formats, paper, spread
from analysis.tables.cells import Table
from analysis.tables.sheet import Sheet, markdown

STATE = ".report.json"
"""Holds what the report files in a sweep's folder were made from."""


def write(sweep: str | Path, root: str | Path = "runs") -> dict[str, Path | list[Path]]:
    """Write table.md, table.tex, table.csv, figures/ and report.html into the sweep's folder; return their paths.

    Beside them it writes baselines.csv; across.csv where rows share several tasks; published.csv where rows mirror
    those of a paper; corpora.csv where corpora are mixed; spread.csv with variance components; against_ROW.md and .csv
    where the sweep file names a row to compare with; and each figure's data. `sweep` is a name or a sweep folder. Looks
    at which verdicts are taken are noted in looks.jsonl. Cells that are not finished are shown as missing. Raises
    `UserError` when the sweep file names something that does not exist, FileNotFoundError when there is no such sweep.
    """
    records = read(sweep, root)
    before = _before(records.folder)
    made = _unchanged(records.folder, _state(records), before)
    if made is None:
        made, figures, amiss = _write(records, {name: Key(*key) for name, key in before.get("figures", {}).items()})
        names = {
            key: [path.relative_to(records.folder).as_posix() for path in paths]
            if isinstance(paths, list)
            else paths.name
            for key, paths in made.items()
        }
        state = _state(records)  # after its looks were noted
        done = {} if amiss else {"state": state, "made": names, "figures": figures}  # a font may come: draw again
        save_text(records.folder / STATE, json.dumps({"code": code(), **done}))
        if amiss:
            print(amiss, file=sys.stderr)
    return made


def _state(records: Records) -> str:
    """Fingerprint of all that the files are made from."""
    return f"{fingerprint(records)} {declared.digest(records)}"


def _before(folder: Path) -> dict:
    """The stored state of the last report; empty when there was none, or one by other code."""
    path = folder / STATE
    try:
        before = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError:  # an incomplete copy: everything is made again
        return {}
    return before if before.get("code") == code() else {}


def _unchanged(folder: Path, state: str, before: dict) -> dict[str, Path | list[Path]] | None:
    """Files made earlier from exactly this state, if all of them still exist."""
    if before.get("state") != state:
        return None
    made = {
        key: [folder / name for name in names] if isinstance(names, list) else folder / names
        for key, names in before["made"].items()
    }
    every = [path for paths in made.values() for path in (paths if isinstance(paths, list) else [paths])]
    return made if all(path.exists() for path in every) else None


def _write(records: Records, before: dict[str, Key]) -> tuple[dict[str, Path | list[Path]], dict[str, Key], str]:
    """Make all files, except figures that were drawn from the same records before; return also each figure's key, and
    a sentence about letters that figures lack.

    Figures and tables take about as long: each are made in a process of their own.
    """
    with ProcessPoolExecutor(1, initializer=child.begin) as beside:
        # pickled here, not in the executor's thread: it would read the records' caches while the tables fill them
        drawing = beside.submit(_draw, pickle.dumps((records, drawings.stages(records), before)))
        made = table.build(records)
        verdicts = claims.verdicts(records)
        claims.log(records, verdicts)
        below, compared = _below(made), against.sheet(made)
        records.index.write(records.results.digests())
        texts = {f"table.{form}": formats.joined(made, form, below) for form in ("md", "tex", "csv")}
        if told := claims.told(records, verdicts):
            texts["table.md"] += "\n".join(["", "**Verdicts**", "", *(f"- {markdown(line)}" for line in told), ""])
        texts |= {f"{sheet.name}.csv": sheet.csv() for sheet in below}
        if compared:
            texts |= {f"{compared.name}.md": compared.md(), f"{compared.name}.csv": compared.csv()}
        tables = [save_text(records.folder / name, text) for name, text in texts.items()]
        drawn, keys, amiss = drawing.result()
    report = save_text(records.folder / "report.html", page(made, below, compared, verdicts, drawn, amiss))
    figures = [path for drawing in drawn for path in drawing.paths]
    return {"table": tables, "figures": figures, "report": report}, keys, amiss


def _draw(packed: bytes) -> tuple[list[Drawing], dict[str, Key], str]:
    records, stages, before = pickle.loads(packed)
    amiss = drawings.amiss(records)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # fonts without bold are printed as they are
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # `amiss` says it once
        return *drawings.draw(records, stages, before), amiss


def summary(sweep: str | Path, root: str | Path = "runs", width: int | None = None) -> str:
    """Text to print at the end of a sweep: the table for a terminal, and a line per claim."""
    records = read(sweep, root)
    made = table.build(records)
    lines = claims.told(records, claims.verdicts(records))
    return "\n".join([formats.joined(made, "terminal", _below(made), width=width), *lines])


def _below(made: Table) -> list[Sheet]:
    """Sheets below the table that have content."""
    sheets = (
        baselines.sheet(made),
        across.sheet(made),
        paper.sheet(made),
        corpora.sheet(made),
        spread.sheet(made),
    )
    return [sheet for sheet in sheets if sheet]


def main() -> None:
    """Write a sweep's tables, figures and report.html from its records."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=main.__doc__)
    parser.add_argument("sweep", help="a sweep's name, or its folder")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    arguments = parser.parse_args()
    try:
        with disk.told():
            made = write(arguments.sweep, arguments.root)
    except (UserError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    for paths in made.values():
        for path in paths if isinstance(paths, list) else [paths]:
            print(path)


if __name__ == "__main__":
    unbroken()
    main()
