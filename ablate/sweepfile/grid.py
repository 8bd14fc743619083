"""The grid of a tuned task: all combinations of the values that `tune:` lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from ablate.errors import UserError, as_written
from ablate.sweepfile.patch import mapping, merge
from ablate.sweepfile.schema import Value
from ablate.tasks.task import TaskConfig

FIXED = ("preset", "table", "splits", "tokenizer")


def choices(
    part: Mapping[str, Value], tune: object, path: str, made: Callable[[Mapping[str, Value], str], TaskConfig]
) -> list[tuple[dict[str, Value], TaskConfig]]:
    """Return the grid of a tuned task: each combination of the listed values, and the config that it makes of `part`.

    The last field varies fastest. `made` makes a config from a patch and its path in the file. Raises UserError if
    values are not a list, if a field cannot be tuned, and if the task trains nothing.
    """
    path, tune = f"{path}.tune", mapping(tune, f"{path}.tune")
    for name, values in tune.items():
        if not isinstance(values, list) or not values:
            raise UserError(
                f"{path}.{name}: expected a list of values to try, found {as_written(values)}; write {name}: [1, 2]."
            )
        if name.partition(".")[0] in FIXED:
            raise UserError(f"{path}.{name}: cannot be tuned: what is scored must stay the same; choose another field.")
    points = [dict(zip(tune, values)) for values in itertools.product(*tune.values())]
    tried = [(point, made(merge(part, nested(point)), path)) for point in points]
    if not tried[0][1].build().trained:
        raise UserError(f"{path}: this task trains nothing, so there is nothing to tune; remove it.")
    return tried


def nested(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Turn settings by dotted name into a patch: {"decoder.layers": 2} becomes {"decoder": {"layers": 2}}."""
    patch: dict[str, Value] = {}
    for name, value in settings.items():
        *above, last = name.split(".")
        inner = patch
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return patch
