"""Shows an encoder before anything runs: its modules, parameters, operations and memory.

`python -m ablate.describe --help` explains it. Weights and activations are fake tensors, which take no memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ablate.errors import UserError
from ablate.planning.size import BYTES_PER_PARAMETER, Sizes, activations, short, vocabulary
from ablate.store.child import unbroken
from ablate.sweepfile import load, typed
from ablate.training.update import Update
from encoders import attention
from encoders.batch import Vocabulary
from encoders.encoder import OWNERS, AbstractEncoder, Count, EncoderConfig, Work
from encoders.presets import PRESETS

HELP = """\
Show the parts of an encoder without allocating it: the parameters that only speech, only text or both use, the
floating-point operations per second of audio and per token, and the memory of one optimizer update.
"""
MORE = f"""\
presets: {", ".join(PRESETS)}

examples:
  python -m ablate.describe slam                       the paper's shape, with its vocabulary of 32,000
  python -m ablate.describe nano per_modality=[ffn]    any field of the encoder's config, Hydra's grammar
  python -m ablate.describe slam shared_layers=8 --speech 960 --text 8192 --utterance 15
  python -m ablate.describe --backends                 what can compute attention on this machine, and what cannot

how to read it:
  Operations are those of a forward pass; a multiplication and an addition count as two. They hold for sequences of the
  lengths --utterance and --document, as attention grows with length. Forward and backward pass together take three
  times as many. Memory: weights, gradients and the two moments of AdamW in float32, and the activations that one update
  keeps for its backward pass, in the encoder's precision. Heads of objectives and temporaries are not included.
"""


def describe(name: str, of: EncoderConfig, size: int, sizes: Sizes) -> str:
    """Return the report on an encoder config, called `name`, with a vocabulary of `size` pieces."""
    with FakeTensorMode():
        encoder = of.build(vocabulary(size))
        total = sum(p.numel() for p in encoder.parameters())
        head = f"{name}: {short(total)} parameters with a vocabulary of {size:,}; reads {', '.join(of.reads)}"
        if not encoder.offers("parts"):
            return f"{head}\n\nOperations and memory are not known: {type(encoder).__name__} has no parts."
        inputs = sizes.inputs(encoder.reads)
        kept = {stream: activations(encoder, x) for stream, x in inputs.items()}
    passes = {}  # modality -> its parts, and what to divide operations by
    if encoder.reads & {"speech", "pair"}:
        work = Work(speech=encoder.subsampled((sizes.frames,)))
        passes["speech"] = encoder.parts(work), sizes.frames / 100 * 1e9
    if encoder.reads & {"text", "pair"}:
        passes["text"] = encoder.parts(Work(text=(sizes.document,))), sizes.document * 1e6
    owned = encoder.parameters_by_modality()
    active = {
        "speech": owned["speech_only"] + owned["shared"],
        "text": owned["text_only"] + owned["embedding"] + owned["shared"],
    }
    return "\n".join(
        [
            head,
            "used on " + ", on ".join(f"{modality}: {short(active[modality])}" for modality in passes),
            "",
            *columns(tree(encoder, passes)),
            "",
            *columns(memory(total, kept, sizes)),
        ]
    )


ORDER = ("speech", "embedding", "text", "segments", "shared")
TITLES = {
    "speech": "speech tower",
    "embedding": "token embedding",
    "text": "text tower",
    "segments": "segment embeddings",
}
UNITS = {"speech": "GFLOP per s of audio", "text": "MFLOP per token"}


def tree(
    encoder: AbstractEncoder, passes: Mapping[str, tuple[Mapping[tuple[str, ...], Count], float]]
) -> list[tuple[str, ...]]:
    """Return a row per part and per group of parts, indented by depth: parameters by owner, operations per unit."""
    titles = encoder.titles()
    counted = next(iter(passes.values()))[0]  # parameters are the same in every pass
    ranks = {top: rank for rank, top in enumerate(ORDER)}
    ordered = sorted(counted, key=lambda at: ranks.get(at[0], len(ORDER)))
    places = [place[:n] for place in ordered for n in range(len(place) + 1)]
    rows = [("", "speech only", "text only", "shared", *(UNITS[modality] for modality in passes))]
    for place in dict.fromkeys(places):
        label = TITLES.get(place[0], place[0]) if len(place) == 1 else place[-1].replace("_", " ") if place else "all"
        label += f", {titles[place]}" if place in titles else ""
        held = [sum(c.parameters[owner] for c in _within(counted, place)) for owner in OWNERS]
        flops = [sum(c.flops for c in _within(parts, place)) / unit for parts, unit in passes.values()]
        rows.append(
            (
                "  " * len(place) + label,
                *(short(n) if n else "" for n in held),
                *(f"{f:.3g}" if f else "" for f in flops),
            )
        )
    return rows


def _within(counted: Mapping[tuple[str, ...], Count], place: tuple[str, ...]) -> list[Count]:
    return [count for at, count in counted.items() if at[: len(place)] == place]


def memory(parameters: int, kept: Mapping[str, int], sizes: Sizes) -> list[tuple[str, ...]]:
    """Return rows with the memory of one update."""
    state = BYTES_PER_PARAMETER * parameters
    held = {
        "speech": f"{sizes.speech:g} s in utterances of {sizes.utterance:g} s",
        "text": f"{sizes.text} tokens in texts of {sizes.document}",
        "pair": f"{sizes.pairs} pairs of these lengths",
    }
    rows = [("weights, gradients and two moments", f"{state / 1e9:.3f} GB")]
    rows += [(f"activations of {held[stream]}", f"{size / 1e9:.3f} GB") for stream, size in kept.items()]
    return [*rows, ("memory of one update in one shard", f"{(state + sum(kept.values())) / 1e9:.3f} GB")]


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align rows in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    first, *others = widths
    return ["  ".join([row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], others))]).rstrip() for row in rows]


def backends() -> str:
    """What can compute attention on this machine, and why what cannot cannot."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    where = f"{torch.cuda.get_device_name(device)} ({device})" if cuda else "cpu: torch finds no CUDA device"
    lines = [f"attention on {where}, torch {torch.__version__}", ""]
    for name, *cells in attention.table(device):
        same = len(set(cells)) == 1
        said = cells[:1] if same else [f"{precision} {cell}" for precision, cell in zip(("fp32", "bf16"), cells)]
        lines.append(f"{name:<10}{'; '.join(said)}")
    return "\n".join([*lines, "", "A sweep file's attention: NAME takes one of them; auto is the default."])


def resolve(name: str, overrides: Iterable[str]) -> EncoderConfig:
    """Return the preset called `name` with overrides of its fields. Raises UserError with the nearest valid name."""
    written: Mapping[str, Any] = {}
    for text in overrides:
        written = load.override(written, [text if text.startswith("base.encoder.") else f"base.encoder.{text}"])
    if "axes" in written:
        raise UserError(f"One encoder at a time: give {', '.join(written['axes'])} one value, or a list as key=[a,b].")
    patch = written.get("base", {}).get("encoder", {})
    return typed.resolve(PRESETS, {**patch, "preset": name}, "encoder")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.backends:
        print(backends())
        return 0
    if options.preset is None:
        parser.error(f"give a PRESET: {', '.join(PRESETS)}; or --backends")
    try:
        of = resolve(options.preset, options.overrides)
        least = {
            "speech": 0,
            "text": 0,
            "pairs": 0,
            "utterance": 0.01,
            "document": 1,
            "vocabulary": Vocabulary.specials + 1,
        }
        for option, smallest in least.items():
            if getattr(options, option) < smallest:
                raise UserError(f"--{option}: found {getattr(options, option)}, expected at least {smallest}.")
        sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
        print(describe(options.preset, of, options.vocabulary, sizes))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablate.describe",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    update = Update()
    parser.add_argument("preset", metavar="PRESET", nargs="?", help="an encoder of encoders/presets.py, see below")
    parser.add_argument("--backends", action="store_true", help="show what can compute attention on this machine")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="changes to its fields, as base.encoder of a sweep"
    )
    for name, kind, default, meaning in (
        ("vocabulary", int, 32_000, "pieces of the tokenizer (the paper: 32000)"),
        ("speech", float, update.speech, "seconds of speech in an update"),
        ("text", int, update.text, "tokens of text in an update"),
        ("pairs", int, update.pairs, "speech-text pairs in an update"),
        ("utterance", float, 12.0, "seconds of an utterance"),
        ("document", int, 128, "tokens of a text"),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    return parser


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
