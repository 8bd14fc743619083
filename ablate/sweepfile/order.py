"""The order of rows or stages of which some need others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ablate.errors import UserError


def needed_first(
    names: Iterable[str], needs: Callable[[str], Iterable[str]], path: str, word: str, advice: str
) -> list[str]:
    """All names, each once and after those that `needs(name)` yields, which is asked once for each.

    Raises UserError for a cycle, with the place `path` in the sweep file, the names on the cycle with `word` between
    them, and what to do.
    """
    order: dict[str, None] = {}

    def visit(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            chain = f" {word} ".join([*below[below.index(name) :], name])
            raise UserError(f"{path}.{name}: {chain} is a cycle; {advice}.")
        if name in order:
            return
        for other in needs(name):
            visit(other, (*below, name))
        order[name] = None

    for name in names:
        visit(name, ())
    return list(order)
