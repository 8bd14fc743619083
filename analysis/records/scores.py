"""The cells that a sweep asks for: one line per number, also for missing and impossible cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.records import manifest
from analysis.records.manifest import Line
from analysis.records.results import Results

DONE, MISSING, IMPOSSIBLE = "done", "missing", "n/a"
READS = {
    "asr": "speech",
    "digits": "speech",
    "translation": "speech",
    "codes": "speech",
    "retrieval": "pair",
    "sentiment": "text",
    "sentence_pair": "text",
    "normalization": "text",
}
KEYS = ["row", "point", "seed", "task", "split", "metric"]
SCORES = [
    *KEYS,
    "value",
    "better",
    "unit",
    "n",
    "run",
    "status",
    "parameters",
    "active",
    "commit",
    "signature",
    "drawn",
]
BASELINES = ["task", "split", "metric", "name", "value"]


def point_name(point: dict[str, Any]) -> str:
    """Name a point of the axes, e.g. {"encoder": "small"} -> "encoder=small"; "" for none."""
    return ", ".join(f"{axis}={value}" for axis, value in point.items())


def reads(sweep: dict, task: str) -> str:
    """Modality that a task reads: "speech", "text" or "pair"; from the sweep, else from a known task's name."""
    return _declared(sweep, task).get("reads") or READS.get(task, "pair")


def table(sweep: dict, task: str) -> str:
    """Table that a task reads; in older plans, which do not state it, taken to have the task's name."""
    return _declared(sweep, task).get("table", task)


def kind(sweep: dict, task: str) -> str:
    """Kind of the stages that measure a task: "score", or a kind that the sweep file adds."""
    return _declared(sweep, task).get("kind", "score")


def _declared(sweep: dict, task: str) -> dict:
    """What the plan says about a task; older plans only list names."""
    return (sweep["tasks"][task] if isinstance(sweep["tasks"], dict) else None) or {}


def scores(sweep: dict, lines: list[Line], results: Results) -> pd.DataFrame:
    """Every cell that the sweep asks for, with columns `SCORES`; unfinished cells have the metrics of finished ones.

    "drawn" holds the value of each finished fine-tuning of the leaf by its score run, and "value" is their mean; "run"
    is the first one's, finished or not.
    """
    tasks = list(sweep["tasks"])
    known = {task: _known(sweep, task, lines, results) for task in tasks}
    cells = []
    for line in lines:
        size = _parameters(results("pretrain", manifest.leaf(line)))
        for task in tasks:
            of = kind(sweep, task)
            done = {run: result for run in manifest.every_score(line, task) if (result := results(of, run))}
            by_run = {
                (run, score["split"], score["metric"]): score
                for run, one in done.items()
                for score in one.get("scores", ())
            }
            for (split, metric), (better, unit) in known[task].items():
                runs = manifest.draws(line, task, split)
                run = runs[0] if runs else None
                made = next((done[one] for one in runs if one in done), None)
                impossible = run is None or task in line.get("na", ()) or _has_no(made, split, metric)
                result = None if impossible else made
                found = (
                    {} if impossible else {one: by_run[key] for one in runs if (key := (one, split, metric)) in by_run}
                )
                drawn = {one: about["value"] for one, about in found.items()}
                score = next(iter(found.values()), None)
                cells.append(
                    {
                        "row": line["row"],
                        "point": point_name(line["point"]),
                        "seed": line["seed"],
                        "task": task,
                        "split": split,
                        "metric": metric,
                        "value": sum(drawn.values()) / len(drawn) if drawn else np.nan,
                        "better": better,
                        "unit": unit,
                        "n": score["n"] if score else 0,
                        "run": "" if impossible else run,
                        "status": IMPOSSIBLE if impossible else DONE if score else MISSING,
                        "commit": (result or {}).get("code", {}).get("commit") or "",  # None without git
                        "parameters": size.get("parameters", np.nan),
                        "active": size.get(reads(sweep, task), np.nan),
                        "signature": score.get("signature", "") if score else "",
                        "drawn": drawn,
                    }
                )
    return pd.DataFrame(cells, columns=SCORES)


def _has_no(result: dict | None, split: str, metric: str) -> bool:
    """Whether a finished score has other metrics of a split but not this one, such as the metric for recordings heard
    alone where features are not normalised by speaker.
    """
    own = {score["metric"] for score in (result or {}).get("scores", ()) if score["split"] == split}
    return bool(own) and metric.endswith("_alone") and metric not in own


def _known(sweep: dict, task: str, lines: Iterable[Line], results: Results) -> dict[tuple[str, str], tuple[str, str]]:
    """Direction and unit by split and metric of a task, in the plan's order of splits.

    A split without finished runs has the metrics of the other splits; while no run of the task is finished, direction
    and unit are "".
    """
    splits = dict.fromkeys(_declared(sweep, task).get("splits", ()))
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for line in lines:
        splits |= {split: None for split in manifest.scores(line, task) if split}
        for run in manifest.every_score(line, task):
            for score in (results(kind(sweep, task), run) or {}).get("scores", ()):
                seen.setdefault((score["split"], score["metric"]), (score["better"], score.get("unit", "")))
    splits |= dict.fromkeys(split for split, _ in seen)
    metrics = {metric: about for (_, metric), about in seen.items()} or {"": ("", "")}
    known = {}
    for split in splits or ("test",):
        own = {metric: about for (of, metric), about in seen.items() if of == split}
        known |= {(split, metric): about for metric, about in (own or metrics).items()}
    return known


def _parameters(result: dict | None) -> dict[str, float]:
    """Number of parameters without embeddings: in total, and those active when reading speech, text or a pair, where
    the encoder counts them by modality.
    """
    if not result or "parameters" not in result:
        return {}
    counts = result["parameters"]
    total = counts["total"] - counts["embedding"]
    active = {m: counts[f"{m}_only"] + counts["shared"] for m in ("speech", "text") if "shared" in counts}
    return {"parameters": total, "pair": total, **active}


def baselines(sweep: dict, lines: list[Line], results: Results) -> pd.DataFrame:
    """Baselines that need no learning, with columns `BASELINES`: properties of the data, averaged where a sweep has
    several worlds.
    """
    entries = []
    for line in lines:
        for task in sweep["tasks"]:
            for run in manifest.every_score(line, task):
                of_run = (results(kind(sweep, task), run) or {}).get("baselines", ())
                entries += [{"task": task, **{key: one[key] for key in BASELINES[1:]}} for one in of_run]
    frame = pd.DataFrame(entries, columns=BASELINES)
    return frame.groupby(BASELINES[:-1], sort=False, as_index=False)["value"].mean()
