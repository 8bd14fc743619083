"""A small table with its own heads, below the main table or in a file by itself."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "−": "$-$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "Δ": r"$\Delta$",
    "—": "---",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Opens a group that is scaled down to the text width where it is wider."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Lines of text below heads, the first column left-aligned; and the full data, as fields and values, for CSV."""

    name: str
    """Stem of its file names."""
    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str
    fields: Sequence[str]
    values: Sequence[Sequence[Any]]
    """One list per CSV line, in the order of `fields`; NaN and None are written as empty fields."""

    def md(self) -> str:
        """Print as Markdown."""
        rows = [self.heads, *self.lines]
        texts = ["| " + " | ".join(map(markdown, row)) + " |" for row in rows]
        rule = "|---" + "|---:" * (len(self.heads) - 1) + "|"
        return "\n".join([f"**{markdown(self.title)}**", "", texts[0], rule, *texts[1:], "", markdown(self.note), ""])

    def terminal(self, width: int | None = None) -> str:
        """Print for a terminal; a long text is wrapped within its cell."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        console = Console()
        console = Console(width=width or (console.width if console.is_terminal else 120))
        grid = Grid(title=Text(self.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for number, head in enumerate(self.heads):
            grid.add_column(Text(head), justify="right" if number else "left", overflow="fold")
        for line in self.lines:
            grid.add_row(*(Text(text) for text in line))
        with console.capture() as captured:
            console.print(grid)
            console.print(Text(self.note, "dim"))
        return captured.get()

    def tex(self) -> str:
        """Print as a LaTeX table; needs \\usepackage{booktabs,graphicx}."""
        head, *lines = (" & ".join(latex(text) for text in line) + r" \\" for line in [self.heads, *self.lines])
        label = re.sub(r"[^A-Za-z0-9:-]", "-", self.name)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                r"\small",
                FIT,
                rf"\begin{{tabular}}{{l{'r' * (len(self.heads) - 1)}}}",
                r"\toprule",
                head,
                r"\midrule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}}",
                rf"\caption{{{latex(self.title)} {latex(self.note)}}}",
                rf"\label{{tab:{label}}}",
                r"\end{table}",
                "",
            ]
        )

    def html(self) -> str:
        """Print as an HTML table (no styling)."""
        heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in self.heads)
        rows = "".join(
            f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(t)}</td>" for t in rest) + "</tr>"
            for first, *rest in self.lines
        )
        return (
            f'<h3>{escape(self.title)}</h3><div class="wide" role="region" tabindex="0" '
            f'aria-label="{escape(self.title)}">'
            f"<table><thead><tr>{heads}</tr></thead>"
            f'<tbody>{rows}</tbody></table></div><p class="note">{escape(self.note)}</p>'
        )

    def csv(self) -> str:
        """Print the fields and values; the same records give the same bytes."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.fields)
        writer.writerows([_number(value) for value in line] for line in self.values)
        return text.getvalue()


def _number(value: Any) -> Any:
    """Round floats for CSV; NaN and None become empty."""
    if isinstance(value, float):
        return f"{value:.4f}" if value == value else ""
    return "" if value is None else value


def latex(text: str) -> str:
    """Escape a text for LaTeX; a line never begins with a bracket that `\\\\` would take for its argument."""
    escaped = "".join(LATEX.get(letter, letter) for letter in text)
    return "{" + escaped + "}" if escaped.startswith("[") else escaped


def markdown(text: str) -> str:
    """Escape a text for Markdown, as GitHub reads it: within a table, too, where HTML and formulas count."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*|$\[\]]|~~|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)
