"""A small fake sweep on disk: what `ablate` would have written, with planted effects and no training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import analysis.figures.look  # noqa: F401  here, so that not every process that draws has to import it

TASKS = {  # task -> (splits, metric, better, what it reads, value of the joint row, shallow baselines)
    "asr": (("test", "test_unseen"), "wer", "lower", "speech", 40.0, {"empty output": 100.0}),
    "translation": (("test",), "bleu", "higher", "speech", 22.0, {"most frequent": 2.9, "empty output": 0.0}),
    "sentiment": (("test",), "accuracy", "higher", "text", 70.0, {"majority": 50.2}),
    "sentence_pair": (("test",), "accuracy", "higher", "text", 64.0, {"majority": 50.0, "word overlap": 73.0}),
    "normalization": (("test",), "ser", "lower", "text", 30.0, {"copy": 100.0}),
    "retrieval": (("test",), "recall@1", "higher", "pair", 12.0, {"chance": 2.0, "duration only": 9.0}),
    "speechstew": (("test_ami_ihm", "test_wsj", "test_own"), "wer", "lower", "speech", 30.0, {"empty output": 100.0}),
}
USUAL = tuple(TASKS)[:-1]
ROWS = {  # row -> (reads, steps, pretrain patch, gain over joint per modality)
    "scratch": (["speech", "text"], 0, {"steps": 0}, {"speech": -8, "text": -6, "pair": -10}),
    "text_only": (["text"], 4000, {}, {"text": 3}),
    "speech_contrastive": (["speech"], 4000, {}, {"speech": 1}),
    "speech_only": (["speech"], 4000, {}, {"speech": 4}),
    "joint_contrastive": (["speech", "text"], 4000, {}, {"speech": -4, "text": -1, "pair": -1}),
    "joint": (["speech", "text"], 4000, {}, {"speech": 0, "text": 0, "pair": 0}),
    "joint_placebo": (["speech", "text"], 4000, {}, {"speech": 2.5, "text": -5, "pair": -1}),
    "joint_longer": (["speech", "text"], 8000, {}, {"speech": 1, "text": 1, "pair": 0}),
    "joint_tlm": (["speech", "text"], 8000, {}, {"speech": 4, "text": 1, "pair": 6}),
    "joint_tlm_unpaired": (["speech", "text"], 8000, {}, {"speech": 1.2, "text": 1, "pair": 0}),
    "joint_tlm_stm": (["speech", "text"], 8000, {}, {"speech": 4.2, "text": 0.5, "pair": 20}),
    "joint_tlm_stm_speech": (["speech", "text"], 12000, {}, {"speech": 6, "text": -2, "pair": 14}),
    "joint_tlm_stm_longer": (["speech", "text"], 12000, {}, {"speech": 5, "text": 1, "pair": 22}),
    "joint_tlm_one_stage": (["speech", "text"], 8000, {}, {"speech": 3, "text": 0, "pair": 5}),
}
AFTER = {
    "joint_longer": "joint",
    "joint_tlm": "joint",
    "joint_tlm_unpaired": "joint",
    "joint_tlm_stm": "joint",
    "joint_tlm_stm_speech": "joint_tlm_stm",
    "joint_tlm_stm_longer": "joint_tlm_stm",
}
CLAIMS = {
    "tlm_helps_translation": {
        "effect": "joint_tlm - joint_tlm_unpaired",
        "on": "translation.bleu",
        "above": 0,
        "coefficients": {"joint_tlm": 1.0, "joint_tlm_unpaired": -1.0},
    },
    "text_harms_speech": {
        "effect": "joint - joint_placebo",
        "on": "asr.wer",
        "below": 0,
        "coefficients": {"joint": 1.0, "joint_placebo": -1.0},
        "assay": "speech_only - scratch",
        "assay_coefficients": {"speech_only": 1.0, "scratch": -1.0},
    },
}
TABLE = {
    "blocks": [
        {
            "reference": "joint",
            "rows": [
                "scratch",
                "text_only",
                "speech_contrastive",
                "speech_only",
                "joint_contrastive",
                "joint",
                "joint_placebo",
            ],
        },
        {
            "title": "Two stages",
            "reference": "joint_longer",
            "rows": ["joint_longer", "joint_tlm", "joint_tlm_unpaired", "joint_tlm_stm", "joint_tlm_one_stage"],
        },
    ],
}


def stage_id(*parts) -> str:
    """An id for a fake stage, as stable as a real one."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass
class FakeSweep:
    """Writes a sweep folder and its runs below `root`; values are planted, spread over seeds is `noise`."""

    root: Path
    name: str = "objectives"
    rows: tuple[str, ...] = tuple(ROWS)
    seeds: tuple[int, ...] = (0,)
    tasks: tuple[str, ...] = USUAL
    points: tuple[dict, ...] = ({},)
    claims: dict = field(default_factory=lambda: dict(CLAIMS))
    table: dict = field(default_factory=lambda: dict(TABLE))
    noise: float = 1.0
    missing: tuple = ()
    """(row, seed, task) of scores that are not finished, and perhaps a split; None stands for any."""
    size: int = 60
    """Test items per split."""
    draws: int = 1
    """Fine-tunings of a leaf."""
    tuning: float = 0.0
    """Spread between fine-tunings of one leaf."""
    format: int = 2
    """Of the records; with 1 they are as commit e7f69db wrote them, with the same numbers."""

    def write(self) -> Path:
        folder = self.root / "sweeps" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        axes: dict[str, list] = {}
        for point in self.points:
            for axis, value in point.items():
                axes.setdefault(axis, []).append(value)
        rows = {
            name: {
                "label": name.replace("_", " "),
                "reads": ROWS[name][0],
                "after": AFTER.get(name),
                "steps": ROWS[name][1],
                "encoder": {"width": 64, "block": "conformer"},
                "objectives": self._objectives(name),
            }
            for name in self.rows
        }
        sweep = {
            **({"format": self.format} if self.format > 1 else {}),
            "name": self.name,
            "question": "Which pre-training losses earn their place in a joint encoder?",
            "changes_our_mind": "joint_longer matching joint_tlm on translation over five seeds",
            "rows": rows,
            "labels": {},
            "tasks": {
                t: {"reads": TASKS[t][3], "splits": list(TASKS[t][0]), "metrics": [TASKS[t][1]]} for t in self.tasks
            },
            "seeds": list(self.seeds),
            "axes": axes,
            "table": self.table,
            "claims": self.claims,
            "data": {"type": "BuiltinConfig"},
        }
        (folder / "sweep.json").write_text(json.dumps(sweep))
        lines = [self._line(row, point, seed) for row in self.rows for point in self.points for seed in self.seeds]
        (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    def _objectives(self, row: str) -> dict:
        weights = {"contrastive": 1.0, "masked_speech": 1.0, "masked_text": 1.0}
        if "contrastive" in row:
            del weights["masked_speech"]
        if "speech" not in ROWS[row][0]:
            weights = {"masked_text": 1.0}
        if "text" not in ROWS[row][0]:
            weights.pop("masked_text")
        if "tlm" in row:
            weights["tlm"] = 1.0
        if "stm" in row:
            weights["stm"] = 1.0
        text = {"text": "drawn" if "placebo" in row else "true"}
        return {name: {"weight": weight, **(text if name == "masked_text" else {})} for name, weight in weights.items()}

    def _line(self, row: str, point: dict, seed: int) -> dict:
        reads, steps = ROWS[row][:2]
        parent = AFTER.get(row)
        own = stage_id("trunk", row, point, seed)
        trunks = [own]
        start = 0
        while parent:
            trunks.insert(0, stage_id("trunk", parent, point, seed))
            start = max(start, ROWS[parent][1])
            parent = AFTER.get(parent)
        leaf = stage_id("leaf", row, point, seed)
        scale = 1 + (list(self.points).index(point))
        parameters = {
            "speech_only": 20_000 * scale,
            "text_only": 1_000,
            "shared": 60_000 * scale**2,
            "embedding": 25_600 * scale,
        }
        lacking = [*["speech_only"] * ("speech" not in reads), *["text_only", "embedding"] * ("text" not in reads)]
        parameters |= dict.fromkeys(lacking, 0)
        parameters["total"] = sum(parameters.values())
        self._run("pretrain", own, {"parameters": parameters, "steps": steps}, self._curve(row, start, steps, seed))
        last = steps + 800
        losses = {"final": {f"{name}/loss": 2.5 for name in self._objectives(row)}} if steps else {}
        one_result = losses if self.format == 1 else {}
        self._run(
            "pretrain",
            leaf,
            {"parameters": parameters, "steps": last, **one_result},
            self._curve(row, steps, last, seed),
        )
        possible = [t for t in self.tasks if all(m in reads for m in _modalities(TASKS[t][3]))]
        stages = {
            "tokenizer": stage_id("tokenizer"),
            "trunk": own,
            "leaf": leaf,
            "trunks": trunks,
            "finetune": {},
            "score": {},
        }
        if self.format == 1:
            stages["corpus"] = stage_id("corpus")
        else:
            names = [f"{task}.{split}" for task in possible for split in ("train", "dev", *TASKS[task][0])]
            stages["tables"] = {name: stage_id("table", name) for name in names}
            stages["tokens"] = {
                name: stage_id("tokens", name) for name in names if "text" in TASKS[name.split(".")[0]][3]
            }
            if losses:
                stages["heldout"] = stage_id("heldout", row, point, seed)
                self._run("heldout", stages["heldout"], losses, [])
        for task in possible:
            if TASKS[task][3] != "pair":
                stages["finetune"][task] = stage_id("finetune", row, point, seed, task)
                self._finetune(stages["finetune"][task], row, task, seed)
            if self.format == 1:
                stages["score"][task] = self._score(TASKS[task][0], row, point, seed, task)
            else:
                stages["score"][task] = {
                    split: self._score((split,), row, point, seed, task) for split in TASKS[task][0]
                }
        if self.draws > 1:
            stages["draws"] = [self._further(row, point, seed, stages["finetune"], k) for k in range(1, self.draws)]
        return {
            "row": row,
            "point": point,
            "seed": seed,
            "reads": reads,
            "after": AFTER.get(row),
            "steps": steps,
            "stages": stages,
            "na": [t for t in self.tasks if t not in possible],
        }

    def _further(self, row: str, point: dict, seed: int, tuned: dict, draw: int) -> dict:
        """A further fine-tuning of a leaf's tasks, and its scores."""
        further = {"finetune": {}, "score": {}}
        for task in tuned:
            further["finetune"][task] = stage_id("finetune", row, point, seed, task, draw)
            self._finetune(further["finetune"][task], row, task, seed)
            further["score"][task] = {s: self._score((s,), row, point, seed, task, draw) for s in TASKS[task][0]}
        return further

    def value(self, row: str, point: dict, seed: int, task: str) -> float:
        """The planted level: joint's, plus the row's gain in the good direction, plus noise by (row, seed)."""
        _, _, better, modality, level, _ = TASKS[task]
        gain = ROWS[row][3].get(modality, 0) + 3 * list(self.points).index(point)
        if point and row == "joint":
            gain -= 4 / (1 + list(self.points).index(point))
        rng = np.random.default_rng(int(stage_id("noise", row, point, seed, task), 16))
        shared = np.random.default_rng(int(stage_id("seed", seed, task), 16)).normal(0, 2)
        return level + (1 if better == "higher" else -1) * gain + shared * bool(self.noise) + rng.normal(0, self.noise)

    def _score(self, splits: tuple[str, ...], row: str, point: dict, seed: int, task: str, draw: int = 0) -> str:
        """Score a task on splits in one stage, unless that is missing; return its id."""
        every, metric, better, _, _, shallow = TASKS[task]
        which = (draw,) if draw else ()
        of_task = stage_id("score", row, point, seed, task, *which)
        id = of_task if self.format == 1 else stage_id("score", row, point, seed, task, *splits, *which)
        about = (row, seed, task, *splits)
        if any(all(m in (None, v) for m, v in zip(miss, about)) for miss in self.missing):
            (self.root / "score" / id[:2] / id / "result.json").unlink(missing_ok=True)
            return id
        scores, items = [], []
        for split in splits:
            tuning = np.random.default_rng(int(stage_id("tuning", row, point, seed, task, draw), 16))
            value = self.value(row, point, seed, task) + 15 * every.index(split) + tuning.normal(0, self.tuning)
            rng = np.random.default_rng(int(of_task, 16) % 2**32)
            lines = _items(metric, split, value, self.size, rng)
            unit = "" if metric == "bleu" else "%"
            scores.append(
                {
                    "split": split,
                    "metric": metric,
                    "value": _score(metric, lines),
                    "unit": unit,
                    "better": better,
                    "n": self.size,
                    "signature": "fake",
                }
            )
            items += lines
        baselines = [
            {"split": split, "metric": metric, "name": name, "value": value}
            for split in splits
            for name, value in shallow.items()
        ]
        result = {
            "task": task,
            "scores": scores,
            "baselines": baselines,
            "seconds": 3 + int(id, 16) % 1000 / 1000,  # so that equal scores of two runs are two records
            "code": {"commit": "a1b2c3d4e5f6", "dirty": False},
        }
        self._run("score", id, result, [], items)
        return id

    def _finetune(self, id: str, row: str, task: str, seed: int) -> None:
        _, metric, better, modality, level, _ = TASKS[task]
        gain = ROWS[row][3].get(modality, 0)
        sign = -1 if better == "higher" else 1
        values = {s: level + sign * (60 * float(np.exp(-s / 150)) - gain) for s in range(50, 801, 50)}
        curve = [{"step": step, f"dev/{metric}": value} for step, value in values.items()]
        curve += [{"step": s, "loss": 3 * float(np.exp(-s / 300)), "lr": 1e-3} for s in range(20, 801, 20)]
        dev = {"metric": metric, "value": level}
        self._run("finetune", id, {"best_step": 700, "dev": dev, "steps_run": 800}, curve)

    def _curve(self, row: str, start: int, last: int, seed: int) -> list[dict]:
        rng = np.random.default_rng(int(stage_id("curve", row, start, seed), 16))
        lines = []
        for step in range(start + 80, last + 1, 80):
            fall = float(np.exp(-step / 1500))
            metrics = {"loss": 0.0, "lr": 4e-3}
            for name in self._objectives(row):
                loss = 2 + 2 * fall + float(rng.normal(0, 0.08))
                metrics["loss"] += loss
                metrics[f"{name}/loss"] = loss
                metrics[f"{name}/accuracy"] = 0.5 - 0.4 * fall + float(rng.normal(0, 0.01))
            lines.append({"step": step, **metrics})
        return lines

    def _run(self, kind: str, id: str, result: dict, metrics: list[dict], items: list[dict] = ()) -> None:
        path = self.root / kind / id[:2] / id
        path.mkdir(parents=True, exist_ok=True)
        identity = {"kind": kind, "id": id, "config": {}, "parents": [], "title": ""}
        (path / "identity.json").write_text(json.dumps(identity))
        token = stage_id("attempt", kind, id)
        files = path / token if self.format > 1 else path
        files.mkdir(exist_ok=True)
        for name, lines in (("metrics.jsonl", metrics), ("items.jsonl", items)):
            if lines:
                (files / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        if self.format > 1:
            result = {
                "format": 2,
                "attempt": token,
                "files": {file.name: {"size": file.stat().st_size} for file in files.iterdir()},
            } | result
        (path / "result.json").write_text(json.dumps(result))


def _modalities(reads: str) -> tuple[str, ...]:
    return ("speech", "text") if reads == "pair" else (reads,)


def _items(metric: str, split: str, value: float, size: int, rng: np.random.Generator) -> list[dict]:
    """Items whose counts come near `value`."""
    lines = []
    rate = float(np.clip(value, 0, 100)) / 100
    for number in range(size):
        line = {"split": split, "id": f"{split}-{number}", "reference": "six red boats", "hypothesis": "six red boat"}
        if metric == "wer":
            wrong = int(rng.binomial(10, rate))
            line |= {"substitutions": wrong, "deletions": 0, "insertions": 0, "words": 10}
        elif metric == "bleu":
            shares = zip((10, 9, 8, 7), (1.2, 1.0, 0.9, 0.8))
            matches = [int(rng.binomial(n, min(1.0, rate**0.5 * share))) for n, share in shares]
            line |= {"matches": matches, "totals": [10, 9, 8, 7], "sys_len": 10, "ref_len": 10}
        elif metric.startswith("recall"):
            line |= {"rank": 1 if rng.random() < rate else 5}
        else:
            line |= {"correct": bool(rng.random() < (1 - rate if metric == "ser" else rate))}
        lines.append(line)
    return lines


def _score(metric: str, lines: list[dict]) -> float:
    """The metric of the lines, computed apart from the code under test."""
    if metric == "wer":
        return 100 * sum(x["substitutions"] for x in lines) / sum(x["words"] for x in lines)
    if metric == "bleu":
        sums = [(sum(x["matches"][k] for x in lines), sum(x["totals"][k] for x in lines)) for k in range(4)]
        return 100 * float(np.exp(np.mean([np.log(m / t) for m, t in sums])))
    if metric.startswith("recall"):
        return 100 * sum(x["rank"] == 1 for x in lines) / len(lines)
    return 100 * sum(x["correct"] != (metric == "ser") for x in lines) / len(lines)


@pytest.fixture
def fake(tmp_path):
    """Make a fake sweep: `fake(seeds=(0, 1, 2), missing=[...])` writes it and returns its folder."""
    return lambda **options: FakeSweep(root=tmp_path / "runs", **options).write()


@pytest.fixture(scope="session")
def fake_sweep():
    """The class, for fixtures that outlive a test."""
    return FakeSweep
