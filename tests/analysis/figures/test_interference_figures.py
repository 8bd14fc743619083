"""Gradients, layers, losses, frontiers and harm over training, from planted records."""

import json

import numpy as np
import pandas as pd
import pytest

from ablate.store.record import files_of, read_result
from analysis.figures import capacity, frontier, gradients, harm_over_training, layers, look, losses
from analysis.records.frame import measure, read

ROWS = ("text_only", "speech_only", "joint_contrastive", "joint", "joint_placebo")
SIZES = tuple({"size": name} for name in "abcde")


@pytest.fixture(autouse=True)
def _theme():
    look.theme()


def runs(folder):
    """Manifest lines of a fake sweep, each with what names the folder of a stage."""
    records = read(folder)
    for line in records.manifest:
        yield line, records.path


def probe(cosine):
    """What a probe of two objectives logs: the same cosine in all scopes, none where it is None (suppressed)."""
    logged = {}
    for kind in ("raw", "adam"):
        for scope in ("all", "layer_0", "layer_0.ffn", "layer_1", "layer_1.ffn"):
            at = f"conflict/{kind}/{scope}"
            logged |= {f"{at}/{name}/ceiling": 0.3 for name in ("masked_speech", "masked_text")}
            if cosine is not None:
                logged[f"{at}/masked_speech~masked_text/cosine"] = cosine
    return logged


def probed(folder, cosine):
    """Add a probe of two objectives to every joint trunk: `cosine(row)`, or None where it is suppressed."""
    for line, path in runs(folder):
        if {"speech", "text"} <= set(line["reads"]):
            where = path("pretrain", line["stages"]["trunk"])
            logged = probe(cosine(line["row"]))
            with open(files_of(where, read_result(where)) / "metrics.jsonl", "a") as file:
                file.writelines(json.dumps({"step": step, **logged}) + "\n" for step in (400, 800))
    return read(folder)


def texts(figure):
    """All words of a figure, lines joined."""
    return " ".join(" ".join(t.get_text() for t in figure.findobj(look.plt.Text)).split())


def test_cosines_meet_the_harm_of_their_row(fake):
    planted = {"joint": -0.4, "joint_contrastive": 0.1}
    records = probed(fake(rows=ROWS, tasks=("asr", "sentiment"), table={}, claims={}), planted.get)
    frame = gradients.against_harm(records, gradients.read_probes(records)).set_index(["task", "row"])
    assert frame.loc[("asr", "joint"), "cosine"] == pytest.approx(-0.4)
    values = records.values(measure(records, "asr")).mean()
    assert frame.loc[("asr", "joint"), "mean"] == pytest.approx(values.joint - values.speech_only)
    drawn = gradients.figure(records)
    assert "+0.10" in texts(drawn) and "too few" in texts(drawn)
    look.plt.close(drawn)


def test_only_rows_of_equal_steps_tell_whether_cosines_foretell_harm(fake):
    planted = {"joint": -0.4, "joint_contrastive": 0.1, "joint_longer": 0.2, "joint_tlm": 0.3, "joint_tlm_stm": 0.5}
    records = probed(
        fake(rows=(*ROWS, "joint_longer", "joint_tlm", "joint_tlm_stm"), tasks=("asr",), table={}, claims={}),
        planted.get,
    )
    frame = gradients.against_harm(records, gradients.read_probes(records)).set_index("row")
    assert (
        frame.matched.to_dict() == {row: row in ("joint", "joint_contrastive") for row in frame.index}
        and len(frame) == 5
    )
    drawn = gradients.figure(records)
    assert "2 matched rows: too few" in texts(drawn) and "hollow below: other pre-training steps" in texts(drawn)
    look.plt.close(drawn)
    assert gradients.by_chance(10) == pytest.approx(0.632, abs=1e-3)  # the table's value of r for 8 degrees of freedom


def test_what_is_all_noise_says_so(fake):
    records = probed(fake(rows=ROWS, tasks=("asr",), table={}, claims={}), lambda row: None)
    drawn = gradients.figure(records)
    assert "Nearly everything is noise" in texts(drawn) and "every cosine is left out" in texts(drawn)
    look.plt.close(drawn)
    assert gradients.figure(read(fake(name="other", rows=ROWS, tasks=("asr",), table={}, claims={}))) is None


def test_rank_correlation_by_hand():
    assert gradients.spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 9, 3, -7])) == pytest.approx(-1)
    assert gradients.spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    assert np.isnan(gradients.spearman(np.arange(3.0), np.arange(3.0)))


def test_pairs_of_speech_and_text():
    assert gradients.crosses("masked_speech~masked_text") and gradients.crosses("contrastive~masked_text")
    assert not gradients.crosses("contrastive~masked_speech") and not gradients.crosses("masked_text~tlm")


def test_harm_over_training_ends_at_the_harm_of_the_best_scores(fake):
    records = read(fake(rows=ROWS, tasks=("asr", "sentiment"), table={}, claims={}, seeds=(0, 1)))
    panels = harm_over_training.curves(records)
    assert (
        list(panels) == ["asr, fine-tuning", "sentiment, fine-tuning", "masked text, pre-training"] or len(panels) == 2
    )
    frame, unit = panels["asr, fine-tuning"]
    joint = frame[frame.row == "joint"].set_index(["part", "step"])["mean"]
    assert unit == "harm in dev WER" and joint["total"].loc[800] == pytest.approx(4)  # planted: 4 points lost
    assert np.allclose(joint["dilution"] + joint["interference"], joint["total"])
    drawn = harm_over_training.figure(records)
    assert drawn is not None
    look.plt.close(drawn)


def test_layers_are_in_order_and_drawn(fake):
    folder = fake(rows=ROWS, tasks=("asr",), table={}, claims={}, seeds=(0, 1))
    names = ("speech_0", "speech_1", "shared_0", "shared_1", "shared_10", "shared_2")
    for line, path in runs(folder):
        for runs_of in line["stages"]["score"].values():
            place = path("score", runs_of["test"]) / "result.json"
            result = json.loads(place.read_text())
            result["scores"] += [
                {**result["scores"][0], "metric": f"phone/{name}", "value": 40.0 + line["seed"]} for name in names
            ]
            result["baselines"] += [
                {**result["baselines"][0], "metric": "phone", "name": "most frequent", "value": 4.5}
            ]
            place.write_text(json.dumps(result))
    records = read(folder)
    frame = layers.by_layer(records)
    assert layers.order(list(frame.layer)) == ["speech_0", "speech_1", "shared_0", "shared_1", "shared_2", "shared_10"]
    assert (frame["mean"] == 40.5).all() and (frame.n == 2).all()
    drawn = layers.figure(records)
    assert "phone probe" in texts(drawn) and "intervals over 2 seeds" in texts(drawn)
    assert "beyond the picture: phone probe, accuracy (%) of most frequent, 4.5" in texts(drawn)
    look.plt.close(drawn)


def fixed_losses(folder, law):
    """Give every leaf held-out losses by `law(modality, parameters, row)`, of text, learned codes and fixed codes."""
    place = folder / "sweep.json"
    sweep = json.loads(place.read_text())
    for about in sweep["rows"].values():
        if "speech" in about["reads"]:
            about["objectives"]["masked_speech"] = {"weight": 1.0, "targets": "learned"}
            about["objectives"]["fixed"] = {"weight": 0.0, "targets": "random_projection"}
        about["objectives"].get("masked_text", {})["text"] = "true"
    place.write_text(json.dumps(sweep))
    for line, path in runs(folder):
        leaf = path("pretrain", line["stages"]["leaf"]) / "result.json"
        result, reads = json.loads(leaf.read_text()), line["reads"]
        counts = result["parameters"]
        final = {
            f"{name}/loss": law(modality, counts["total"] - counts["embedding"], line["row"])
            for name, modality in (("masked_text", "text"), ("masked_speech", "speech"), ("fixed", "speech"))
            if modality in reads
        }
        result["exposure"] = {"speech": {"hours": 10.0}, "text": {"tokens": 1e6}}
        leaf.write_text(json.dumps(result))
        held_out = path("heldout", line["stages"]["heldout"]) / "result.json"
        held_out.write_text(json.dumps(json.loads(held_out.read_text()) | {"final": final}))


@pytest.mark.slow
def test_losses_are_of_fixed_targets_and_recover_a_planted_law(fake, monkeypatch):
    monkeypatch.setattr(losses, "DRAWS", 2)
    folder = fake(rows=("text_only", "speech_only", "joint"), tasks=("asr",), table={}, claims={}, points=SIZES)
    fixed_losses(folder, lambda modality, n, row: 2 + 30 / n**0.4 + 0.1 * (row == "joint"))
    records = read(folder)
    frame = losses.held_out(records)
    assert set(frame.loss) == {"masked_text", "fixed"}
    assert set(frame[frame.row == "joint"].other) == {1e6, 10.0 * 3600 * 25}
    text = frame[(frame.row == "text_only")]
    assert (text.active == text.parameters).all() and sorted(text.parameters)[0] == 61_000
    both = frame[(frame.row == "joint") & (frame.modality == "text")]
    assert sorted(both.parameters)[0] == 81_000 and sorted(both.active)[0] == 61_000
    fit, low, high, grid = losses.law_of_size(text)
    assert fit["E"] == pytest.approx(2, rel=0.02) and fit["alpha"] == pytest.approx(0.4, rel=0.1)
    assert (low <= high + 1e-9).all() and np.allclose(fit.predict(grid), 2 + 30 / grid**0.4, rtol=0.01)
    drawn = losses.figure(records)
    assert "bootstrap" in texts(drawn)
    look.plt.close(drawn)


def test_three_sizes_are_no_law_and_one_amount_no_competition(fake):
    folder = fake(rows=("text_only", "speech_only", "joint"), tasks=("asr",), table={}, claims={}, points=SIZES[:3])
    fixed_losses(folder, lambda modality, n, row: 2 + 30 / n**0.4)
    records = read(folder)
    frame = losses.held_out(records)
    assert losses.law_of_size(frame[frame.row == "text_only"]) is None and losses.competition(frame) is None
    drawn = losses.figure(records)
    assert "a curve, no law" in texts(drawn)
    assert (
        "1 more size of text, 2 more amounts of text, 1 more size of speech, 2 more amounts of speech needed"
        in " ".join(texts(drawn).split())
    )
    look.plt.close(drawn)


def of_one_n(n):
    """What C, A and alpha have to say of a joint run with n parameters."""
    return -0.3 + 10 / n**0.3


@pytest.mark.slow
def test_competition_is_recovered_where_sizes_and_amounts_suffice(monkeypatch):
    """Planted: the joint mean is that of both laws alone at the joint run's N, all its parameters, less C = .3, plus 10
    / N^.3.

    Each modality goes through .6 of a joint run's parameters: read as N, those would give another competition.
    """
    monkeypatch.setattr(losses, "DRAWS", 2)
    lines, laws = (
        [],
        {
            "text": lambda n, d: 1.5 + 40 / n**0.32 + 90 / d**0.28,
            "speech": lambda n, d: 2.5 + 20 / n**0.25 + 60 / d**0.3,
        },
    )
    for n in (1e5, 3e5, 1e6, 3e6, 1e7):
        for d in (1e6, 1e7, 1e8):
            for modality, law in laws.items():
                lines.append([f"{modality}_only", f"{n},{d}", 0, modality, modality, law(n, d), n, n, d, 0.0])
                lines.append(["joint", f"{n},{d}", 0, modality, modality, law(n, d) + of_one_n(n), n, 0.6 * n, d, d])
    frame = pd.DataFrame(lines, columns=losses.COLUMNS)
    terms = losses.competition(frame)
    assert losses.missing(frame) == []
    assert terms["C"][0] == pytest.approx(0.3, abs=0.05)
    n = np.geomspace(1e5, 1e7, 5)
    curve = -terms["C"][0] + terms["A"][0] / n ** terms["alpha"][0] + terms["B"][0] / 2e7 ** terms["beta"][0]
    assert curve == pytest.approx(of_one_n(n), abs=0.02)
    other = losses.competition(frame.assign(parameters=frame.active))
    wrong = -other["C"][0] + other["A"][0] / n ** other["alpha"][0] + other["B"][0] / 2e7 ** other["beta"][0]
    assert np.abs(wrong - of_one_n(n)).max() > 0.05
    assert "− C + A / N^α" in losses._competition_words(frame)
    assert losses._competition_words(frame[frame.row != "joint"]) == ""


def test_frontier_has_the_rows_in_the_files_order(fake):
    table = {"frontier": {"x": "asr.wer", "y": "sentiment.accuracy", "rows": ["joint_contrastive", "joint"]}}
    records = read(fake(rows=ROWS, tasks=("asr", "sentiment"), table=table, claims={}, seeds=(0, 1)))
    frame = frontier.frontier(records)
    assert list(frame.row) == ["joint_contrastive", "joint"]
    assert frame.x[1] == pytest.approx(records.values(measure(records, "asr")).joint.mean())
    drawn = frontier.figure(records)
    assert drawn.axes[0].xaxis_inverted() and not drawn.axes[0].yaxis_inverted()
    assert "lines at a mark: 95 % intervals over 2 seeds" in texts(drawn)
    look.plt.close(drawn)
    assert frontier.figure(read(fake(name="none", rows=ROWS, tasks=("asr",), table={}, claims={}))) is None


def test_rows_of_different_sizes_are_capacity_too(fake):
    folder = fake(rows=ROWS, tasks=("asr",), table={}, claims={})
    assert capacity.figure(read(folder)) is None  # rows of one modality lack parts, they are no other size
    for line, path in runs(folder):
        if line["row"] == "joint_contrastive":
            leaf = path("pretrain", line["stages"]["leaf"]) / "result.json"
            result = json.loads(leaf.read_text())
            result["parameters"]["total"] += result["parameters"]["shared"]
            result["parameters"]["shared"] *= 2
            leaf.write_text(json.dumps(result))
    drawn = capacity.figure(read(folder))
    assert "active parameters" in texts(drawn)
    look.plt.close(drawn)
