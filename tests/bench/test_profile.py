"""`python -m ablate.bench.profile`: planted lines are found, shares sum to one, the picture is in proportion."""

import inspect
import time
from xml.etree import ElementTree

import pytest
import torch
from tiny import World

from ablate.bench import flame, shares, staged, watch
from ablate.bench.watch import BACKWARD, DATA, OTHER, Enough, Frame, Seen, Watch, unit
from ablate.errors import UserError

SPUN, SLEPT = 0.012, 0.006  # seconds of a unit
X, WIDE, NARROW = torch.ones(400, 400), torch.ones(400, 400, requires_grad=True), torch.ones(1, requires_grad=True)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.004)  # planted: python
        return 2 * gradient


class Planted:
    @staticmethod
    def data():
        began = time.perf_counter()
        while time.perf_counter() < began + SPUN:  # planted: spun
            pass

    @staticmethod
    def work():
        Planted.data()
        time.sleep(SLEPT)  # planted: slept
        y = X @ WIDE  # planted: wide
        y = y.sum() * NARROW  # planted: narrow
        y = Doubled.apply(y)  # planted: doubled
        y.backward()


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What was seen of planted work."""
    own = Watch(sampled=12)
    phases = [(Planted, "data", DATA), (torch.autograd, "backward", BACKWARD)]
    with own.phases(phases), pytest.raises(Enough):
        while True:
            own.begin()
            unit(Planted.work)
            own.end()
    return own.seen


def planted(rows: list[shares.Line], what: str) -> list[shares.Line]:
    """The rows of a planted line, and of the loop's body below it."""
    source, _ = inspect.findsource(Planted)
    (number,) = (i for i, line in enumerate(source, 1) if line.endswith(f"# planted: {what}\n"))
    return [
        one for one in rows if one.line in (number, number + (what == "spun")) and one.file.endswith(__file__[-15:])
    ]


def test_planted_lines_are_found(seen):
    """How large their shares are depends on what else takes the cores; NOTES.md has what was measured alone."""
    rows = shares.lines(seen)
    for what in ("spun", "slept"):
        assert sum(one.share for one in planted(rows, what)) > 0.02, what


def test_backward_is_of_the_line_that_made_the_node(seen):
    rows = shares.lines(seen)
    wide, narrow, python = (planted(rows, what)[0].backward_ms for what in ("wide", "narrow", "python"))
    assert wide > narrow and python > 0  # how long they take depends on what else runs
    (doubled,) = planted(rows, "doubled") or [None]
    assert doubled is None or doubled.backward_ms == 0  # its backward pass is written in Python, and has a line


def test_shares_sum_to_one(seen):
    assert sum(one.share for one in shares.lines(seen)) == pytest.approx(1)
    assert sum(one.share for one in shares.operations(seen)) == pytest.approx(1)
    assert sum(shares.spread(seen).values()) == pytest.approx(seen.seconds)
    whole = shares.whole(seen)
    assert whole.operations + whole.python + whole.data == pytest.approx(1)
    assert sum(whole.phases.values()) == pytest.approx(1)
    assert 0 < whole.data < 1


def test_operations_are_counted_by_phase(seen):
    calls = {(one.phase, one.operation): one.calls for one in shares.operations(seen)}
    assert calls[OTHER, "aten::mm"] == calls[BACKWARD, "aten::mm"] == 1
    assert seen.flops == 2 * 2 * 400**3


A, B, C = Frame("a.py", "a", 1), Frame("b.py", "b", 2), Frame("c.py", "c", 3)


def test_backward_spread_by_hand():
    """2 s at the call, of which nodes take three quarters; 1 s in a node that is written in Python."""
    seen = Seen(units=1, seconds=4.0, backward=4.0)
    seen.samples.update({(BACKWARD, (A,)): 2.0, (BACKWARD, (A, B)): 1.0, ("forward", (A, C)): 1.0})
    seen.nodes[A, C] = 3.0
    assert shares.spread(seen) == {
        (BACKWARD, (A,)): 0.5,
        (BACKWARD, (A, B)): 1.0,
        (BACKWARD, (A, C)): 1.5,
        ("forward", (A, C)): 1.0,
    }
    top = shares.lines(seen)[0]
    assert (top.function, top.ms, top.backward_ms, top.share) == ("c", 1000, 1500, 0.625)


def test_csv_and_tables(seen, tmp_path):
    rows = shares.operations(seen)
    shares.write(tmp_path / "o.csv", rows)
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert len(lines) == len(rows) + 1
    assert sum(float(line.split(",")[4]) for line in lines[1:]) == pytest.approx(1, abs=1e-4)
    text = shares.table(rows, 2).splitlines()
    assert len(text) == 4
    assert text[-1].endswith(f"({len(rows) - 2} more)")


def test_the_picture_is_xml_and_in_proportion():
    samples = {("forward", (A, B)): 3.0, ("forward", (A, C)): 1.0, ("a <b> & c", ()): 4.0, ("data", (A,)): 0.0001}
    drawn = ElementTree.fromstring(flame.svg(flame.tree(samples, "row"), "a < b", per=2))
    space = "{http://www.w3.org/2000/svg}"
    widths = {
        box.find(f"{space}title").text.split("\n")[0]: float(box.find(f"{space}rect").get("width")) / flame.WIDTH
        for box in drawn.iter(f"{space}g")
    }
    assert widths == pytest.approx(
        {
            **{"row": 1, "forward": 1 / 2, "a <b> & c": 1 / 2, "a a.py": 1 / 2},
            **{"b b.py": 3 / 8, "c c.py": 1 / 8, "2: ": 3 / 8, "3: ": 1 / 8},
        },
        abs=1e-4,
    )
    assert not [one for one in drawn.iter() if one.tag.endswith("script") or "href" in str(one.attrib)]
    assert "forward 50.0%" in {one.text for one in drawn.iter(f"{space}text")}


def test_a_stage_is_watched_and_left_alone(tmp_path, monkeypatch):
    """Without its data it trains on noise, with them from the middle of its steps on; its root stays as it is."""
    monkeypatch.setattr(watch, "PROFILED", 1)
    monkeypatch.setattr(watch, "ATTRIBUTED", 1)
    world = World(tmp_path / "runs")
    id = world.pretrain("contrastive", "masked_text", steps=1000)
    for there in (False, True):
        if there:
            world.lay(id)
        before = sorted(world.root.rglob("*"))
        own = Watch(sampled=2)
        data = staged.watched(staged.of_id(id[:8], world.root, tmp_path / f"scratch{there}"), own)
        assert data == "its own" if there else data.startswith(staged.MADE_UP)
        assert sorted(world.root.rglob("*")) == before
        assert (own.seen.units, own.precision) == (2, "fp32")
        assert {phase for phase, _ in own.seen.own} == {"forward", BACKWARD, "optimizer", DATA, OTHER}
        assert "Linear.forward" in {one.function for one in shares.lines(own.seen)}


def test_unknown_stages_are_told_with_the_nearest(tmp_path):
    world = World(tmp_path / "runs")
    id = world.pretrain("masked_text")
    wrong = ("0" if id[0] != "0" else "1") + id[1:]
    with pytest.raises(UserError, match=f"No stage '{wrong}' is planned under .*; did you mean '{id}'"):
        staged.of_id(wrong, world.root, tmp_path)
    with pytest.raises(UserError, match="is of the kind 'tokenizer', which runs no model; expected one of pretrain, "):
        staged.of_id(world.tokenizer, world.root, tmp_path)
    tuned, _ = world.finetune("asr", id)
    with pytest.raises(UserError, match=r"asr \(finetune \w+\) starts from tokenizer, table/train, .*not there yet"):
        staged.watched(staged.of_id(tuned, world.root, tmp_path / "scratch"), Watch(1))
