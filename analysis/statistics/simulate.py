"""Planted data, and how the statistics of this package do on them: coverage, false verdicts, power, cost.

What is measured is the code that judges sweeps (`compare`, `looks`, `futility`), not a copy of it. Every cell draws
from a stream of its own, so that its figures depend on neither the other cells nor their order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis.statistics import futility, looks
from analysis.statistics.compare import Estimate, estimate
from analysis.statistics.looks import DIFFERENCE, EQUIVALENCE

ITEMS = 300
LOOKS = (5, 8)
NAIVE = (3, 5, 8)
"""Looks of who tests at the full level each time."""
ERRORS = 2.0
"""Monte-Carlo standard errors by which a figure may lie beyond its bar."""
COVERAGE, COVERAGE_OF_THREE = (0.93, 0.97), (0.93, 0.985)
"""Share of 95 % intervals that should cover the truth; and with three seeds."""

Watch = Callable[[int, int], None]
"""Is told how many cells of how many are done."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was found, its Monte-Carlo standard error, and the bars between which it should lie."""

    value: float
    error: float = math.nan
    least: float = -math.inf
    most: float = math.inf

    @property
    def barred(self) -> bool:
        return self.least > -math.inf or self.most < math.inf

    @property
    def inside(self) -> bool:
        """Whether it lies between its bars."""
        return self.least <= self.value <= self.most

    @property
    def kept(self) -> bool:
        """Whether it lies between its bars, or beyond one by no more than `ERRORS` standard errors."""
        near = ERRORS * self.error if self.barred else 0.0
        return self.least - near <= self.value <= self.most + near


@dataclass(frozen=True, kw_only=True)
class Line:
    """Figures of one setting, in the order of the simulation's `figures`."""

    setting: tuple[str, ...]
    figures: tuple[Figure, ...]

    @property
    def inside(self) -> bool:
        return all(figure.inside for figure in self.figures)

    @property
    def kept(self) -> bool:
        return all(figure.kept for figure in self.figures)


@dataclass(frozen=True, kw_only=True)
class World:
    """How rows, their seeds and test items vary, in units of the error of one score through independent items."""

    seeds: int
    rows: int = 2
    clusters: int = 14
    """Clusters of test items, of unequal sizes (Dirichlet 3)."""
    icc: float = 0.055
    """Intraclass correlation of the items of a cluster."""
    own: float = 0.5
    """Part of an item's variance within its cluster that is each fine-tuned model's own."""
    leaf: float = 1.0
    """Standard deviation between pre-trainings."""
    trunk: float = 0.0
    """Correlation of the rows' pre-trainings of one seed."""
    finetuning: float = 0.0
    """Standard deviation between fine-tunings of one leaf."""
    finetunings: int = 1
    missing: int = 0
    """Leaves of each row that lack one of their fine-tunings."""


def stream(*key: int | float | str) -> np.random.Generator:
    """Random numbers that depend on a key alone."""
    return np.random.default_rng(list(repr(key).encode()))


def scores(world: World, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw worlds without effects: leaf means [draws, rows, seeds], what clusters contribute to them [draws, rows,
    seeds, clusters], and the effective number of clusters [draws].

    The mean of k fine-tunings is drawn as such: what is theirs alone has the variance of one over k.
    """
    w = world
    shape = (draws, w.rows, w.seeds)
    sizes = np.maximum(1, (rng.dirichlet(np.full(w.clusters, 3.0), draws) * ITEMS).round())
    share = (sizes / sizes.sum(1, keepdims=True))[:, None, None]
    per_item = 1 / np.sqrt(sizes)[:, None, None]
    tuned = np.full(w.seeds, w.finetunings)
    tuned[: w.missing] -= 1
    of_run = rng.normal(0, 1, shape) * w.finetuning / np.sqrt(tuned)
    of_items = rng.normal(0, math.sqrt(w.icc), (draws, w.rows, 1, w.clusters))
    of_items = of_items + rng.normal(0, math.sqrt((1 - w.icc) * (1 - w.own)), of_items.shape) * per_item
    alone = rng.normal(0, math.sqrt((1 - w.icc) * w.own), (*shape, w.clusters)) * per_item
    y = (leaves(w, draws, rng) + of_run)[..., None] / math.sqrt(ITEMS) + of_items + alone / np.sqrt(tuned)[:, None]
    values = (y * share).sum(-1)
    parts = share * (y - values[..., None]) / (1 - share)  # the score less the score without the cluster
    return values, parts - parts.mean(-1, keepdims=True), 1 / np.square(share).sum((1, 2, 3))


def leaves(world: World, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw what pre-trainings vary by: [draws, rows, seeds]."""
    shared = rng.normal(0, math.sqrt(world.trunk), (draws, 1, world.seeds))
    return world.leaf * (shared + rng.normal(0, math.sqrt(1 - world.trunk), (draws, world.rows, world.seeds)))


def differences(world: World, draws: int, *key: int | float | str, paired: bool = False) -> Iterator[Estimate]:
    """Estimate the difference of two equal rows in each of many worlds; `paired` takes one difference a seed."""
    values, parts, effective = scores(world, draws, stream(*key))
    for (a, b), (of_a, of_b), of in zip(values, parts, effective):
        yield estimate([a - b], [of_a - of_b], of) if paired else estimate([a, -b], [of_a, -of_b], of)


def _share(found: Sequence[bool] | np.ndarray, least: float = -math.inf, most: float = math.inf) -> Figure:
    value = float(np.mean(found))
    return Figure(value=value, error=math.sqrt(max(value * (1 - value), 1e-9) / len(found)), least=least, most=most)


def _at_most(found: Sequence[bool] | np.ndarray, most: float) -> Figure:
    return _share(found, most=most)


def _mean(values: Sequence[float] | np.ndarray, least: float = -math.inf, most: float = math.inf) -> Figure:
    x = np.asarray(values, dtype=float)
    return Figure(value=float(x.mean()), error=float(x.std() / math.sqrt(len(x))), least=least, most=most)


def _bars(seeds: int) -> tuple[float, float]:
    return COVERAGE_OF_THREE if seeds == 3 else COVERAGE


def _extremes(found: Sequence[Figure], seeds: int) -> tuple[Figure, Figure]:
    """The least and the greatest coverage of several cells, with their bars."""
    least, most = _bars(seeds)
    by_value = sorted(found, key=lambda figure: figure.value)
    return replace(by_value[0], least=least), replace(by_value[-1], most=most)


def _watched(cells: Iterable, watch: Watch) -> Iterator:
    every = list(cells)
    for done, cell in enumerate(every):
        watch(done, len(every))
        yield cell
    watch(len(every), len(every))


def clusters(draws: int, quick: bool, watch: Watch) -> list[Line]:
    """Coverage of the interval over seeds and unequal clusters of items; and, beside it, over seeds alone."""
    grid = [(5, 8, 14, 40), (0.0, 0.02, 0.055, 0.1), (0.3, 1.0, 3.0), (0.2, 0.5, 0.8)]
    grid = [(5, 14), (0.0, 0.1), (0.3, 1.0), (0.5,)] if quick else grid
    found: dict[int, list[tuple[Figure, Figure]]] = {}
    for seeds, number, icc, leaf, own in _watched(itertools.product((3, 5, 8), *grid), watch):
        world = World(seeds=seeds, clusters=number, icc=icc, leaf=leaf, own=own)
        drawn = list(differences(world, draws, "clusters", seeds, number, icc, leaf, own))
        both = _share([not e.excludes_zero for e in drawn])
        found.setdefault(seeds, []).append((both, _share([not e.of_seeds.excludes_zero for e in drawn])))
    return [
        Line(
            setting=(str(seeds), str(len(cells))),
            figures=(
                *_extremes([both for both, _ in cells], seeds),
                _mean([both.value for both, _ in cells]),
                min((alone for _, alone in cells), key=lambda figure: figure.value),
            ),
        )
        for seeds, cells in found.items()
    ]


RATIOS = (1.0, 2.0, 4.0)
"""Standard deviation between fine-tunings of one leaf over that between pre-trainings."""


def nested(draws: int, quick: bool, watch: Watch) -> list[Line]:
    """Coverage where a leaf's score is the mean of several fine-tunings, and the interval's width against one."""
    designs = [(1, 0), (4, 1)] if quick else [(1, 0), (2, 0), (2, 1), (4, 0), (4, 1)]
    lines, one = [], {}
    for seeds, (each, missing) in _watched(itertools.product((3, 5, 8), designs), watch):
        shares, widths = [], []
        for ratio in RATIOS:
            world = World(seeds=seeds, finetunings=each, finetuning=ratio, missing=missing, icc=0.02)
            drawn = list(differences(world, draws, "nested", seeds, each, missing, ratio))
            shares.append(_share([not e.excludes_zero for e in drawn]))
            width = _mean([e.half for e in drawn])
            base = one.setdefault((seeds, ratio), width)
            widths.append(Figure(value=width.value / base.value))
        text = f"{each}, one leaf {each - 1}" if missing else str(each)
        lines.append(Line(setting=(str(seeds), text), figures=(*_extremes(shares, seeds), *widths)))
    return lines


def pairs(draws: int, quick: bool, watch: Watch) -> list[Line]:
    """Coverage and width of pairs and of Welch's interval where rows share a trunk more or less."""
    lines = []
    for seeds, trunk in _watched(itertools.product((3, 5, 8), (0.0, 0.5, 0.9)), watch):
        drawn = partial(differences, World(seeds=seeds, trunk=trunk, leaf=4.0), draws, "pairs", seeds, trunk)
        one, two = list(drawn(paired=True)), list(drawn())
        ratio = np.mean([e.half for e in one]) / np.mean([e.half for e in two])
        least, most = _bars(seeds)
        lines.append(
            Line(
                setting=(str(seeds), f"{trunk:g}"),
                figures=(
                    _share([not e.excludes_zero for e in one], least, most),
                    _share([not e.excludes_zero for e in two], *(() if trunk else (least, most))),
                    Figure(value=float(ratio)),
                ),
            )
        )
    return lines


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A planted claim about a row and its reference, in standard deviations between leaves: "above 0", equivalent
    inside `margin` if there is one, or "within ± margin".
    """

    effect: float
    """The truth."""
    margin: float | None = None
    within: bool = False

    def p(self, estimate: Estimate) -> dict[str, float]:
        """P-values of its null hypotheses, as `claims` has them."""
        if self.margin is None:
            return {DIFFERENCE: estimate.p()}
        distance = self.margin - abs(estimate.mean)
        if self.within:
            return {DIFFERENCE: estimate.tail(distance) if distance > 0 else 2 * estimate.tail(-distance)}
        return {DIFFERENCE: estimate.p(), EQUIVALENCE: estimate.tail(distance)}

    def false(self, rejected: str, estimate: Estimate) -> bool:
        """Whether a verdict is false: a difference where there is none or of the other sign, or "equivalent" at the
        margin or beyond.
        """
        if self.within or rejected == EQUIVALENCE:
            inside = rejected == EQUIVALENCE or abs(estimate.mean) < self.margin
            return inside if abs(self.effect) >= self.margin else not inside
        return not estimate.mean * self.effect > 0


Verdicts = dict[int, tuple[str, Estimate]]
"""For each decided claim of a family, the hypothesis that was rejected and the estimate that rejected it."""


def _verdicts(family: Sequence[Claim], taken: Sequence[dict[int, Estimate]], weights: dict[int, float]) -> Verdicts:
    """Judge a family by the estimates of the looks that each of its claims has had."""
    ps = []
    for claim, of in zip(family, taken):
        at = {look: claim.p(e) for look, e in of.items()}
        names = dict.fromkeys(name for p in at.values() for name in p) or (DIFFERENCE,)
        ps.append({name: {look: p[name] for look, p in at.items()} for name in names})
    adjusted = looks.stepdown(
        {at: {name: looks.joined(of_look, weights) for name, of_look in of.items()} for at, of in enumerate(ps)}
    )
    rejected = {at: looks.found(of) for at, of in adjusted.items()}
    return {at: (name, taken[at][looks.deciding(ps[at][name], weights)]) for at, name in rejected.items() if name}


def _wrong(family: Sequence[Claim], verdicts: Verdicts) -> bool:
    return any(family[at].false(*verdict) for at, verdict in verdicts.items())


def _rows(family: Sequence[Claim], draws: int, key: Sequence[float | str], trunk: float = 0.0) -> np.ndarray:
    """Draw a reference and a row for each claim: [draws, rows, seeds]."""
    world = World(seeds=LOOKS[-1], rows=len(family) + 1, trunk=trunk)
    drawn = leaves(world, draws, stream(*key, len(family)))
    drawn[:, 1:] += np.array([claim.effect for claim in family])[:, None]
    return drawn


def _against(values: np.ndarray, at: int, seeds: int, paired: bool = False) -> Estimate:
    """Estimate how far row `at` + 1 lies above row 0 by the first seeds of values [rows, seeds]."""
    row, reference = values[at + 1, :seeds], values[0, :seeds]
    return estimate([row - reference]) if paired else estimate([row, -reference])


NONE, AT_MARGIN, AT_EDGE = (
    Claim(effect=0.0, margin=2.0),
    Claim(effect=2.0, margin=2.0),
    Claim(effect=3.0, margin=3.0, within=True),
)
PLANTED = {
    "0": (NONE,),
    "at the margin": (AT_MARGIN,),
    "at the edge of “within”": (AT_EDGE,),
    "mixed": (NONE, AT_MARGIN, Claim(effect=6.0, margin=2.0), AT_EDGE),
}
"""Claims of a family, in turn."""


def several(draws: int, quick: bool, watch: Watch) -> list[Line]:
    """Family-wise error of claims about rows against one reference, "equivalent" at the margin among the errors: with
    declared looks, with one look at the last, and where every look at 3, 5 and 8 seeds has the full level.
    """
    cells = itertools.product((1, 3) if quick else (1, 3, 9), PLANTED)
    lines = []
    for claims, name in _watched([cell for cell in cells if cell != (1, "mixed")], watch):
        family = list(itertools.islice(itertools.cycle(PLANTED[name]), claims))
        wrong = np.array([_errors(family, values) for values in _rows(family, draws, ("several", name))])
        bars = (looks.LEVEL, looks.LEVEL, math.inf)
        lines.append(Line(setting=(str(claims), name), figures=tuple(map(_at_most, wrong.T, bars))))
    return lines


def _errors(family: Sequence[Claim], values: np.ndarray) -> tuple[bool, bool, bool]:
    """Whether a family has a false verdict at declared looks, at the last alone, and at any look at the full level."""
    every = [{n: _against(values, at, n) for n in NAIVE} for at in range(len(family))]

    def wrong(seen: Sequence[int], weights: dict[int, float]) -> bool:
        return _wrong(family, _verdicts(family, [{n: of[n] for n in seen} for of in every], weights))

    declared = looks.weights(LOOKS)
    return (
        wrong(LOOKS[:1], declared) or wrong(LOOKS, declared),
        wrong(LOOKS[-1:], {LOOKS[-1]: 1.0}),
        any(wrong((n,), {n: 1.0}) for n in NAIVE),
    )


EFFECTS = (0.0, 0.5, 1.0, 1.25, 2.0, 3.0, 4.0)
"""Planted effects, in standard deviations between leaves."""
FIRST = 3
"""Seeds at which futility is first asked, before the first look."""
SAVED, LOST = 0.25, 0.05
"""Part of the seeds to be saved at the least where effects are large, and power to be lost at the most."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What `--until-decided` did: verdicts, seeds run over all rows, and the claims given up at each look."""

    verdicts: Verdicts
    seeds: int
    futile: dict[int, int]


def until_decided(family: Sequence[Claim], values: np.ndarray, paired: bool) -> Course:
    """Add seeds look by look, from `FIRST`, for the rows of claims that are neither decided nor given up."""
    weights, level = looks.weights(LOOKS), looks.remaining(LOOKS, len(family))
    taken: list[dict[int, Estimate]] = [{} for _ in family]
    verdicts: Verdicts = {}
    on, ran, futile = list(range(len(family))), dict.fromkeys(range(len(values)), 0), {}
    for n in (FIRST, *LOOKS):
        ran |= dict.fromkeys([0, *(at + 1 for at in on)], n)
        seen = {at: _against(values, at, n, paired) for at in on}
        if n in LOOKS:
            for at, e in seen.items():
                taken[at][n] = e
            verdicts = _verdicts(family, taken, weights)
        steps = {}
        for at in on:
            done = at in verdicts
            hopeless = not done and futility.hopeless(seen[at], (0.0,), family[at].margin, LOOKS[-1], level)
            steps[at] = looks.next_step(done, hopeless, n, LOOKS)
        futile[n] = sum(step == looks.FUTILE for step in steps.values())
        on = [at for at, step in steps.items() if step == looks.ON]
        if not on:
            break
    return Course(verdicts=verdicts, seeds=sum(ran.values()), futile=futile)


def until(draws: int, quick: bool, watch: Watch) -> list[Line]:
    """`--until-decided` on planted effects: error, power against eight seeds at once, and seeds saved."""
    designs = [("unpaired", 1), ("unpaired", 3), ("paired", 1)]
    cells = [*itertools.product(designs[:1] if quick else designs, (0.0, 1.0, 3.0) if quick else EFFECTS)]
    cells += [(("margin 3", 1), effect) for effect in (0.0, 3.0)]
    lines, last = [], LOOKS[-1]
    for (design, claims), effect in _watched(cells, watch):
        margin = 3.0 if design == "margin 3" else None
        paired, family = design == "paired", [Claim(effect=effect, margin=margin)] * claims
        drawn = _rows(family, draws, ("until", design, effect), trunk=0.5 * paired)
        fixed = [[{last: _against(of, at, last, paired)} for at in range(claims)] for of in drawn]
        at_once = np.array([_right(family, _verdicts(family, of, {last: 1.0})) for of in fixed]) / claims
        courses = [until_decided(family, of, paired) for of in drawn]
        power = np.array([_right(family, of.verdicts) for of in courses]) / claims
        spent = np.array([of.seeds for of in courses]) / (last * (claims + 1))
        lines.append(
            Line(
                setting=(design, str(claims), f"{effect:g}"),
                figures=(
                    _at_most([_wrong(family, of.verdicts) for of in courses], looks.LEVEL),
                    _mean(at_once),
                    _mean(power),
                    _mean(at_once - power, most=LOST),
                    _mean(1 - spent, least=SAVED if effect >= 3 else -math.inf),
                    *(_mean([of.futile.get(n, 0) / claims for of in courses]) for n in (FIRST, LOOKS[0])),
                ),
            )
        )
    return lines


def _right(family: Sequence[Claim], verdicts: Verdicts) -> int:
    """Number of verdicts that are true."""
    return sum(not family[at].false(*verdict) for at, verdict in verdicts.items())
