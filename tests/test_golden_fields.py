"""The names in the canonical form of every config class are fixed: a field that comes or goes must say what it was
before.

When this fails, read the docstring of ablate/store/identity.py: a new field of a class that was released states
`absent`, a renamed one its `name`, a removed one goes into `removed`. Then nothing changes here. Only where classes are
new, or ids are meant to change, write the file anew with

    python tests/test_golden_fields.py
"""

import dataclasses
import importlib
import json
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # before this folder, if it is the script's: it has an `objectives` of its own

from ablate.store import identity  # noqa: E402  by the path above

GOLDEN = HERE / "golden-fields.json"
ROOMS = ("encoders", "objectives", "ablate")
LEFT = ("ablate.bench", "ablate.warm")  # no configs of stages; needs what is not installed; loads everything at once
SAID = (
    "'{tag}' has {current} in its form, had {expected}. A field that was added must state absent, the canonical text "
    'of the value that means "as before": field(default=..., metadata={{"absent": "..."}}); a renamed one its old '
    'name, {{"name": "..."}}; one that was removed stays in `removed` with its last value (see '
    "ablate/store/identity.py). Only if every id with a '{tag}' is to change: python tests/test_golden_fields.py"
)


def modules() -> Iterator[types.ModuleType]:
    """All modules that may have configs of stages."""
    for room in ROOMS:
        for info in pkgutil.walk_packages([str(HERE.parent / room)], f"{room}."):
            if not info.name.startswith(LEFT) and not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def defined(module: types.ModuleType) -> Iterator[type]:
    """The classes that a module defines, and those that they have within."""
    open_ = list(vars(module).values())
    for cls in open_:
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            open_ += [inner for inner in vars(cls).values() if isinstance(inner, type) and inner not in open_]
            yield cls


def classes() -> dict[str, list[type]]:
    """All config classes of this project by tag."""
    by_tag: dict[str, list[type]] = {}
    for module in modules():
        for cls in defined(module):
            if dataclasses.is_dataclass(cls) and "tag" in vars(cls) and cls not in by_tag.setdefault(cls.tag, []):
                by_tag[cls.tag].append(cls)
    return by_tag


def names(cls: type) -> list[str]:
    """Names that are in a class's form whatever the values of its fields."""
    own = [one.name for one in identity.fields(cls) if one.absent is None and not one.how]
    return sorted([*own, *identity.removed(cls), *(["recipe"] if hasattr(cls, "recipe") else [])])


def test_tags_are_each_of_one_class():
    by_tag = classes()
    assert {"joint", "contrastive", "adamw", "pretrain", "asr", "builtin"} <= by_tag.keys()
    assert {tag: made for tag, made in by_tag.items() if len(made) > 1} == {}


def test_no_name_comes_or_goes_unsaid():
    expected, current = json.loads(GOLDEN.read_text()), {tag: names(made) for tag, (made,) in classes().items()}
    assert current.keys() == expected.keys(), (
        "a class is new or gone; if this is meant: python tests/test_golden_fields.py"
    )
    for tag, had in expected.items():
        assert current[tag] == had, SAID.format(tag=tag, current=current[tag], expected=had)


def test_a_field_without_absent_is_noticed_and_one_with_it_is_not():
    from ablate.training.optim import OptimizerConfig

    fields = [
        ("gain", float, dataclasses.field(default=1.0)),
        ("lift", float, dataclasses.field(default=1.0, metadata={"absent": "1.0"})),
    ]
    made = {"bases": (OptimizerConfig,), "frozen": True, "kw_only": True}
    loud, quiet = (dataclasses.make_dataclass("Later", [one], **made) for one in fields)
    assert set(names(loud)) - set(names(OptimizerConfig)) == {"gain"}
    assert names(quiet) == names(OptimizerConfig)


if __name__ == "__main__":
    lines = [f' "{tag}": {json.dumps(names(made))}' for tag, (made,) in sorted(classes().items())]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
