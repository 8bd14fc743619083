"""`python -m ablate.bench.profile`: where the time of a stage goes, by operation and by line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ablate.clusters import local
from ablate.drive import PROGRAM
from ablate.errors import UserError
from ablate.store.child import unbroken

HELP = """\
Run some updates of a stage on this machine (or batches, of one that scores), on one thread as workers do, and print
where their time goes: by operation and by line of code, the shares of operations, Python and data, and the share of the
GEMM peak. Nothing below the root is changed. Writes DIR/operations.csv, DIR/lines.csv and DIR/flame.svg, which any
browser shows.

STAGE is a sweep file with a ROW and a place in it, or the id (or its first letters) or the folder of a planned stage.
A stage whose data are not there is pre-trained on noise; to fine-tune or score, they must be there.
"""
MORE = """\
examples:
  python -m ablate.bench.profile sweeps/objectives.yaml joint              the trunk of a row
  python -m ablate.bench.profile sweeps/objectives.yaml joint asr          fine-tuning; also score/asr/test, leaf
  python -m ablate.bench.profile sweeps/objectives.yaml joint base.encoder=tiny
  python -m ablate.bench.profile 3f2a1b --root runs                        a planned stage

A machine that is otherwise idle gives the truest figures. docs/benchmark.md says how they are taken.
"""


def main(arguments: list[str] | None = None) -> int:
    """Profile a stage, and print and write what was seen."""
    parser = argparse.ArgumentParser(
        prog="python -m ablate.bench.profile",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", metavar="STAGE", help="a sweep file, or a stage's id or folder")
    parser.add_argument("of", nargs="*", metavar="ROW [PLACE] [KEY=VALUE ...]", help="of a sweep file (default: trunk)")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where runs are (default: runs)")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="units to sample (default: 40)")
    parser.add_argument("--top", type=int, default=15, metavar="N", help="rows of each table (default: 15)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where files go (default: profile/ID)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}; expected 1 or more")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler would say that there is no GPU
    try:
        print(local.call(PROGRAM.preload, profiled, vars(options)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def profiled(options: dict[str, Any]) -> str:
    """Profile a stage in this process, which must be like a worker's; return the report. Raises UserError."""
    import torch

    from ablate.bench import flame, measure, shares, staged
    from ablate.bench.watch import Watch
    from ablate.store.machine import label, machine
    from ablate.training import distributed

    with staged.scratch() as scratch:
        one = _found(options, scratch)
        watch = Watch(options["steps"])
        device, load = distributed.device(), os.getloadavg()[0]
        data = staged.watched(one, watch)
        dtype = {"bf16": torch.bfloat16}.get(watch.precision, torch.float32)
        peak = measure.gemm(dtype, device)
        name, unit, id = one.name, one.unit, one.run.id
    seen, where = watch.seen, options["to"] or Path("profile") / id
    operations, lines, whole = shares.operations(seen), shares.lines(seen), shares.whole(seen)
    where.mkdir(parents=True, exist_ok=True)
    shares.write(where / "operations.csv", operations)
    shares.write(where / "lines.csv", lines)
    ms = 1e3 * seen.seconds / seen.units
    a_unit = f"{'an' if unit == 'update' else 'a'} {unit}"
    title = f"{name}: {ms:.1f} ms {a_unit}"
    (where / "flame.svg").write_text(
        flame.svg(flame.tree(shares.spread(seen), name), title, seen.units), encoding="utf-8"
    )
    flops = seen.flops / (seen.seconds / seen.units)
    text = [
        title,
        f"{seen.units} {unit}{'es' if unit == 'batch' else 's'} on {label(machine())}, load {load:.1f} as it began; "
        f"data: {data}",
        "",
        f"{whole.operations:.0%} inside torch operations, {whole.python:.0%} in Python between them, {whole.data:.0%} "
        f"for data (waited for and prepared)",
        ", ".join(f"{share:.0%} {phase}" for phase, share in whole.phases.items() if share >= 0.005),
        f"{flops / peak:.2f} of the GEMM peak: {flops / 1e9:.1f} of {peak / 1e9:.0f} GFLOP/s",
        f"(times by operation are of torch's profiler, in which {a_unit} takes {whole.slowed:.2f} times as long)",
    ]
    if device.type == "cuda":
        text.append(f"the GPU computes for {whole.gpu:.0%} of the time; by line is where Python was, not the GPU")
    text += ["", shares.table(operations, options["top"]), "", shares.table(lines, options["top"]), ""]
    return "\n".join([*text, f"{where}/: operations.csv, lines.csv, flame.svg"])


def _found(options: dict[str, Any], scratch: Path) -> Any:
    """The stage that the options name. Raises UserError."""
    from ablate.bench import staged

    stage, root, given = options["stage"], options["root"], options["of"]
    overrides = [one for one in given if "=" in one]
    names = [one for one in given if "=" not in one]
    if not stage.endswith((".yaml", ".yml")):
        if given:
            raise UserError(f"'{given[0]}' after the stage '{stage}': a row is of a sweep file (FILE.yaml ROW).")
        return staged.of_id(stage, root, scratch)
    if not 1 <= len(names) <= 2:
        raise UserError(f"{stage}: expected a row and a place in it, as in '{stage} joint trunk'; found {names}.")
    return staged.of_row(stage, overrides, names[0], names[1] if names[1:] else "trunk", root, scratch)


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
