"""The layouts of corpora by name. A new one is a file with a class, and a line here (or `LAYOUTS["NAME"] = Class` in a
module that is imported before).

A path is asked about from the last to the first, so that what came later goes before; the first know the most.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.data.contract import Registered, complete
from ablate.data.lines import STOP, Faults
from ablate.data.real.layouts.common_voice import CommonVoice
from ablate.data.real.layouts.fairseq import Fairseq
from ablate.data.real.layouts.layout import Layout
from ablate.data.real.layouts.lhotse import Lhotse
from ablate.data.real.layouts.librilight import LibriLight
from ablate.data.real.layouts.librispeech import LibriSpeech
from ablate.data.real.layouts.limited import Limited
from ablate.data.real.layouts.stm import STM
from ablate.data.real.layouts.text import Lines, Records
from ablate.data.table import Example
from ablate.errors import UserError, nearest

Layouts = Registered[type[Layout]]


def _check(layout: type[Layout]) -> None:
    complete(layout, Layout)


LAYOUTS: Layouts = Registered(
    _check,
    {
        "librispeech": LibriSpeech,
        "librilight": LibriLight,
        "stm": STM,
        "common_voice": CommonVoice,
        "fairseq": Fairseq,
        "lhotse": Lhotse,
        "limited": Limited,
    },
)
"""Of speech: rows have recordings."""

TEXT_LAYOUTS: Layouts = Registered(_check, {"lines": Lines, "records": Records})
"""Of text: rows have "text"."""


def known(path: Path, layouts: Layouts = LAYOUTS) -> tuple[str, Layout] | None:
    """The layout that a path is of, and its name; None for nothing, and for what is of none."""
    made = ((name, layouts[name]()) for name in reversed(list(layouts)))
    return next(((name, layout) for name, layout in made if layout.knows(path)), None)


def rows(path: Path, faults: Faults = STOP, layouts: Layouts = LAYOUTS) -> Iterator[Example]:
    """Read the rows of a folder or file of any layout. Raises UserError if it does not exist or is of none."""
    path = Path(path)
    if found := known(path, layouts):
        return found[1].rows(path, faults)
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise UserError(f"{path}: there is no such file or folder; {nearest(path.name, siblings)}")
    *most, last = (layout.expected for layout in layouts.values())
    raise UserError(f"{path}: is of no layout known here; expected {', '.join(most)}, or {last}.")
