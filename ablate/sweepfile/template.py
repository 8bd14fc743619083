"""Writes a new sweep file from a few answers: a small sweep that is complete and meant to be edited."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from ablate.errors import plural

COMPARE = {
    "objectives": "speech alone, text alone, both",
    "weights": "how much text weighs against speech",
    "values": "values of a setting, a row each",
    "axis": "speech alone, text alone, both, at each value of a setting",
}
SETTINGS = {"values": ("pretrain.objectives.masked_text.span", "1,5"), "axis": ("encoder.width", "32,64")}
WHERE = {"local": "on this machine", "slurm": "as jobs of a cluster"}
BUILTIN = "builtin"
UNMATCHED = ("pretrain.steps", "pretrain.decay", "pretrain.update")  # claims on rows that differ in these say so


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers from which a sweep file is written."""

    compare: str = "objectives"
    setting: str = ""
    """Dotted name of the setting of `base` whose values are compared."""
    values: tuple[str, ...] = ()
    data: str = BUILTIN
    """"builtin", or the folder of real corpora."""
    corpora: dict[str, str] = field(default_factory=dict)
    """Further settings of real data, as YAML text."""
    seeds: int = 3
    where: str = "local"
    partition: str = ""


@dataclass(frozen=True)
class _Question:
    question: str
    changes: str
    rows: dict[str, tuple[str, str]]
    """Patch and label of each row."""
    claims: dict[str, str]
    reference: str
    axes: str = ""
    table: str = ""


JOINT = {
    "scratch": ("{pretrain: {steps: 0, decay: 0}}", "from scratch"),
    "text_only": (
        "{encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}",
        "text only",
    ),
    "speech_only": ("{encoder: {reads: [speech]}, pretrain: {objectives: {masked_text: null}}}", "speech only"),
    "joint": ("{}", "speech and text"),
}
PAYS = {
    "text_helps_speech": "{effect: joint - speech_only, on: asr.wer, above: 0}",
    "speech_helps_text": "{effect: joint - text_only, on: sentence_pair.accuracy, above: 0}",
}


def text(answers: Answers, command: str, cost: str = "about 1 min on 2 cores", schema: str = "") -> str:
    """Return the text of the file. Comments at its top say that `command` runs it, what that costs, and, for editors,
    where the `schema` lies.
    """
    asked = _question(answers)
    builtin = answers.data == BUILTIN
    width = max(map(len, asked.rows)) + 1
    rows = [f"  {f'{name}:':<{width}} {patch}" for name, (patch, _) in asked.rows.items()]
    labels = [f"  {name}: {_quoted(label)}" for name, (_, label) in asked.rows.items()]
    claims = [f"  {name}: {claim}" for name, claim in asked.claims.items()]
    lines = [
        f"# Run: {command}",
        f"# Cost: {cost}, {plural(answers.seeds, 'seed')}",
        *([f"# yaml-language-server: $schema={schema}"] if schema else []),
        f"question: {_quoted(asked.question)}",
        f"changes_our_mind: {_quoted(asked.changes)}",
        "",
        *(
            ["data: builtin                   # sentences of a small world, spoken by eSpeak NG"]
            if builtin
            else _real(answers)
        ),
        f"seeds: {[*range(answers.seeds)]}".ljust(32) + "# verdicts on the claims need at least three",
        *_cluster(answers),
        "",
        "base:                           # what all rows have; `--show ROW` prints every setting there is",
        "  encoder: nano",
        f"  tokenizer: {'{size: 400, bytes: false}' if builtin else '{size: 1000, bytes: true}'}",
        "  pretrain:",
        "    objectives:",
        "      contrastive:   {weight: 1.0, at: speech_tower, diversity: 1.0, prob: 0.1, span: 4}",
        "      masked_speech: {weight: 1.0, targets: learned, prob: 0.1, span: 4}",
        "      masked_text:   {weight: 1.0}",
        *(BUILT_IN if builtin else REAL),
        *([asked.axes] if asked.axes else []),
        "",
        "rows:                           # each changes the base in what it says; {} is the base itself",
        *rows,
        "",
        "claims:                         # what is judged; an effect points in the metric's good direction",
        *claims,
        "",
        "labels:",
        *labels,
        "",
        "table:",
        *([asked.table] if asked.table else []),
        f"  blocks: [{{reference: {asked.reference}, rows: [{', '.join(asked.rows)}]}}]",
        "  columns: [asr.test.wer, asr.test_unseen.wer, sentence_pair.accuracy]",
    ]
    return "\n".join(lines) + "\n"


BUILT_IN = (
    "    steps: 1600                 # updates at a stable learning rate, then",
    "    decay: 160                  # updates in which it falls to zero",
    "    update: {speech: 20 s, text: 700 tokens}",
    "  tasks:                        # updates of fine-tuning; dev chooses among the evaluations",
    "    asr:           {steps: 800}",
    "    sentence_pair: {steps: 1400, evaluate_every: 200}",
)
REAL = (
    "    steps: 200                  # updates at a stable learning rate, few, to see that the data go through; then",
    "    decay: 40                   # updates in which it falls to zero",
    "    update: {speech: 20 s, text: 700 tokens}",
    "  tasks:                        # updates of fine-tuning; dev chooses among the evaluations",
    "    asr:           {steps: 200, items: 6}",
    "    sentence_pair: {steps: 150, items: 8, evaluate_every: 50}",
)


def _real(answers: Answers) -> list[str]:
    """Return the lines for real data. Corpora that none of the file's tasks read are left out."""
    unread = dict.fromkeys(("translation", "sentiment", "normalization", "digits"), '""')
    settings = unread | answers.corpora
    return [
        "data:                           # corpora as distributed; '' leaves one out (docs/data.md)",
        "  preset: real",
        f"  root: {_quoted(answers.data)}",
        *(f"  {name}: {value}" for name, value in settings.items()),
    ]


def _cluster(answers: Answers) -> list[str]:
    if answers.where == "local":
        return []
    return [
        f"cluster: {answers.where}",
        f"resources: {{partition: {_quoted(answers.partition)}}}".ljust(32)
        + "# what jobs ask for, gpus too (docs/slurm.md)",
    ]


def _question(answers: Answers) -> _Question:
    return {"objectives": _objectives, "weights": _weights, "values": _values, "axis": _axis}[answers.compare](answers)


def _objectives(_: Answers) -> _Question:
    return _Question(
        "Does pre-training on speech and text together beat pre-training on each alone?",
        "joint matching speech_only and text_only over five seeds",
        JOINT,
        PAYS,
        "joint",
        table="  compare_with: scratch",
    )


def _axis(answers: Answers) -> _Question:
    return _Question(
        f"Does pre-training on speech and text together pay at every {answers.setting}?",
        "joint matching speech_only and text_only at every value over five seeds",
        {name: row for name, row in JOINT.items() if name != "scratch"},
        PAYS,
        "joint",
        axes=f"\naxes:                           # all rows are made at each value\n  {answers.setting}: "
        f"[{', '.join(answers.values)}]",
    )


def _weights(_: Answers) -> _Question:
    weights = {"text_light": 0.1, "text_equal": 1.0, "text_heavy": 10.0}
    return _Question(
        "How much should text weigh against speech?",
        "text_light matching text_heavy on both tasks over five seeds",
        {
            name: (f"{{pretrain: {{objectives: {{masked_text: {{weight: {weight}}}}}}}}}", f"text weighs {weight:g}")
            for name, weight in weights.items()
        },
        {
            "light_text_spares_speech": "{effect: text_light - text_heavy, on: asr.wer, above: 0}",
            "heavy_text_helps_text": "{effect: text_heavy - text_light, on: sentence_pair.accuracy, above: 0}",
        },
        "text_equal",
        table=f"  frontier: {{x: asr.wer, y: sentence_pair.accuracy, rows: [{', '.join(weights)}]}}",
    )


def _values(answers: Answers) -> _Question:
    rows: dict[str, str] = {}
    for value in answers.values:
        name = row_name(answers.setting, value)
        rows[name if name not in rows else f"{name}_{len(rows) + 1}"] = value
    first, *_, last = rows
    unmatched = ", unmatched: true" if answers.setting.startswith(UNMATCHED) else ""
    return _Question(
        f"Which {answers.setting} is better: {', '.join(answers.values[:-1])} or {answers.values[-1]}?",
        f"{first} matching {last} on both tasks over five seeds",
        {name: (_nested(answers.setting, value), f"{answers.setting} {value}") for name, value in rows.items()},
        {
            f"{last}_helps_speech": f"{{effect: {last} - {first}, on: asr.wer, above: 0{unmatched}}}",
            f"{last}_helps_text": f"{{effect: {last} - {first}, on: sentence_pair.accuracy, above: 0{unmatched}}}",
        },
        first,
    )


def row_name(setting: str, value: str) -> str:
    """Return a name for the row with this value of a setting. Claims need names of letters, digits and _."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{setting.rpartition('.')[2]}_{value}").strip("_")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _nested(setting: str, value: str) -> str:
    """Return a patch that sets the setting, in YAML's flow style."""
    keys = setting.split(".")
    return "".join(f"{{{key}: " for key in keys) + value + "}" * len(keys)
