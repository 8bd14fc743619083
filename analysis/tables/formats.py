"""Print a `Table`: terminal, Markdown, LaTeX (booktabs), HTML and CSV. The first four share one grid of entries."""

from __future__ import annotations

import csv as csv_module
import html as html_module
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.tables.cells import Block, Cell, Column, Line, Table
from analysis.tables.sheet import FIT, Sheet, latex, markdown

CSV = [
    "block",
    "row",
    "point",
    "task",
    "split",
    "metric",
    "unit",
    "better",
    "status",
    "seeds_done",
    "seeds",
    "mean",
    "low",
    "high",
    "delta",
    "delta_low",
    "delta_high",
    "mark",
    "processors",
    "runs",
]


@dataclass(frozen=True)
class Entry:
    """A text and its emphasis: "", "best" or "faint"."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Panel:
    """A grid with a title; `groups` are titled blocks of lines, each line a label and one entry per column."""

    title: str
    heads: list[str]
    groups: list[tuple[str, list[tuple[Entry, ...]]]]


def panels(table: Table) -> list[Panel]:
    """The values with the baselines below them and, with at least two seeds, the differences per block."""
    groups = [(block.title, [_value_line(table, block, line) for line in block.lines]) for block in table.blocks]
    if any(column.baseline for column in table.columns):
        groups.append(("", [_baseline_line(table)]))
    grids = [Panel("", [column.title for column in table.columns], groups)]
    if table.seeds > 1:
        for block in (block for block in table.blocks if block.reference):
            label = table.records.label(block.reference)
            title = f"Δ against {label} (positive is better; 95 % interval, * excludes 0)"
            lines = [
                (
                    Entry(_label(line)),
                    *(Entry(c.display_delta(k), _faint(c)) for c, k in zip(line.cells, table.columns)),
                )
                for line in block.lines
                if line.row != block.reference
            ]
            heads = [column.title_of_differences for column in table.columns]
            grids += [Panel(title, heads, [("", lines)])] if lines else []
    return grids


def _value_line(table: Table, block: Block, line: Line) -> tuple[Entry, ...]:
    many = sum(other.reference is not None for other in table.blocks)
    label = _label(line) + (" (ref.)" if many and line.row == block.reference else "")
    cells = (Entry(cell.display(column), cell.mark or _faint(cell)) for cell, column in zip(line.cells, table.columns))
    return (Entry(label), *cells)


def _label(line: Line) -> str:
    """The line's label, marked where its seeds were made on several kinds of processor."""
    return line.label + "‡" * line.mixed


def _faint(cell: Cell) -> str:
    return "" if cell.status == "done" else "faint"


def _baseline_line(table: Table) -> tuple[Entry, ...]:
    notes = _baseline_names(table)
    cells = []
    for column in table.columns:
        name, value = column.baseline or ("", 0.0)
        cells.append(Entry(f"{column.text(value)} [{notes.index(name) + 1}]" if name else "—", "faint"))
    return (Entry("strongest baseline", "faint"), *cells)


def _baseline_names(table: Table) -> list[str]:
    return list(dict.fromkeys(column.baseline[0] for column in table.columns if column.baseline))


def notes(table: Table) -> str:
    """Caption and footnotes in one paragraph."""
    names = "; ".join(f"[{k}] {name}" for k, name in enumerate(_baseline_names(table), 1))
    return " ".join(filter(None, (table.caption, f"Strongest shallow baselines: {names}." if names else "")))


def joined(table: Table, form: str, below: Iterable[Sheet], **options) -> str:
    """Print the table in `form` with sheets below it, except in CSV, where each sheet has a file of its own."""
    forms = {"terminal": terminal, "md": md, "tex": tex, "html": html, "csv": csv}
    sheets = [] if form == "csv" else [getattr(sheet, form)(**options) for sheet in below]
    return "\n".join([forms[form](table, **options), *sheets])


def _tasks(table: Table) -> list[tuple[str, int]]:
    """Adjacent columns of one task, as (task, width)."""
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        task = table.records.task_label(column.measure.task)
        if groups and groups[-1][0] == task:
            groups[-1] = task, groups[-1][1] + 1
        else:
            groups.append((task, 1))
    return groups


def terminal(table: Table, width: int | None = None) -> str:
    """Print for a terminal, with colours if it has them; a table that is too wide is printed in several parts."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console = Console(width=width or (console.width if console.is_terminal else 120))
    with console.capture() as captured:
        for panel in panels(table):
            first = 0
            while first < len(table.columns):
                last = len(table.columns)
                while last > first + 1 and _needs(console, _grid(table, panel, first, last)) > console.width:
                    last -= 1
                console.print(_grid(table, panel, first, last))
                first = last
        console.print(Text(notes(table), "dim"))
    return captured.get()


def _needs(console, grid) -> int:
    """Width at which nothing in a grid is cut off."""
    return console.measure(grid, options=console.options.update(max_width=10_000)).maximum


def _grid(table: Table, panel: Panel, first: int, last: int):
    """One panel's columns from `first` up to, but not including, `last`, for the terminal."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    styles = {"best": "bold green", "faint": "dim", "": ""}
    grid = Grid(title=panel.title or table.name, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    grid.add_column("", no_wrap=True)
    for column, head in zip(table.columns[first:last], panel.heads[first:last]):
        task, title = table.records.task_label(column.measure.task), head.replace(" (", "\n(")
        grid.add_column(f"{task}\n{title}", justify="right", no_wrap=True)
    for title, lines in panel.groups:
        if title:
            grid.add_row(Text(title, "italic"))
        for label, *cells in lines:
            grid.add_row(*(Text(entry.text, styles[entry.style]) for entry in [label, *cells[first:last]]))
        grid.add_section()
    return grid


def md(table: Table) -> str:
    """Print as Markdown."""
    styles = {"best": "**{}**"}
    out = []
    for panel in panels(table):
        head = [
            "",
            *(
                f"{markdown(table.records.task_label(column.measure.task))}<br>{markdown(head)}"
                for column, head in zip(table.columns, panel.heads)
            ),
        ]
        out += [f"**{markdown(panel.title)}**", ""] if panel.title else []
        out += ["| " + " | ".join(head) + " |", "|---" + "|---:" * len(table.columns) + "|"]
        for number, (title, lines) in enumerate(panel.groups):
            out += (
                [f"| {f'*{markdown(title)}*' if title else ''} |" + " |" * len(table.columns)]
                if number or title
                else []
            )
            for line in lines:
                texts = [styles.get(e.style, "{}").format(markdown(e.text)) for e in line]
                out.append("| " + " | ".join(texts) + " |")
        out.append("")
    return "\n".join([*out, markdown(notes(table)), ""])


def tex(table: Table) -> str:
    """Print as a LaTeX table, scaled down where it is wider than the text; needs \\usepackage{booktabs,graphicx}."""
    styles = {"best": r"\textbf{{{}}}"}
    width = len(table.columns) + 1
    out = [r"% \usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering", r"\small", FIT]
    out += [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule"]
    heads, rules, at = [""], [], 2
    for task, count in _tasks(table):
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{latex(task)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}")
        at += count
    out += [" & ".join(heads) + r" \\", " ".join(rules)]
    for panel in panels(table):
        if panel.title:
            out += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex(panel.title)}}}}} \\"]
        out += [" & ".join(["", *map(latex, panel.heads)]) + r" \\"]
        for title, lines in panel.groups:
            out += [r"\midrule", *([rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex(title)}}}}} \\"] if title else [])]
            out += [
                " & ".join(styles.get(entry.style, "{}").format(latex(entry.text)) for entry in line) + r" \\"
                for line in lines
            ]
    label = re.sub(r"[^A-Za-z0-9:-]", "-", table.name)
    out += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{latex(notes(table))}}}", rf"\label{{tab:{label}}}"]
    return "\n".join([*out, r"\end{table}", ""])


def html(table: Table) -> str:
    """Print as HTML tables (no styling; classes best, faint)."""
    out = []
    for panel in panels(table):
        out.append(f"<h3>{html_module.escape(panel.title)}</h3>" if panel.title else "")
        groups = "".join(f'<th colspan="{n}" scope="colgroup">{html_module.escape(t)}</th>' for t, n in _tasks(table))
        heads = "".join(f'<th scope="col">{html_module.escape(head)}</th>' for head in panel.heads)
        label = html_module.escape(panel.title or f"Table of {table.name}")
        out.append(f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table><thead>')
        out.append(f"<tr><td></td>{groups}</tr><tr><td></td>{heads}</tr></thead>")
        for title, lines in panel.groups:
            out.append("<tbody>")
            if title:
                wide = len(table.columns) + 1
                out.append(f'<tr><th colspan="{wide}" scope="rowgroup"><i>{html_module.escape(title)}</i></th></tr>')
            for label, *cells in lines:
                texts = "".join(f'<td class="{e.style}">{html_module.escape(e.text)}</td>' for e in cells)
                name = html_module.escape(label.text)
                out.append(f'<tr><th scope="row" class="{label.style}">{name}</th>{texts}</tr>')
            out.append("</tbody>")
        out.append("</table></div>")
    return "\n".join([*out, f'<p class="note">{html_module.escape(notes(table))}</p>'])


def csv(table: Table) -> str:
    """Print one line per cell and baseline; the same records give the same bytes."""

    def number(value: float) -> str:
        return "" if math.isnan(value) else f"{value:.4f}"

    text = io.StringIO()
    writer = csv_module.writer(text, lineterminator="\n")
    writer.writerow(CSV)
    for block in table.blocks:
        for line in block.lines:
            for column, cell in zip(table.columns, line.cells):
                status = "partial" if cell.partial else cell.status
                numbers = [number(x) for x in (*_interval(cell.estimate), *_interval(cell.delta))]
                runs = " ".join(run for run in cell.runs.values() if run)
                writer.writerow(
                    [
                        block.reference or "",
                        line.row,
                        line.point,
                        *_identity(column),
                        status,
                        cell.done,
                        cell.seeds,
                        *numbers,
                        cell.mark,
                        "several" if line.mixed else "",
                        runs,
                    ]
                )
    for column in (column for column in table.columns if column.baseline):
        name, value = column.baseline
        writer.writerow(["baseline", name, "", *_identity(column), "done", "", "", number(value), *[""] * 8])
    return text.getvalue()


def _identity(column: Column) -> list[str]:
    what = column.measure
    return [what.task, what.split, what.metric, what.unit, what.better]


def _interval(estimate) -> tuple[float, float, float]:
    return (estimate.mean, estimate.low, estimate.high) if estimate is not None else (math.nan,) * 3
