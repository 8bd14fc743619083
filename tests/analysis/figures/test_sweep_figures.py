"""Figures from records: harm by hand, and pictures that are there with cells missing."""

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from analysis.figures import capacity, curves, harm_over_training, interference, look
from analysis.records.frame import measure, read
from analysis.records.scores import IMPOSSIBLE

FEW = ("text_only", "speech_only", "joint_contrastive", "joint", "joint_placebo", "joint_tlm")
SIZES = ({"encoder": "nano"}, {"encoder": "small"}, {"encoder": "wide"})


@pytest.fixture(autouse=True)
def _theme():
    look.theme()


def has_ink(path):
    """Whether a PNG shows something besides its background."""
    return float(matplotlib.image.imread(path)[..., :3].std()) > 0.01


def test_harm_is_positive_when_bad_and_splits_by_the_placebo(fake):
    records = read(fake(seeds=(0, 1)))
    frame = interference.harm(records).set_index(["task", "row", "part"])
    values = records.values(measure(records, "asr")).mean()
    assert frame.loc[("asr", "joint", "total"), "mean"] == pytest.approx(values.joint - values.speech_only)
    assert frame.loc[("asr", "joint", "dilution"), "mean"] == pytest.approx(values.joint_placebo - values.speech_only)
    assert frame.loc[("asr", "joint", "interference"), "mean"] == pytest.approx(values.joint - values.joint_placebo)
    accuracy = records.values(measure(records, "sentiment")).mean()
    assert frame.loc[("sentiment", "joint", "total"), "mean"] == pytest.approx(accuracy.text_only - accuracy.joint)


def test_which_rows_are_compared(fake):
    frame = interference.harm(read(fake())).set_index(["task", "row", "part"])
    assert ("sentiment", "joint", "dilution") not in frame.index  # the placebo replaces text
    assert ("asr", "joint_tlm", "dilution") not in frame.index  # other steps than the placebo
    assert frame.loc[("asr", "joint_contrastive", "total"), "single"] == "speech_contrastive"
    assert frame.loc[("asr", "joint", "total"), "matched"]
    assert not frame.loc[("asr", "joint_longer", "total"), "matched"]
    rows = set(frame.index.get_level_values("row"))
    assert not rows & {"scratch", "text_only", "speech_only", "joint_placebo", "speech_contrastive"}
    assert "retrieval" not in set(frame.index.get_level_values("task"))


def test_rows_without_a_task_and_measures_of_a_leaf_have_no_harm(fake):
    records = read(fake())
    cut = (records.scores.row == "joint_tlm") & (records.scores.task == "asr")
    records.scores.loc[cut, "status"] = IMPOSSIBLE
    for line in records.manifest:
        line["stages"]["finetune"].pop("translation", None)
    frame = interference.harm(records)
    assert "joint_tlm" not in set(frame[frame.task == "asr"].row) and "joint" in set(frame[frame.task == "asr"].row)
    assert "translation" not in set(frame.task) and "joint_tlm" in set(frame[frame.task == "sentiment"].row)


def test_roles_can_be_named(fake):
    table = {"interference": {"speech": {"single": "speech_contrastive"}}}
    frame = interference.harm(read(fake(table=table)))
    assert set(frame[frame.task == "asr"].single) == {"speech_contrastive"}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_figures_are_drawn_with_cells_missing(fake, tmp_path, seeds):
    missing = (("joint", None, "asr"), ("speech_only", None, "translation"), (None, 0, "sentiment"))
    tasks = ("asr", "translation", "sentiment")
    records = read(fake(rows=FEW, tasks=tasks, table={}, claims={}, seeds=seeds, missing=missing))
    for make in (interference.figure, curves.pretraining, curves.finetuning):
        png, pdf = look.save(make(records), tmp_path, make.__module__ + make.__name__)
        assert has_ink(png) and pdf.read_bytes().startswith(b"%PDF")
    assert capacity.figure(records) is None  # one size


def test_figures_say_over_how_many_seeds_and_which_cells_nobody_asked_for(fake):
    tasks = ("asr", "sentiment")
    missing = (("joint", 0, "asr"), ("joint_contrastive", None, "asr"))
    folder = fake(rows=FEW, tasks=tasks, table={}, claims={}, seeds=(0, 1, 2), missing=missing)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in (line for line in lines if line["row"] == "joint_contrastive"):
        del line["stages"]["score"]["sentiment"]  # the sweep file leaves it out for this row
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = interference.figure(records := read(folder))
    texts = [t.get_text().replace("\n", " ") for t in drawn.findobj(look.plt.Text)]
    assert any("intervals over 2 to 3 of 3 seeds" in text for text in texts)
    assert "n/a" in texts and "—" in texts
    look.plt.close(drawn)
    assert look.over_how_many(records, [3, 3, 0]) == "95 % intervals over 3 seeds"
    assert look.over_how_many(records, [2]) == "95 % intervals over 2 of 3 seeds"
    assert look.over_how_many(read(fake(name="one")), [1]) == "one seed: no intervals"


def test_nothing_finished_is_no_crash(fake, tmp_path):
    records = read(fake(rows=FEW, table={}, claims={}, missing=((None, None, None),)))
    png, _ = look.save(interference.figure(records), tmp_path, "empty")
    assert has_ink(png)


def test_a_sweep_without_joint_rows_has_no_interference_figure(fake):
    assert interference.figure(read(fake(rows=("scratch", "speech_only", "text_only"), table={}, claims={}))) is None


def test_capacity_gap_by_hand_and_with_a_size_missing(fake, tmp_path):
    rows = ("text_only", "speech_only", "joint")
    options = {"rows": rows, "tasks": ("asr", "sentiment"), "points": SIZES, "table": {}, "claims": {}}
    records = read(fake(**options, seeds=(0, 1)))
    assert capacity.sizes(records) == ["encoder=nano", "encoder=small", "encoder=wide"]
    frame = capacity.measurements(records).set_index(["task", "kind", "row", "point"])
    values = records.values(measure(records, "asr")).loc["encoder=small"].mean()
    gap = frame.loc[("asr", "gap", "joint", "encoder=small"), "mean"]
    assert gap == pytest.approx(values.speech_only - values.joint)
    assert frame.loc[("asr", "single", "speech_only", "encoder=nano"), "active"] == 80_000
    assert has_ink(look.save(capacity.figure(records), tmp_path, "capacity")[0])
    fewer = read(fake(**options, missing=(("joint", None, "asr"),)))
    gaps = capacity.measurements(fewer).query("task == 'asr' and kind == 'gap'")
    assert gaps["mean"].isna().all()
    assert has_ink(look.save(capacity.figure(fewer), tmp_path, "fewer")[0])


def test_shared_stages_are_drawn_once(fake):
    records = read(fake(rows=("joint", "joint_longer", "joint_tlm"), tasks=("asr",), table={}, claims={}))
    frame = curves.pretraining_curves(records)
    own = frame[frame.metric == "masked_text/loss"]
    figure, (axes,) = look.grid(1, 1.0)
    curves.draw(own, axes, look.looks(records, list(records.rows), [""]))
    raw = [line for line in axes.lines if (line.get_alpha() or 1) < 0.5]
    assert sum(len(line.get_xdata()) for line in raw) == len(own.drop_duplicates(["stage", "step"]))
    look.plt.close(figure)


def test_a_line_is_the_mean_over_seeds_as_far_as_all_of_them_go(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), seeds=(0, 1, 2), table={}, claims={}))
    own = curves.of_metrics(curves.finetuning_curves(records), lambda name: name == "dev/wer")
    own = own[(own.seed != 2) | (own.step <= 600)].copy()  # one stopped early
    own["value"] += 3 * own.seed
    figure, (axes,) = look.grid(1, 1.0)
    curves.draw(own, axes, look.looks(records, ["joint"], [""]), smooth=False)
    *seeds, mean = axes.lines
    assert len(seeds) == 3 and mean.get_xdata().max() == 600
    assert mean.get_ydata()[-1] == pytest.approx(own[own.step == 600].value.mean())
    look.plt.close(figure)


def test_many_lines_are_averaged_over_seeds_and_few_are_not(fake, monkeypatch):
    records = read(fake(rows=("joint", "joint_longer"), tasks=("asr",), seeds=(0, 1, 2), table={}, claims={}))
    frame = curves.pretraining_curves(records)
    assert curves.averaged(frame) is frame
    monkeypatch.setattr(curves, "LINES", 5)
    mean = curves.averaged(frame)
    step = frame[(frame.row == "joint") & (frame.metric == "masked_text/loss") & (frame.step == 400)]
    one = mean[(mean.row == "joint") & (mean.metric == "masked_text/loss") & (mean.step == 400)]
    assert len(step) == 3 and len(one) == 1 and one.value.item() == pytest.approx(step.value.mean())
    shared = set(mean[mean.row == "joint"].stage) & set(mean[mean.row == "joint_longer"].stage)
    assert shared  # what rows share is still known as one stage


def test_rows_look_different():
    styles = look.row_styles([f"row{k}" for k in range(14)])
    assert len({str(style) for style in styles.values()}) == 14


def test_values_that_are_wild_at_first_do_not_flatten_the_rest(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), table={}, claims={}))
    figure = curves.finetuning(records)
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    look.plt.close(figure)


@pytest.mark.parametrize("values", [(2.0,) * 5, (0.0,) * 5, (2.0, 2.0 + 1e-7), (99.9,), (-3.0, np.nan, np.inf, -3.0)])
def test_equal_values_lie_amid_plain_numbers(values):
    figure, (axes,) = look.grid(1, 1.0)
    axes.plot(values)
    curves._limit(axes, pd.Series(values))
    figure.canvas.draw()
    low, high = axes.get_ylim()
    assert (values[0] - low) / (high - low) == pytest.approx(0.5, abs=0.1)
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert not axes.yaxis.get_offset_text().get_text() and len(set(shown)) == len(shown) >= 2
    assert max(map(len, shown)) <= 6
    look.plt.close(figure)


def test_steps_are_whole_numbers(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), table={}, claims={}))
    frame = curves.finetuning_curves(records)
    figure, (axes,) = look.grid(1, 1.0)
    one = frame[(frame.metric == "dev/wer") & (frame.step == 50)].assign(step=6)
    curves.draw(one, axes, look.looks(records, ["joint"], [""]), smooth=False)
    figure.canvas.draw()
    assert 6 in axes.get_xticks() and all(x == int(x) for x in axes.get_xticks())
    look.plt.close(figure)


def logged(folder, change):
    """Change every value that was logged: `change(number of the line, name, value)`."""
    for path in folder.parents[1].rglob("metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines):
            line |= {name: change(number, name, value) for name, value in line.items() if name != "step"}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read(folder)


def test_values_that_are_no_numbers_are_left_out(fake):
    folder = fake(rows=FEW, seeds=(0, 1), tasks=("asr", "sentiment"))
    records = logged(folder, lambda n, name, value: np.nan if n % 3 == 0 or "accuracy" in name else value)
    for figure, panels in ((curves.pretraining(records), 4), (curves.finetuning(records), 1)):  # of losses; of WER
        lines = [line.get_ydata() for axes in figure.axes for line in axes.lines]
        assert len(figure.axes) == panels and all(np.isfinite(y).all() for y in lines if len(y))
        look.plt.close(figure)
    assert harm_over_training.figure(records)
    records = logged(folder, lambda n, name, value: np.nan)
    assert curves.pretraining(records) is curves.finetuning(records) is None
    look.plt.close("all")


def test_losses_come_before_accuracies_and_these_before_what_masks_came_to():
    names = ["masked_text/span", "tlm/text_span", "stm/accuracy", "contrastive/distractors", "stm/loss", "tlm/text"]
    ordered = sorted(names, key=curves._rank)
    assert ordered[:3] == ["stm/loss", "tlm/text", "stm/accuracy"] and set(ordered[3:]) == {*names[:2], names[3]}
