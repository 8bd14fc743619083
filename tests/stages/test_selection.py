"""Which checkpoint of a fine-tuning is kept, and when it stops."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import World

from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.stages import finetune
from ablate.stages.finetune import Best, patience
from ablate.tasks.registry import TASKS
from ablate.tasks.supervised.asr import CER
from ablate.tasks.task import LOSS, Metric

ACCURACY = Metric("accuracy", "higher")


def offered(metric, *evaluations):
    """The best of evaluations (value, loss), 100 updates apart; weights are the number of updates."""
    best = Best(metric)
    for number, (value, loss) in enumerate(evaluations, 1):
        best.offer(100 * number, value, loss, SimpleNamespace(state_dict=lambda n=number: {"w": torch.tensor(100 * n)}))
    assert best.weights["w"] == best.step
    return best


@pytest.mark.parametrize(
    ("metric", "evaluations", "step"),
    [
        (CER, [(90.0, 3.0), (80.0, 4.0), (85.0, 2.0)], 200),
        (ACCURACY, [(50.0, 1.0), (60.0, 2.0), (55.0, 0.5)], 200),
        (CER, [(100.0, 9.0), (100.0, 5.0), (100.0, 6.0)], 200),  # equal: the lower loss
        (CER, [(100.0, 5.0), (100.0, 5.0), (100.0, 7.0)], 200),  # equal: the later one
        (CER, [(math.nan, 1.0), (99.0, 9.0), (math.nan, 0.1)], 200),
        (CER, [(100.0, 5.0), (100.0, math.nan)], 100),  # equal: a loss before none
        (CER, [(100.0, math.nan), (100.0, 5.0), (100.0, math.nan)], 200),
        (LOSS, [(2.0, 2.0), (1.5, 1.5), (1.5, 1.5)], 300),
    ],
)
def test_the_better_value_is_kept_then_the_lower_loss_then_the_later(metric, evaluations, step):
    assert offered(metric, *evaluations).step == step


def test_an_empty_model_is_not_kept_for_ever():
    """Of a low-resource language every output was empty (CER 100) at first; CER 73 at the end had a WER above 100."""
    assert offered(CER, (100.0, 4.0), (100.0, 3.5), (73.0, 3.0)).step == 300


def test_recognition_is_selected_by_characters_unless_the_file_says_otherwise():
    assert TASKS["asr"].build().chosen.name == "cer"
    assert replace(TASKS["asr"], select="wer").build().chosen.name == "wer"
    assert replace(TASKS["asr"], select="loss").build().chosen is LOSS
    assert TASKS["translation"].build().chosen is LOSS and TASKS["sentiment"].build().chosen.name == "accuracy"
    with pytest.raises(UserError, match="select is 'werr'; did you mean 'wer'"):
        _ = replace(TASKS["asr"], select="werr").build().chosen


def test_a_metric_that_a_task_does_not_have_is_named_while_planning():
    """Of any row, not of the first alone."""
    sweep = Path(__file__).resolve().parents[2] / "sweeps" / "objectives.yaml"
    with pytest.raises(UserError, match=r"rows\.joint\.tasks\.asr: select is 'werr'; did you mean 'wer'"):
        plan_file(sweep, ["rows.joint.tasks.asr.select=werr"])


def test_patience_is_off_unless_asked_for():
    assert {task.patience for task in TASKS.values()} == {0}
    assert patience(TASKS["asr"]) == math.inf


def test_patience_counts_from_the_end_of_warm_up_and_spans_a_fifth_of_the_steps():
    """asr_slam was ended at update 600 of 20,000, in its warm-up, at a WER of 100."""
    how = replace(TASKS["asr_slam"], patience=5, evaluate_every=100)
    assert patience(how) == 4000.0  # not 500
    assert patience(replace(how, patience=50)) == 5000
    best = Best(CER, settled=5000)
    best.step = 100
    assert best.idle(5600) == 600


@pytest.mark.parametrize(
    ("metric", "first", "value", "learnt"),
    [
        (CER, 120.0, 99.0, False),  # empty outputs have 100
        (CER, 120.0, 97.9, True),
        (CER, 97.0, 96.0, False),
        (ACCURACY, 50.0, 52.0, False),
        (ACCURACY, 50.0, 52.1, True),
        (LOSS, 3.0, 2.9, True),
        (LOSS, 3.0, 2.96, False),
    ],
)
def test_nothing_stops_before_something_was_learnt(metric, first, value, learnt):
    best = Best(metric)
    best.first, best.value = first, value
    assert best.learnt is learnt


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Return (the result of a fine-tuning whose dev scores are given, its log): 40 updates, looked at every second."""

    def run(values, **fields):
        left = iter(values)
        monkeypatch.setattr(finetune, "dev_score", lambda *_: (next(left), 1.0))
        world = World(tmp_path)
        leaf = world.pretrain("masked_text", steps=2, phase="decay")
        id, _ = world.finetune("sentiment", leaf, steps=40, evaluate_every=2, **fields)
        return world.run(id).result()

    return run


def test_equal_scores_are_no_reason_to_stop(tuned):
    result = tuned([50.0, 60.0, *[60.0] * 18], patience=2, warmup=0.0, head_warmup=0.1)
    assert "stopped_early" not in result and (result["best_step"], result["steps_run"]) == (40, 40)


def test_a_run_that_stopped_early_says_so(tuned, capsys):
    result = tuned([50.0, 60.0, *[59.0] * 18], patience=2, warmup=0.0, head_warmup=0.1)
    assert (result["best_step"], result["stopped_early"], result["steps_run"]) == (4, 12, 12)
    assert "Stopped after 12 of 40 updates: dev has not improved since update 4." in capsys.readouterr().out


def test_warm_up_is_never_cut_short(tuned):
    result = tuned([50.0, 60.0, *[59.0] * 18], patience=2, warmup=0.5)
    assert result["stopped_early"] == 28  # warm-up ends at 20, a fifth of the steps is 8


def test_what_learns_nothing_is_trained_to_the_end(tuned):
    result = tuned([50.0, 51.0, *[50.0] * 18], patience=2)
    assert result["steps_run"] == 40 and "stopped_early" not in result
