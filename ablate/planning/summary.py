"""Describes a planned sweep: sweep.json, which the analysis reads, and notes on rows and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ablate.planning.values import shown
from ablate.stages.kind import SPLIT
from ablate.store import declared, identity
from ablate.store.stage import Stage
from ablate.sweepfile import claims
from ablate.sweepfile.added import FINETUNED, PRETRAINED, Added
from ablate.sweepfile.patch import mapping
from ablate.sweepfile.row import Row
from ablate.sweepfile.rows import Resolver
from ablate.sweepfile.schema import Sweep, Value
from ablate.sweepfile.typed import setting
from ablate.tasks.task import TaskConfig

PRETRAINING = ("encoder", "tokenizer", "objectives", "targets", "update", "optimizer", "start", "steps", "decay")
"""What of a row determines its pre-trained model."""
OF_DATA = ("table", "tokenizer")
"""Roles of the stages by which a model knows its data."""


def sweep_json(
    sweep: Mapping[str, Value],
    resolver: Resolver,
    grid: list[dict[str, Row]],
    seeds: list[int],
    axes: Mapping[str, list[Value]],
    plugins: Mapping[str, str],
    looks: list[int],
) -> dict[str, Value]:
    """Check claims, table and labels, and return the content of sweep.json. `grid` has the rows at every point.

    Raises UserError.
    """
    rows, configs = {name: grid[0][name] for name in resolver.names}, {}
    for row in rows.values():
        configs |= {key: task for key, task in row.tasks.items() if key not in configs}
    by_speaker = any(row.data.by_speaker for at in grid for row in at.values())
    tasks = {key: described(configs[key], by_speaker) for key in resolver.tasks if key in configs}
    tasks |= {name: measured(one) for row in rows.values() for name, one in row.stages.items()}
    labels = claims.labels(sweep.get("labels"), list(rows), list(tasks))
    taken_off = {*resolver.base["tasks"], *resolver.registry.tasks} - set(resolver.tasks)
    return {
        "name": str(sweep["name"]),
        "question": setting(Sweep, "question", sweep.get("question", "")),
        "changes_our_mind": setting(Sweep, "changes_our_mind", sweep.get("changes_our_mind", "")),
        "seeds": seeds,
        "rows": {name: row.summary(labels.get(name, name)) for name, row in rows.items()},
        "tasks": tasks,
        "axes": {axis: [shown(v) for v in values] for axis, values in axes.items()},
        "table": claims.table(sweep.get("table"), list(rows), tasks, taken_off),
        "labels": labels,
        "claims": claims.claims(sweep.get("claims"), grid, tasks),
        "data": identity.canonical(grid[0][resolver.names[0]].data),
        **({"looks": looks} if looks else {}),
        **({"plugins": plugins} if plugins else {}),
    }


def described(task: TaskConfig, by_speaker: bool = False) -> claims.Measured:
    """Return what is known of a task before it is scored, for checks of columns and claims and for the analysis.

    `by_speaker`: features are normalised over speakers, so that recordings may also be scored alone.
    """
    built = task.build()
    metrics = [
        metric.name
        for metric in (*built.metrics, *built.optional, *([built.alone] if by_speaker and built.alone else []))
    ]
    facts = {"reads": built.reads, "table": task.table, "splits": list(task.splits), "metrics": metrics}
    facts |= {"beside": list(built.beside)} if built.beside else {}
    return facts | ({"by_class": built.by_class.name} if built.by_class else {})


def measured(one: Added) -> claims.Measured:
    """Return what is known of an added stage before it runs, in the form of `described`."""
    reads = one.of.reads[0] if len(one.of.reads) == 1 else "pair"
    return {"reads": reads, "table": "", "splits": [SPLIT], "metrics": list(one.of.metrics), "kind": one.kind}


def settings(
    grid: list[dict[str, Row]],
    behind: Mapping[str, Iterable[str]],
    draws: Mapping[str, int],
    manifest: Iterable[Mapping[str, Value]],
    stages: Mapping[str, Stage],
) -> dict[str, dict[str, str]]:
    """Return digests of all that determines each row's results, but the seed: {row: {"": of pre-training, task: of the
    task}}.

    `behind` has each row with those that it starts from or takes targets from; `draws` are fine-tunings by task. Data
    are known by the ids of their tables, so that another test set changes no other task.
    """
    forms = identity.Forms()
    trained: dict[str, dict[str, str]] = {name: {} for name in behind}
    tables: dict[str, dict[str, str]] = {name: {} for name in behind}
    for line in manifest:
        tables[line["row"]] |= line["stages"]["tables"]
        for id in (*line["stages"]["trunks"], line["stages"]["leaf"]):
            parents = stages[id].parents
            trained[line["row"]] |= {role: one for role, one in parents if role.partition("/")[0] in OF_DATA}

    def text(config: object) -> str:
        return forms.of(config, Any).text

    def pretraining(row: Row) -> list[Value]:
        annealed = [row.horizon, row.joined] if row.anneals else []
        return [*(text(getattr(row, part)) for part in PRETRAINING), *annealed]

    def task(row: Row, key: str) -> list[Value]:
        if key in row.stages:
            one = row.stages[key]
            before = [task(row, after.removeprefix(FINETUNED)) for after in one.after if after != PRETRAINED]
            return [one.plain(), text(one.config), *before]
        grid = [[point, text(config)] for point, config in row.grids.get(key, ())]
        return [text(row.tasks[key]), grid] if key in row.tasks else []

    alone = {name: [trained[name], *(pretraining(at[name]) for at in grid)] for name in behind}
    found = {name: {"": declared.digest([alone[one] for one in sorted(every)])} for name, every in behind.items()}
    for name, digests in found.items():
        splits: dict[str, set[str]] = {}  # that are read, by task
        for row in (at[name] for at in grid):
            splits |= {key: {*one.tables} for key, one in row.stages.items()}
            for key, one in row.tasks.items():
                places = {f"{one.table}.{split}" for split in ("train", "dev", *one.splits)}
                splits[key] = splits.get(key, set()) | places
        for key, places in splits.items():
            data = {place: id for place, id in tables[name].items() if place in places}
            digests[key] = declared.digest([data, draws.get(key, 1), *(task(at[name], key) for at in grid)])
    return found


def columns_left(sweep: Mapping[str, Value], described: Mapping[str, Value]) -> Iterable[str]:
    """Yield a note on columns that are left out of the table because their tasks are not in the sweep."""
    written = mapping(sweep.get("table"), "table").get("columns") or []
    if left := [column for column in written if column not in described["table"]["columns"]]:
        yield f"Not in the table, as their tasks are not in this sweep: {', '.join(left)}."


def unscored(rows: Iterable[Row]) -> Iterable[str]:
    """Yield a note on each test split that was added to the data and that no task of these rows scores."""
    added: dict[str, bool] = {}
    for row in rows:
        scored = {f"{task.table}.{split}" for task in row.tasks.values() for split in task.splits}
        for name in row.data.added:
            added[name] = added.get(name, False) or name in scored
    for name in (name for name, scored in added.items() if not scored):
        table, _, split = name.partition(".")
        yield f"data.tests has {name}, which no task scores: add {split} to the splits of a task that reads {table}."


def twins(manifest: Iterable[Mapping[str, Value]]) -> Iterable[str]:
    """Yield a note for each two rows that are the same model, as one of them may lack a setting by mistake."""
    seen: dict[str, Mapping[str, Value]] = {}
    noted = set()
    for line in manifest:
        other = seen.setdefault(line["stages"]["leaf"], line)
        pair = other["row"], line["row"]
        if pair[0] != pair[1] and pair not in noted:
            noted.add(pair)
            yield f"Rows '{pair[0]}' and '{pair[1]}' are the same model: their settings do not differ."


def gpu_hours(stages: Iterable[Mapping[str, float]]) -> list[str]:
    """What the stages of training take by kind of GPU, and what that rests on; nothing where it is not estimated."""
    total: Counter[str] = Counter()
    for hours in stages:
        total.update(hours)
    if not total:
        return []
    from ablate.planning import roofline  # loads torch's tracing

    return [roofline.told(total)]
