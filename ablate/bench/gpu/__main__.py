"""`python -m ablate.bench.gpu`: is this GPU used rightly, and how much memory does an update take there?"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from ablate.bench.gpu.driver import Driver
from ablate.bench.gpu.steps import LIMIT, NAMES, STEPS
from ablate.bench.gpu.table import table

HELP = f"""\
Check this code on a GPU and measure what it needs there, in under {LIMIT / 60:.0f} minutes on one A100 or H200:
attention against fp64, every objective against the CPU, the memory of an update at the paper's size, resuming after a
kill, NCCL. No data are read, nothing is trained to an end.

It needs torch, einops, numpy and scipy alone; xformers is tried where it loads, and "resume" is skipped where there is
no safetensors.
"""
MORE = f"""\
steps, in this order (--list prints them):
{chr(10).join(f"  {step.name:<12} {step.budget:4.0f} s at most   {step.what}" for step in STEPS)}

examples:
  python -m ablate.bench.gpu --out gpu.json                      everything
  python -m ablate.bench.gpu --out gpu.json --only attention memory
  python -m ablate.bench.gpu --out cpu.json --device cpu         the same program at small shapes, in half a minute:
                                                                 is it sound? Its figures mean nothing

how to read it:
  A step has values; a value has a bound, which it passed or failed, or none, and is then reported. The file is written
  anew with every value, so a run that is cut short tells what it knew. A step that fails, hangs or runs out of time
  is written down so, and the next goes on. The tables at the end are Markdown. The exit status is 0 if no step failed
  or ran out of time, 1 if one did, 2 for mistakes in the command.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.bench.gpu",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="the record, as JSON; written over")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="STEP", help=", ".join(NAMES))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    options = parser.parse_args(arguments)
    chosen = [step for step in STEPS if step.name in options.only]
    if options.list:
        print("\n".join(f"{step.name:<12} {step.budget:4.0f} s   {step.what}" for step in chosen))
        return 0
    if options.out is None:
        parser.error("--out FILE is missing: where the record goes")
    if not options.out.resolve().parent.is_dir():
        parser.error(f"--out {options.out}: there is no folder {options.out.resolve().parent}")
    if options.device == "cuda" and not _cuda():
        parser.error("torch finds no CUDA device here; --device cpu runs the program at small shapes")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the record says how far it came
    driver = Driver(options.out, options.device)
    try:
        sound = driver.run(chosen)
    except KeyboardInterrupt:
        sound = False
    print(table(driver.record))
    return 0 if sound else 1


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
