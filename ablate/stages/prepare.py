"""Stages that run before training: recordings, tables, tokenizers, and the tables' texts as ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.data import tokenizer as tokens_of
from ablate.data.corpus import RecordingsConfig, SplitConfig
from ablate.data.table import Table
from ablate.data.tokenizer import Tokenizer, TokenizerStage, TokensConfig
from ablate.errors import UserError
from ablate.stages.kind import restored
from ablate.store.record import read_json
from ablate.store.run import RunFolder
from ablate.store.stage import uses_of

Parents = Mapping[str, RunFolder]


def recordings(config: RecordingsConfig, parents: Parents, run: RunFolder) -> dict[str, Any]:
    """Decode a source of speech, once for all tables that use it."""
    return config.write(run)


def table(config: SplitConfig, parents: Parents, run: RunFolder) -> dict[str, Any]:
    """Write the rows of one split of a table."""
    return config.write(run, [folder for role, folder in uses_of(run).items() if role.startswith("recordings/")])


def tokenizer(config: TokenizerStage, parents: Parents, run: RunFolder) -> dict[str, Any]:
    """Train a tokenizer on the train splits of some tables."""
    return tokens_of.learn(config.tokenizer, tables({**uses_of(run), **parents}), run)


def tokens(config: TokensConfig, parents: Parents, run: RunFolder) -> dict[str, Any]:
    """Encode the texts of one split of a table."""
    (split,) = tables(parents).values()
    return tokens_of.encode(Tokenizer(parents["tokenizer"].sound()), split, run)


def tables(parents: Parents) -> dict[str, Table]:
    """Open the tables among a stage's parents, keyed by the part of their roles after "table/"."""
    return {name: opened(run, run.identity()["title"]) for name, run in below(parents, "table").items()}


def below(parents: Parents, role: str) -> dict[str, RunFolder]:
    """The parents whose role begins with `role` and a slash, keyed by the rest."""
    return {name.removeprefix(f"{role}/"): run for name, run in parents.items() if name.startswith(f"{role}/")}


def opened(run: RunFolder, name: str) -> Table:
    """Open a finished table stage with the recordings that its rows refer to; messages call it `name`.

    Raises UserError if their files do not match their results.
    """
    made_of = [RunFolder(run.root, "recordings", id) for id in read_json(run.sound() / "recordings.json")]
    for source in made_of:
        if not source.done:
            raise UserError(
                f"{name} needs recordings {source.id}, which are missing; remove {run.path} and run the sweep again."
            )
    return Table(run.files, name, [restored(source, RecordingsConfig).open(source.sound()) for source in made_of])
