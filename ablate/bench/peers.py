"""Encoders and models of other libraries as systems to measure, each on padded batches, as their libraries ship them.

Encoders are trained in our loop with our objective, so that nothing else differs; whole models with their own loss and
AdamW. Shapes are those of our preset. Masks and distractors are drawn within the step, as a collator would draw them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ablate.bench import items
from ablate.bench.systems import CODES, OBJECTIVES, VOCABULARY, Step, trained
from ablate.training.loop import Model
from encoders.batch import Layout, View
from encoders.encoding import Encoding
from encoders.presets import PRESETS
from objectives.mixture import Mixture
from objectives.objective import Ports

MASKED = 0.15  # of a document's tokens


class Padded(nn.Module, ABC):
    """A speech encoder that reads padded batches, with the interface of our encoders."""

    reads = frozenset({"speech"})
    embedding = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @abstractmethod
    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        """Positions per utterance."""

    @abstractmethod
    def features(self, mel_BFM: Tensor, frames: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The front end's output before masking, x_BTD, and whatever else `encode` needs."""

    @abstractmethod
    def encode(self, x_BTD: Tensor, beside: Tensor, inside_BT: Tensor) -> Tensor:
        """The layers; `inside_BT` is true at positions that are not padding."""

    def forward(self, view: View) -> Encoding:
        speech = view.inputs
        mel_BFM = pad_sequence(speech.mel_FM.split(speech.lengths), batch_first=True)
        x_BTD, beside = self.features(mel_BFM, speech.lengths)
        lengths = self.subsampled(speech.lengths)
        inside_BT = torch.arange(x_BTD.shape[1]) < torch.tensor(lengths)[:, None]
        features_TD = x_BTD[inside_BT]
        place_T = inside_BT.flatten().nonzero().squeeze(1)[view.speech_masked_I]
        noise_ID = 0.1 * torch.randn(len(place_T), self.width)
        masked_BTD = x_BTD.flatten(0, 1).index_copy(0, place_T, noise_ID).view_as(x_BTD)
        joint_TD = self.encode(masked_BTD, beside, inside_BT)[inside_BT]
        layout = Layout(lengths, ("speech",) * len(lengths))
        return Encoding({"features": features_TD, "joint": joint_TD}, layout, layout)


class Wav2Vec2Bert(Padded):
    """transformers' Wav2Vec2BertModel at 25 Hz: four stacked frames, a projection, Conformer layers."""

    def __init__(self, shape: str) -> None:
        from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

        preset = PRESETS[shape]
        super().__init__(preset.width)
        self.model = Wav2Vec2BertModel(
            Wav2Vec2BertConfig(
                hidden_size=preset.width,
                num_attention_heads=preset.heads,
                intermediate_size=preset.ffn,
                layerdrop=0.0,
                num_hidden_layers=preset.speech_layers + preset.shared_layers,
                feature_projection_input_dim=320,
                conv_depthwise_kernel_size=preset.kernel,
                apply_spec_augment=False,
            )
        )

    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(-(-n // 4) for n in frames)

    def features(self, mel_BFM: Tensor, frames: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        padded_BFM = nn.functional.pad(mel_BFM, (0, 0, 0, -mel_BFM.shape[1] % 4))
        x_BTD, _ = self.model.feature_projection(padded_BFM.unflatten(1, (-1, 4)).flatten(2))
        return x_BTD, x_BTD

    def encode(self, x_BTD: Tensor, beside: Tensor, inside_BT: Tensor) -> Tensor:
        return self.model.encoder(x_BTD, attention_mask=inside_BT.long())[0]


class ESPnet(Padded):
    """ESPnet's ConformerEncoder with its two stride-2 convolutions and relative positions."""

    def __init__(self, shape: str) -> None:
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

        preset = PRESETS[shape]
        super().__init__(preset.width)
        self.model = ConformerEncoder(
            input_size=80,
            output_size=preset.width,
            attention_heads=preset.heads,
            linear_units=preset.ffn,
            num_blocks=preset.speech_layers + preset.shared_layers,
            cnn_module_kernel=preset.kernel,
            macaron_style=True,
            rel_pos_type="latest",
            pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn",
        )

    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(((n - 1) // 2 - 1) // 2 for n in frames)

    def features(self, mel_BFM: Tensor, frames: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        (x_BTD, positions), _ = self.model.embed(mel_BFM, None)
        return x_BTD, positions

    def encode(self, x_BTD: Tensor, beside: Tensor, inside_BT: Tensor) -> Tensor:
        (x_BTD, _), _ = self.model.encoders((x_BTD, beside), inside_BT[:, None])
        return self.model.after_norm(x_BTD)


def encoder(name: str, shape: str) -> Step:
    """Train a peer's encoder, by its class name here, as ours is trained."""
    made: Padded = {"Wav2Vec2Bert": Wav2Vec2Bert, "ESPnet": ESPnet}[name](shape)
    ports = Ports(width=made.width, vocabulary=VOCABULARY, embedding=None, targets=CODES)
    objectives = {key: config.build(ports) for key, config in OBJECTIVES["speech"].items()}
    mixture = Mixture(objectives, dict.fromkeys(objectives, 1.0), {key: c.build(ports) for key, c in CODES.items()})
    return trained("speech", Model(made, mixture))


def _optimised(model: nn.Module, loss) -> Step:
    """A step of a whole model: forward, its loss, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step(batch: list[int]) -> None:
        optimizer.zero_grad()
        loss(batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return step


def wav2vec2_conformer(shape: str) -> Step:
    """transformers' Wav2Vec2ConformerForPreTraining on waveforms: contrastive and diversity loss."""
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    preset = PRESETS[shape]
    model = Wav2Vec2ConformerForPreTraining(
        Wav2Vec2ConformerConfig(
            hidden_size=preset.width,
            num_attention_heads=preset.heads,
            intermediate_size=preset.ffn,
            layerdrop=0.0,
            num_hidden_layers=preset.speech_layers + preset.shared_layers,
            conv_depthwise_kernel_size=preset.kernel,
            feat_extract_norm="layer",
        )
    )

    def loss(batch: list[int]) -> Tensor:
        waves = [torch.from_numpy(wave) for wave in items.waves(batch)]
        attention_mask = pad_sequence([torch.ones(len(wave), dtype=torch.long) for wave in waves], batch_first=True)
        padded = pad_sequence(waves, batch_first=True)
        positions = int(model._get_feat_extract_output_lengths(padded.shape[1]))
        inside = model._get_feature_vector_attention_mask(positions, attention_mask)
        masked = _compute_mask_indices((len(waves), positions), 0.65, 10, inside, min_masks=2)
        negatives = _sample_negative_indices((len(waves), positions), model.config.num_negatives, masked)
        return model(
            padded,
            attention_mask=attention_mask,
            mask_time_indices=torch.from_numpy(masked),
            sampled_negative_indices=torch.from_numpy(negatives),
        ).loss

    return _optimised(model, loss)


def _masked_language_model(model: nn.Module) -> Step:
    def loss(batch: list[int]) -> Tensor:
        documents = [torch.from_numpy(ids) for ids in items.documents(batch, VOCABULARY.specials)]
        ids_BL = pad_sequence(documents, batch_first=True, padding_value=VOCABULARY.pad)
        inside_BL = ids_BL != VOCABULARY.pad
        hidden_BL = inside_BL & (torch.rand(ids_BL.shape) < MASKED)
        draw_BL = torch.rand(ids_BL.shape)
        seen_BL = ids_BL.masked_fill(hidden_BL & (draw_BL < 0.8), VOCABULARY.mask)
        random_BL = torch.randint(VOCABULARY.specials, VOCABULARY.size, ids_BL.shape)
        seen_BL = torch.where(hidden_BL & (draw_BL > 0.9), random_BL, seen_BL)
        labels_BL = ids_BL.masked_fill(~hidden_BL, -100)
        return model(input_ids=seen_BL, attention_mask=inside_BL.long(), labels=labels_BL).loss

    return _optimised(model, loss)


def bert(shape: str) -> Step:
    """transformers' BertForMaskedLM."""
    from transformers import BertConfig, BertForMaskedLM

    preset = PRESETS[shape]
    config = BertConfig(
        vocab_size=items.VOCABULARY,
        hidden_size=preset.width,
        num_attention_heads=preset.heads,
        intermediate_size=preset.ffn,
        num_hidden_layers=preset.speech_layers + preset.shared_layers,
        max_position_embeddings=640,
    )
    return _masked_language_model(BertForMaskedLM(config))


def modernbert(shape: str) -> Step:
    """transformers' ModernBertForMaskedLM; its gated feed-forwards are narrower by a third, for the same number of
    parameters; its softmax is computed at masked positions only (not its default)."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    preset = PRESETS[shape]
    config = ModernBertConfig(
        vocab_size=items.VOCABULARY,
        hidden_size=preset.width,
        num_attention_heads=preset.heads,
        intermediate_size=preset.ffn * 2 // 3,
        num_hidden_layers=preset.speech_layers + preset.shared_layers,
        pad_token_id=VOCABULARY.pad,
        bos_token_id=VOCABULARY.bos,
        eos_token_id=VOCABULARY.eos,
        cls_token_id=VOCABULARY.cls,
        sep_token_id=VOCABULARY.sep,
        sparse_prediction=True,
    )
    return _masked_language_model(ModernBertForMaskedLM(config))
