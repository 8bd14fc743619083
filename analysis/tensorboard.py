"""Write what a sweep's runs logged as TensorBoard event files.

    python -m analysis.tensorboard SWEEP [--root runs] [--to DIR]

Below DIR (by default `tensorboard` in the sweep's folder) a TensorBoard run is ROW/[POINT/]seed_K/STAGE: trunks, leaf
and fine-tuning, each stage once, for the first row that has it. Final scores and how the rows differ lie in
ROW/[POINT/]seed_K itself, for the tabs Scalars and HParams. Running the command again appends what is new, also while
the sweep runs and TensorBoard reads the files. Needs the extra `tensorboard`; torch is not imported.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.store import disk, files
from ablate.store.child import unbroken
from ablate.store.record import read_jsonl
from analysis.records import manifest
from analysis.records.frame import Records, flatten, point_name, read
from analysis.records.scores import DONE

FILE = "events.out.tfevents.0.ablate"
"""A fixed name, so that the file is found again; TensorBoard requires "tfevents" in it."""


def write(sweep: str | Path, root: str | Path = "runs", to: Path | None = None) -> list[Path]:
    """Bring the event files of a sweep up to date and return all of them.

    Raises `UserError` where TensorBoard is not installed, FileNotFoundError when there is no such sweep.
    """
    _installed()
    records = read(sweep, root)
    to, settings = to or folder(records), _differing(records)
    logs = [
        (name, _events(read_jsonl(records.files(kind, id) / "metrics.jsonl"))) for name, kind, id in logged(records)
    ]
    outcomes = [(name, _outcome(records, name, line, settings[line["row"]])) for name, line in _seeds(records)]
    return [_brought(to / name / FILE, events) for name, events in logs + outcomes]


def folder(records: Records) -> Path:
    """Default folder for event files."""
    return records.folder / "tensorboard"


def logged(records: Records) -> Iterator[tuple[str, str, str]]:
    """Yield the TensorBoard run, kind and id of every stage that has logged something, each stage once."""
    seen: set[str] = set()
    for name, line in _seeds(records):
        trunks = manifest.trunks(line)
        parts = [(f"trunk_{k}" if len(trunks) > 1 else "trunk", "pretrain", id) for k, id in enumerate(trunks, 1)]
        parts.append(("leaf", "pretrain", manifest.leaf(line)))
        parts += [(f"finetune_{task}", "finetune", id) for task, id in manifest.finetuned(line).items()]
        for part, kind, id in parts:
            if id and id not in seen and (records.files(kind, id) / "metrics.jsonl").exists():
                seen.add(id)
                yield f"{name}/{part}", kind, id


def _seeds(records: Records) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines of the manifest, each with its folder: row, point where there are axes, seed."""
    for line in records.manifest:
        point = [point_name(line["point"]).replace(", ", ",").replace("/", "_")] * bool(line["point"])
        yield "/".join([line["row"], *point, f"seed_{line['seed']}"]), line


def _events(lines: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """An event per logged line, with all its numbers. Events do not depend on when they are written."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    yield Event(file_version="brain.Event:2").SerializeToString()
    for line in lines:
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in line.items()
            if name != "step" and type(value) in (int, float)
        ]
        if values:
            yield Event(step=line["step"], summary=Summary(value=values)).SerializeToString()


def _outcome(records: Records, name: str, line: Mapping[str, Any], differing: Mapping[str, str]) -> Iterator[bytes]:
    """For one row and seed: its settings, only those in which rows differ, and its scores so far."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    point = {axis: value if isinstance(value, (int, float)) else str(value) for axis, value in line["point"].items()}
    settings = {"row": line["row"], "seed": line["seed"], **point, **differing}
    s = records.scores
    own = s[
        (s.row == line["row"]) & (s.point == point_name(line["point"])) & (s.seed == line["seed"]) & (s.status == DONE)
    ]
    scores = {f"score/{one.task}.{one.split}.{one.metric}": float(one.value) for one in own.itertuples()}
    head, *scored = _events([{"step": 0, **scores}])
    yield head
    yield Event(summary=hparams_pb(settings, trial_id=name, start_time_secs=0.0)).SerializeToString()
    yield from scored


def _differing(records: Records) -> dict[str, dict[str, str]]:
    """Settings of each row, only those in which rows differ."""
    rows = {
        row: {key: str(value) for key, value in flatten(about).items() if key != "label"}
        for row, about in records.rows.items()
    }
    every = dict.fromkeys(key for about in rows.values() for key in about)
    keys = [key for key in every if len({about.get(key, "absent") for about in rows.values()}) > 1]
    return {row: {key: about.get(key, "absent") for key in keys} for row, about in rows.items()}


def _brought(path: Path, events: Iterable[bytes]) -> Path:
    """Append new events to a file; write it again where it holds anything else."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    whole = io.BytesIO()
    writer = RecordWriter(whole)
    for event in events:
        writer.write(event)
    data, known = whole.getvalue(), path.read_bytes() if path.exists() else b""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data.startswith(known):
        with open(path, "ab") as file:  # TensorBoard may have it open
            file.write(data[len(known) :])
    elif not known.startswith(data):  # a log that was cut back to a checkpoint will reach the same lines again
        files.replace(path, data, durable=False)
    return path


def _installed() -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed; it is an extra: pip install -c constraints.txt -e '.[tensorboard]'"
        ) from error


def main() -> None:
    """Write what a sweep's runs logged as TensorBoard event files."""
    parser = argparse.ArgumentParser(prog="python -m analysis.tensorboard", description=main.__doc__)
    parser.add_argument("sweep", help="a sweep's name, or its folder")
    parser.add_argument("--root", default="runs", help="where runs live (default: runs)")
    parser.add_argument(
        "--to", type=Path, help="where the event files go (default: tensorboard/ in the sweep's folder)"
    )
    arguments = parser.parse_args()
    try:
        with disk.told():
            to = arguments.to or folder(read(arguments.sweep, arguments.root))
            made = write(arguments.sweep, arguments.root, to)
    except (UserError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{len(made)} TensorBoard runs; look at them with: tensorboard --logdir {to}")


if __name__ == "__main__":
    unbroken()
    main()
