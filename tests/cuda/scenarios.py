"""What runs on both devices and is compared: every part of the project that computes with tensors, by name.

Each scenario takes a device and returns numbers and tensors by name; tests/cuda/devices.py runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ablate.stages import kmeans
from ablate.training import conflict
from ablate.training.loop import Loop, Model, prepare
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders import seeds
from encoders.batch import Batch, Pair, Speech, Text, Vocabulary
from encoders.blocks import BLOCKS, NORMS, PARTS
from encoders.frontend import FRONT_ENDS
from encoders.joint import Joint
from encoders.positions import POSITIONS
from objectives import OBJECTIVES
from objectives.classification import Classification
from objectives.ctc import CTC
from objectives.kmeans import LAYERS, KMeans
from objectives.masked_speech import MaskedSpeech
from objectives.mixture import Mixture
from objectives.objective import Ports
from objectives.quantizer import Learned
from objectives.sequence import Sequence
from objectives.targets import RandomProjection
from objectives.transducer import Transducer

Values = dict[str, Any]
Scenario = Callable[[torch.device], Values]

SIZE, FRAMES, TOKENS = 40, (61, 33, 90), (9, 14, 6)
VOCABULARY = Vocabulary(SIZE, (0,) * 7 + tuple(range(1, SIZE - 6)), tuple(i % 3 == 0 for i in range(SIZE)))
ENCODER = Joint.Config(width=16, heads=2, ffn=32, groups=2, shared_layers=1, frontend_channels=4)
LEARNED = {"learned": Learned.Config(entries=8, dim=8)}
ALL = ("contrastive", "masked_speech", "masked_text", "tlm", "stm", "pair_ctc")


def speech(stream: str, scale: float = 1.0) -> Speech:
    mel_FM = torch.randn(sum(FRAMES), 80, generator=torch.Generator().manual_seed(1)) * scale
    return Speech(mel_FM, FRAMES, tuple(seeds.key(0, stream, i) for i in range(len(FRAMES))))


def text(stream: str, specials: bool = True) -> Text:
    draws = torch.Generator().manual_seed(2)
    bodies = [torch.randint(7, SIZE, (n,), generator=draws) for n in TOKENS]
    if specials:
        bodies = [torch.cat([torch.tensor([4]), body, torch.tensor([5])]) for body in bodies]
    keys = tuple(seeds.key(0, stream, i) for i in range(len(bodies)))
    return Text(torch.cat(bodies), tuple(map(len, bodies)), keys)


def shard() -> dict[str, Batch]:
    both = Pair(speech("pair"), text("pair/text"))
    return {"speech": Batch(speech("speech")), "text": Batch(text("text")), "pair": Batch(both)}


class Feed:
    """A stream of the same shard again and again."""

    sizes = torch.ones(100).numpy()

    def __init__(self, name: str) -> None:
        self.name = name

    def next_update(self, cursor: int, budget: float) -> tuple[list[Batch], int]:
        return [shard()[self.name]], cursor + 1


FEEDS = {name: Feed(name) for name in ("speech", "text", "pair")}


def model(
    objectives: Mapping[str, Any], device: torch.device, encoder: Joint.Config = ENCODER, targets: Any = None
) -> Model:
    """A model of these objectives (configs, or names of the list), with the same weights on every device."""
    torch.manual_seed(0)
    built = encoder.build(VOCABULARY)
    targets = LEARNED if targets is None else targets
    ports = Ports(built.width, VOCABULARY, built.embedding, built.stacked, targets)
    mixture = Mixture(
        {name: config.build(ports) for name, config in objectives.items()},
        {name: config.weight for name, config in objectives.items()},
        {name: config.build(ports) for name, config in targets.items()},
    )
    for name, config in targets.items():
        if config.fitted:
            fitted(mixture.targets[name], config)
    return Model(built, mixture).to(device)


def fitted(codes: KMeans, config: KMeans.Config) -> None:
    """Give k-means targets centroids and, if they are of a layer, a frozen encoder, as from their stage: on the CPU."""
    layer, width = None, 320
    if config.of:
        torch.manual_seed(5)
        teacher = ENCODER.build(VOCABULARY)
        stage, width = kmeans.KMeansStage.of(config, ENCODER), ENCODER.width
        layer = kmeans.frozen(stage, VOCABULARY, teacher.state_dict())[0]
    codes.use(torch.randn(config.entries, width, generator=torch.Generator().manual_seed(3)), layer)


def learnt(made: Model, batches: Mapping[str, Batch], training: bool = True) -> Values:
    """The loss of a shard, its metrics, and the gradient of every parameter."""
    made.train(training)
    views = prepare(made, batches, VOCABULARY, lambda name: seeds.key(0, name))
    loss, metrics = made.mixture(made.encoder, views, views.counts, {}, 7)
    loss.backward()
    made.mixture.close(lambda x: x)
    sums = {name: [float(x) for x in pair] for name, pair in metrics.items()}
    gradients = {f"gradient/{n}": p.grad for n, p in made.named_parameters() if p.grad is not None}
    return {"loss": loss, "metrics": sums, **gradients, **{f"buffer/{n}": b for n, b in made.named_buffers()}}


def pretraining(objectives: Mapping[str, Any], targets: Any = None, **encoder: Any) -> Scenario:
    def run(device: torch.device) -> Values:
        made = model(objectives, device, replace(ENCODER, **encoder), targets)
        return learnt(made, {name: batch for name, batch in shard().items() if name in made.mixture.streams})

    return run


def named(name: str, **settings: Any) -> dict[str, Any]:
    return {name: replace(OBJECTIVES[name], **settings)}


EVERY = {name: OBJECTIVES[name] for name in ALL}
CODED = named("masked_speech", targets="it") | named("contrastive", targets="it")


def supervised(make: Callable[[Ports], Any], reads: str, references: Mapping[str, Any], *searches: Any) -> Scenario:
    """The loss of a task's objective, its gradients, and its outputs by every search (keywords of `decode`)."""

    def run(device: torch.device) -> Values:
        torch.manual_seed(0)
        encoder = ENCODER.build(VOCABULARY)
        objective = make(Ports(encoder.width, VOCABULARY, encoder.embedding, encoder.stacked))
        made = Model(encoder, Mixture({"task": objective}, {"task": 1.0}, {})).to(device)
        batch = Batch({"speech": speech, "text": text}[reads](reads), references)
        values = learnt(made, {reads: batch})
        made.eval()
        with torch.no_grad():
            clean = prepare(made, {reads: batch}, VOCABULARY, lambda name: 0).views[0][0]
            encoding = made.encoder(clean)
            values["dev"] = {name: term.total for name, term in objective(clean, encoding, {}).items()}
            for number, search in enumerate(searches):
                seen = {"view": clean} if isinstance(objective, Sequence) else {}
                values[f"decoded/{number}"] = objective.decode(encoding, **search, **seen)
        return values

    return run


TRANSCRIPT = {"transcript": text("transcript", specials=False)}
TARGET = {"target": text("target", specials=False), "language": ("de", "fr", "de")}
GREEDY, BEAM = {}, {"beam": 3}
CUT = {"most": 6}  # a decoder without training does not end by itself


def update(precision: str = "fp32", average: float = 0.9) -> Scenario:
    """Three whole updates of two shards: the loop, FlatAdamW, a moving average, and a group that enters later."""

    def run(device: torch.device) -> Values:
        objectives = EVERY | {"stm": replace(OBJECTIVES["stm"], weight=0.0)}
        made = model(objectives, device, replace(ENCODER, precision=precision, dropout=0.1))
        named = dict(made.named_parameters())
        late = {n: p for n, p in named.items() if n.startswith("mixture.objectives.pair_ctc")}
        groups = {"all": ([(n, p) for n, p in named.items() if n not in late], 1e-2), "late": (late.items(), 1e-2)}
        optimizer = FlatAdamW(groups, OptimizerConfig(eps=1e-3), average, apart=("late",))
        loop = Loop(
            model=made,
            optimizer=optimizer,
            run=SimpleNamespace(spares_memory=False, stopping=False),
            vocabulary=VOCABULARY,
            seed=0,
            first=0,
            last=3,
            update=lambda step, cursors: ([shard(), shard()], cursors),
            factor=lambda step: 1.0,
            fraction=lambda step: {"learned": 0.5},
        )
        made.train()
        values: Values = {}
        for step in range(3):
            if step == 2:
                optimizer.enter("late")
            norms, _, metrics = loop.one_update(step)
            values |= {f"loss/{step}": metrics["loss"][0], f"norms/{step}": norms}
        if precision == "bf16":
            return values
        with optimizer.averaged():
            mean = {f"average/{n}": p.detach().clone() for n, p in named.items()}
        found = conflict.Probe(made, FEEDS, dict.fromkeys(FEEDS, 3), dict.fromkeys(FEEDS, 1), VOCABULARY).measure(
            {}, optimizer
        )
        assert any(name.startswith("conflict/adam/") for name in found)
        weights = {f"weight/{n}": p.detach().clone() for n, p in named.items()}
        return {**values, **weights, **mean, "probe": found}

    return run


def clustering(of: str) -> Scenario:
    """The fit of k-means to log-mel, or to a layer of another encoder."""

    class Spoken:  # a table
        frames = torch.tensor(FRAMES).numpy()
        rows = [{"id": str(i)} for i in range(len(FRAMES))]

        def __len__(self) -> int:
            return len(FRAMES)

        def mel(self, index: int) -> Any:
            return speech("speech").mel_FM.split(FRAMES)[index].numpy()

    def run(device: torch.device) -> Values:
        layer = kmeans.stacked
        config = kmeans.KMeansStage(entries=4, positions=40, iterations=10, input=of, seed=0)
        if of != "stacked":
            torch.manual_seed(5)
            config = replace(config, encoder=ENCODER)
            layer = kmeans.frozen(config, VOCABULARY, ENCODER.build(VOCABULARY).state_dict())[0]
        x_NC = kmeans.vectors(Spoken(), config, layer)
        return {"centroids": kmeans.fit(x_NC, 4, 10, 3)}

    return run


SCENARIOS: dict[str, Scenario] = {
    **{f"objective {name}": pretraining(named(name)) for name in OBJECTIVES},
    "contrastive: moving use, narrow, few negatives": pretraining(
        named("contrastive", diversity_over="average", final_dim=4, negatives=3, at="joint")
    ),
    "masked_speech: frames": pretraining(
        {"it": MaskedSpeech.Config(targets="it", hides="frames")}, {"it": RandomProjection.Config()}, frontend="conv2d"
    ),
    "masked_text: words, placebo": pretraining(named("masked_text", whole_words=True, text="drawn", geometric=True)),
    "tlm: apart": pretraining(named("tlm", pairs="apart")),
    "tlm: shuffled, contrastive, speech first": pretraining(
        named("tlm", pairs="shuffled", contrastive=True, text_first=False)
    ),
    "stm: masked, speech first": pretraining(named("stm", masked=True, text_first=False)),
    "pair_ctc: tied, masked": pretraining(named("pair_ctc", tied=True, prob=0.1)),
    "weight 0": pretraining(named("masked_speech", weight=0.0) | named("masked_text"), conv_norm="batch"),
    "targets: learned, two groups, argmax": pretraining(
        CODED, {"it": Learned.Config(groups=2, entries=8, dim=8, predict="argmax", input="stacked")}
    ),
    "targets: random projection": pretraining(CODED, {"it": RandomProjection.Config(groups=2)}),
    "targets: k-means of log-mel": pretraining(CODED, {"it": KMeans.Config(entries=6, dim=8)}),
    **{
        f"targets: k-means of {layer} of a row": pretraining(
            CODED | named("tlm", targets="it"), {"it": KMeans.Config(entries=6, dim=8, of="row", input=layer)}
        )
        for layer in LAYERS
    },
    **{f"k-means fit: {of}": clustering(of) for of in ("stacked", "speech_tower", "joint")},
    **{f"block {block}": pretraining(EVERY, block=block, text_layers=1, dropout=0.1) for block in BLOCKS},
    **{f"norm {norm}": pretraining(EVERY, conv_norm=norm) for norm in NORMS},
    **{f"positions {positions}": pretraining(EVERY, positions=positions) for positions in POSITIONS},
    **{f"front end {name}": pretraining(EVERY, frontend=name) for name in FRONT_ENDS},
    **{f"per_modality {part}": pretraining(EVERY, per_modality=(part,)) for part in PARTS},
    "per_modality all, relative": pretraining(EVERY, per_modality=PARTS, positions="relative", segment_embedding=True),
    "bf16": pretraining(EVERY, precision="bf16"),
    "bf16, convolutions, rotary": pretraining(EVERY, precision="bf16", frontend="separable", positions="rotary"),
    "ctc": supervised(CTC.Config().build, "speech", TRANSCRIPT, GREEDY, BEAM),
    "transducer": supervised(Transducer.Config(hidden=8, layers=2).build, "speech", TRANSCRIPT, GREEDY, BEAM),
    "decoder on speech, ctc, two languages": supervised(
        lambda ports: Sequence.Config(reads="speech", ctc=0.5).build(ports, VOCABULARY, ("de", "fr")),
        "speech",
        TRANSCRIPT | TARGET,
        CUT,
        BEAM | CUT,
    ),
    "decoder on text, copying": supervised(
        Sequence.Config(reads="text", copying=0.5).build, "text", TARGET, CUT, BEAM | CUT
    ),
    "classifier of text": supervised(
        lambda ports: Classification.Config(hidden=0.2, pool="first").build(ports, ("a", "b")),
        "text",
        {"label": ("a", "b", "?")},
        GREEDY,
    ),
    "regression of speech": supervised(
        Classification.Config(reads="speech").build, "speech", {"label": (0.5, 1.0, 2.0)}, GREEDY
    ),
    "update": update(),
    "update in bf16": update("bf16", average=0.0),
}


def recomputed(device: torch.device) -> Values:
    made = model(EVERY, device, replace(ENCODER, dropout=0.1, shared_layers=2, conv_norm="batch"))
    made.encoder.recompute(True)
    return learnt(made, shard())


SCENARIOS["recomputation"] = recomputed


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Numbers, tensors and lists of ids by their path."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values) if _nested(values) else None
    if pairs is None:
        return {name: values}
    return {k: v for key, value in pairs for k, v in flat(value, f"{name}/{key}").items()}


def _nested(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and any(isinstance(one, (Mapping, list, tuple)) for one in values)


def difference(x: Any, y: Any) -> float:
    """The largest difference of two nests: of tensors relative to the largest value, of numbers to 1 or more; 1 for
    anything else that differs.
    """
    if isinstance(x, Mapping):
        return max([float(x.keys() != y.keys()), *(difference(x[key], y[key]) for key in x.keys() & y.keys())])
    if isinstance(x, (list, tuple)):
        return max([float(len(x) != len(y)), *(difference(a, b) for a, b in zip(x, y))])
    if isinstance(x, Tensor):
        x, y = x.detach().cpu().double(), y.detach().cpu().double()
        scale = max(1e-6, float(x.abs().max())) if x.dim() else max(1.0, abs(float(x)))
        return float((x - y).abs().max()) / scale if x.numel() else 0.0
    if isinstance(x, float) and isinstance(y, float):
        return 0.0 if x == y or x != x and y != y else abs(x - y) / max(1.0, abs(x))
    return float(x != y)
