"""Stages that a sweep file adds to its rows (`stages:`): their kinds, settings, and the stages that they start from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ablate.errors import UserError, nearest
from ablate.sweepfile.order import needed_first
from ablate.sweepfile.patch import once
from ablate.sweepfile.schema import AddedStage, Value, keys
from ablate.sweepfile.typed import made as made_of
from ablate.sweepfile.typed import typed

NAME = "[A-Za-z_][A-Za-z0-9_]*"  # of a row, a task or a stage
PRETRAINED, FINETUNED = "pretrain", "finetune."  # how `after` names stages that the file did not add


class Kind(Protocol):
    """What a kind of stage must have so that sweep files can name it (see `ablate.stages.kind.Kind`)."""

    settings: object
    """A frozen dataclass instance that holds the defaults."""
    metrics: tuple[str, ...]
    reads: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Added:
    """A stage that a sweep file adds to a row."""

    kind: str
    of: Kind
    config: object
    """The stage's settings, of the same class as `Kind.settings`."""
    after: tuple[str, ...]
    """Stages that it starts from: "pretrain", "finetune.TASK", or the names of other added stages."""
    tables: tuple[str, ...]
    """Splits of tables that it reads, written TABLE.SPLIT, as in asr.dev."""

    def plain(self) -> dict[str, Value]:
        """Return everything but its settings as plain values, for display."""
        return {"kind": self.kind, "after": list(self.after), "tables": list(self.tables)}


def added(
    written: Mapping[str, Value], kinds: Mapping[str, Kind], tasks: Collection[str], trained: Collection[str], path: str
) -> dict[str, Added]:
    """Type the stages of a row and return them by name, each after the stages that it starts from.

    `trained` are the row's tasks that are fine-tuned. Raises UserError for an unknown kind, setting or stage, for a
    cycle, and for a stage that has the name of one of the `tasks`.
    """
    valid = [PRETRAINED, *(f"{FINETUNED}{task}" for task in trained), *written]
    made: dict[str, Added] = {}

    def after(name: str) -> list[str]:
        made[name] = _typed(name, written[name], kinds, valid, f"{path}.{name}")
        return [other for other in made[name].after if other in written]

    for name in written:
        if not re.fullmatch(NAME, name):
            raise UserError(f"{path}.{name}: expected a name of letters, digits and _.")
        if name in tasks:
            raise UserError(f"{path}.{name}: a task has this name; choose another.")
    order = needed_first(written, after, path, "after", "let one of them come after pretrain")
    return {name: made[name] for name in order}


def _typed(name: str, written: Mapping[str, Value], kinds: Mapping[str, Kind], valid: list[str], path: str) -> Added:
    stage = made_of(AddedStage, {key: value for key, value in written.items() if key in keys(AddedStage)}, path)
    settings = {key: value for key, value in written.items() if key not in keys(AddedStage)}
    kind = name if stage.kind is None else stage.kind
    after = (stage.after,) if isinstance(stage.after, str) else once(stage.after, f"{path}.after")
    if kind not in kinds:
        raise UserError(f"{path}.kind: no kind '{kind}'; {nearest(kind, kinds)}")
    for one in after:
        if one not in valid or one == name:
            raise UserError(f"{path}.after: no stage '{one}' here; {nearest(one, valid)}")
    for table in once(stage.tables, f"{path}.tables"):
        if table.count(".") != 1:
            raise UserError(f"{path}.tables: found '{table}', expected TABLE.SPLIT, as in asr.dev.")
    return Added(kind, kinds[kind], typed(kinds[kind].settings, settings, path), after, stage.tables)
