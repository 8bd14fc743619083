"""Draw docs/architecture.svg from the table of rooms in tests/test_arrows.py: `python tests/draw_rooms.py`."""

from itertools import groupby
from textwrap import wrap

from test_arrows import ARROWS, COMMANDS, ROOT, STANDARD, TORCHLESS, within

SVG = ROOT / "docs" / "architecture.svg"
WORDS = """commands 12 888 sweep, describe, transcribe, predict: they may import every room | page/ in HTML
planning/ 12 440 from rows to stages: their ids, order and cost | stages/ 256 480 from data to scores
sweepfile/ 12 218 YAML and overrides become rows of typed configs, all of them checked | execute.py runs one stage
tasks/ 12 480 what is trained on an encoder or measured of it, and scored | registry.py lists them
supervised/ a head is trained | measured/ nothing is trained | scoring/ metrics, agreement, shallow baselines
training/ 12 208 what an update is: the loop, AdamW, checkpoints, ranks, numbers that are not finite
data/ 244 480 from corpora to batches | builtin/ a small spoken world | errors.py 282 888 sentences for the user
objectives/ 12 218 what a loss is: a view and a score | encoders/ 12 264 from a packed batch to vectors
store/ 282 888 what lies on disk: ids, run folders, locks, records | bench/ speed and memory beside other libraries
gpu/ checks on a GPU
clusters/ 526 690 where stages run | slurm/ job arrays, submitted and followed | resources.py what a job asks for
analysis/ 720 888 from records to a report | records/ run folders as data frames | statistics/ intervals and verdicts"""
SAYS = {text.split()[0]: text.split()[1:] for line in WORDS.splitlines() for text in line.split(" | ")}
NAMED = {**ARROWS, **dict.fromkeys(COMMANDS, tuple(ARROWS))}
ROOMS = {room: {name if name in NAMED else name.rpartition(".")[0] for name in NAMED[room]} for room in NAMED}
BELOW = dict(ROOMS)  # what a room may import, and what that may import, and so on
for _ in ROOMS:
    BELOW = {room: found.union(*(BELOW[one] for one in found)) for room, found in BELOW.items()}
LOW, HIGH, PAD, GAP, LINE = 26, 44, 10, 36, 15  # pixels: heights of boxes, between parts, between floors, of a line


class Box:
    """A room; or a folder that holds several, its own files being one of them."""

    def __init__(self, rooms, label=""):
        own, self.rooms = min(rooms, key=len), rooms
        path = ROOT / own.replace(".", "/")
        self.file = not label and path.with_suffix(".py").is_file()
        self.label = label or path.name + (".py" if self.file else "/")
        edges = [int(word) for word in SAYS.get(self.label, ()) if word.isdigit()]  # of a room that is in no other
        self.outer, (self.left, self.right) = bool(edges), edges or (0, 0)
        tag = "(standard library)" if own in STANDARD else "(no torch)" if within(own, TORCHLESS) else ""
        self.text = " ".join([self.label, *SAYS.get(self.label, ())[len(edges) :], tag * self.outer])
        parts = groupby(sorted(rooms), lambda room: room[len(own) + 1 :].split(".")[0]) if len(rooms) > 1 else ()
        self.parts = [Box([*part], "" if name else "*.py") for name, part in parts]
        floor = floors(self.parts)
        self.rows = [[part for part in self.parts if floor[part] == n] for n in sorted({*floor.values()}, reverse=True)]
        self.height = max(HIGH * self.outer, LOW + sum(max(p.height for p in row) + PAD * 1.5 for row in self.rows))

    def place(self, left, top, right, bottom):
        """Put it there with its parts, which share what height there is to spare; yield the SVG of all."""
        self.left, self.top, self.right, self.bottom = left, top, right, bottom
        yield f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" rx="4" '
        yield f'fill="{"#e8e8e8" if self.file else "#fff"}" stroke="#000" stroke-width="{2 if self.outer else 1}"/>\n'
        lines = wrap(self.text, int((right - left - 12) / 6.8))
        first = top + LINE + 2 if self.rows else (top + bottom - LINE * len(lines)) / 2 + LINE - 3
        for number, text in enumerate(lines):
            said = text if number else f'<tspan font-weight="bold">{self.label}</tspan>{text[len(self.label) :]}'
            yield f'<text x="{left + 8:.0f}" y="{first + LINE * number:.0f}">{said}</text>\n'
        spare, y = (bottom - top - self.height) / max(1, 2 * len(self.rows)), top + LOW
        for row in self.rows:
            y, wide, high = y + spare, (right - left - PAD) / len(row), max(part.height for part in row) + spare
            for x, part in enumerate(row):
                yield from part.place(left + PAD + x * wide, y, left + (x + 1) * wide, y + high)
            y += high + PAD * 1.5
        yield from arrows(self.parts)

    def sees(self, other):
        """The rooms of another box that the rooms of this one may import."""
        return {to for room in self.rooms for to in ROOMS[room]}.intersection(other.rooms if self is not other else ())


def floors(boxes):
    """How many boxes lie below each, on the longest way down."""
    floor, to = {}, {a: [b for b in boxes if a.sees(b)] for a in boxes}
    while len(floor) < len(boxes):
        floor |= {a: max([-1, *map(floor.get, to[a])]) + 1 for a in boxes if {*to[a]} <= floor.keys()}
    return floor


def arrows(boxes):
    """An arrow for all that no other way implies: straight down, to a part from the left, or around a corner."""
    paths = []
    for a, b in [(a, b) for a in boxes for b in boxes if a.sees(b)]:
        if a.sees(b) <= set().union(*(BELOW[room] for c in boxes if c is not b for room in a.sees(c))):
            continue
        walls = [range(int(c.left) - 6, int(c.right) + 6) for c in boxes if c.top >= a.bottom and c.bottom <= b.top]
        both = range(int(max(a.left, b.left)) + 8, int(min(a.right, b.right)) - 7)
        free = [x for x in both if not any(x in wall for wall in walls)]
        x, start = free[len(free) // 2] if free else a.right - 16, f"{a.bottom + 1:.0f}"
        if a.outer and a.sees(b) != {*b.rooms}:
            x, part = b.left - 12, next(part for row in b.rows for part in row if a.sees(part))
            first = f"M{x} {start}" if x < a.right else f"M{a.right + 1} {(a.top + a.bottom) / 2:.0f}H{x}"
            paths.append(f"{first}V{(part.top + part.bottom) / 2:.0f}H{part.left - 1:.0f}")
        else:
            paths.append(f"M{x} {start}" + f"v{GAP / 2 - 1}H{b.left + 20}" * (not free) + f"V{b.top - 1:.0f}")
        files = {name for room in a.rooms for name in NAMED[room] if name not in ROOMS and name.startswith(b.rooms[0])}
        if said := ", ".join(sorted(name.split(".")[-1] for name in files)):
            yield f'<text x="{x - 8}" y="{b.top - 14:.0f}" text-anchor="end">only {said}</text>\n'
    for path in sorted(paths, key=lambda path: "H" not in path):  # a straight one passes over a bent one, with a gap
        yield f'<path d="{path}" class="gap"/>' * ("H" not in path) + f'<path d="{path}" marker-end="url(#head)"/>\n'


def drawn():
    name = {room: "commands" if room in COMMANDS else room.removeprefix("ablate.").split(".")[0] for room in ROOMS}
    boxes = [Box([*rooms], one * (one == "commands")) for one, rooms in groupby(sorted(ROOMS, key=name.get), name.get)]
    floor, y, top, bottom = floors(boxes), 12, {}, {}
    roof = {b: min((floor[a] - 1 for a in boxes if a.sees(b)), default=floor[b]) for b in boxes}
    for level in sorted({*floor.values()}, reverse=True):
        top[level], bottom[level] = y, y + max(box.height for box in boxes if floor[box] == roof[box] == level)
        y = bottom[level] + GAP
    placed = [text for box in boxes for text in box.place(box.left, top[roof[box]], box.right, bottom[floor[box]])]
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {y:.0f}"><title>Who may import whom</title>
<style>text {{font: 11.5px Verdana, "DejaVu Sans", sans-serif}} path {{fill: none; stroke: #000; stroke-width: 1.3}}
.gap {{stroke: #fff; stroke-width: 5}} marker path {{fill: #000; stroke: none}}</style>
<marker id="head" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto"><path d="M0 0L7 3L0 6z"/></marker>
<rect width="100%" height="100%" fill="#fff"/>{"".join([*placed, *arrows(boxes)])}<text x="12" y="{y - 12:.0f}">
An arrow: may import, unless others imply it. *.py: the folder's own files. Grey: a single file.</text></svg>\n"""


if __name__ == "__main__":
    SVG.write_text(drawn(), encoding="utf-8")
