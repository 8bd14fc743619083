"""The joint encoder: a speech tower and a text tower feed one shared stack (docs/paper.md, section 1).

Speech: front end, masks, positions, speech layers, linear projection. Text: embedding, sinusoidal positions, LayerNorm
(and text layers, none in the paper). Shared layers process speech, text, or pairs of segments that attend to each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders import seeds
from encoders.batch import Layout, Speech, View, Vocabulary, side_by_side
from encoders.blocks import BLOCKS, NORMS, PARTS, LayerNorm, Linear, Packing, Shape, Stack
from encoders.choices import check_known
from encoders.count import parts
from encoders.encoder import AbstractEncoder, Count, EncoderConfig, Work
from encoders.encoding import Encoding
from encoders.frontend import FRONT_ENDS, STRIDE, stack, subsampled
from encoders.positions import POSITIONS, sinusoids
from encoders.precision import PRECISIONS, products
from encoders.ranges import Natural, NonNegative, OneOf, Probability, Size


class SpeechTower(nn.Module):
    """From log-mel to vectors for the shared layers."""

    def __init__(self, config: Joint.Config, shape: Shape) -> None:
        super().__init__()
        self.front_end = FRONT_ENDS[config.frontend](config.width, config.frontend_channels)
        self.layers = Stack(BLOCKS[config.block], shape, config.speech_layers, first_index=0)
        self.projection = Linear(config.width, config.width)
        self.position_scale = config.speech_position_scale if config.positions == "sinusoidal" else 0.0
        self.mask_noise = config.mask_noise

    def forward(self, speech: Speech, view: View, packing: Packing) -> dict[str, Tensor]:
        """Return the stages up to "projected"."""
        mel_FM = speech.mel_FM.float()
        stacked_TC = stack(mel_FM, speech.lengths)
        if view.speech_masked_I is not None and view.hides == "frames":
            hidden_FM = self._hide_frames(mel_FM, speech, view)
            features_TD = self.front_end(hidden_FM, speech.lengths, stack(hidden_FM, speech.lengths))
        else:
            features_TD = self.front_end(mel_FM, speech.lengths, stacked_TC)
        # Without it the scale of the features grows in training (5 times in 1,000 updates) until masks, positions and
        # the layers' branches, all of fixed scale, hardly matter.
        features_TD = F.layer_norm(features_TD.float(), features_TD.shape[1:])
        x_TD = self._mask(features_TD, speech.keys, view) if view.hides == "features" else features_TD
        if self.position_scale:
            x_TD = x_TD + self.position_scale * sinusoids(packing.layout.position_N, x_TD.shape[1])
        tower_TD = self.layers(x_TD, packing)
        projected_TD = self.projection(tower_TD, packing).float()  # the residual stream is never rounded
        return {"stacked": stacked_TC, "features": features_TD, "speech_tower": tower_TD, "projected": projected_TD}

    def _mask(self, features_TD: Tensor, keys: tuple[int, ...], view: View) -> Tensor:
        """Replace masked positions by noise, a function of each utterance's own key."""
        masked_I = view.speech_masked_I
        if masked_I is None:
            return features_TD
        noise_ID = self._noise(keys, view.speech_masked_B, features_TD)
        return features_TD.index_copy(0, masked_I.to(features_TD.device), noise_ID)

    def _hide_frames(self, mel_FM: Tensor, speech: Speech, view: View) -> Tensor:
        """Replace the frames under masked positions by noise (BEST-RQ)."""
        masked_T = torch.zeros(sum(subsampled(speech.lengths)), dtype=torch.bool)
        masked_T[view.speech_masked_I.cpu()] = True
        positions = masked_T.split(subsampled(speech.lengths))
        hidden = [at.repeat_interleave(STRIDE)[:n] for at, n in zip(positions, speech.lengths)]
        noise_IM = self._noise(speech.keys, tuple(int(at.sum()) for at in hidden), mel_FM)
        return mel_FM.index_copy(0, torch.cat(hidden).nonzero().squeeze(1).to(mel_FM.device), noise_IM)

    def _noise(self, keys: tuple[int, ...], rows_B: tuple[int, ...], like_ND: Tensor) -> Tensor:
        """`rows_B` rows of noise per utterance, with the width, type and device of `like_ND`."""
        width = like_ND.shape[1]
        noise = seeds.normal(keys, "mask_noise", [n * width for n in rows_B]).reshape(-1, width)
        return torch.from_numpy(self.mask_noise * noise).to(like_ND)


class TextTower(nn.Module):
    """From embedded tokens to vectors for the shared layers."""

    def __init__(self, config: Joint.Config, shape: Shape) -> None:
        super().__init__()
        self.norm = LayerNorm(config.width)
        self.layers = Stack(BLOCKS[config.block], shape, config.text_layers, first_index=config.speech_layers)
        self.position_scale = config.text_position_scale

    def forward(self, embedded_SD: Tensor, packing: Packing) -> Tensor:
        # Embeddings have a variance of 1/width (see Joint): scale it to 1 before adding positions.
        width = embedded_SD.shape[1]
        positions_SD = sinusoids(packing.layout.position_N, width).mul_(self.position_scale)
        return self.layers(self.norm(torch.add(positions_SD, embedded_SD, alpha=width**0.5), packing), packing)


class Joint(AbstractEncoder):
    """Encode speech, text, or speech-text pairs with one shared stack; `reads` determines which parts exist.

    A view whose inputs are not among `reads` raises ValueError.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(EncoderConfig):
        """The shape of a joint encoder."""

        tag: ClassVar[str] = "joint"

        width: Size = 64
        """Width D of every layer."""
        heads: Size = 4
        """Attention heads; must divide the width."""
        ffn: Size = 128
        """Inner width of the feed-forward layers."""
        kernel: Size = 5
        """Kernel size of the Conformer's depthwise convolution, in positions; odd (paper: 5)."""
        speech_layers: Natural = 1
        """Speech-only layers (paper: 8)."""
        text_layers: Natural = 0
        """Text-only layers (paper: none)."""
        shared_layers: Natural = 2
        """Layers shared by speech and text (paper: 16)."""
        block: Annotated[str, OneOf(BLOCKS)] = "conformer"
        """Kind of layers: conformer or transformer."""
        conv_norm: Annotated[str, OneOf(NORMS)] = "group"
        """Normalisation after the depthwise convolution: group (paper), layer or batch."""
        groups: Size = 4
        """Groups of the group normalisation (the paper's number is unknown); must divide the width."""
        positions: Annotated[str, OneOf(POSITIONS)] = "sinusoidal"
        """Positions of speech: none, or sinusoidal; or, in the attention of all layers, rotary or relative. The text
        tower always adds sinusoids (paper); what the paper does for speech is unknown."""
        speech_position_scale: NonNegative = 0.2
        """Factor of the sinusoids added to speech features (scaled to a variance of 1)."""
        text_position_scale: NonNegative = 0.3
        """Factor of the sinusoids added to token embeddings (scaled to a variance of 1)."""
        frontend: Annotated[str, OneOf(FRONT_ENDS)] = "stacked"
        """Subsampling by four: stacked frames, conv2d (paper) or separable."""
        frontend_channels: Size = 128
        """Channels of the convolutional front ends (the paper's number is unknown)."""
        dropout: Probability = 0.0
        """Dropout on the output of every branch of every block."""
        per_modality: tuple[Annotated[str, OneOf(PARTS)], ...] = ()
        """Parts of shared layers with one copy per modality: any of attention, ffn, conv, norms."""
        mask_noise: NonNegative = 0.1
        """Standard deviation of the Gaussian noise that replaces masked features (or frames)."""
        segment_embedding: bool = False
        """Add a learned vector per modality before the shared layers (unknown in the paper)."""
        precision: Annotated[str, OneOf(PRECISIONS)] = "fp32"
        """Precision of matrix products and attention, of heads too: fp32 (on a GPU TF32), or bf16 (weights, moments,
        sums, norms, softmaxes and losses stay fp32)."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_known(f"per_modality part of a {self.block}", self.per_modality, BLOCKS[self.block].parts)
            for name in ("heads", "groups"):
                if self.width % getattr(self, name):
                    raise ValueError(
                        f"Encoder width {self.width} is not divisible by {name} {getattr(self, name)}. "
                        f"Choose {name} that divide the width."
                    )
            if self.positions == "rotary" and self.width // self.heads % 2:
                raise ValueError(
                    f"Rotary positions need an even width per head, found {self.width // self.heads} "
                    f"({self.width} / {self.heads}). Choose other heads."
                )
            if self.kernel % 2 == 0:
                raise ValueError(f"Encoder kernel {self.kernel} is even: expected an odd number of positions.")

        def layers_and_width(self) -> tuple[int, int]:
            return self.speech_layers + self.text_layers + self.shared_layers or 3, self.width

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.precision = config.precision
        modalities = tuple(m for m in ("speech", "text") if self.reads & {m, "pair"})
        names = ("width", "heads", "ffn", "kernel", "conv_norm", "groups", "positions", "dropout")
        shape = Shape(**{name: getattr(config, name) for name in names})
        shared = replace(shape, apart=config.per_modality, copies=modalities)
        self.speech = SpeechTower(config, shape) if "speech" in modalities else None
        self.text = TextTower(config, shape) if "text" in modalities else None
        self.embedding = nn.Embedding(vocabulary.size, config.width) if "text" in modalities else None
        if self.embedding is not None:
            # A standard deviation of width**-0.5 gives a tied softmax over normalised vectors logits of variance 1.
            nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.segments = None
        if config.segment_embedding:
            self.segments = nn.ParameterDict({m: torch.randn(config.width) * 0.02 for m in modalities})
        towers = config.speech_layers + config.text_layers
        self.shared = Stack(BLOCKS[config.block], shared, config.shared_layers, first_index=towers)

    def forward(self, view: View) -> Encoding:
        kind = view.inputs.kind
        if kind not in self.reads:
            raise ValueError(f"This encoder does not read {kind}: it reads {', '.join(sorted(self.reads))}.")
        with products(self.precision, next(self.parameters()).device):
            return self._encode(kind, view)

    def _encode(self, kind: str, view: View) -> Encoding:
        inputs, stages, parts, layouts = view.inputs, {}, {}, {}
        if kind != "text":
            speech = inputs.speech
            packing = self._pack(Layout.of("speech", subsampled(speech.lengths), speech.mel_FM.device), view)
            stages = self.speech(speech, view, packing)
            parts["speech"], layouts["speech"] = stages.pop("projected"), packing.layout
        if kind != "speech":
            text = inputs.text
            packing = self._pack(Layout.of("text", text.lengths, text.ids_S.device), view)
            parts["text"] = self.text(F.embedding(text.ids_S, self.embedding.weight), packing)
            layouts["text"] = packing.layout
        if self.segments is not None:
            parts = {modality: x + self.segments[modality] for modality, x in parts.items()}
        x_ND, layout = side_by_side(parts, layouts, view)
        packing = self._pack(layout, view) if kind == "pair" else packing
        stages["joint"] = self.shared(x_ND, packing)
        return Encoding(stages, packing.layout, layouts.get("speech"), self.precision)

    def _pack(self, layout: Layout, view: View) -> Packing:
        return Packing(layout, self.width // self.config.heads, view.noise_key)

    def parts(self, work: Work) -> dict[tuple[str, ...], Count]:
        return parts(self, work)

    def titles(self) -> dict[tuple[str, ...], str]:
        layers = {
            ("speech", "layers"): self.config.speech_layers,
            ("text", "layers"): self.config.text_layers,
            ("shared",): self.config.shared_layers,
        }
        return {place: f"{count} × {self.config.block}" for place, count in layers.items()}

    def shared_parameters(self) -> dict[str, list[str]]:
        return {scope: [f"shared.{name}" for name in names] for scope, names in self.shared.scopes().items()}

    def recompute(self, on: bool) -> None:
        for module in self.modules():
            if isinstance(module, Stack):
                module.checkpointing = on

    @property
    def alone(self) -> str:
        if self.config.conv_norm != "batch":
            return ""
        return "Batch normalisation keeps means of the shards in their order; use another conv_norm"
