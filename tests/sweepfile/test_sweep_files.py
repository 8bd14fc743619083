"""The sweep files that ship: they plan, they say how to run them, and their rows are the ones promised."""

import re
import shlex
from pathlib import Path

import pytest

from ablate import sweep
from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.stages.registry import KINDS
from ablate.store import identity

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
ROWS = [
    "scratch",
    "text_only",
    "speech_contrastive",
    "speech_only",
    "joint_contrastive",
    "joint",
    "joint_placebo",
    "joint_longer",
    "joint_tlm",
    "joint_tlm_unpaired",
    "joint_tlm_stm",
]


@pytest.fixture(scope="module")
def objectives():
    return plan_file(SWEEPS / "objectives.yaml")


FILES = sorted(SWEEPS.glob("*.yaml"))
COST = r"# Cost: about (\d+ min on 2 cores|[\d,]+ GPU-hours)\b.*"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_begins_with_its_command_cost_question_and_what_would_change_our_mind(path):
    run, cost, editors, question, mind, empty = path.read_text().split("\n")[:6]
    assert (
        run.startswith(f"# Run: python -m ablate.sweep sweeps/{path.name}") and re.fullmatch(COST, cost) and not empty
    )
    assert editors == "# yaml-language-server: $schema=schema.json"
    assert question.startswith("question: ") and question.rstrip('"').endswith("?")
    assert mind.startswith("changes_our_mind: ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_command_of_every_file_plans(path, request, monkeypatch):
    words = shlex.split(path.read_text().split("\n")[0].removeprefix("# Run: python -m ablate.sweep "))
    options = sweep._parser().parse_intermixed_args(words)
    overrides = options.overrides
    if "data.root=PATH" in overrides:
        root = request.getfixturevalue("real_data")
        overrides = [word.replace("PATH", str(root)) for word in overrides]
    monkeypatch.chdir(SWEEPS.parent)
    plan = plan_file(options.file, overrides, asking=["slurm"])
    assert plan.name == path.stem and plan.sweep["question"] and plan.sweep["changes_our_mind"]
    assert bool(plan.absent) == options.dry_run  # what cannot be run is shown


def test_objectives_has_the_rows_and_tasks_of_the_question(objectives):
    assert objectives.rows == ROWS and objectives.notes == ()
    assert list(objectives.sweep["tasks"]) == [
        "asr",
        "translation",
        "sentiment",
        "sentence_pair",
        "normalization",
        "retrieval",
        "pairing",
        "matching",
        "codes",
        "alignment_by_layer",
        "probes_by_layer",
        "pairing_by_layer",
    ]
    blocks = objectives.sweep["table"]["blocks"]
    assert sorted(row for block in blocks for row in block["rows"]) == sorted(ROWS)
    assert all(block["reference"] in block["rows"] for block in blocks)


def test_the_joint_trunk_is_trained_once(objectives):
    stages = {line["row"]: line["stages"] for line in objectives.manifest}
    after = [line["row"] for line in objectives.manifest if line["after"]]
    assert len(after) == 4 and {stages[row]["trunks"][0] for row in after} == {stages["joint"]["trunk"]}
    trunks = {id for line in objectives.manifest for id in line["stages"]["trunks"]}
    assert len(trunks) == len(ROWS)


def test_continuations_and_controls_are_matched_in_steps(objectives):
    steps = {name: row["steps"] for name, row in objectives.sweep["rows"].items()}
    second = ["joint_longer", "joint_tlm", "joint_tlm_unpaired", "joint_tlm_stm"]
    assert len({steps[row] for row in second}) == 1
    assert steps["scratch"] == 0


def test_stages_are_matched_in_steps_and_the_one_stage_row_in_data_too():
    plan = plan_file(SWEEPS / "stages.yaml")
    rows = plan.sweep["rows"]
    assert (
        rows["joint_tlm_stm_speech"]["steps"] == rows["joint_tlm_stm_longer"]["steps"] > rows["joint_tlm_stm"]["steps"]
    )
    assert rows["joint_tlm_one_stage"]["steps"] == rows["joint_tlm"]["steps"]

    def seen(row, stream):  # over the trunks of its chain
        trunks = [plan.stages[id].config for id in plan.lines(row)[0]["stages"]["trunks"]]
        return sum(t["steps"] * t["update"][stream] for t in trunks if stream != "pairs" or "tlm" in t["objectives"])

    for stream in ("speech", "text", "pairs"):
        assert seen("joint_tlm_one_stage", stream) == pytest.approx(seen("joint_tlm", stream), rel=0.03)


def test_capacity_is_three_sizes_of_three_rows():
    plan = plan_file(SWEEPS / "capacity.yaml")
    assert len(plan.manifest) == 9 and len({line["stages"]["leaf"] for line in plan.manifest}) == 9
    widths = [plan.stages[line["stages"]["leaf"]].config["encoder"]["width"] for line in plan.lines("joint")]
    assert widths == sorted(set(widths))


@pytest.mark.parametrize("name", ["sharing", "masking", "weights", "pairs"])
def test_sweeps_share_their_stages(objectives, name):
    """Rows of objectives.yaml are its very stages (of pairs, at as many pairs as it has)."""
    plan = plan_file(SWEEPS / f"{name}.yaml")
    assert plan.name == name and plan.notes == ()
    for row in (row for row in plan.rows if row in ROWS):
        assert plan.lines(row)[-1]["stages"]["leaf"] == objectives.lines(row)[0]["stages"]["leaf"]


def test_rows_that_share_less_are_matched_in_active_or_in_total_parameters():
    from encoders.batch import Vocabulary
    from encoders.presets import PRESETS

    vocabulary = Vocabulary(400, (1,) * 400, (True,) * 400)
    count = {
        name: PRESETS[name].build(vocabulary).parameters_by_modality() for name in PRESETS if name.startswith("nano")
    }
    whole = count["nano"]
    for name in ("nano_late", "nano_experts", "nano_separate"):
        for modality in ("speech_only", "text_only"):
            active = count[name][modality] + count[name]["shared"]
            assert active == pytest.approx(whole[modality] + whole["shared"], rel=0.01)
    for name in ("nano_experts_matched", "nano_separate_matched"):
        assert count[name]["total"] == pytest.approx(whole["total"], rel=0.01)


def test_a_named_point_of_an_axis_is_a_patch_of_the_base(tmp_path):
    text = (
        (SWEEPS / "capacity.yaml")
        .read_text()
        .replace("{encoder: nano_wide}", "{encoder: nano_wide, pretrain: {optimizer: {lr: 1.0e-3}}}")
    )
    path = tmp_path / "named.yaml"
    path.write_text(text)
    plan = plan_file(path)
    of = {line["point"]["size"]: plan.stages[line["stages"]["trunk"]].config for line in plan.lines("joint")}
    assert {name: (c["encoder"]["width"], c["optimizer"]["lr"]) for name, c in of.items()} == {
        "narrow": (32, 0.002),
        "nano": (64, 0.002),
        "wide": (128, 0.001),
    }
    path.write_text(text.replace("{encoder: nano_wide,", "{encodr: nano_wide,"))
    with pytest.raises(UserError, match=r"axes\.size\.wide.*encoder"):
        plan_file(path)


@pytest.mark.parametrize("name", ["targets", "alignment", "stages"])
def test_what_departs_from_slam_says_so_and_the_rest_is_shared(objectives, name):
    """Rows that objectives.yaml has are its very stages; the others are named departures, or the paper's in another
    mix.
    """
    plan = plan_file(SWEEPS / f"{name}.yaml")
    assert plan.name == name and plan.notes == () and len(plan.sweep["claims"]) == 2
    for row in plan.rows:
        if row in ROWS:
            theirs, ours = (p.lines(row)[0]["stages"] for p in (objectives, plan))
            assert ours["trunks"] == theirs["trunks"] and ours["leaf"] == theirs["leaf"]
            assert (
                ours["finetune"].items() <= theirs["finetune"].items()
                and ours["score"].items() <= theirs["score"].items()
            )
        elif name != "stages":  # whose rows the paper has, too
            assert "not SLAM" in plan.sweep["rows"][row]["label"]
    assert sorted(row for block in plan.sweep["table"]["blocks"] for row in block["rows"]) == sorted(plan.rows)


def test_targets_differ_in_their_codes():
    plan = plan_file(SWEEPS / "targets.yaml")
    used = {
        row: about["objectives"].get("masked_speech", {}).get("targets") for row, about in plan.sweep["rows"].items()
    }
    assert used == {
        "scratch": "learned",
        "speech_contrastive": None,
        "speech_only": "learned",
        "speech_average": "learned",
        "joint": "learned",
        "speech_kmeans": "kmeans",
        "speech_kmeans_again": "kmeans",
        "speech_random_projection": "random_projection",
        "speech_best_rq": "random_projection",
        "joint_kmeans": "kmeans",
        "joint_random_projection": "random_projection",
    }
    line = {row: plan.lines(row)[0]["stages"] for row in plan.rows}
    assert line["speech_kmeans"]["kmeans/kmeans"] == line["joint_kmeans"]["kmeans/kmeans"]
    again = plan.stages[line["speech_kmeans_again"]["kmeans/kmeans"]]
    assert dict(again.parents)["pretrain"] == line["speech_kmeans"]["leaf"]


def test_alignment_continues_the_joint_trunk_with_equal_steps_and_one_tlm(objectives):
    """TLM is what objectives.yaml says it is, also after an override."""
    for overrides in ((), ("rows.joint_tlm.pretrain.objectives.tlm.prob=0.2",)):
        rows = plan_file(SWEEPS / "alignment.yaml", overrides).sweep["rows"]
        assert {about["after"] for row, about in rows.items() if row != "joint"} == {"joint"}
        assert len({about["steps"] for row, about in rows.items() if row != "joint"}) == 1
        tlm, ctc, mslam = (rows[row]["objectives"] for row in ("joint_tlm", "joint_tlm_ctc", "joint_tlm_ctc_mslam"))
        assert ctc["tlm"] == tlm["tlm"] and "pair_ctc" not in tlm
        assert {name: part["weight"] for name, part in mslam.items()} == {
            "contrastive": 1.0,
            "masked_speech": 1.0,
            "masked_text": 0.3,
            "tlm": 0.03,
            "pair_ctc": 0.03,
        }


def test_real_needs_a_root():
    with pytest.raises(UserError, match=r"data\.root: must be given; write data\.root="):
        plan_file(SWEEPS / "objectives_real.yaml")


def test_real_has_the_same_rows_on_other_data(real_data):
    plan = plan_file(SWEEPS / "objectives_real.yaml", [f"data.root={real_data}"])
    assert plan.rows == ROWS and plan.name == "objectives_real"
    table = plan.stages[plan.manifest[0]["stages"]["tables"]["asr.train"]]
    assert table.config["type"] == "real_split" and str(real_data) not in str(table.config)
    assert table.how["corpus"]["root"] == str(real_data)


def test_every_planned_config_can_be_restored(objectives):
    for stage in objectives.stages.values():
        config = identity.restore(stage.config, KINDS[stage.kind].config, stage.how)
        assert identity.canonical(config) == stage.config
