"""Write what a sweep found: tables, figures, and one self-contained HTML page that opens from disk.

    python -m analysis.report SWEEP [--root runs]

Everything is made anew from the records, with whatever is finished.
"""

from __future__ import annotations

import argparse
import base64
import math
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from ablate.errors import UserError
from analysis import against, baselines, claims, formats, table
from analysis.claims import Verdict
from analysis.frame import DONE, Records, read
from analysis.sheet import Sheet
from analysis.table import Table

SAMPLES = 4
"""Test items shown per task."""
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

    Beside them baselines.csv and, where the sweep file names a row to compare with, against_ROW.md and .csv.
    `sweep` is a name or a sweep folder. Cells that are not finished are shown as missing. Raises `UserError` when the
    sweep file names what does not exist, FileNotFoundError when there is no such sweep.
    """
    records = read(sweep, root)
    made = table.build(records)
    verdicts = claims.verdicts(records)
    below, compared = baselines.sheet(made), against.sheet(made)
    texts = {f"table.{form}": formats.joined(made, form, below) for form in ("md", "tex", "csv")}
    if below:
        texts[f"{below.name}.csv"] = below.csv()
    if compared:
        texts |= {f"{compared.name}.md": compared.md(), f"{compared.name}.csv": compared.csv()}
    tables = [_replace(records.folder / name, text) for name, text in texts.items()]
    drawn = _figures(records)
    page = _page(made, below, compared, verdicts, drawn)
    report = _replace(records.folder / "report.html", page)
    return {"table": tables, "figures": [path for paths in drawn.values() for path in paths], "report": report}


def summary(sweep: str | Path, root: str | Path = "runs", width: int | None = None) -> str:
    """What to print at the end of a sweep: the table for a terminal, and a line per claim."""
    records = read(sweep, root)
    lines = [f"{v.verdict.upper():12} {v.name}: {v.statement}; {measured(v)}" for v in claims.verdicts(records)]
    made = table.build(records)
    return "\n".join([formats.joined(made, "terminal", baselines.sheet(made), width=width), *lines])


def measured(verdict: Verdict) -> str:
    """An effect in words: its size, interval or intervals, and why the verdict is what it is."""
    e = verdict.estimate
    if e.n == 0:
        return verdict.reason
    d = verdict.decimals
    parts = [f"effect {e.mean:+.{d}f}{verdict.measure.unit and ' ' + verdict.measure.unit}"]
    if not math.isnan(e.half):
        parts.append(f"95 % [{e.low:+.{d}f}, {e.high:+.{d}f}] over {e.over}, n = {e.n}")
        parts.append(f"corrected p = {verdict.adjusted:.2g}")
    elif not math.isnan(verdict.items[0]):
        parts.append(f"over items alone 95 % [{verdict.items[0]:+.{d}f}, {verdict.items[1]:+.{d}f}]")
    return ", ".join(parts) + (f" ({verdict.reason})" if verdict.reason else "")


def _replace(path: Path, text: str) -> Path:
    """Write beside and rename: a reader never meets half a file."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return path


def _figures(records: Records) -> dict[str, list[Path]]:
    """Draw every figure the records have something for."""
    from analysis import capacity, curves, figures, frontier, gradients, harm_over_training, interference, layers, losses

    figures.theme()
    folder = records.folder / "figures"
    makers = {
        "interference": interference.figure, "harm_over_training": harm_over_training.figure,
        "gradients": gradients.figure, "layers": layers.figure, "capacity": capacity.figure,
        "losses": losses.figure, "frontier": frontier.figure,
        "pretraining": curves.pretraining, "finetuning": curves.finetuning,
    }  # fmt: skip
    drawn = {name: make(records) for name, make in makers.items()}
    return {name: figures.save(figure, folder, name) for name, figure in drawn.items() if figure is not None}


def _page(
    made: Table, below: Sheet | None, compared: Sheet | None, verdicts: list[Verdict], drawn: dict[str, list[Path]]
) -> str:
    records = made.records
    sweep = records.sweep
    parts = [f"<h1>{escape(records.name)}</h1>"]
    if sweep.get("question"):
        parts.append(f'<p class="question">{escape(sweep["question"])}</p>')
    parts.append(f'<p class="note">{escape(_state(records))}</p>')
    if sweep.get("changes_our_mind"):
        parts.append(f"<p><b>What would change our mind:</b> {escape(sweep['changes_our_mind'])}</p>")
    parts.append(_section("Claims", _claims(verdicts)))
    parts.append(_section("Table", formats.joined(made, "html", below)))
    parts.append(_section("All rows against one", compared.html() if compared else ""))
    for name, paths in drawn.items():
        title, text = FIGURES[name]
        parts.append(_section(title, f"<p>{escape(text)}</p>{_image(paths[0], title + '. ' + text)}"))
    parts.append(_section("How to read this", _list(caveats(records))))
    parts.append(_section("Metrics", _list(metrics(records))))
    parts.append(_section("Rows", _rows(made)))
    parts.append(_section("Sample predictions", _samples(made)))
    parts.append(_section("Runs", _runs(records)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(records.name)}</title><style>{STYLE}</style></head>\n<body><main>"
        + "\n".join(filter(None, parts)) + "</main></body></html>\n"
    )  # fmt: skip


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def _state(records: Records) -> str:
    runs = records.scores[records.scores.run != ""].groupby("run").status.first()
    seeds = f"{len(records.seeds)} seed{'s' if len(records.seeds) > 1 else ''}"
    done = f"{int((runs == DONE).sum())} of {len(runs)} scoring runs finished"
    commits = ", ".join(sorted({commit[:8] for commit in records.scores.commit} - {""}))
    return f"{len(records.rows)} rows, {seeds}, {done}" + (f"; code {commits}" if commits else "")


def _claims(verdicts: list[Verdict]) -> str:
    cards = [
        f'<li class="card"><span class="verdict {v.verdict.replace(" ", "-")}">{escape(v.verdict)}</span>'
        f"<div><b>{escape(v.name.replace('_', ' '))}</b><br><code>{escape(v.statement)}</code>"
        f"<br>{escape(measured(v))}</div></li>"
        for v in verdicts
    ]
    note = "Effects point in the metric's good direction. Declared before running; p-values corrected (Holm) over all."
    return f'<ul class="cards">{"".join(cards)}</ul><p class="note">{note}</p>' if cards else ""


def _image(path: Path, text: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def caveats(records: Records) -> list[str]:
    """What limits what these numbers say."""
    found = []
    if len(records.seeds) == 1:
        found.append("One seed: no row can be told from another with certainty; differences may be chance. "
                     "Claims about rows need several, e.g. seeds=[0,1,2].")  # fmt: skip
    if "builtin" in str(records.sweep.get("data", "")).lower():
        found.append("The built-in world is a small grammar spoken by a formant synthesiser: effects show there within "
                     "minutes, but it is no evidence about English, natural voices or large models.")  # fmt: skip
    found.append("A cell below its strongest shallow baseline shows nothing learnt about the task, whatever its rank.")
    found.append("n/a: the encoder cannot do the task. —: not finished. (2/3): two of three seeds are finished; such "
                 "cells are not ranked.")  # fmt: skip
    if len(records.seeds) > 1:
        found.append("Marks † in the table are exploratory; only the declared claims were decided before running.")
    return found


def metrics(records: Records) -> list[str]:
    """How each metric was computed: over how many items, and its signature."""
    done = records.scores[records.scores.signature != ""]
    return [
        f"{records.task_label(task)}, {split} {metric}: {n} items; {signature}"
        for task, split, metric, n, signature in done[["task", "split", "metric", "n", "signature"]].drop_duplicates().values
    ]


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _rows(made: Table) -> str:
    """Each row's definition, as its difference from the reference of its block."""
    out = []
    for block in made.blocks:
        for row in dict.fromkeys(line.row for line in block.lines):
            reference = block.reference or next(iter(made.records.rows))
            difference = made.records.difference(row, None if row == reference else reference)
            against = "in full" if row == reference else f"where it differs from {made.records.label(reference)}"
            items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in difference.items())
            out.append(f"<details><summary><b>{escape(made.records.label(row))}</b> "
                       f'<span class="note">{escape(against)}</span></summary><dl>{items}</dl></details>')  # fmt: skip
    return "".join(out)


def _samples(made: Table) -> str:
    """The first test items of each task, as the reference row and the best row answered them."""
    out = []
    for k, column in enumerate(made.columns):
        what = column.measure
        if k and made.columns[k - 1].measure.task == what.task:
            continue
        reference = made.blocks[0].reference
        lines = [
            (line.label, line.cells[k]) for line in made.lines
            if line.cells[k].values and (line.row == reference or line.cells[k].mark == "best")
        ]  # fmt: skip
        tables = []
        for label, cell in lines:
            run = made.records.run("score", cell.runs[min(cell.values)])
            items = [item for item in run.items() if item["split"] == what.split and "hypothesis" in item][:SAMPLES]
            pairs = ((escape(str(item["reference"])), escape(str(item["hypothesis"]))) for item in items)
            cells = "".join(f"<tr><td>{reference}</td><td>{answer}</td></tr>" for reference, answer in pairs)
            if cells:
                tables.append(f'<div class="wide"><table class="text"><caption>{escape(label)}</caption><thead><tr>'
                              f"<th>reference</th><th>prediction</th></tr></thead>{cells}</table></div>")  # fmt: skip
        if tables:
            name = escape(made.records.task_label(what.task))
            out.append(f"<details><summary>{name}</summary>{''.join(tables)}</details>")
    return "".join(out)


def _runs(records: Records) -> str:
    """Every scoring run with its folder, so that any number can be traced."""
    s = records.scores[records.scores.run != ""].drop_duplicates("run")
    lines = "".join(
        f"<tr><td>{escape(records.label(line.row, line.point))}</td><td>{line.seed}</td><td>{escape(line.task)}</td>"
        f"<td>{line.status}</td><td><code>{escape(line.run)}</code></td>"
        f"<td><code>{escape(line.commit[:8])}</code></td></tr>"
        for line in s.itertuples()
    )
    head = "".join(f"<th>{name}</th>" for name in ("row", "seed", "task", "status", "run", "code"))
    return (f"<details><summary>{len(s)} scoring runs</summary>"
            "<p class=\"note\">A run lies in score/&lt;first two letters&gt;/&lt;run&gt; below the runs folder.</p>"
            f'<div class="wide"><table class="text"><thead><tr>{head}</tr></thead>{lines}</table></div>'
            "</details>")  # fmt: skip


STYLE = """
:root{--ink:#1b1f24;--soft:#5c6670;--line:#d9dee3;--back:#fff;--card:#f6f8fa;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa4ae;--line:#363c43;--back:#15181c;--card:#1e2227}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{margin:.5rem 0 0;font-size:1.9rem}
h2{margin:2.4rem 0 .6rem;font-size:1.3rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
.question{font-size:1.2rem;margin:.3rem 0}.note{color:var(--soft);font-size:.85rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
td,th{padding:.28rem .6rem;text-align:right;white-space:nowrap}tbody th,td:first-child{text-align:left;font-weight:400}
thead th{border-bottom:1px solid var(--line);font-weight:600}thead tr:first-child th{text-align:center}
tbody{border-top:1px solid var(--line)}.best{font-weight:700}.second{text-decoration:underline}.faint{color:var(--soft)}
table.text td,table.text th{text-align:left;vertical-align:top}table.text td{white-space:normal;min-width:4rem}
table.text thead tr:first-child th{text-align:left}caption{text-align:left;color:var(--soft);padding:.5rem 0 .2rem}
img{max-width:100%;height:auto;background:#fff;border-radius:6px}
.cards{list-style:none;padding:0}.card{display:flex;gap:1rem;align-items:flex-start;background:var(--card);
border-radius:8px;padding:.8rem 1rem;margin:.6rem 0}
.verdict{flex:0 0 6.6rem;text-align:center;border-radius:99px;padding:.1rem .5rem;font-size:.85rem;font-weight:600;
background:#6b7680;color:#fff}
.supported{background:#017a5a}.refuted{background:#b3440a}.equivalent{background:#0173b2}
code{font-size:.85em;overflow-wrap:anywhere}details{margin:.35rem 0}summary{cursor:pointer}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:.85rem;margin:.4rem 1.2rem}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media(max-width:600px){.card{flex-direction:column;gap:.4rem}.verdict{flex:none}
dl{grid-template-columns:1fr}dd{margin-bottom:.3rem}}
@media print{main{max-width:none}section{break-inside:avoid}}
"""


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
