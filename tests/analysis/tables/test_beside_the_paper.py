"""Which rows mirror the paper's, and that its values stand beside ours as published."""

import csv
import json

import pytest

from ablate.data.real.corpus import RealConfig
from ablate.data.real.settings import PUBLISHED
from analysis.records.frame import read
from analysis.table import build
from analysis.tables import paper

JOINT = (
    "scratch",
    "speech_only",
    "joint_contrastive",
    "joint",
    "joint_placebo",
    "joint_longer",
    "joint_tlm",
    "joint_tlm_stm",
    "joint_tlm_stm_speech",
    "joint_tlm_one_stage",
)


def of_data(folder, **data):
    """The sweep, with these data."""
    sweep = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(sweep | {"data": data}))
    return folder


def heads(folder):
    sheet = paper.sheet(build(read(folder)))
    return [] if sheet is None else [head.removesuffix(", published") for head in sheet.heads[3::4]]


def test_published_values_stand_only_beside_data_that_are_declared_to_be_those(fake):
    folder = fake(rows=("speech_only", "joint"), tasks=("asr", "translation"), table={})
    assert heads(folder) == ["LibriSpeech test-other", "CoVoST 2"]
    assert "built-in world" in paper.sheet(build(read(folder))).note
    assert heads(of_data(folder, type="real", directions=["qu_es"])) == []
    assert heads(of_data(folder, type="my_lab.corpus")) == []
    of_data(folder, type="real", published=["librispeech"], directions=["en_de"])
    assert heads(folder) == ["LibriSpeech test-clean", "LibriSpeech test-other"]
    sheet = paper.sheet(build(read(folder)))
    lines = {line[0]: line for line in sheet.lines}
    assert (lines["speech only"][3], lines["speech only"][7]) == ("1.6", "2.9") and "data.published" in sheet.note
    for directions, expected in ((["en_de"], ["CoVoST 2 en_de"]), (["fr_en"], []), ([*paper.LANGUAGES], ["CoVoST 2"])):
        assert heads(of_data(folder, type="real", published=["covost2"], directions=directions)) == expected


def test_published_names_are_those_of_the_files():
    assert sorted(PUBLISHED) == sorted(path.stem for path in paper.FOLDER.glob("*.csv"))
    with pytest.raises(ValueError, match="published is 'librispech': did you mean 'librispeech'"):
        RealConfig(root=".", published=("librispech",))


def test_rows_are_named_by_the_objectives_of_their_stages(fake):
    records = read(fake(rows=JOINT))
    slam = "contrastive+masked_speech+masked_text"
    assert paper.stages(records, "scratch") is None  # no pre-training mirrors nothing
    assert paper.stages(records, "speech_only") == "contrastive+masked_speech"
    assert paper.stages(records, "joint") == slam == paper.SLAM
    assert paper.stages(records, "joint_tlm") == f"{slam} > {slam}+tlm"
    assert paper.stages(records, "joint_tlm_one_stage") == f"{slam}+tlm"


def test_altered_rows_mirror_nothing(fake):
    folder = fake(rows=JOINT)
    assert paper.stages(read(folder), "joint_placebo") is None  # masked text of drawn tokens
    sweep = json.loads((folder / "sweep.json").read_text())
    sweep["rows"]["joint"]["objectives"]["masked_speech"]["targets"] = "kmeans"
    sweep["rows"]["speech_only"]["encoder"]["block"] = "transformer"
    sweep["rows"]["joint_tlm_one_stage"]["encoder"]["text_layers"] = 1
    sweep["rows"]["joint_contrastive"]["objectives"]["stm"] = {"weight": 0.0}  # measured, not trained on
    (folder / "sweep.json").write_text(json.dumps(sweep))
    records = read(folder)
    assert paper.stages(records, "joint") is None and paper.stages(records, "joint_tlm") is None
    assert paper.stages(records, "speech_only") is paper.stages(records, "joint_tlm_one_stage") is None
    assert paper.stages(records, "joint_contrastive") == "contrastive+masked_text"


def test_rows_of_other_classes_of_encoders_and_objectives_mirror_nothing(fake):
    """Whatever their settings and names are; a shipped objective mirrors under any name."""
    folder = fake(rows=JOINT, table={})
    sweep = json.loads((folder / "sweep.json").read_text())
    joint = sweep["rows"]["joint"]["objectives"]
    sweep["rows"]["joint"]["tags"] = {"encoder": "joint", "objectives": {"hidden": "masked_text"}}
    sweep["rows"]["joint"]["objectives"] = {
        "hidden" if name == "masked_text" else name: joint[name] for name in ("masked_text", *joint)
    }
    sweep["rows"]["speech_only"]["tags"] = {"encoder": "my_lab.conformer"}
    sweep["rows"]["joint_contrastive"]["encoder"] = {"width": 64, "layers": 3}  # recorded before there were tags
    sweep["rows"]["joint_tlm_one_stage"]["tags"] = {"encoder": "joint", "objectives": {"tlm": "my_lab.tlm"}}
    (folder / "sweep.json").write_text(json.dumps(sweep))
    records = read(folder)
    assert paper.stages(records, "joint") == paper.SLAM
    assert paper.stages(records, "speech_only") is paper.stages(records, "joint_contrastive") is None
    table = build(records)
    lines = {line[0] for line in paper.sheet(table).lines}
    assert "joint tlm" in lines and not lines & {"speech only", "joint contrastive", "joint tlm one stage"}


def test_values_and_differences_by_hand(fake):
    sheet = paper.sheet(build(read(fake(rows=JOINT, seeds=(0, 1, 2), table={}))))
    lines = {line[0]: line for line in sheet.lines}
    assert "joint placebo" not in lines and "joint longer" not in lines and "scratch" not in lines
    assert lines["joint tlm"][1] == "SLAM-TLM" and lines["joint tlm"][3] == "3.1" and lines["joint tlm"][5] == "+0.2"
    assert lines["joint tlm"][7] == "24.1" and lines["joint tlm"][9] == "+0.6"
    assert lines["speech only"][3] == "2.9" and lines["speech only"][5] == "+0.4"  # a lower WER is better
    assert lines["joint"][4] == lines["joint"][5] == "SLAM"
    # The one-stage row is in the paper's LibriSpeech table alone.
    assert lines["joint tlm one stage"][3] == "3.2" and lines["joint tlm one stage"][7] == "—"
    assert "±" in lines["joint tlm"][4] and "600 M" in sheet.title
    first = dict(zip(sheet.fields, sheet.values[0]))
    assert first["published_parameters"] == "600M"


def test_published_rows_are_compared_within_one_corpus_of_text(fake):
    """In recognition the third stage read mC4 and SLAM LibriLM: 3.1 against 3.3 is not of the losses alone."""
    blocks = [{"rows": ["joint", "joint_tlm_stm_speech"], "reference": "joint"}]
    folder = fake(rows=JOINT, table={"blocks": blocks})
    sweep = json.loads((folder / "sweep.json").read_text())
    third = sweep["rows"]["joint_tlm_stm_speech"]["objectives"]
    sweep["rows"]["joint_tlm_stm_speech"]["objectives"] = {
        name: third[name] for name in ("contrastive", "masked_speech")
    }
    (folder / "sweep.json").write_text(json.dumps(sweep))
    sheet = paper.sheet(build(read(folder)))
    (line,) = (line for line in sheet.lines if line[0] == "joint tlm stm speech")
    assert line[3:6:2] == ["3.1", "other text (mC4-En)"] and line[7:10:2] == ["25.0", "+1.5"]
    (values,) = (
        dict(zip(sheet.fields, one)) for one in sheet.values if one[0] == "joint_tlm_stm_speech" and one[2] == "asr"
    )
    assert values["published"] == 3.1 and values["published_delta"] is None


def test_test_sets_of_speechstew_are_known_by_name(fake):
    columns = [f"speechstew.{split}.wer" for split in ("test_wsj", "test_own", "test_ami_ihm")]
    folder = fake(rows=("speech_only", "joint"), tasks=("speechstew",), table={"columns": columns})
    assert paper.sheet(build(read(of_data(folder, type="real", published=["librispeech"])))) is None
    sheet = paper.sheet(build(read(of_data(folder, type="real", published=["speechstew"]))))
    assert sheet.heads[3::4] == ["SpeechStew AMI IHM, published", "SpeechStew WSJ, published"]
    lines = {line[0]: line for line in sheet.lines}
    assert [lines["speech only"][k] for k in (1, 3, 5, 7, 9)] == ["w2v-bert", "9.1", "+0.3", "1.3", "+0.2"]
    assert [lines["joint"][k] for k in (3, 7)] == ["9.4", "1.5"]


def test_of_rows_alike_the_block_s_reference_stands_for_slam(fake):
    def slam(table):
        folder = fake(rows=("joint", "joint_longer"), table=table)
        sweep = json.loads((folder / "sweep.json").read_text())
        sweep["rows"]["joint_longer"] = {**sweep["rows"]["joint"], "label": "joint longer"}  # of another weight, say
        (folder / "sweep.json").write_text(json.dumps(sweep))
        return [line[0] for line in paper.sheet(build(read(folder))).lines if line[5] == "SLAM" and line[4] == "SLAM"]

    assert slam({}) == ["joint"]
    assert slam({"blocks": [{"reference": "joint_longer"}]}) == ["joint longer"]


def test_a_sweep_that_mirrors_nothing_has_no_sheet(fake):
    assert paper.sheet(build(read(fake(rows=("scratch", "joint_placebo", "joint_longer"), table={})))) is None
    assert paper.sheet(build(read(fake(rows=("text_only", "joint"), tasks=("sentiment",), table={})))) is None


def test_published_averages_are_the_mean_of_their_columns():
    with open(paper.FOLDER / "covost2.csv", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            languages = [float(line[language]) for language in ("De", "Ca", "Ar", "Tr")]
            assert sum(languages) / 4 == pytest.approx(float(line["average"]), abs=0.051), line["model"]
