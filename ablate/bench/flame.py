"""A flame graph as one SVG file, without scripts: what calls lies above what is called, widths are time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from ablate.bench.shares import short, source
from ablate.bench.watch import Stack

WIDTH, HEIGHT, LETTER, TOP = 1600.0, 18, 6.2, 48  # pixels: of the picture, a row, a letter, and the title
LEAST = 0.0005  # share of the time below which a box is left out
ROOMS = {"encoders": "#9ecae1", "objectives": "#a1d99b", "ablate": "#fdd0a2"}
PHASES = {"forward": "#6baed6", "backward": "#fd8d3c", "optimizer": "#9e9ac8", "data": "#74c476"}
LINE, NEITHER = "#f7f7f7", "#d9d9d9"


@dataclass
class Box:
    """A function, a line of it, or a phase; and what it calls."""

    label: str
    colour: str = NEITHER
    seconds: float = 0.0
    below: dict[str, Box] = field(default_factory=dict)


def tree(samples: Mapping[tuple[str, Stack], float], name: str) -> Box:
    """The boxes of samples by phase and stack: phases, functions below them, and at the end of each stack its line."""
    root = Box(name)
    for (phase, stack), seconds in samples.items():
        path = [(phase, PHASES.get(phase, NEITHER))]
        for frame in stack:
            file = short(frame.file)
            path.append((f"{frame.function} {file}".strip(), ROOMS.get(file.partition("/")[0], NEITHER)))
        if stack and stack[-1].line:
            path.append((f"{stack[-1].line}: {source(stack[-1])}", LINE))
        root.seconds += seconds
        box = root
        for label, colour in path:
            box = box.below.setdefault(label, Box(label, colour))
            box.seconds += seconds
    return root


def svg(root: Box, title: str, per: float) -> str:
    """Draw boxes, the widest of a row first; `per` is the number of units that the seconds of the root are of."""
    parts: list[str] = []
    deepest = 0

    def draw(box: Box, left: float, depth: int) -> None:
        nonlocal deepest
        share = box.seconds / root.seconds
        if share < LEAST:
            return
        deepest = max(deepest, depth)
        width, y = WIDTH * share, TOP + depth * HEIGHT
        told = f"{box.label}\n{share:.2%}, {1e3 * box.seconds / per:.3g} ms"
        room = int((width - 6) / LETTER)
        name = box.label if box.colour == LINE else box.label.split(" ")[0].removesuffix(".<locals>")
        label = next((one for one in (f"{box.label} {share:.1%}", box.label, name) if len(one) <= room), "")
        label = label or f"{name[: room - 1]}…"
        text = f'<text x="{left + 3:.2f}" y="{y + 13}">{escape(label)}</text>' if room >= 3 else ""
        parts.append(
            f'<g><title>{escape(told)}</title><rect x="{left:.2f}" y="{y}" width="{width:.4f}" '
            f'height="{HEIGHT - 1}" fill="{box.colour}" stroke="white" stroke-width=".5"/>{text}</g>'
        )
        for one in sorted(box.below.values(), key=lambda one: -one.seconds):
            draw(one, left, depth + 1)
            left += WIDTH * one.seconds / root.seconds

    draw(root, 0.0, 0)
    height = TOP + (deepest + 1) * HEIGHT + 8
    about = (
        "Widths are wall time; what calls lies above what is called; the last box of a column is a line. Below "
        "“backward” lie the lines of the forward pass that made its operations."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" width="{WIDTH:.0f}" '
        f'height="{height}" font-family="monospace" font-size="10.3">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="3" y="16" font-size="13">{escape(title)}</text><text x="3" y="34">{escape(about)}</text>'
        + "\n".join(parts)
        + "</svg>\n"
    )
