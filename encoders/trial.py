"""Holds an encoder to its contract on a few made-up sequences: for tests, and for encoders that others add."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.batch import Inputs, Pair, Speech, Text, View, Vocabulary
from encoders.encoder import AbstractEncoder, EncoderConfig, Work
from encoders.encoding import Encoding
from encoders.owner import incomplete

FRAMES, TOKENS = (41, 8, 17), (5, 9, 3)  # of three utterances, and of their three texts
ORDERS = ({}, {"text_first": False}, {"apart": True})  # of a pair's segments
VOCABULARY = Vocabulary(40, (0,) * 40, (True,) * 40)


def shaped(config: EncoderConfig) -> AbstractEncoder:
    """Build an encoder, encode what it reads, and return it. Raises Incomplete where stages or layouts are not those of
    `AbstractEncoder.forward`, or where optional parts speak of other parameters. Works on fake tensors, too.
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
    """As `shaped`, on real tensors. Raises Incomplete, too, where a sequence is not encoded alike alone and in a pack,
    up to `tolerance`.
    """
    encoder = shaped(config)
    for kind in config.reads:
        together = encoder(View(inputs=inputs(kind)))
        for number, x_LD in enumerate(together.stages["joint"].split(together.layout.sequence_lengths)):
            alone_LD = encoder(View(inputs=inputs(kind, number))).stages["joint"]
            if not torch.allclose(x_LD, alone_LD, rtol=tolerance, atol=tolerance):
                raise incomplete(type(encoder), f"encodes a {kind} sequence beside others as it does not alone")
    return encoder


def inputs(kind: str, only: int | None = None) -> Inputs:
    """Three made-up sequences of a kind, or `only` one of them."""
    numbers = range(len(FRAMES)) if only is None else (only,)
    mels = [torch.arange(FRAMES[i] * 80).reshape(-1, 80).mul(0.7 + i).sin() for i in numbers]
    ids = [torch.arange(TOKENS[i]) * (3 + i) % VOCABULARY.size for i in numbers]
    speech = Speech(torch.cat(mels), tuple(map(len, mels)), tuple(numbers))
    text = Text(torch.cat(ids), tuple(map(len, ids)), tuple(numbers))
    return {"speech": speech, "text": text, "pair": Pair(speech, text)}[kind]


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
