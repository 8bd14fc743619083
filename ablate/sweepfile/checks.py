"""Checks of combinations that a row cannot have, made before anything runs. Each error says what to change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ablate.data.streams import STREAMS
from ablate.data.tokenizer import LABELS, TokenizerConfig
from ablate.errors import UserError, nearest, place, plural
from ablate.sweepfile.order import needed_first
from ablate.sweepfile.row import Row, owner
from ablate.tasks.task import TaskConfig

NO_TEXT = (*LABELS, "frames", "seconds", "phones", "snr")  # columns that no tokenizer reads


def fits(row: Row, path: str) -> None:
    """Check that the encoder reads what the objectives need, and that every training has something to do.

    Raises UserError for pre-training without an objective and for fine-tuning without updates.
    """
    for name, objective in row.objectives.items():
        for needed in objective.shown:
            if needed not in row.encoder.reads:
                raise UserError(
                    f"{path}: objective '{name}' reads {needed}, but the encoder reads {', '.join(row.encoder.reads)}; "
                    f"remove it with pretrain: {{objectives: {{{name}: null}}}}, or let the encoder read {needed}."
                )
        try:
            objective.check(row.targets)
        except ValueError as error:
            raise UserError(f"{path}: objective '{name}': {error}") from error
    if not row.objectives and row.steps + row.decay:
        raise UserError(
            f"{path}: {plural(row.steps + row.decay, 'update')} of pre-training without an objective; add one."
        )
    for name, task in row.tasks.items():
        if not owner(task).trained:
            continue
        try:
            _ = task.build().chosen
        except UserError as error:
            raise UserError(f"{path}.tasks.{name}: {error}") from None
        if task.steps < 1:
            raise UserError(
                f"{path}.tasks.{name}.steps: found {task.steps}, expected at least one update of fine-tuning."
            )


def held(row: Row, path: str) -> None:
    """Check that the data have the tables and splits that the row and its tasks read.

    Raises UserError. Does nothing for data that cannot say beforehand what they have.
    """
    if not (tables := row.data.tables()):
        return
    have = sorted(f"{table}.{split}" for table, splits in tables.items() for split in splits)
    for name, objective in row.objectives.items() if row.total else ():
        if (place := f"{STREAMS[owner(objective).reads].table}.train") not in have:
            raise UserError(
                f"{path}: objective '{name}' reads '{place}', which the data do not have; set its corpus in data, or "
                f"remove the objective with pretrain: {{objectives: {{{name}: null}}}}."
            )
    for name, one in row.stages.items():
        for place in one.tables:
            if place not in have:
                raise UserError(
                    f"{path}.stages.{name}: reads '{place}', which the data do not have; {nearest(place, have)}"
                )
    for name, task in row.tasks.items():
        made = owner(task)
        learnt = ("train", "dev") if made.trained else (made.baseline_split,)
        for split in (*learnt, *task.splits) if row.has(name) else ():
            if (place := f"{task.table}.{split}") in have:
                continue
            if split in task.splits and (scored := sorted({*tables.get(task.table, ())} - {*learnt})):
                raise UserError(
                    f"{path}.tasks.{name}.splits: the data have no '{place}'; write splits: [{', '.join(scored)}]."
                )
            raise UserError(
                f"{path}.tasks.{name}: reads '{place}', which the data do not have; "
                f"set its corpus in data (now: {', '.join(sorted(tables))}), or remove the task."
            )
        if row.has(name) and (has := row.data.columns(task.table)):
            _columns(task, has, f"{path}.tasks.{name}")


def read(row: Row) -> Iterator[tuple[str, str]]:
    """Yield every split of a table that the row's own stages read, as (table, split); some more than once.

    Not those that only an untrained row's held-out losses read, nor the texts of a tokenizer that encodes nothing for
    the row: both are left out where the data are not there.
    """
    tables, reads = row.data.tables(), {owner(objective).reads for objective in row.objectives.values()}
    streams = {STREAMS[one].table for one in reads} if row.total else set()
    yield from (
        (table, split) for table in streams for split in ("train", "dev") if split in tables.get(table, (split,))
    )
    if any(targets.fitted for targets in row.targets.values()):
        yield "speech", "train"
    encoded, tokenizers = bool(streams - {"speech"}), []
    for name, one in row.stages.items():
        if row.has(name):
            yield from (tuple(place.split(".")) for place in one.tables)
            encoded = encoded or bool(one.tables)
    for name, task in row.tasks.items():
        if not row.has(name):
            continue
        made, ids = owner(task), task.ids()
        learnt = ("train", "dev") if made.trained else (made.baseline_split,)
        yield from ((task.table, split) for split in (*learnt, *task.splits))
        encoded = encoded or "own" in ids or "targets" in ids and task.tokenizer is None
        tokenizers += [task.tokenizer] if task.tokenizer is not None else []
    if encoded or row.tokenizer.fields:
        tokenizers.append(row.tokenizer)
    for one in tokenizers:
        yield from ((field.partition(".")[0], "train") for field in one.settled(tables).fields)


def learnt_from(row: Row, path: str) -> None:
    """Check that the data have every text field that the row's tokenizers are trained on. Raises UserError.

    Does nothing for data that cannot say beforehand what they have.
    """
    if not row.data.tables():
        return
    _fields(row, row.tokenizer, f"{path}.tokenizer")
    for name, task in row.tasks.items():
        if task.tokenizer is not None and row.has(name):
            _fields(row, task.tokenizer, f"{path}.tasks.{name}.tokenizer")


def _fields(row: Row, tokenizer: TokenizerConfig, path: str) -> None:
    learnt = [table for table, splits in row.data.tables().items() if "train" in splits]
    has = {table: {*row.data.columns(table)} - {*NO_TEXT} for table in learnt}
    for number, field in enumerate(tokenizer.fields):
        table, _, column = field.partition(".")
        where, known = f"{path}.fields[{number}]", sorted(has.get(table, ()))
        if table not in has:
            raise UserError(f"{where}: '{field}' names no table of the data with a train split; {nearest(table, has)}")
        if not column or known and column not in known:
            have = [f"{table}.{one}" for one in known or ["text"]]
            raise UserError(f"{where}: found '{field}', expected a text field, as in {' or '.join(have)}.")


def _columns(task: TaskConfig, has: Collection[str], path: str) -> None:
    """Raise UserError unless the table has the columns that the task reads."""
    cls = owner(task)
    needed = [*task.build().columns, *(("frames",) if cls.reads != "text" else ())]
    for column in needed:
        if column not in has:
            what = "speech" if column == "frames" else f"the column '{column}'"
            hint = "read another table." if column == "frames" else nearest(column, sorted(has))
            lacks = f"reads {what}, which table '{task.table}' does not have"
            raise UserError(f"{path}: {cls.__qualname__} ({place(cls)}) {lacks}; {hint}")


def trained(row: Row, rows: Mapping[str, Row], path: str) -> None:
    """Check that learned speech codes are trained by a loss of this row, or of a row that it continues.

    Raises UserError. A loss of weight 0 passes although it trains nothing: such a row is a control that shows collapse.
    """
    chain = [row]
    while chain[-1].after:
        chain.append(rows[chain[-1].after])
    trained = {target for one in chain for objective in one.objectives.values() for target in objective.trains}
    for name, objective in row.objectives.items() if row.steps + row.decay else ():
        for target in objective.needs:
            if row.targets[target].learned and target not in trained:
                raise UserError(
                    f"{path}: objective '{name}' predicts the learned codes '{target}', which no loss of this row "
                    "trains; add pretrain: {objectives: {contrastive: 1.0}} (at weight 0 it only measures, to "
                    f"study collapse), or predict fixed codes: {{{name}: {{targets: random_projection}}}}."
                )


def teachers(rows: Mapping[str, Row]) -> None:
    """Check the rows whose layers speech targets are fitted to: each exists and reads speech, and no cycle arises.

    Raises UserError.
    """

    def needs(name: str) -> Iterator[str]:
        row = rows[name]
        for key, targets in row.targets.items():
            if not (targets.fitted and targets.of):
                continue
            path = f"rows.{name}.pretrain.targets.{key}.of"
            if targets.of not in rows:
                raise UserError(f"{path}: no row '{targets.of}'; {nearest(targets.of, rows)}")
            if "speech" not in rows[targets.of].encoder.reads:
                raise UserError(f"{path}: the encoder of row '{targets.of}' does not read speech; name one that does.")
            yield targets.of
        if row.after is not None:
            yield row.after

    needed_first(rows, needs, "rows", "needs", "fit its speech targets to another row, or to log-mel")
