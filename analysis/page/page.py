"""One self-contained HTML page about a sweep: it opens from disk, needs no network, and needs a script only to zoom."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from ablate.store.record import read_jsonl
from analysis.figures.drawings import Drawing
from analysis.page import samples
from analysis.records import audit, origin
from analysis.records.frame import Records
from analysis.records.manifest import stages
from analysis.statistics.claims import Verdict, measured, registered
from analysis.tables import formats
from analysis.tables.cells import Table
from analysis.tables.sheet import Sheet

PLAIN = 200_000
"""Size in bytes up to which a figure's data are embedded uncompressed; larger data are compressed."""
AT_MOST = 2_000_000
"""Largest compressed size in bytes that is embedded; larger data are only linked as a file beside the page."""
TAIL = 12
"""Number of last lines shown of a failed stage's log."""
FAILURES = 30
"""Maximum number of failed stages shown with their log."""


def page(
    made: Table,
    below: Sequence[Sheet],
    compared: Sheet | None,
    verdicts: list[Verdict],
    drawings: list[Drawing],
    amiss: str = "",
) -> str:
    """Make the page. Equal records give an equal page: it states nothing about when it was made. `amiss` says what its
    figures lack.
    """
    records = made.records
    splits = audit.splits(records)
    sections = {
        "claims": ("Verdicts", _claims(records, verdicts)),
        "table": ("Table", formats.joined(made, "html", below)),
        "against": ("All rows against one", compared.html() if compared else ""),
        **{drawing.name: (drawing.title, _figure(drawing)) for drawing in drawings},
        "data": ("Data", _splits(splits)),
        "reading": ("How to read this", _list([*caveats(records), *[amiss] * bool(amiss)])),
        "failures": ("Failures", _failures(records)),
        "samples": ("Sample predictions", samples.section(made)),
        "rows": ("Rows, and where their runs lie", _rows(made)),
        "metrics": ("Metrics", _list(metrics(records))),
        "provenance": ("Provenance", _provenance(records)),
    }
    sections = {id: section for id, section in sections.items() if section[1]}
    links = "".join(f'<li><a href="#{escape(id)}">{escape(title)}</a></li>' for id, (title, _) in sections.items())
    body = "\n".join(
        f'<section aria-labelledby="{escape(id)}"><h2 id="{escape(id)}">{escape(title)}</h2>\n{text}</section>'
        for id, (title, text) in sections.items()
    )
    here = Path(__file__).parent
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(records.name)}</title><style>{style}</style></head>\n<body>"
        f'<a class="skip" href="#main">Skip to the findings</a>\n{_header(records)}\n'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n<main id="main">\n{body}\n</main>\n'
        f"<footer>Made from records alone by <code>python -m analysis.report {escape(records.name)}</code>. "
        f"{escape(_removed(splits))}</footer>\n"
        f"{DIALOG}<script>{script}</script></body></html>\n"
    )


DIALOG = (
    '<dialog id="zoom" aria-label="Figure, enlarged"><div class="bar">'
    '<button type="button" data-do="out" aria-label="Zoom out">−</button><output aria-live="polite"></output>'
    '<button type="button" data-do="in" aria-label="Zoom in">+</button><button type="button" data-do="fit">Fit</button>'
    '<button type="button" class="close" data-do="close">Close</button></div>'
    '<div class="stage" tabindex="0" role="region" aria-label="Figure, arrows scroll, plus and minus zoom">'
    '<img alt=""></div></dialog>'
)


def _header(records: Records) -> str:
    sweep = records.sweep
    parts = [f"<h1>{escape(records.name)}</h1>"]
    if sweep.get("question"):
        parts.append(f'<p class="question">{escape(sweep["question"])}</p>')
    parts.append(f'<p class="note">{escape(_state(records))}</p>')
    if sweep.get("changes_our_mind"):
        parts.append(f"<p><b>What would change our mind:</b> {escape(sweep['changes_our_mind'])}</p>")
    return f"<header>{''.join(parts)}</header>"


def _state(records: Records) -> str:
    done, planned = records.scoring
    seeds = f"{len(records.seeds)} seed{'s' if len(records.seeds) > 1 else ''}"
    return f"{len(records.rows)} rows, {seeds}, {done} of {planned} scoring runs finished"


def _claims(records: Records, verdicts: list[Verdict]) -> str:
    cards = [
        f'<li class="card"><span class="verdict {v.verdict.replace(" ", "-")}">{escape(v.verdict)}</span>'
        f"<div><b>{escape(v.name.replace('_', ' '))}</b><br><code>{escape(v.statement)}</code>"
        f'<br>{escape(measured(v))}<br><span class="note">{escape(v.declared)}</span></div></li>'
        for v in verdicts
    ]
    notes = [
        "Effects point in the metric's good direction. p-values are corrected over the looks and over the claims of a "
        "family (Holm).",
        *registered(records),
    ]
    return f'<ul class="cards">{"".join(cards)}</ul><p class="note">{escape(" ".join(notes))}</p>' if cards else ""


def _figure(drawing: Drawing) -> str:
    """The picture as a button that enlarges it, and its data to save."""
    picture = base64.b64encode(drawing.png.read_bytes()).decode()
    alt = escape(f"{drawing.title}. {drawing.text}")
    return (
        f'<figure><button type="button" class="figure" aria-label="Enlarge figure: {escape(drawing.title)}">'
        f'<img alt="{alt}" src="data:image/png;base64,{picture}"></button>'
        f'<figcaption>{escape(drawing.text)} <span class="data">{_data(drawing.csv)}</span></figcaption></figure>'
    )


def _data(path: Path) -> str:
    """A link to save a figure's data, embedded in the page where they are small enough."""
    data = path.read_bytes()
    if len(data) <= PLAIN:
        return f'<a download="{path.name}" href="data:text/csv;base64,{base64.b64encode(data).decode()}">Data (CSV)</a>'
    packed = gzip.compress(data, mtime=0)
    if len(packed) <= AT_MOST:
        href = f"data:application/gzip;base64,{base64.b64encode(packed).decode()}"
        return f'<a download="{path.name}.gz" href="{href}">Data (CSV, packed with gzip)</a>'
    return f'<a href="{path.parent.name}/{path.name}">Data (CSV, {len(data) / 1e6:.0f} MB, beside this page)</a>'


def caveats(records: Records) -> list[str]:
    """What limits the conclusions from these numbers."""
    texts = []
    if len(records.seeds) == 1:
        texts.append(
            "One seed: no row can be told from another with certainty; differences may be chance. "
            "Claims about rows need several, e.g. seeds=[0,1,2]."
        )
    if "builtin" in str(records.sweep.get("data", "")).lower():
        texts.append(
            "The built-in world is a small grammar spoken by a formant synthesiser: effects show there within "
            "minutes, but it is no evidence about English, natural voices or large models."
        )
    texts.append("A cell below its strongest shallow baseline shows nothing learnt about the task, whatever its rank.")
    texts.append(
        "n/a: the encoder cannot do the task, or the sweep file leaves it out for the row. —: not finished. "
        "(2/3): two of three seeds are finished; such cells are not marked."
    )
    if len(records.seeds) > 1:
        texts.append("Marks † in the table are exploratory; only the declared claims were decided before running.")
    return texts


def metrics(records: Records) -> list[str]:
    """How each metric was computed: over how many items, and its signature."""
    done = records.scores[records.scores.signature != ""]
    return [
        f"{records.task_label(task)}, {split} {metric}: {n} items; {signature}"
        for task, split, metric, n, signature in done[["task", "split", "metric", "n", "signature"]]
        .drop_duplicates()
        .values
    ]


def _splits(splits: Sequence[audit.Split]) -> str:
    """A table of the splits that were read: their size, and what was left out of them and why."""
    lines = [audit.row(split) for split in splits]
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in lines[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in line.values())}</tr>" for line in lines)
    table = f'<table class="text"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide" role="region" tabindex="0" aria-label="Splits">{table}</div>'


def _removed(splits: Sequence[audit.Split]) -> str:
    """How many rows were left out of splits because another split has them, in a sentence."""
    counts = [f"{n:,} {what}{'s' if n > 1 else ''}" for what, n in audit.removed(list(splits)).items()]
    return f"Left out because a dev or test split has them: {' and '.join(counts) or 'nothing'}."


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _failures(records: Records) -> str:
    """Stages whose last attempt failed, with the end of their log."""
    failed, seen = [], set()
    for line in records.manifest:
        for kind, what, id in stages(line):
            if (kind, id) in seen or records.result(kind, id) is not None:
                continue
            seen.add((kind, id))
            folder = records.path(kind, id)
            attempts = list(read_jsonl(folder / "attempts.jsonl"))
            if attempts and attempts[-1]["outcome"] in ("failed", "lost"):
                failed.append((kind, what, id, line, attempts, folder))
    parts = []
    for kind, what, id, line, attempts, folder in failed[:FAILURES]:
        log = folder / "logs" / "out.txt"
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:] if log.exists() else []
        name = f"{kind} {records.label(line['row'])}{f' / {what}' if what else ''} (seed {line['seed']})"
        parts.append(
            f"<details open><summary><b>{escape(name)}</b> {attempts[-1]['outcome']} on "
            f"{escape(str(attempts[-1]['host']))}, "
            f"{len(attempts)} attempt{'s' if len(attempts) > 1 else ''}; "
            f"<code>{escape(kind)}/{id[:2]}/{id}</code></summary>"
            f"<pre>{escape(chr(10).join(tail) or 'The log is empty, or was not copied.')}</pre></details>"
        )
    if len(failed) > FAILURES:
        parts.append(f"<p>And {len(failed) - FAILURES} more.</p>")
    return "".join(parts)


def _rows(made: Table) -> str:
    """Each row's definition, as its difference from its block's reference, and its stages by seed."""
    out, records = [], made.records
    by_row: dict[str, list[dict]] = {}
    for line in records.manifest:
        by_row.setdefault(line["row"], []).append(line)
    for block in made.blocks:
        for row in dict.fromkeys(line.row for line in block.lines):
            reference = block.reference or next(iter(records.rows))
            difference = records.difference(row, None if row == reference else reference)
            against = "in full" if row == reference else f"where it differs from {records.label(reference)}"
            items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in difference.items())
            out.append(
                f"<details><summary><b>{escape(records.label(row))}</b> "
                f'<span class="note">{escape(against)}</span></summary>'
                f"<dl>{items}</dl>{_runs(records, by_row.get(row, []))}</details>"
            )
    note = "A stage lies in KIND/AB/ID below the runs folder, AB being the first two letters of ID; ○ is not finished."
    return "".join(out) + f'<p class="note">{note}</p>'


def _runs(records: Records, lines: list[dict]) -> str:
    """Stages of one row, one entry per point and seed."""
    texts = []
    for line in lines:
        point = ", ".join(f"{axis}={value}" for axis, value in line["point"].items())
        ids = [
            f"{kind}{f' {what}' if what else ''} <code>{id}</code>{'' if records.result(kind, id) else ' ○'}"
            for kind, what, id in stages(line)
            if kind not in ("corpus", "table", "tokenizer", "tokens", "kmeans")
        ]
        texts.append(f"<li>{escape(point + ', ' if point else '')}seed {line['seed']}: {', '.join(ids)}</li>")
    return f'<ul class="note">{"".join(texts)}</ul>'


def _provenance(records: Records) -> str:
    """When, where and by which code the numbers were made, and how many stages had to be tried again."""
    results = {(kind, id): records.result(kind, id) for line in records.manifest for kind, _, id in stages(line)}
    done = [result for result in results.values() if result]
    code = Counter(_version(result) for result in done)
    processors = Counter(kind for result in done if (kind := origin.processor(result)))
    ended = sorted(result["ended"] for result in done if "ended" in result)
    hours = sum(result.get("busy_seconds", result.get("seconds", 0)) for result in done) / 3600
    again = sum(result.get("attempts", 1) > 1 for result in done)
    about = {
        "stages": f"{len(done)} of {len(results)} finished",
        "code": "; ".join(f"{version} ({count} stages)" for version, count in code.most_common()) or "—",
        "plugins": ", ".join(f"{n} {v}" for n, v in records.sweep.get("plugins", {}).items()) or "none",
        "processors": "; ".join(f"{kind} ({count} stages)" for kind, count in processors.most_common()) or "—",
        "finished between": f"{ended[0]} and {ended[-1]}" if ended else "—",
        "work": f"{hours:.2f} worker hours",
        "tried again": f"{again} finished stages took more than one attempt",
        "data": ", ".join(f"{key} {value}" for key, value in dict(records.sweep.get("data") or {}).items()) or "—",
    }
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in about.items()) + "</dl>"


def _version(result: Mapping) -> str:
    code = result.get("code") or {}
    return f"{(code.get('commit') or '')[:8] or 'no commit'}{' with uncommitted changes' if code.get('dirty') else ''}"
