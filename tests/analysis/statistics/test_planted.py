"""On planted data intervals cover, looks keep their level, pairs and further fine-tunings make intervals narrower.

Small versions of the simulations that `python -m analysis.calibrate` runs, with bounds that a missing part breaks.
"""

import itertools
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from analysis import calibrate
from analysis.statistics import claims, looks, simulate
from analysis.statistics.compare import Estimate
from analysis.statistics.simulate import Claim, Figure, Line, World
from analysis.tables import simulations


def covered(world, draws=500, **options):
    drawn = list(simulate.differences(world, draws, "test", world, **options))
    share = np.mean([not e.excludes_zero for e in drawn])
    return share, np.mean([e.half for e in drawn]), np.mean([not e.of_seeds.excludes_zero for e in drawn])


@pytest.mark.parametrize("seeds", [3, 8])
def test_clusters_are_counted_and_only_once(seeds):
    """Without clusters intervals are too narrow; with what seeds add to clusters counted twice, too wide."""
    both, _, alone = covered(World(seeds=seeds, icc=0.1, leaf=0.3, clusters=5 if seeds == 3 else 14))
    assert 0.91 < both < 0.985 and alone < 0.6
    both, _, _ = covered(World(seeds=seeds, icc=0.0, leaf=0.3, own=0.9, clusters=40))
    assert 0.92 < both < 0.975


def test_the_mean_of_several_fine_tunings_is_narrower_and_covers():
    one, many = (
        covered(World(seeds=5, finetuning=3.0, finetunings=k, missing=missing, icc=0.0))
        for k, missing in ((1, 0), (4, 1))
    )
    assert 0.92 < many[0] < 0.975
    expected = np.sqrt((1 + 9 / 4 + 9 / 60 + 1) / (1 + 9 + 1))  # one leaf of five has three fine-tunings
    assert many[1] / one[1] == pytest.approx(expected, rel=0.1)


def test_pairs_by_design_are_narrower_and_cover():
    world = World(seeds=5, trunk=0.9, leaf=5.0, icc=0.0)
    paired, welch = covered(world, paired=True), covered(world)
    assert 0.93 < paired[0] < 0.97 < welch[0] and paired[1] < 0.6 * welch[1]
    apart = replace(world, trunk=0.0)
    assert covered(apart, paired=True)[1] > 1.05 * covered(apart)[1]  # pairing by seed number costs degrees of freedom


@pytest.mark.parametrize("claim", [simulate.NONE, simulate.AT_EDGE])
def test_declared_looks_keep_the_level_and_looks_without_weights_do_not(claim):
    wrong = np.mean([simulate._errors([claim], of) for of in simulate._rows([claim], 1200, ("looks",))], axis=0)
    assert wrong[0] < 0.06 and wrong[1] < 0.065 and wrong[0] < 0.65 * wrong[2]


def test_a_claim_knows_false_verdicts():
    up, down = (simulate._against(np.array([[0.0, 0.1, 0.2], [s, s, s]]), 0, 3) for s in (5.0, -5.0))
    assert not Claim(effect=1.0).false("difference", up) and Claim(effect=1.0).false("difference", down)
    assert Claim(effect=0.0).false("difference", up)
    assert Claim(effect=2.0, margin=2.0).false("equivalence", up)
    assert not Claim(effect=1.9, margin=2.0).false("equivalence", up)
    edge = Claim(effect=3.0, margin=3.0, within=True)
    assert edge.false("difference", replace(up, mean=2.0)) and not edge.false("difference", up)


@pytest.mark.parametrize("form", [{"above": 0}, {"above": 0, "margin": 2.0}, {"within": 2.0}])
def test_planted_claims_are_judged_as_those_of_a_sweep(form):
    """The same p-values and verdicts, and what is false of them."""
    planted = partial(Claim, margin=form.get("margin", form.get("within")), within="within" in form)
    seen = set()
    for mean, error, effect in itertools.product((-3.0, -1.0, 0.2, 1.5, 2.6), (0.1, 0.5), (-2.0, -1.0, 0.0, 1.0, 2.0)):
        claim, e = planted(effect=effect), Estimate(mean=mean, error=error, freedom=6, n=7)
        ps = claim.p(e)
        assert ps == {name: pytest.approx(claims._p(form, e, name)) for name in ps}
        adjusted = looks.stepdown({0: ps})[0]
        verdict, rejected = claims.decide(form, e, adjusted)[0], looks.found(adjusted)
        assert bool(rejected) == (verdict != "undecided")
        outside = abs(effect) >= 2
        refuted = not outside if "within" in form else effect >= 0
        if rejected:
            false = {"supported": effect <= 0, "refuted": refuted, "equivalent": outside}
            assert claim.false(rejected, e) == false[verdict]
            seen.add(verdict)
    assert len(seen) >= 2


def test_until_decided_saves_where_effects_are_large_and_stops_what_is_hopeless():
    for effect, error in ((4.0, 0.0), (0.0, 0.06)):
        family = [Claim(effect=effect)] * 2
        courses = [simulate.until_decided(family, of, False) for of in simulate._rows(family, 150, ("test", effect))]
        assert np.mean([simulate._wrong(family, of.verdicts) for of in courses]) <= error
        assert np.mean([of.seeds for of in courses]) < (0.75 if effect else 0.93) * 24
        assert sum(of.futile.get(3, 0) for of in courses) == 0  # of three seeds the spread is too uncertain


def test_draws_depend_on_their_cell_alone():
    first, second = (simulate.scores(World(seeds=3), 4, simulate.stream("a", 1))[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, simulate.scores(World(seeds=3), 4, simulate.stream("a", 2))[0])


def test_a_bar_is_missed_by_more_than_two_errors():
    assert Figure(value=0.92, error=0.005, least=0.93).kept and not Figure(value=0.919, error=0.005, least=0.93).kept
    assert Figure(value=0.06, error=0.005, most=0.05).kept and not Figure(value=0.061, error=0.005, most=0.05).kept
    assert Figure(value=7.0).kept


@pytest.fixture
def planted(monkeypatch, capsys):
    """Run the command on a simulation of three lines whose last figure is given."""

    def run(last, *arguments):
        def lines(draws, quick, watch):
            figures = [(Figure(value=0.95, error=0.003, least=0.93, most=0.97), Figure(value=v)) for v in (0.2, 1.5)]
            return [Line(setting=("3",), figures=of) for of in figures] + [
                Line(setting=("5",), figures=(Figure(value=last, error=0.003, least=0.93, most=0.97), Figure(value=1)))
            ]

        one = replace(simulations.SIMULATIONS["pairs"], run=lines, settings=("seeds",), figures=("covered", "width"))
        monkeypatch.setattr(calibrate, "SIMULATIONS", {"pairs": one})
        monkeypatch.setattr(simulations, "SIMULATIONS", {"pairs": one})
        monkeypatch.setattr(sys, "argv", ["calibrate", *arguments])
        try:
            calibrate.main()
            code = 0
        except SystemExit as error:
            code = error.code
        return (code, *capsys.readouterr())

    return run


def test_the_command_prints_figures_beside_bars_and_fails_if_one_is_missed(planted):
    code, out, err = planted(0.94, "--format", "md")
    assert (
        code == 0 and "| seeds | covered (≥ .93, ≤ .97) | width | kept |" in out and "| 3 | .950 | 1.50 | yes |" in out
    )
    assert "about 7 seconds on one core" in err
    code, out, _ = planted(0.926, "--format", "md")
    assert code == 0 and "| 5 | .926 | 1.00 | within error |" in out
    code, out, err = planted(0.90, "--format", "md", "--quick")
    assert code == 1 and "| 5 | .900 | 1.00 | NO |" in out and "bars were missed: pairs" in err
    assert planted(0.94, "objectives", "--quick")[0] == 2
    _, out, _ = planted(0.94, "--format", "csv")
    assert "pairs,seeds 5,covered,0.9400,0.0030,0.9300,0.9700,True,4000" in out


@pytest.mark.slow
def test_every_quick_simulation_keeps_its_bars():
    for name in simulations.SIMULATIONS:
        sheet, kept = simulations.sheet(name, quick=True)
        assert kept, sheet.md()
