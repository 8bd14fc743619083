"""Print what a built-in corpus would contain: `python -m ablate.data.builtin --audit [--no-hours] [field=value
...]`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from ablate.data.builtin import audit
from ablate.data.builtin.corpus import BuiltinConfig
from ablate.errors import UserError, nearest
from ablate.store.child import unbroken
from ablate.tasks.registry import TASKS


def main(arguments: list[str]) -> int:
    """Print the audit of a corpus with the given settings."""
    if "--audit" not in arguments:
        print(
            "usage: python -m ablate.data.builtin --audit [--no-hours] [field=value ...]\n\n"
            "Print what a built-in corpus with these settings holds. Hours and the baselines of retrieval\n"
            "need it to be spoken, which takes most of the time; --no-hours leaves them out."
        )
        return 2
    fields = {field.name: type(field.default) for field in dataclasses.fields(BuiltinConfig)}
    settings: dict[str, Any] = {}
    try:
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if argument in ("--audit", "--no-hours"):
                continue
            if not equals or name not in fields:
                raise UserError(f"'{name}' is no setting of the built-in corpus; {nearest(name, fields)}")
            try:
                settings[name] = value.lower() == "true" if fields[name] is bool else fields[name](value)
            except ValueError:
                raise UserError(f"{name}={value}: expected {fields[name].__name__}.") from None
        entries = list(BuiltinConfig(**settings).resolved().entries())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    lengths = None if "--no-hours" in arguments else audit.seconds(entries)
    print(audit.text(audit.audit(entries, TASKS, lengths), audit.sizes(entries, lengths)))
    return 0


if __name__ == "__main__":
    unbroken()
    sys.exit(main(sys.argv[1:]))
