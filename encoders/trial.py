"""Checks an encoder against its contract on a few made-up sequences: for tests, and for encoders that others add."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from encoders.batch import Inputs, Pair, Speech, Text, View, Vocabulary
from encoders.encoder import AbstractEncoder, EncoderConfig, Work
from encoders.encoding import Encoding
from encoders.owner import incomplete

FRAMES, TOKENS = (41, 8, 17), (5, 9, 3)  # of three utterances, and of their three texts
BESIDE = {
    "speech": 1,
    "text": 2,
    "pair": 2,
}  # the item that is encoded alone; the longest is at least twice as long
ORDERS = ({}, {"text_first": False}, {"apart": True})  # of a pair's segments
VOCABULARY = Vocabulary(40, (0,) * 40, (True,) * 40)


def shaped(config: EncoderConfig) -> AbstractEncoder:
    """Build an encoder, encode what it reads, and return it. Raises Incomplete if stages or layouts are not those of
    `AbstractEncoder.forward`, or if optional parts name other parameters. Also works on fake tensors.
    """
    encoder = config.build(VOCABULARY).eval()
    if {"text", "pair"} & set(config.reads) and encoder.embedding is None:
        raise incomplete(type(encoder), "reads text and has no embedding; set self.embedding in __init__")
    _check_parts(encoder)
    for kind in config.reads:
        for order in ORDERS if kind == "pair" else ({},):
            view = View(inputs=inputs(kind), **order)
            _check(encoder, view, encoder(view))
    return encoder


@torch.no_grad()
def tried(config: EncoderConfig, tolerance: float = 1e-4) -> AbstractEncoder:
    """Like `shaped`, on real tensors. Also raises Incomplete if a sequence is encoded differently alone and in a pack,
    if it sees its neighbours in training and `alone` does not say so, and if masked speech is seen; each beyond a
    `tolerance` relative to the largest value.
    """
    encoder = shaped(config)
    for kind in config.reads:
        for order in ORDERS if kind == "pair" else ({},):
            _check_alone(encoder, kind, order, tolerance)
        if not encoder.alone:
            encoder.train()
            if stage := _sees_neighbours(encoder, kind, {}, tolerance):
                what = "sees its neighbours in training, as with a norm over the batch, and `alone` does not say so"
                raise incomplete(type(encoder), f"encodes a {kind} sequence that {what} (stage '{stage}')")
            encoder.eval()
    if "speech" in config.reads:
        _check_masks(encoder, tolerance)
    return encoder


def inputs(kind: str, only: int | None = None, other: Collection[int] = ()) -> Inputs:
    """Three made-up sequences of a kind, or `only` one of them; those with indices in `other` have other content."""
    numbers = range(len(FRAMES)) if only is None else (only,)
    mels = [torch.arange(FRAMES[i] * 80).reshape(-1, 80).mul(0.7 + i + (i in other) / 3).sin() for i in numbers]
    ids = [(torch.arange(TOKENS[i]) * (3 + i) + (i in other)) % VOCABULARY.size for i in numbers]
    speech = Speech(torch.cat(mels), tuple(map(len, mels)), tuple(numbers))
    text = Text(torch.cat(ids), tuple(map(len, ids)), tuple(numbers))
    return {"speech": speech, "text": text, "pair": Pair(speech, text)}[kind]


def _encoded(encoder: AbstractEncoder, view: View) -> Encoding:
    """The encoding of a view, with the same random draws each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return encoder(view)


def _of_item(encoding: Encoding, number: int, items: int = len(FRAMES)) -> dict[str, Tensor]:
    """Every stage of one of `items` items: of its sequence, or of its two sequences if they are apart."""
    lengths = {"joint": encoding.layout.sequence_lengths}
    if encoding.speech_layout is not None:
        lengths |= dict.fromkeys(("stacked", "features", "speech_tower"), encoding.speech_layout.lengths)
    each = {stage: len(parts) // items for stage, parts in lengths.items()}
    return {
        stage: torch.cat(encoding.stages[stage].split(parts)[number * each[stage] : (number + 1) * each[stage]])
        for stage, parts in lengths.items()
    }


def _differs(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float) -> str:
    """The first stage that differs by more than `tolerance` relative to its largest value; '' if there is none."""
    for stage, x_ND in one.items():
        most = tolerance * float(x_ND.abs().max())
        if not torch.allclose(x_ND.float(), other[stage].float(), rtol=0, atol=most):
            return stage
    return ""


def _check_alone(encoder: AbstractEncoder, kind: str, order: Mapping[str, bool], tolerance: float) -> None:
    number = BESIDE[kind]
    together = _of_item(_encoded(encoder, View(inputs=inputs(kind), **order)), number)
    alone = _of_item(_encoded(encoder, View(inputs=inputs(kind, number), **order)), 0, 1)
    if stage := _differs(together, alone, tolerance):
        neighbours = _sees_neighbours(encoder, kind, order, tolerance)
        what = "its neighbours" if neighbours else "padding, or how long its neighbours are"
        what = f"encodes a {kind} sequence beside others as it does not alone: it sees {what} (stage '{stage}')"
        raise incomplete(type(encoder), what)


def _sees_neighbours(encoder: AbstractEncoder, kind: str, order: Mapping[str, bool], tolerance: float) -> str:
    """A stage of the middle sequence that changes with the content of the others, at equal lengths; '' if none."""
    said, others = (_encoded(encoder, View(inputs=inputs(kind, other=o), **order)) for o in ((), (0, 2)))
    return _differs(_of_item(said, 1), _of_item(others, 1), tolerance)


def _check_masks(encoder: AbstractEncoder, tolerance: float) -> None:
    """Change the input well within masked speech: nothing may change, except what the front end itself spreads over
    positions that are not masked.
    """
    (positions,) = encoder.subsampled(FRAMES[:1])
    masked = torch.arange(1, positions - 1)
    if len(masked) < 7:
        return
    speech = inputs("speech", 0)
    middle = FRAMES[0] // 2
    changed = replace(speech, mel_FM=speech.mel_FM.index_fill(0, torch.arange(middle - 2, middle + 2), 3.0))
    for hides in ("features", "frames"):
        mask = {"speech_masked_I": masked, "speech_masked_B": (len(masked),), "hides": hides}
        views = (View(inputs=one, speech_lengths=(positions,), **mask) for one in (speech, changed))
        before, after = (dict(_encoded(encoder, view).stages) for view in views)
        bare = [{"features": stages["features"][[0, -1]]} for stages in (before, after)]
        asked = ("speech_tower", "joint")
        stage = _differs(*({name: stages[name] for name in asked} for stages in (before, after)), tolerance)
        if stage and not _differs(*bare, tolerance):
            raise incomplete(type(encoder), f"sees masked speech: stage '{stage}' changes with it")


def _check_parts(encoder: AbstractEncoder) -> None:
    sizes = {name: parameter.numel() for name, parameter in encoder.named_parameters()}
    for scope, names in encoder.shared_parameters().items():
        if unknown := sorted({*names} - sizes.keys()):
            raise incomplete(type(encoder), f"shares '{unknown[0]}' in scope '{scope}', which is no parameter of it")
        if scope == "all" or "/" in scope:
            raise incomplete(type(encoder), f"has a scope '{scope}' of shared parameters; call it otherwise")
    counted = encoder.parts(Work(speech=encoder.subsampled(FRAMES), text=TOKENS))
    held = sum(sum(count.parameters.values()) for count in (counted or {}).values())
    if counted is not None and held != sum(sizes.values()):
        what = f"counts {held} parameters in its parts, of {sum(sizes.values())}"
        raise incomplete(type(encoder), what)


def _check(encoder: AbstractEncoder, view: View, encoding: Encoding) -> None:
    kind, speech = view.inputs.kind, view.inputs.speech
    lengths = {"speech": encoder.subsampled(FRAMES), "text": TOKENS}
    positions, asked = sum(lengths["speech"]), {}
    if speech:
        asked = {"stacked": (positions, encoder.stacked)} | dict.fromkeys(
            ("features", "speech_tower"), (positions, encoder.width)
        )
    order = {"pair": ("text", "speech") if view.text_first else ("speech", "text")}.get(kind, (kind,))
    segments = tuple(n for item in zip(*(lengths[m] for m in order)) for n in item)
    asked["joint"] = (sum(segments), encoder.width)
    for stage, shape in asked.items():
        found = encoding.stages.get(stage)
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else "none"
            raise incomplete(type(encoder), f"encodes {kind} with stage '{stage}' of {what}, expected {shape}")
    layout, of_speech = encoding.layout, encoding.speech_layout
    expected = segments, order * len(FRAMES), 2 if kind == "pair" and not view.apart else 1
    if (layout.lengths, layout.modalities, layout.per_sequence) != expected:
        raise incomplete(type(encoder), f"lays out {kind} otherwise than asked; return what side_by_side does")
    if speech and (of_speech is None or of_speech.lengths != lengths["speech"]):
        raise incomplete(type(encoder), f"gives {kind} no speech_layout of {lengths['speech']} positions")
