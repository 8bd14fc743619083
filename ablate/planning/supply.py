"""Lays out the data stages of a plan: recordings, tables, tokenizers and texts as ids, each once and only when needed.

So a corpus may have tables that no row uses.
"""

from __future__ import annotations

from collections.abc import Callable

from ablate.data.corpus import CorpusConfig, Split
from ablate.data.mix import Mix
from ablate.data.tokenizer import TokenizerConfig, TokenizerStage, TokensConfig
from ablate.planning import cost

UNKNOWN = ("text", "pairs")  # pre-training tables that are assumed where a corpus does not list its tables


class Supply:
    """Lays out the data stages of one plan.

    `add(kind, config, parents, title, cost, uses)` adds a stage and returns its id. It also takes `disk`, in bytes, if
    that is known.
    """

    def __init__(self, add: Callable[..., str]) -> None:
        self.add = add
        self.notes: dict[str, None] = {}
        self._split: dict[tuple[int, str, str], Split] = {}
        self._made: dict[
            tuple[str | int, ...], tuple[object, str]
        ] = {}  # keys hold id() of objects, which are kept so that no other object gets that id()

    def table(self, data: CorpusConfig, table: str, split: str) -> str:
        """Return the stage of one split of a table."""

        def lay() -> str:
            part = data.split(table, split)
            self.notes.update(dict.fromkeys(part.notes))
            uses = []
            for number, config in enumerate(part.recordings):
                title = f"recordings of {table}.{split}"
                size = {"disk": part.disk[number]} if part.disk else {}
                made = self.add("recordings", config, {}, title, cost.rows(part.rows, cost.RECORDING), (), **size)
                uses.append((f"recordings/{number}", made))
            self._split[id(data), table, split] = part
            return self.add("table", part.config, {}, f"{table}.{split}", cost.rows(part.rows, cost.ROW), uses)

        return self._once(("table", id(data), table, split), data, lay)

    def mix(self, data: CorpusConfig, table: str) -> Mix | None:
        """Return how pre-training draws from the corpora of a table, if these are mixed."""
        self.table(data, table, "train")
        return self._split[id(data), table, "train"].mix

    def tokenizer(self, data: CorpusConfig, config: TokenizerConfig, title: str) -> str:
        """Return the stage of a tokenizer."""

        def lay() -> str:
            have = [table for table in data.tables() if not data.missing(table, "train")]
            settled = config.settled(have if data.tables() else UNKNOWN)
            names = list(dict.fromkeys(field.partition(".")[0] for field in settled.fields))
            tables = {name: (f"table/{name}", self.table(data, name, "train")) for name in names}
            texts = {field: self._texts(data, field) for field in settled.fields}
            known = {field: text for field, text in texts.items() if text}
            start = {field.partition(".")[0] for field in texts.keys() - known.keys()}
            of = TokenizerStage(tokenizer=settled, texts=known)
            parents = dict(role for name, role in tables.items() if name in start)
            return self.add(
                "tokenizer", of, parents, title, cost.TOKENIZER, [r for name, r in tables.items() if name not in start]
            )

        return self._once(("tokenizer", id(data), id(config)), (data, config), lay)

    def tokens(self, data: CorpusConfig, tokenizer: str, table: str, split: str) -> str:
        """Return the stage that holds a split's texts as ids of a tokenizer; `tokenizer` is that tokenizer's stage."""

        def lay() -> str:
            parents = {"tokenizer": tokenizer, "table/split": self.table(data, table, split)}
            seconds = cost.rows(self.rows(data, table, split), cost.TEXT)
            return self.add("tokens", TokensConfig(), parents, f"{table}.{split} as ids", seconds, ())

        return self._once(("tokens", id(data), tokenizer, table, split), data, lay)

    def rows(self, data: CorpusConfig, table: str, split: str) -> int:
        """Return the number of rows of a split that was laid out; 0 if it is unknown."""
        return self._split[id(data), table, split].rows

    def _texts(self, data: CorpusConfig, field: str) -> str:
        """Return the digest of a field's texts ("table.field") in the train split; '' if it is unknown."""
        table, _, name = field.partition(".")
        texts = self._split[id(data), table, "train"].texts
        return texts.get(name, texts.get("", ""))

    def _once(self, key: tuple[str | int, ...], kept: object, lay: Callable[[], str]) -> str:
        if key not in self._made:
            self._made[key] = kept, lay()
        return self._made[key][1]
