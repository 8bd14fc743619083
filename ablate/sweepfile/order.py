"""Sorts rows or stages so that each comes after those that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ablate.errors import UserError


def needed_first(
    names: Iterable[str], needs: Callable[[str], Iterable[str]], path: str, word: str, advice: str
) -> list[str]:
    """Return every name once, after all names that it needs. `needs` is called once for each name.

    Raises UserError for a cycle. The message gives `path` (the place in the sweep file), the names on the cycle joined
    by `word`, and `advice`.
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
