"""From sweep files to stages: what is shared, what follows what, and every mistake before anything runs."""

import json
import time

import pytest
from fake_registry import World, registry

from ablate.errors import UserError
from ablate.planning import cost
from ablate.planning.plan import plan_file
from ablate.stages.kind import restored
from ablate.stages.registry import KINDS
from ablate.store import identity
from ablate.store.run import RunFolder
from ablate.store.stage import Plan, materialise, stage_ids, yaml

SWEEP = """
name: small
data: builtin
seeds: [0]
base:
  encoder: nano
  pretrain:
    objectives: {contrastive: {at: speech_tower}, masked_speech: 1.0, masked_text: 1.0}
    steps: 100
    decay: 20
    update: {speech: 24 s, text: 400 tokens, pairs: 8}
rows:
  scratch:     {pretrain: {steps: 0, decay: 0}}
  text_only:   {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  speech_only: {encoder: {reads: [speech]}, pretrain: {objectives: {masked_text: null}}}
  joint: {}
  joint_longer: {after: joint, pretrain: {steps: 50}}
  joint_tlm:   {after: joint, pretrain: {steps: 50, objectives: {tlm: 1.0}}}
  third:       {after: joint_tlm, pretrain: {objectives: {masked_text: null, tlm: null}}}
tasks: [asr, translation, sentiment, retrieval]
"""


@pytest.fixture
def plan(tmp_path):
    def make(*overrides, text=SWEEP, extra="", timings=None) -> Plan:
        path = tmp_path / "sweep.yaml"
        path.write_text(text + extra)
        return plan_file(path, overrides, known=cost.Known(timings or {}), registry=registry())

    return make


def line(plan, row):
    (only,) = plan.lines(row)
    return only


def test_further_fine_tunings_add_stages_and_change_none(plan):
    """Speech rows have asr and translation; a fine-tuning of asr has a score on each of its splits."""
    once, more = plan(), plan("finetune_seeds={asr: 3, translation: 2}")
    assert once.stages.keys() < more.stages.keys() and "draws" not in line(once, "joint")["stages"]
    before, after = line(once, "joint")["stages"], line(more, "joint")["stages"]
    assert {key: part for key, part in after.items() if key != "draws"} == before
    second, third = after["draws"]
    assert second["finetune"].keys() == second["score"].keys() == {"asr", "translation"}
    assert third["finetune"].keys() == third["score"].keys() == {"asr"}
    ids = [part["finetune"]["asr"] for part in (after, second, third)]
    assert len({*ids}) == 3 and set(ids) <= {*stage_ids(line(more, "joint"))}
    draws = [more.stages[id].config.get("draw") for id in ids]
    assert draws == [None, 1, 2]  # the first is as if there were no others
    assert {role for role, _ in more.stages[ids[0]].parents} == {role for role, _ in more.stages[ids[2]].parents}
    for part, id in zip((after, second, third), ids):
        for score in part["score"]["asr"].values():
            assert ("finetune", id) in more.stages[score].parents
    assert more.stages[ids[2]].title.endswith("asr fine-tuning 3")
    every = plan("finetune_seeds=2")
    assert line(every, "joint")["stages"]["draws"][0]["finetune"].keys() == before["finetune"].keys()


@pytest.mark.parametrize(
    "text", [SWEEP.replace("data: builtin", ""), SWEEP.replace("data: builtin", "data: {seed: 0}")]
)
def test_data_that_name_no_preset_are_builtin(plan, text):
    assert plan(text=text).stages.keys() == plan().stages.keys()
    settings = plan("data.sentences=7", text=text).resolved["joint"]["data"]
    assert settings == {"seed": 0, "sentences": 7}


def test_rows_become_stages(plan):
    made = plan()
    assert made.rows == ["scratch", "text_only", "speech_only", "joint", "joint_longer", "joint_tlm", "third"]
    assert [at["row"] for at in made.manifest] == made.rows
    joint = line(made, "joint")
    trunk, leaf = made.stages[joint["stages"]["trunk"]], made.stages[joint["stages"]["leaf"]]
    assert (trunk.config["phase"], trunk.config["start"], trunk.config["steps"]) == ("trunk", 0, 100)
    assert (leaf.config["phase"], leaf.config["start"], leaf.config["steps"]) == ("decay", 100, 20)
    assert dict(leaf.parents)["pretrain"] == trunk.id and "pretrain" not in dict(trunk.parents)
    finetune = made.stages[joint["stages"]["finetune"]["asr"]]
    scores = {split: made.stages[id] for split, id in joint["stages"]["score"]["asr"].items()}
    assert dict(finetune.parents)["pretrain"] == leaf.id and list(scores) == ["test", "test_unseen"]
    assert all(dict(score.parents)["finetune"] == finetune.id for score in scores.values())
    assert dict(made.stages[joint["stages"]["heldout"]].parents)["pretrain"] == leaf.id
    assert trunk.config["update"] == {
        "type": "fake_update",
        "speech": 24.0,
        "text": 400,
        "pairs": 8,
        "shards": 1,
        "bucket": 0,
    }


def test_retrieval_is_scored_straight_from_the_leaf(plan):
    made = plan()
    stages = line(made, "joint")["stages"]
    assert "retrieval" not in stages["finetune"]
    assert dict(made.stages[stages["score"]["retrieval"]["test"]].parents)["pretrain"] == stages["leaf"]


def test_a_tasks_own_tokenizer_is_a_stage(plan):
    made = plan()
    stages = line(made, "joint")["stages"]
    for id in (stages["finetune"]["translation"], stages["score"]["translation"]["test"]):
        targets = dict(made.stages[id].parents)["targets"]
        assert made.stages[targets].config["tokenizer"]["size"] == 600 and targets != stages["tokenizer"]
    assert "targets" not in dict(made.stages[stages["finetune"]["asr"]].parents)


def test_tasks_that_an_encoder_cannot_have_are_named(plan):
    made = plan()
    assert line(made, "text_only")["na"] == ["asr", "translation", "retrieval"]
    assert line(made, "speech_only")["na"] == ["sentiment", "retrieval"]
    assert line(made, "joint")["na"] == []
    no_pairs = plan("rows.joint.encoder={reads: [speech, text]}", "~rows.joint_tlm", "~rows.third")
    assert line(no_pairs, "joint")["na"] == []


MEASURES = """
name: measures
base:
  pretrain: {objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}, steps: 10, decay: 2}
rows:
  joint: {}
  apart: {encoder: {reads: [speech, text]}}
  text_only: {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  speech_only: {encoder: {reads: [speech]}, pretrain: {objectives: {masked_text: null}}}
  no_codes: {pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  tlm:
    pretrain:
      objectives: {contrastive: null, masked_speech: null, masked_text: null, tlm: {targets: random_projection}}
  stm: {pretrain: {objectives: {contrastive: null, masked_speech: null, masked_text: null, stm: 1.0}}}
tasks: [codes, pairing]
claims: {uses_speech: {effect: tlm - joint, on: pairing.loss_drop, above: 0}}
"""


def test_measures_of_the_leaf_need_the_parts_they_measure(tmp_path):
    path = tmp_path / "measures.yaml"
    path.write_text(MEASURES)
    made = plan_file(path)
    assert {at["row"]: at["na"] for at in made.manifest} == {
        "joint": [],
        "apart": ["pairing"],
        "text_only": ["codes", "pairing"],
        "speech_only": ["pairing"],
        "no_codes": ["codes"],
        "tlm": [],
        "stm": ["codes", "pairing"],
    }
    stages = line(made, "joint")["stages"]
    assert stages["finetune"] == {}
    assert dict(made.stages[stages["score"]["codes"]["dev"]].parents)["pretrain"] == stages["leaf"]
    assert made.sweep["tasks"]["codes"]["splits"] == ["dev"]
    with pytest.raises(UserError, match="stm"):
        plan_file(path, ["claims.uses_speech.effect=stm - joint"])


def test_continuing_rows_branch_from_the_parents_trunk(plan):
    made = plan()
    joint, tlm, third = (line(made, row) for row in ("joint", "joint_tlm", "third"))
    assert third["stages"]["trunks"] == [joint["stages"]["trunk"], tlm["stages"]["trunk"], third["stages"]["trunk"]]
    trunk = made.stages[tlm["stages"]["trunk"]]
    assert dict(trunk.parents)["pretrain"] == joint["stages"]["trunk"]
    assert (trunk.config["start"], trunk.config["steps"]) == (100, 50)
    assert (joint["steps"], tlm["steps"], third["steps"]) == (120, 170, 220)
    assert set(made.stages[third["stages"]["trunk"]].config["objectives"]) == {"contrastive", "masked_speech"}


def test_equal_stages_are_one(plan):
    made = plan()
    trunks = [s for s in made.stages.values() if s.kind == "pretrain" and s.config["phase"] == "trunk"]
    assert len(trunks) == 7
    tables = [s.title for s in made.stages.values() if s.kind == "table"]
    assert len(tables) == len(set(tables)) and {"speech.train", "asr.test_unseen", "pairs.dev"} <= set(tables)
    unnamed = {id for at in made.manifest for id in stage_ids(at)} ^ set(made.stages)
    assert sorted(made.stages[id].kind for id in unnamed) == [
        "tokenizer",
        "tokens",
        "tokens",
        "tokens",
    ]  # translation's own


def test_a_stage_depends_on_what_it_reads_alone(plan):
    """Pre-training on training splits, held-out losses on dev, a fine-tuning on train and dev, a score on its split."""
    made = plan()

    def read(id):
        return {made.stages[p].title for _, p in made.stages[id].parents if made.stages[p].kind in ("table", "tokens")}

    stages = line(made, "joint_tlm")["stages"]
    pretrained = {"speech.train", "text.train", "text.train as ids", "pairs.train", "pairs.train as ids"}
    assert read(stages["trunk"]) == read(stages["leaf"]) == pretrained
    assert read(stages["heldout"]) == {title.replace("train", "dev") for title in pretrained}
    assert read(line(made, "speech_only")["stages"]["trunk"]) == {"speech.train"}
    assert read(line(made, "scratch")["stages"]["leaf"]) == set()
    tuned = {"sentiment.train", "sentiment.dev", "sentiment.train as ids", "sentiment.dev as ids"}
    assert read(stages["finetune"]["sentiment"]) == tuned
    assert read(stages["score"]["sentiment"]["test"]) == {"sentiment.train", "sentiment.test", "sentiment.test as ids"}
    assert read(stages["tokenizer"]) == {"text.train", "pairs.train"}
    assert set(stages["tables"]) >= {"speech.train", "speech.dev", "asr.test_unseen"} and set(stages["tokens"]) >= {
        "text.train"
    }


def test_without_a_dev_split_there_are_no_held_out_losses_and_a_note(plan, monkeypatch):
    """Pre-training reads training splits alone."""
    monkeypatch.setattr(World, "tables", lambda self: {"text": ("train",), "pairs": ("train",)})
    text = TRUNKS.replace("rows: {short", "rows: {scratch: {pretrain: {steps: 0, decay: 0}}, short")
    made = plan(text=text, extra="tasks: []\n")
    assert all("heldout" not in at["stages"] for at in made.manifest)
    assert made.notes == ("Held-out losses of rows that read text are left out: the data have no dev split of that.",)


def test_another_test_split_costs_its_own_encoding_and_score(plan):
    before, after = plan(), plan("base.tasks.sentiment.splits=[test,test_far]")
    new = [stage for id, stage in after.stages.items() if id not in before.stages]
    assert before.stages.keys() < after.stages.keys()
    assert sorted(stage.kind for stage in new) == [*["score"] * 6, "table", "tokens"]  # six rows read text


def test_the_search_of_the_final_scoring_trains_nothing(tmp_path):
    path = tmp_path / "measures.yaml"
    path.write_text(MEASURES.replace("tasks: [codes, pairing]", "tasks: [translation, asr]").partition("claims")[0])
    before, after = plan_file(path), plan_file(path, ["base.tasks.translation.beam=8", "base.tasks.asr.beam=3"])
    changed = {after.stages[id].kind for id in after.stages.keys() - before.stages.keys()}
    assert changed == {"score"}


TRUNKS = """
name: trunks
base: {pretrain: {objectives: {masked_text: 1.0}, steps: 100, decay: 20}}
rows:
  short: {}
  long: {pretrain: {steps: 300}}
  longest: {pretrain: {steps: 700}}
  other: {pretrain: {steps: 200, optimizer: {lr: 1.0}}}
"""


def test_a_longer_trunk_waits_for_a_shorter_one_and_its_id_does_not_say_so(plan):
    made, alone = (
        plan(text=TRUNKS, extra="tasks: []\n"),
        plan("~rows.short", "~rows.long", text=TRUNKS, extra="tasks: []\n"),
    )
    trunks = {row: made.stages[line(made, row)["stages"]["trunk"]] for row in made.rows}
    assert trunks["long"].uses == (("continues", trunks["short"].id),)
    assert trunks["longest"].uses == (("continues", trunks["long"].id),)
    assert trunks["short"].uses == trunks["other"].uses == ()
    assert trunks["short"].config["horizon"] is None
    apart = alone.stages[line(alone, "longest")["stages"]["trunk"]]
    assert apart.id == trunks["longest"].id and apart.uses == ()
    assert trunks["longest"].cost == pytest.approx(apart.cost * 4 / 7, rel=0.02)


def test_where_something_anneals_the_end_is_part_of_an_id_and_show_says_what(plan):
    made = plan(text=TRUNKS.replace("masked_text: 1.0", "contrastive: 1.0"), extra="tasks: []\n")
    trunks = [made.stages[line(made, row)["stages"]["trunk"]] for row in ("short", "long")]
    assert [trunk.config["horizon"] for trunk in trunks] == [100, 300] and trunks[1].uses == ()
    assert "100 updates: temperature of targets 'learned'" in made.show("short")
    assert "a longer trunk continues a shorter one" in plan(text=TRUNKS, extra="tasks: []\n").show("short")


def test_two_sweeps_share(plan):
    first = plan()
    second = plan("name=other", "~rows.third", "~rows.joint_tlm", "tasks=[asr]")
    assert set(second.stages) < set(first.stages)


def test_stages_lie_parents_first(plan):
    seen = set()
    for id, stage in plan().stages.items():
        assert {parent for _, parent in stage.parents} <= seen
        seen.add(id)


def test_order_of_keys_does_not_matter(plan):
    turned = SWEEP.replace(
        "{contrastive: {at: speech_tower}, masked_speech: 1.0, masked_text: 1.0}",
        "{masked_text: 1, contrastive: {weight: 1.0}, masked_speech: {weight: 1}}",
    )
    assert turned != SWEEP and plan(text=turned).stages.keys() == plan().stages.keys()


def test_what_changes_ids_downstream_and_only_there(plan):
    before, after = plan(), plan("rows.joint_tlm.pretrain.objectives.tlm=0.5")
    for row, same in {"joint": True, "joint_longer": True, "joint_tlm": False, "third": False}.items():
        assert (line(before, row)["stages"] == line(after, row)["stages"]) is same
    new_world = plan("data.seed=1")
    assert not set(before.stages) & set(new_world.stages)
    reseeded = plan("seeds=[1]")
    assert {before.stages[id].kind for id in set(before.stages) & set(reseeded.stages)} == {
        "table",
        "tokens",
        "tokenizer",
    }


def test_how_changes_no_id(plan):
    here = plan("data={preset: real, root: /here}")
    there = plan(
        "data={preset: real, root: /there}",
        "cluster=slurm",
        "workers=7",
        "attention=sdpa",
        "labels={joint: x}",
        "resources={pretrain: {gpus: 1}}",
        "root=elsewhere",
    )
    assert here.stages.keys() == there.stages.keys()
    table = next(s for s in there.stages.values() if s.kind == "table")
    assert table.how == {"root": "/there"} and table.config["recipe"] == 3
    assert (there.root, there.cluster, there.workers, there.attention) == ("elsewhere", "slurm", 7, "sdpa")


def test_only_needed_targets_enter(plan):
    made = plan("base.pretrain.targets={learned: {codes: 32}, random_projection: {}}")
    trunks = {row: made.stages[line(made, row)["stages"]["trunk"]].config for row in ("joint", "text_only")}
    assert [(one["type"], one["codes"]) for one in trunks["joint"]["targets"].values()] == [("fake_learned", 32)]
    assert trunks["text_only"]["targets"] == {}


def test_axes_are_a_cross_product_over_rows(plan):
    made = plan("base.encoder=nano,nano_wide", "base.pretrain.optimizer.lr=1e-3,1e-2", "seeds=[0,1]")
    lines = made.lines("joint_tlm")
    assert len(lines) == 8 and len({at["stages"]["leaf"] for at in lines}) == 8
    assert lines[0]["point"] == {"encoder": "nano", "pretrain.optimizer.lr": 1e-3}
    assert made.sweep["axes"] == {"encoder": ["nano", "nano_wide"], "pretrain.optimizer.lr": [1e-3, 1e-2]}
    for at in lines:
        parent = next(p for p in made.lines("joint") if (p["point"], p["seed"]) == (at["point"], at["seed"]))
        assert at["stages"]["trunks"][0] == parent["stages"]["trunk"]
        width = made.stages[at["stages"]["leaf"]].config["encoder"]["width"]
        assert width == {"nano": 64, "nano_wide": 96}[at["point"]["encoder"]]


def test_axes_may_be_patches_and_reach_the_data(plan):
    made = plan(extra="axes: {encoder: [{width: 32}, {width: 64}], data.seed: [0, 1]}\n")
    assert len(made.lines("joint")) == 4 and sum(s.title == "speech.train" for s in made.stages.values()) == 2
    assert made.lines("joint")[0]["point"] == {"encoder": '{"width":32}', "data.seed": 0}


def test_claims_become_coefficients(plan):
    made = plan(
        extra="""
claims:
  a: {effect: joint_tlm - joint_longer, on: translation.bleu, above: 0, assay: joint - scratch}
  b: {effect: 0.5 * (joint_tlm + joint_longer) - third, on: asr, within: 1, unmatched: true, split: test_unseen}
  c: {effect: (joint - text_only) - (joint - text_only) / 2, on: sentiment.test.accuracy, below: 0}
"""
    )
    claims = made.sweep["claims"]
    assert claims["a"]["coefficients"] == {"joint_tlm": 1, "joint_longer": -1}
    assert claims["a"]["assay_coefficients"] == {"joint": 1, "scratch": -1}
    assert claims["b"]["coefficients"] == {"joint_tlm": 0.5, "joint_longer": 0.5, "third": -1}
    assert claims["c"]["coefficients"] == {"joint": 0.5, "text_only": -0.5}


def test_the_sweep_describes_itself(plan):
    made = plan("question=why", "labels={joint: SLAM}")
    assert made.sweep["question"] == "why" and made.sweep["rows"]["joint"]["label"] == "SLAM"
    assert made.sweep["rows"]["third"]["after"] == "joint_tlm" and made.sweep["rows"]["third"]["steps"] == 220
    asr = {"table": "asr", "reads": "speech", "splits": ["test", "test_unseen"], "metrics": ["wer", "cer"]}
    assert made.sweep["tasks"]["asr"] == asr
    assert made.sweep["table"]["blocks"] == [{"reference": "scratch", "rows": made.rows}]
    assert made.sweep["table"]["columns"] == ["asr.wer", "translation.bleu", "sentiment.accuracy", "retrieval.recall@1"]
    json.dumps([made.sweep, made.manifest])


def test_columns_leave_the_table_with_their_task(plan):
    """So that a file with a table can be run for one of its tasks: tasks=[asr]."""
    table = "table: {columns: [asr.cer, translation.bleu, asr.test.wer]}\n"
    made = plan("tasks=[asr]", extra=table)
    assert made.sweep["table"]["columns"] == ["asr.cer", "asr.test.wer"]
    assert made.notes == ("Not in the table, as their tasks are not in this sweep: translation.bleu.",)
    assert plan("tasks=[sentiment]", extra=table).sweep["table"]["columns"] == ["sentiment.accuracy"]


def test_show_says_everything_and_the_difference(plan):
    made = plan(extra="table: {blocks: [{reference: joint_longer, rows: [joint_tlm]}]}\n")
    text, difference = made.show("joint_tlm").split("# difference from joint_longer\n")
    assert "pretrain:\n  start: 100\n  steps: 50\n" in text
    assert difference.splitlines() == [
        'pretrain.objectives.tlm.pairs: (absent) → "together"',
        "pretrain.objectives.tlm.weight: (absent) → 1.0",
    ]
    with pytest.raises(UserError, match="No row 'joint_tml' .*did you mean 'joint_tlm'"):
        made.show("joint_tml")


def test_only_keeps_a_row_and_its_ancestors(plan):
    made = plan()
    kept = made.only(["joint_tlm"])
    titles = {stage.title for stage in kept.stages.values()}
    assert {"joint / trunk", "joint_tlm / trunk", "joint_tlm / asr", "tokenizer of translation"} <= titles
    assert "joint / leaf" not in titles and kept.manifest == made.manifest
    with pytest.raises(UserError, match="did you mean 'joint'"):
        made.only(["jiont"])


def test_rows_that_do_not_differ_are_noted(plan):
    assert plan().notes == ()
    (note,) = plan("rows.again={}").notes
    assert "'joint' and 'again' are the same model" in note


def test_nothing_written_means_the_preset(plan):
    text = SWEEP.replace("masked_speech: 1.0,", "masked_speech: ,").replace("  joint: {}", "  joint:")
    assert plan(text=text + "axes:\nclaims:\n").stages.keys() == plan().stages.keys()


def test_costs_follow_finished_stages(plan):
    before = plan()
    stages = line(before, "joint")["stages"]
    measured = stages["finetune"]["asr"]
    after = plan(timings={measured: 3 * before.stages[measured].cost})
    other = line(before, "scratch")["stages"]["finetune"]
    assert after.stages[other["asr"]].cost == pytest.approx(3 * before.stages[other["asr"]].cost)
    assert after.stages[other["translation"]].cost == before.stages[other["translation"]].cost
    assert all(stage.cost > 0 for stage in before.stages.values())


def test_materialise_writes_what_is_planned_and_can_be_repeated(plan, tmp_path):
    made, root = plan("data={preset: real, root: /here}"), tmp_path / "runs"
    for _ in range(2):
        materialise(made, root)
    for id, stage in made.stages.items():
        folder = root / stage.kind / id[:2] / id
        what = json.loads((folder / "identity.json").read_text())
        assert (what["id"], what["title"]) == (id, stage.title)
        assert identity.stage_id(what["kind"], what["version"], what["config"], what["parents"]) == id
        assert identity.canonical(restored(RunFolder(root, stage.kind, id), KINDS[stage.kind].config)) == stage.config
        assert (folder / "config.yaml").read_text().startswith(f"# {stage.title}\n")
    folder = root / "sweeps" / "small"
    assert json.loads((folder / "sweep.json").read_text()) == {"format": 2, **made.sweep}
    assert [json.loads(text) for text in (folder / "manifest.jsonl").read_text().splitlines()] == made.manifest


def test_yaml_is_yaml():
    import yaml as reader

    value = {"a": {"b": [1, "x: y"], "c": {}}, "d": None, "e": 1.5, "f": "no", "g": {"h": {"i": True}}}
    assert reader.safe_load(yaml(value)) == value


def test_planning_is_quick(plan):
    plan()
    began = time.perf_counter()
    plan()
    assert time.perf_counter() - began < 1


CLAIM = "claims: {c: {effect: %s, on: %s, above: 0}}\n"


@pytest.mark.parametrize(
    "extra, overrides, message",
    [
        (
            "",
            ["base.pretrain.optimizer.lrr=1"],
            r"base\.pretrain\.optimizer\.lrr: unknown key 'lrr'; did you mean 'lr'",
        ),
        ("", ["rows.joint.encoder.widht=1"], r"rows\.joint\.encoder\.widht: unknown key .*did you mean 'width'"),
        ("", ["rows.joint.pretrain.objectives.maskd_text=1"], r"no preset 'maskd_text'; did you mean 'masked_text'"),
        (
            "",
            ["rows.scratch.pretrain.objectives.maskd_text=null"],
            r"there is no 'maskd_text' here; did you mean 'masked_text'",
        ),
        ("", ["base.encoder=nanno"], r"base\.encoder: no preset 'nanno'; did you mean 'nano'"),
        (
            "",
            ["base.pretrain.targets.learnd={}"],
            r"base\.pretrain\.targets\.learnd: no preset .*did you mean 'learned'",
        ),
        ("", ["data=bultin"], r"data: no preset 'bultin'; did you mean 'builtin'"),
        ("", ["data=real"], r"data\.root is not set; add data\.root=PATH"),
        ("", ["data.root=/x"], r"data\.root: unknown key 'root'"),
        ("", ["tasks=[asr,translatoin]"], r"tasks: no task 'translatoin'; did you mean 'translation'"),
        ("", ["tasks=[asr,asr]"], r"tasks: 'asr' is there twice"),
        ("", ["tasks=asr"], r"tasks: expected a list, found 'asr'"),
        ("", ["base.tasks.asr.stpes=3"], r"base\.tasks\.asr\.stpes: .*did you mean 'steps'"),
        ("", ["seeds=[0,a]"], r"seeds\[1\]: expected a whole number from 0, found 'a'"),
        ("", ["seeds=[]"], r"seeds: expected a list of whole numbers"),
        ("", ["seeds=[0,0]"], r"seeds: '0' is there twice"),
        ("", ["seeds=3"], r"seeds: expected a list"),
        ("", ["finetune_seeds=0"], r"finetune_seeds: expected a whole number from 1"),
        ("", ["finetune_seeds={as: 2}"], r"finetune_seeds.as: no task 'as' in this sweep; did you mean 'asr'\?"),
        ("", ["finetune_seeds={retrieval: 2}"], r"'retrieval' is measured on the leaf itself, without fine-tuning"),
        ("", ["finetune_seeds={asr: many}"], r"finetune_seeds.asr: expected a whole number from 1, found 'many'"),
        ("", ["rows.third.after=joint_tml"], r"rows\.third\.after: no row 'joint_tml'; did you mean 'joint_tlm'"),
        ("", ["rows.joint.after=third"], r"joint after third after joint_tlm after joint is a cycle"),
        ("", ["rows.joint.after=joint"], r"joint after joint is a cycle"),
        ("", ["rows.third.encoder=nano_wide"], r"rows\.third\.encoder: a row keeps the encoder"),
        ("", ["rows.third.tokenizer={size: 3}"], r"rows\.third\.tokenizer: a row keeps the tokenizer"),
        (
            "",
            ["rows.third.pretrain.objectives.stm=null"],
            r"rows\.third\.pretrain\.objectives\.stm: .*there is no 'stm' here",
        ),
        (
            "",
            ["rows.joint.encoder.reads=[text,pair]"],
            r"rows\.joint: objective 'contrastive' reads speech, but the encoder reads text, pair; remove it with",
        ),
        (
            "",
            ["rows.joint.pretrain.objectives={contrastive: null, masked_speech: null, masked_text: null}"],
            "without an objective",
        ),
        (
            "",
            ["rows.joint.pretrain.objectives.contrastive=null"],
            r"rows\.joint: objective 'masked_speech' predicts the learned codes 'learned', which no loss of this row "
            r"trains; add pretrain: .*contrastive: 1\.0.* or predict fixed codes: "
            r"{masked_speech: {targets: random_projection}}",
        ),
        (
            "",
            ["rows.joint.pretrain.objectives.masked_speech.hides=frames"],
            r"rows\.joint: objective 'masked_speech': codes of features cannot be predicted where frames are hidden",
        ),
        ("", ["base.pretrain.steps=-1"], r"base\.pretrain\.steps: expected a whole number from 0, found -1"),
        ("", ["~base.pretrain.decay"], r"pretrain\.decay: must be given"),
        ("", ["~rows"], "rows: expected at least one row, found none"),
        ("", ["rows.a-b={}"], r"rows\.a-b: expected a name of letters"),
        ("", ["resources.mem_gb=true"], r"resources\.mem_gb: found true, expected memory in GB"),
        ("", ["name=a/b"], r"name: 'a/b' becomes a folder"),
        ("base: {}\nrows:\n", [], "duplicate key base"),
        ("", ["workers=0"], r"workers: expected a whole number from 1, found 0"),
        ("", ["attention=varlan"], r"attention: there is no backend 'varlan'; did you mean 'varlen'"),
        ("", ["labels={jiont: x}"], r"labels\.jiont: .*did you mean 'joint'"),
        ("axes: {encoder: nano}\n", [], r"axes\.encoder: expected a list"),
        ("axes: {encoder.widht: [1, 2]}\n", [], r"axes\.encoder\.widht: .*did you mean 'width'"),
        (
            "table: {blocks: [{reference: joint, rows: [jont]}]}\n",
            [],
            r"table\.blocks\[0\]\.rows\[0\]: no row 'jont'; did you mean 'joint'",
        ),
        ("table: {blocks: [{reference: jont, rows: [joint]}]}\n", [], r"table\.blocks\[0\]\.reference: no row 'jont'"),
        ("table: {blocks: [{refrence: joint}]}\n", [], r"table\.blocks\[0\]\.refrence: .*did you mean 'reference'"),
        ("table: {compare_with: scrath}\n", [], r"table\.compare_with: no row 'scrath'; did you mean 'scratch'"),
        (
            "table: {columns: [asr.wre]}\n",
            [],
            r"table\.columns\[0\]: task 'asr' has no metric 'wre'; did you mean 'wer'",
        ),
        ("table: {columns: [asr.wer_date]}\n", [], r"table\.columns\[0\]: task 'asr' has no metric 'wer_date'"),
        (
            "table: {columns: [asr.tset.wer]}\n",
            [],
            r"table\.columns\[0\]: task 'asr' is not scored on 'tset'; did you mean 'test'",
        ),
        ("table: {columns: [arsr.wer]}\n", [], r"table\.columns\[0\]: .*names no task.*did you mean 'asr'"),
        (CLAIM % ("joint - jont", "asr.wer"), [], r"claims\.c\.effect: no row 'jont'; did you mean 'joint'"),
        (CLAIM % ("joint - joint_placebo()", "asr.wer"), [], r"claims\.c\.effect: .*is not a sum of rows"),
        (CLAIM % ("joint -", "asr.wer"), [], r"claims\.c\.effect: .*cannot be read"),
        (CLAIM % ("joint + scratch", "asr.wer"), [], r"claims\.c\.effect: .*must sum to zero"),
        (CLAIM % ("joint - speech_only", "asr.bleu"), [], r"claims\.c\.on: task 'asr' has no metric 'bleu'"),
        (CLAIM % ("joint - text_only", "asr.wer"), [], r"claims\.c: row 'text_only' does not have task 'asr'"),
        (
            CLAIM % ("joint - scratch", "asr.wer"),
            [],
            r"claims\.c: joint has 120 pre-training steps and scratch 0; match them, or say unmatched: true",
        ),
        (
            CLAIM % ("joint - text_only", "sentiment.accuracy"),
            ["rows.text_only.pretrain.update.text=800"],
            r"pretrain\.update of joint and .* differs",
        ),
        (
            "claims: {c: {effect: joint - speech_only, on: asr.wer}}\n",
            [],
            r"claims\.c: expected exactly one of above, below and within",
        ),
        ("claims: {c: {on: asr.wer, above: 0}}\n", [], r"claims\.c: 'effect' is missing"),
        (
            "claims: {c: {effect: joint - speech_only, on: asr.wer, abvoe: 0}}\n",
            [],
            r"claims\.c\.abvoe: .*did you mean 'above'",
        ),
        (
            "claims: {c: {effect: joint - speech_only, on: asr.wer, above: much}}\n",
            [],
            r"claims\.c\.above: expected a number",
        ),
        (
            "claims: {c: {effect: joint - speech_only, on: asr.wer, above: 0, assay: joint - jont}}\n",
            [],
            r"claims\.c\.assay: no row 'jont'",
        ),
    ],
)
def test_every_mistake_gets_one_sentence_before_anything_runs(plan, extra, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        plan(*overrides, extra=extra)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "patch"),
    [
        ("joint", "objectives={contrastive: null, masked_speech: {targets: random_projection}}"),  # fixed codes
        ("joint", "objectives={contrastive: {weight: 0}}"),  # collapse, on purpose
        ("third", "objectives={contrastive: null}"),  # trained by the rows before
        ("scratch", "objectives={contrastive: null}"),  # nothing is trained at all
    ],
)
def test_codes_that_are_fixed_or_trained_before_or_meant_to_collapse_are_allowed(plan, row, patch):
    assert line(plan(f"rows.{row}.pretrain.{patch}"), row)


def test_ten_thousand_stages_are_planned_in_seconds(plan):
    """Processor time, as machines are busy; forms of parts are made once."""
    seeds = ",".join(map(str, range(320)))
    began = time.process_time()
    made = plan(f"seeds=[{seeds}]")
    assert len(made.stages) > 10_000 and time.process_time() - began < 10
    assert len({id(stage.config["encoder"]) for stage in made.stages.values() if "encoder" in stage.config}) < 10
