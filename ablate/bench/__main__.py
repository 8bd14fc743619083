"""`python -m ablate.bench`: full training steps of our presets compared with those of every installed peer."""

from __future__ import annotations

import argparse
import sys

from ablate.bench import against, measure
from ablate.bench.catalogue import SYSTEMS
from ablate.store.child import unbroken

HELP = """\
Measure full training steps (forward, losses, backward, clipping, AdamW) of our presets and of every installed peer, on
the same utterances and documents, one thread each, in turns on this machine; print Markdown tables.

Speech: contrastive and diversity loss, from waveforms (peers called "our objective" get log-mel). Text: masked
language modelling over 32,000 pieces. Our batches are packed; peers pad theirs, once in the given order (unsorted) and
once grouped by length (bucketed). The GEMM peak is that of a 1024-cube matrix product, in the same process and
precision. Rely on ratios: absolute figures depend on the machine.

With --against COMMIT, compare this code with an earlier commit: our systems (or those that --only names) are trained by
that commit, in a second checkout that is removed at the end, and by this code, each in a process of its own. A system's
two processes take turns, and which one begins alternates. Ratios are taken round by round: their median, and their
range. Peak memory differs by up to .1 GB between processes of equal code, because addresses are random: repeat the
measurement before you trust a smaller difference.
"""
MORE = """\
examples:
  python -m ablate.bench                                everything; three quarters of an hour on two cores
  python -m ablate.bench text --shapes tiny             one table
  python -m ablate.bench speech --only bert --rounds 5  ours against the peers whose name holds "bert"
  python -m ablate.bench --against HEAD~3               did our steps become faster? systems that both commits have
  python -m ablate.bench text --shapes tiny --against main --only transformer
  python -m ablate.bench.plan --against HEAD~3          the same for planning

peers: pip install '.[bench]' brings transformers. ESPnet's encoder is measured where it is installed; it needs no more
than: pip install --no-deps espnet typeguard torch_complex humanfriendly
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.bench",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="speech, text (default: both)")
    parser.add_argument("--shapes", nargs="+", choices=("nano", "tiny", "base"), default=["tiny", "base"])
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help=f"passes over all items, for medians (default: 3, or {against.ROUNDS} --against)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=(),
        metavar="NAME",
        help="ours, and systems whose names contain these; with --against only these",
    )
    parser.add_argument(
        "--against", metavar="COMMIT", help="measure beside an earlier commit of this code, not beside peers"
    )
    options = parser.parse_args(arguments)
    for workload in options.workloads:
        if workload not in SYSTEMS:
            parser.error(f"unknown workload '{workload}'; there are: {', '.join(SYSTEMS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; expected 1 or more")
    workloads = options.workloads or list(SYSTEMS)
    if options.against is not None:
        rounds = options.rounds or against.ROUNDS
        return against.told(against.steps(options.against, workloads, options.shapes, rounds, options.only))
    for workload in workloads:
        for system in measure.missing(workload):
            print(f"{system.name}: not installed ({system.needs}).", file=sys.stderr)
        for shape in options.shapes:
            measured = measure.compare(workload, shape, options.rounds or 3, options.only)
            print(measure.table(workload, shape, measured), flush=True)
    return 0


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
