"""Creates a sweep file from a few answers (`python -m ablate.sweep --new NAME`), and plans it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ablate.clusters import local
from ablate.drive import PROGRAM, run
from ablate.errors import UserError, nearest
from ablate.store import files
from ablate.sweepfile.template import BUILTIN, COMPARE, SETTINGS, WHERE, Answers, text

SECTIONS = ("encoder", "tokenizer", "pretrain", "tasks")


def _listed(question: str, choices: Mapping[str, str]) -> str:
    """Return a question with its choices, one per line."""
    return "\n".join([question, *(f"  {name:<12}{what}" for name, what in choices.items())])


QUESTIONS = {  # name of the answer -> question, in the order in which they are asked
    "compare": _listed("What is compared?", COMPARE),
    "setting": "Which setting?",
    "values": "Which values, with commas between?",
    "data": f"On which data: {BUILTIN}, or the folder of real corpora?",
    "seeds": "How many seeds? Verdicts need at least three.",
    "where": _listed("Where does it run?", WHERE),
    "partition": "On which partition?",
}
GOES_WITH = {"setting": "compare=values or compare=axis", "values": "compare=values or compare=axis"}
GOES_WITH |= {"partition": "where=slurm"}


def new(options: argparse.Namespace) -> int:
    """Run `--new FILE [ANSWER=VALUE ...]`; return the exit status. Raises UserError, and then nothing is written."""
    path = Path(options.file)
    if path.suffix not in ("", ".yaml", ".yml"):
        raise UserError(f"'{path}' ends in '{path.suffix}', but a sweep file ends in .yaml; write {path.stem}.yaml.")
    path = path if path.suffix else path.with_suffix(".yaml")
    if path.exists():
        raise UserError(f"'{path}' is there already and is not written over; choose another name.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder '{path.parent}' to write '{path.name}' into; create it first.")
    asks = not options.overrides and all(one and one.isatty() for one in (sys.stdin, sys.stdout))
    answers = asked(input) if asks else given(options.overrides)
    command = f"python -m ablate.sweep {shlex.quote(str(path))}"
    minutes = local.call(PROGRAM.preload, _minutes, text(answers, command), path.name)
    if not asks:
        print(f"Answers, by default where none was given: {said(answers)}.")
    _written(path, text(answers, command, cost(minutes), schema_from(path.parent)))
    print(f"Wrote {path}.\n", flush=True)
    status = run(argparse.Namespace(**{**vars(options), "file": str(path), "overrides": [], "dry_run": True}))
    quick = [f"    {command} --quick    # a small report within minutes, to see how it works"]
    print("\n".join(["", "Next:", "", *(quick if answers.data == BUILTIN else []), f"    {command}"]))
    return status


def given(words: list[str]) -> Answers:
    """Return the answers in words of the form KEY=VALUE, with defaults for the others. Raises UserError."""
    valid = [*QUESTIONS, "data.NAME"]
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in QUESTIONS and not key.startswith("data."):
            raise UserError(f"'{word}' is no answer, expected NAME=VALUE; {nearest(key, valid)}")
        if key in pairs:
            raise UserError(f"{key} is answered twice, '{pairs[key]}' and '{value}'; remove one.")
        pairs[key] = value
    if "partition" in pairs:
        pairs.setdefault("where", "slurm")
    return _answers(lambda key, default: checked(key, pairs.pop(key, default)), pairs)


def asked(ask: Callable[[str], str]) -> Answers:
    """Ask the user for all answers; each question is repeated until its answer is valid.

    An empty answer means the default. Raises UserError if the input ends early.
    """

    def one(key: str, default: str) -> str:
        while True:
            try:
                return checked(key, ask(f"{QUESTIONS[key]}\n[{default}] ").strip() or default)
            except UserError as error:
                print(error)
            except EOFError:
                raise UserError("The answers ended before the questions did; nothing was written.") from None

    return _answers(one, {})


def _answers(one: Callable[[str, str], str], rest: Mapping[str, str]) -> Answers:
    """Collect all answers with `one(name, default)`. `rest` are answers that no question asks for. Raises UserError."""
    found = {"compare": one("compare", "objectives")}
    if found["compare"] in SETTINGS:
        setting, values = SETTINGS[found["compare"]]
        found["setting"] = one("setting", setting).removeprefix("base.")
        found["values"] = one("values", values if found["setting"] == setting else "")
    found |= {"data": one("data", BUILTIN), "seeds": one("seeds", "3"), "where": one("where", "local")}
    if found["where"] == "slurm":
        found["partition"] = one("partition", "")
    corpora = {key.removeprefix("data."): value or '""' for key, value in rest.items() if key.startswith("data.")}
    if left := [key for key in rest if not key.startswith("data.")]:
        raise UserError(f"{left[0]} has no effect here: it goes with {GOES_WITH[left[0]]}.")
    if corpora and found["data"] == BUILTIN:
        raise UserError(f"data.{[*corpora][0]} is a setting of real corpora; give their folder, data=PATH.")
    values = tuple(split(found.pop("values", "")))
    return Answers(**{**found, "seeds": int(found["seeds"])}, values=values, corpora=corpora)


def checked(key: str, value: str) -> str:
    """Return an answer if it is valid; else raise UserError with the valid or nearest answers."""
    if key in ("compare", "where") and value not in (valid := COMPARE if key == "compare" else WHERE):
        raise UserError(f"{key} is '{value}'; {nearest(value, valid)}")
    first = value.removeprefix("base.").partition(".")[0]
    if key == "setting" and (first not in SECTIONS or first == value):
        raise UserError(
            f"setting is '{value}', expected one of `base`, as in {SETTINGS['values'][0]}; {nearest(first, SECTIONS)}"
        )
    if key == "values" and len(split(value)) < 2:
        raise UserError(f"values is '{value}', expected two or more, as in values=1,5.")
    if key == "data" and value != BUILTIN and not Path(value).is_dir():
        raise UserError(f"data is '{value}', which is no folder; {nearest(value, [BUILTIN, 'PATH'])}")
    if key == "seeds" and not (value.isdecimal() and 1 <= int(value) <= 100):
        raise UserError(f"seeds is '{value}', expected how many, 1 to 100.")
    if key == "partition" and not value:
        raise UserError("Jobs need a partition; add partition=NAME (`sinfo` lists them).")
    return value


def split(values: str) -> list[str]:
    """Return the values in a list such as 1,5 or [1,5], each once."""
    return [*dict.fromkeys(value.strip() for value in values.strip("[] ").split(",") if value.strip())]


def said(answers: Answers) -> str:
    """Return answers as words of the command line."""
    words = {"compare": answers.compare, "setting": answers.setting, "values": ",".join(answers.values)}
    words |= {"data": answers.data, **{f"data.{name}": value for name, value in answers.corpora.items()}}
    words |= {"seeds": str(answers.seeds), "where": answers.where, "partition": answers.partition}
    return " ".join(f"{key}={value}" for key, value in words.items() if value)


def cost(minutes: float) -> str:
    """Format minutes as the cost in the header of a sweep file."""
    whole = max(1, round(minutes))
    return f"about {whole} min on 2 cores" if whole < 120 else f"about {round(minutes / 60)} h on 2 cores"


def schema_from(folder: Path) -> str:
    """Return the path from a folder to the schema that editors check sweep files with; '' if it is not here.

    Empty also for a path with a space, which editors would not read to its end.
    """
    schema = Path(__file__).resolve().parents[1] / "sweeps" / "schema.json"
    path = os.path.relpath(schema, folder.resolve())
    return path if schema.is_file() and " " not in path else ""


def _minutes(text: str, name: str) -> float:
    """Estimate in a worker how many minutes a file's sweep runs on two cores. Raises UserError."""
    from ablate.planning.plan import plan_file

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            plan = plan_file(Path(folder) / name)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}{os.sep}", "") + " Nothing was written.") from None
    return sum(stage.cost for stage in plan.stages.values()) / 2 / 60


def _written(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises UserError if it exists by now."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    files.replace(part, text.encode())
    try:
        files.linked(part, path)
    except FileExistsError:
        raise UserError(f"'{path}' is there already and is not written over; choose another name.") from None
    finally:
        part.unlink()
