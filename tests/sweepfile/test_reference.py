"""The reference, its page and the schema for editors say what the code reads; the schema marks mistakes."""

import copy
import functools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ablate.errors import UserError
from ablate.planning import reference
from ablate.planning.jsonschema import in_lines, schema_of
from ablate.planning.plan import named_kinds, plan_file
from ablate.sweepfile.load import Loader, dumped
from ablate.sweepfile.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
SWEEP = """
question: q
data: {preset: builtin, speech: 30}
seeds: [0, 1]
base:
  encoder: {preset: nano, width: 32}
  tokenizer: {size: 400, bytes: false}
  pretrain:
    objectives: {masked_text: 1.0, contrastive: {weight: 0.5, prob: 0.1}, mine: {preset: masked_text, span: 3}}
    steps: 10
    decay: 2
    update: {speech: 20 s, text: 700 tokens, pairs: 6, shards: 2}
    optimizer: {lr: 1e-3}
  tasks: {asr: {steps: 10, tune: {lr: [1e-3, 2e-3]}}, asr_10: {preset: asr}}
rows:
  a: {}
  b: {after: a, pretrain: {objectives: {contrastive: null, tlm: "${base.pretrain.objectives.masked_text}"}}}
axes: {data.pairs: [3, 9], size: {small: {encoder: nano_narrow}}}
claims: {c: {effect: b - a, on: asr.wer, above: 0}}
labels: {a: the first}
table: {columns: [asr.wer], blocks: [{reference: a, rows: [a, b]}], frontier: {x: asr.wer, y: asr.cer, rows: [a]}}
resources: {mem_gb: 40G, pretrain: {gpus: a100:4}}
workers: 2
"""


@pytest.fixture(scope="module")
def registry():
    return Registry.default(named_kinds())


@pytest.fixture(scope="module")
def marks(registry):
    """What the schema marks in a sweep file, given as text."""
    validator = jsonschema.Draft7Validator(schema_of(registry))
    validator.check_schema(validator.schema)
    return lambda text: [error.json_path for error in validator.iter_errors(yaml.load(text, Loader=Loader))]


def test_the_page_and_the_schema_are_those_of_the_code(registry):
    """python -m ablate.planning.jsonschema writes them anew."""
    assert (ROOT / "docs" / "reference" / "sweep-file.md").read_text() == reference.page(registry)
    assert (ROOT / "sweeps" / "schema.json").read_text() == in_lines(schema_of(registry))


def test_every_key_is_explained(registry):
    silent = [(one.path, key.name) for one in reference.parts(registry) for key in one.keys if not key.doc]
    assert {path for path, _ in silent} <= {"resources"}  # whose kinds say what they are
    assert all(one.about for one in reference.parts(registry))


def test_page_text_and_schema_have_the_same_keys(registry):
    page, text = reference.page(registry), reference.text(registry)
    known = json.dumps(schema_of(registry))
    for one in reference.parts(registry):
        for key in one.keys:
            assert f"| `{key.name}` |" in page and f"    {key.name} " in text and f'"{key.name}": ' in known


@pytest.mark.parametrize(
    "section, holds",
    [
        ("claims", "effect "),
        ("asr_slam", "head_lr "),
        ("update", "shards "),
        ("table.frontier", "rows "),
        ("rows", "after "),
    ],
)
def test_a_section_is_found_by_its_path_its_end_or_a_preset(registry, section, holds):
    text = reference.text(registry, section)
    assert f"    {holds}" in text and len(text) < len(reference.text(registry)) / 2


@pytest.mark.parametrize("section", ["objectives", "targets", "tasks"])
def test_a_section_of_parts_by_name_has_them_all(registry, section):
    text = reference.text(registry, section)
    where = "base.tasks" if section == "tasks" else f"base.pretrain.{section}"
    for one in reference.parts(registry):
        if one.path.startswith(f"{where}."):
            assert f"{one.path}\n  {one.about[:40]}" in text


def test_every_key_is_found_by_its_path_and_by_its_name(registry):
    parts = reference.parts(registry)
    paths = [
        one.path.partition(" ")[0].replace(".NAME", "").replace("[]", "").replace(".MODALITY", "") for one in parts
    ]
    presets = {name for one in parts for name in one.presets}
    for part, path in zip(parts, paths):
        for key in part.keys:
            full = f"{path}.{key.name}".lstrip(".")
            for asked in {full, key.name}:
                found = reference.text(registry, asked)
                a_part = asked in presets or any(f".{one}".endswith(f".{asked}") for one in paths)
                assert a_part or f"    {key.name:<22}{key.kind}" in found, asked


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ("seeds", ["the sweep file", "    seeds                 a list of whole numbers from 0 = [0]"]),
        (
            "masked_text.span",
            ["base.pretrain.objectives.masked_text", "    span                  a whole number from 1 = 5"],
        ),
        ("base.encoder.width", ["base.encoder", "    width                 a whole number from 1 = 64"]),
        (
            "rows.joint.encoder.block",
            ["base.encoder", '    block                 one of conformer, transformer = "conformer"'],
        ),
        (
            "reads",
            [
                "base.encoder",
                '    reads                 a list, each one of speech, text, pair = ["speech", "text", "pair"]',
            ],
        ),
        ("tune", ["base.tasks.NAME", "    tune                  a mapping"]),
        ("mem_gb", ["resources", "    mem_gb                memory in GB, as in 40, 40G or 512M = 4"]),
    ],
)
def test_a_single_key_is_shown_alone(registry, asked, lines):
    assert reference.text(registry, asked).splitlines()[:2] == lines


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("clams", "no section or key 'clams'; did you mean 'claims'"),
        ("masked_text.spam", "did you mean 'masked_text.span'"),
        ("zzz", "no section or key 'zzz'; sections are base, encoder, pretrain, objectives, tasks, rows"),
    ],
)
def test_an_unknown_section_gets_the_nearest_and_few_names(registry, asked, told):
    with pytest.raises(UserError, match=told) as error:
        reference.text(registry, asked)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_sweeps_pass(path, marks):
    assert marks(path.read_text()) == []


def test_what_people_write_passes(marks):
    assert marks(SWEEP) == []


@pytest.mark.parametrize(
    "old, new, place",
    [
        ("question", "qestion", "$"),
        ("seeds: [0, 1]", "seeds: 3", "$.seeds"),
        ("seeds: [0, 1]", "seeds: [0, x]", "$.seeds"),
        ("preset: builtin", "preset: bultin", "$.data"),
        ("speech: 30", "speach: 30", "$.data"),
        ("preset: nano,", "preset: nanno,", "$.base.encoder"),
        ("width: 32", "width: wide", "$.base.encoder"),
        ("width: 32", "width: 0", "$.base.encoder"),
        ("size: 400", "sice: 400", "$.base.tokenizer"),
        ("bytes: false", "bytes: no", "$.base.tokenizer"),
        ("masked_text: 1.0", "masked_text: -1.0", "$.base.pretrain.objectives"),
        ("prob: 0.1", "prob: 1.5", "$.base.pretrain.objectives"),
        ("span: 3", "spam: 3", "$.base.pretrain.objectives"),
        ("mine: {preset: masked_text,", "mine: {", "$.base.pretrain.objectives"),
        ("steps: 10\n", "steps: ten\n", "$.base.pretrain"),
        ("20 s", "twenty s", "$.base.pretrain"),
        ("lr: 1e-3}", "lrr: 1e-3}", "$.base.pretrain"),
        ("after: a", "aftr: a", "$.rows.b"),
        ("  a: {}", "  a-b: {}", "$.rows"),
        ("effect", "efect", "$.claims.c"),
        ("above: 0", "above: zero", "$.claims.c"),
        ("columns: [asr.wer]", "columns: asr.wer", "$.table"),
        ("reference: a", "referenc: a", "$.table"),
        ("mem_gb", "mem_bg", "$.resources"),
        ("workers: 2", "workers: 0", "$.workers"),
        ("width: 32", "block: confomer", "$.base.encoder"),
        ("width: 32", "reads: [speech, vdieo]", "$.base.encoder"),
        ("size: 400", "model: bp", "$.base.tokenizer.model"),
        ("weight: 0.5", "at: jiont", "$.base.pretrain.objectives"),
        ("masked_text: 1.0", "masked_text: {text: true}", "$.base.pretrain.objectives"),
        ("20 s", "20 tokens", "$.base.pretrain.update.speech"),
        ("700 tokens", "700 s", "$.base.pretrain.update.text"),
        ("shards: 2", "shards: 2 s", "$.base.pretrain.update.shards"),
        ("effect: b - a, ", "", "$.claims.c"),
        ("on: asr.wer, ", "", "$.claims.c"),
        ("x: asr.wer, ", "", "$.table.frontier"),
        ("question: q", "name: a/b", "$.name"),
        ("question: q", "cluster: slrum", "$.cluster"),
        ("question: q", "seeds: [-1]", "$.seeds"),
    ],
)
def test_mistakes_are_marked(marks, old, new, place):
    assert old in SWEEP
    text = SWEEP.replace("seeds: [0, 1]\n", "") if new.startswith("seeds: [-") else SWEEP
    found = marks(text.replace(old, new, 1))
    assert found and all(one.startswith(place) for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "tasks: [asr, nosuch]\nrows: {a: {}}\n",
        "tasks: [asr_10]\nbase: {tasks: {asr: {steps: 3}}}\nrows: {a: {}}\n",
        "question: no rows\n",
    ],
)
def test_what_a_file_must_name_is_asked_of_one_that_extends_no_other(marks, text):
    assert marks(text) and marks(f"extends: other.yaml\n{text}") == []


@pytest.mark.parametrize(
    "text",
    [
        "tasks: [asr, asr_10, glue]\nbase: {tasks: {asr_10: {preset: asr}}}\nrows: {a: {}}\n",
        "extends: other.yaml\nclaims: {c: {above: 3}}\nbase: {tasks: {mine: {steps: 3}}}\n",
        "rows: {a: {pretrain: {objectives: {mine: {span: 3}}}}}\n",
        "rows: {a: {pretrain: {steps: '10', update: {speech: '20', text: 1e3 tokens}}}}\nname: 2026\n",
        'rows: {a: {encoder: {width: "${workers}", reads: ["${question}"]}}}\nworkers: 64\nquestion: text\n',
        "rows: {a: }\nbase:\nclaims:\nlabels:\ntable:\nresources: {mem_gb: }\naxes:\ndata:\n",
        "plugins: [my_lab]\nrows: {a: {encoder: my_encoder}}\nbase: {encoder: {preset: my_encoder, x: 3}}\n",
    ],
)
def test_what_planning_may_accept_is_not_marked(marks, text):
    assert marks(text) == []


def leaves(value, path=()):
    """The path of every value in a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield *path, key
        yield from leaves(part, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, "3", 1.5, "${workers}", []], ids=repr)
def test_what_is_marked_is_refused_by_planning_too(marks, value, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_PLUGINS", "")
    whole = yaml.load(SWEEP, Loader=Loader)
    marked = 0
    for *above, last in leaves(whole):
        document = copy.deepcopy(whole)
        holder = functools.reduce(lambda part, key: part[key], above, document)
        holder[last] = value
        (tmp_path / "edited.yaml").write_text(text := dumped(document).replace("\\${", "${"))
        if not marks(text):
            continue
        marked += 1
        with pytest.raises(UserError):
            plan_file(tmp_path / "edited.yaml")
    assert marked > (3 if value == "${workers}" else 20)
