"""A figure is drawn again exactly when its data, the plan or the code changed, or when it is gone."""

import json

import pytest

from analysis.figures import drawings, look
from analysis.figures.drawings import Key
from analysis.records import fingerprint
from analysis.records.frame import read

FEW = {
    "rows": ("scratch", "text_only", "speech_only", "joint"),
    "tasks": ("asr", "sentence_pair"),
    "seeds": (0, 1),
    "claims": {},
    "table": {"blocks": [{"reference": "joint"}]},
}
EVERY = {"interference", "harm_over_training", "pretraining", "finetuning"}


@pytest.fixture
def sweep(fake, monkeypatch):
    """A sweep whose figures are drawn; `sweep.draw()` says which are drawn again, as a new process would find them."""

    def save(figure, folder, name):
        drawn.append(name)
        folder.mkdir(exist_ok=True)
        for ending in ("png", "pdf"):
            (folder / f"{name}.{ending}").write_bytes(b"")
        look.plt.close(figure)

    class Sweep:
        folder = fake(**FEW)
        keys: dict = {}

        def draw(self) -> set[str]:
            drawn.clear()
            records = read(self.folder)
            figures, keys = drawings.draw(records, drawings.stages(records), self.keys)
            assert {drawing.name for drawing in figures} == EVERY == {name for name, key in keys.items() if key.data}
            self.keys = {name: Key(*key) for name, key in json.loads(json.dumps(keys)).items()}
            return set(drawn)

        def stage(self, row, kind):
            lines = map(json.loads, (self.folder / "manifest.jsonl").read_text().splitlines())
            about = next(line["stages"] for line in lines if line["row"] == row)
            id = about["leaf"] if kind == "pretrain" else about[kind]["asr"]
            id = id["test"] if kind == "score" else id
            return self.folder.parents[1] / kind / id[:2] / id

        def finish_anew(self, row, kind, log=None, **other):
            """Write another result and, where `log` says how, other lines of what was logged."""
            path = self.stage(row, kind)
            result = json.loads((path / "result.json").read_text())
            (path / "result.json").write_text(json.dumps(result | {"attempts": result.get("attempts", 1) + 1} | other))
            if log:
                logged = next(path.rglob("metrics.jsonl"))
                lines = [log(json.loads(line)) for line in logged.read_text().splitlines()]
                logged.write_text("".join(json.dumps(line) + "\n" for line in lines))

        def scores(self, row):
            scores = json.loads((self.stage(row, "score") / "result.json").read_text())["scores"]
            return [score | {"value": score["value"] + 5} for score in scores]

    drawn: list[str] = []
    monkeypatch.setattr(look, "save", save)
    made = Sweep()
    assert made.draw() == EVERY
    return made


def test_nothing_is_drawn_while_nothing_changed(sweep):
    assert sweep.draw() == set()


def test_runs_done_anew_with_the_same_numbers_change_no_figure(sweep):
    for kind in ("score", "finetune", "pretrain"):
        sweep.finish_anew("joint", kind)
    assert sweep.draw() == set()
    assert sweep.draw() == set()


def test_a_score_changes_the_figure_that_shows_it(sweep):
    sweep.finish_anew("joint", "score", scores=sweep.scores("joint"))
    before = (sweep.folder / "figures" / "interference.csv").read_bytes()
    assert sweep.draw() == {"interference"}
    assert (sweep.folder / "figures" / "interference.csv").read_bytes() != before
    sweep.finish_anew("scratch", "score", scores=sweep.scores("scratch"))  # no joint row, nor compared with one
    assert sweep.draw() == set()


def test_curves_change_the_figures_that_show_them(sweep):
    sweep.finish_anew("joint", "finetune", lambda line: {k: v / 2 if k == "dev/wer" else v for k, v in line.items()})
    assert sweep.draw() == {"finetuning", "harm_over_training"}
    sweep.finish_anew(
        "joint", "pretrain", lambda line: {k: v / 2 if k == "masked_speech/loss" else v for k, v in line.items()}
    )
    assert sweep.draw() == {"pretraining"}  # harm is of another loss
    sweep.finish_anew(
        "joint", "pretrain", lambda line: {k: v / 2 if k == "masked_text/loss" else v for k, v in line.items()}
    )
    assert sweep.draw() == {"pretraining", "harm_over_training"}


def test_plan_and_code_change_every_figure(sweep, monkeypatch):
    path = sweep.folder / "sweep.json"
    path.write_text(path.read_text().replace('"label": "joint"', '"label": "both"'))
    assert sweep.draw() == EVERY
    monkeypatch.setattr(fingerprint, "code", lambda: "other")
    assert sweep.draw() == EVERY
    assert sweep.draw() == set()


def test_a_figure_that_is_gone_is_drawn_again(sweep):
    (sweep.folder / "figures" / "pretraining.pdf").unlink()
    assert sweep.draw() == {"pretraining"}
