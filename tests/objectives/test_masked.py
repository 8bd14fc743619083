"""Masked speech, masked text, TLM and STM against dense references."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pretraining import SIZE, VOCABULARY, WIDTH, FakeEncoder, coder, pair, ports, speech, text, view

from encoders.batch import Batch, Text
from objectives import OBJECTIVES
from objectives.masked_speech import MaskedSpeech
from objectives.masked_text import MaskedText
from objectives.objective import Ports, ViewContext, gathered
from objectives.quantizer import Learned
from objectives.stm import STM
from objectives.targets import TARGETS
from objectives.tlm import TLM

SIZES = ((400, 9), (300, 12), (500, 9), (200, 30), (240, 7))


def made(config, encoder, **targets):
    torch.manual_seed(1)
    built = ports(encoder, **targets)
    return config.build(built), {name: coder(c, built) for name, c in built.targets.items()}


def coded(targets, seen, encoding):
    return {name: module(seen, encoding, 0.5) for name, module in targets.items()}


def test_masked_text_equals_the_dense_head_over_all_positions():
    encoder = FakeEncoder()
    objective, _ = made(MaskedText.Config(), encoder)
    inputs = text(10, 30, 1)
    seen = view(objective.view, inputs)
    encoding = encoder(seen)
    term = objective(seen, encoding, {})["loss"]
    head = objective.head
    h_SD = F.layer_norm(F.gelu(head.transform(encoding.stages["joint"])), (WIDTH,), head.norm.weight, head.norm.bias)
    logits_SV = h_SD @ encoder.embedding.weight.T + head.bias_V
    labels = torch.full((len(inputs.ids_S),), -100).index_copy(0, seen.text_masked_I, inputs.ids_S[seen.text_masked_I])
    torch.testing.assert_close(term.total, F.cross_entropy(logits_SV, labels, ignore_index=-100, reduction="sum"))
    right = ((logits_SV.argmax(1) == labels) & (labels >= 0)).sum()
    assert [float(x) for x in term.metrics["accuracy"]] == [float(right), len(seen.text_masked_I)]
    assert objective.counts(seen) == {"loss": len(seen.text_masked_I)}


def test_the_tied_embedding_belongs_to_the_encoder():
    encoder = FakeEncoder()
    objective, _ = made(MaskedText.Config(), encoder)
    assert not any("embedding" in name or "tied" in name for name in objective.state_dict())
    seen = view(objective.view, text(10, 30))
    objective(seen, encoder(seen), {})["loss"].total.backward()
    unseen = torch.ones(SIZE, dtype=torch.bool)
    unseen[seen.inputs.ids_S] = unseen[seen.text_targets_I] = False
    assert encoder.embedding.weight.grad[unseen].abs().sum() > 0  # through the softmax
    encoder.zero_grad()
    objective(seen, encoder(seen).detached(), {})["loss"].total.backward()
    assert encoder.embedding.weight.grad is None or encoder.embedding.weight.grad.abs().sum() == 0


def test_masked_text_needs_a_token_embedding():
    with pytest.raises(ValueError, match="reads text"):
        MaskedText.Config().build(Ports(WIDTH, VOCABULARY, None))


@pytest.mark.parametrize("groups", [1, 2])
def test_masked_speech_is_cross_entropy_of_codes_averaged_over_groups(groups):
    encoder = FakeEncoder()
    objective, targets = made(MaskedSpeech.Config(), encoder, learned=Learned.Config(groups=groups, entries=6, dim=8))
    seen = view(objective.view, speech(400, 120))
    encoding = encoder(seen)
    codes = coded(targets, seen, encoding)
    term = objective(seen, encoding, codes)["loss"]
    x = encoding.stages["joint"][seen.speech_masked_I]
    ids = codes["learned"].targets_IG
    logits = objective.head.output(x).view(len(x), groups, 6)
    expected = sum(F.cross_entropy(logits[:, g], ids[:, g], reduction="sum") for g in range(groups)) / groups
    torch.testing.assert_close(term.total, expected)
    right = (logits.argmax(2) == ids).sum().item()
    commonest = sum(ids[:, g].bincount().max().item() for g in range(groups))
    assert [float(v) for v in term.metrics["accuracy"]] == [right, ids.numel()]
    assert [float(v) for v in term.metrics["commonest_code"]] == [commonest, ids.numel()]
    assert objective.counts(seen) == {"loss": len(x)}


def test_masked_speech_alone_does_not_train_the_codes():
    encoder = FakeEncoder()
    objective, targets = made(MaskedSpeech.Config(), encoder)
    seen = view(objective.view, speech(400))
    encoding = encoder(seen)
    objective(seen, encoding, coded(targets, seen, encoding))["loss"].total.backward()
    assert all(p.grad is None for p in targets["learned"].parameters())


def test_codes_of_features_cannot_be_predicted_where_frames_are_hidden():
    config = MaskedSpeech.Config(hides="frames", prob=0.04)
    config.check({"learned": TARGETS["random_projection"]})
    with pytest.raises(ValueError, match="hidden from them too; predict codes of log-mel"):
        config.check(TARGETS)
    replace(config, hides="features").check(TARGETS)
    layer = replace(TARGETS["kmeans"], of="joint", input="features")  # of a finished encoder, which sees everything
    replace(config, targets="kmeans").check({"kmeans": layer})
    assert made(config, FakeEncoder(), learned=TARGETS["random_projection"])[0].view.hides == "frames"
    with pytest.raises(ValueError, match="did you mean 'frames'"):
        MaskedSpeech.Config(hides="frame")


def pick(encoding, modality, b, i):
    """Joint vector of position i of the b-th segment of a modality, found the slow way."""
    start, met = 0, -1
    for n, m in zip(encoding.layout.lengths, encoding.layout.modalities):
        met += m == modality
        if m == modality and met == b:
            return encoding.stages["joint"][start + i]
        start += n


@pytest.mark.parametrize("pairs", ["together", "apart", "shuffled"])
@pytest.mark.parametrize("text_first", [True, False])
def test_tlm_reads_its_own_positions_of_each_segment(pairs, text_first):
    encoder = FakeEncoder()
    objective, targets = made(TLM.Config(pairs=pairs, text_first=text_first), encoder)
    seen = view(objective.view, pair(*SIZES))
    encoding = encoder(seen)
    for modality, index, lengths in (
        ("text", seen.text_masked_I, seen.inputs.text.lengths),
        ("speech", seen.speech_masked_I, seen.speech_lengths),
    ):
        places = [(b, i) for b, n in enumerate(lengths) for i in range(n)]
        expected = torch.stack([pick(encoding, modality, *places[i]) for i in index.tolist()])
        torch.testing.assert_close(gathered(encoding, "joint", modality, index), expected)
    terms = objective(seen, encoding, coded(targets, seen, encoding))
    assert set(terms) == {"text", "speech"} == set(objective.counts(seen))
    assert objective.counts(seen) == {"text": len(seen.text_masked_I), "speech": len(seen.speech_masked_I)}
    metrics = {name for term in terms.values() for name in term.metrics}
    assert metrics == {"text_accuracy", "text_span", "speech_accuracy", "speech_commonest_code"}


def test_tlm_apart_never_sees_the_other_side():
    encoder = FakeEncoder()
    inputs = pair(*SIZES)
    other = replace(inputs, speech=replace(inputs.speech, mel_FM=inputs.speech.mel_FM + 1))
    for pairs, same in (("apart", True), ("together", False)):
        objective, targets = made(TLM.Config(pairs=pairs), encoder)
        losses = []
        for shown in (inputs, other):
            seen = view(objective.view, shown)
            encoding = encoder(seen)
            losses.append(objective(seen, encoding, coded(targets, seen, encoding))["text"].total)
        assert torch.equal(*losses) == same


def test_tlm_with_contrastive_adds_its_terms():
    encoder = FakeEncoder()
    objective, targets = made(TLM.Config(contrastive=True), encoder)
    seen = view(objective.view, pair(*SIZES))
    encoding = encoder(seen)
    terms = objective(seen, encoding, coded(targets, seen, encoding))
    assert set(terms) == set(objective.counts(seen)) == {"text", "speech", "contrastive", "diversity"}
    assert objective.term_weights == {"text": 1.0, "speech": 1.0, "contrastive": 1.0, "diversity": 0.1}


@pytest.mark.parametrize("text_first", [True, False])
def test_stm_reads_cls(text_first):
    encoder = FakeEncoder()
    objective, _ = made(STM.Config(text_first=text_first), encoder)
    seen = view(objective.view, pair(*SIZES))
    encoding = encoder(seen)
    expected = torch.stack([pick(encoding, "text", b, 0) for b in range(len(SIZES))])
    torch.testing.assert_close(objective.logits(encoding), objective.output(expected))
    term = objective(seen, encoding, {})["loss"]
    p = objective.output(expected).softmax(1)[torch.arange(len(SIZES)), seen.matched_B]
    torch.testing.assert_close(term.total, -p.log().sum())
    assert objective.counts(seen) == {"loss": 5.0}


def test_a_single_pair_counts_nothing_in_stm():
    encoder = FakeEncoder()
    objective, _ = made(STM.Config(), encoder)
    seen = view(objective.view, pair((400, 9)))
    assert objective.counts(seen) == {"loss": 0.0}


def join(a: Text, b: Text) -> Text:
    return Text(torch.cat([a.ids_S, b.ids_S]), a.lengths + b.lengths, a.keys + b.keys)


def test_totals_are_sums_so_shards_add_up():
    encoder = FakeEncoder()
    objective, _ = made(MaskedText.Config(), encoder)
    shards = text(10, 30), text(5, 17, 40, seed=3)
    views = [view(objective.view, inputs) for inputs in (*shards, join(*shards))]
    totals = [objective(v, encoder(v), {})["loss"].total for v in views]
    counts = [objective.counts(v)["loss"] for v in views]
    assert counts[0] + counts[1] == counts[2]
    torch.testing.assert_close(totals[0] + totals[1], totals[2])


def test_presets_are_the_papers():
    assert OBJECTIVES["contrastive"].diversity == 0.1 and OBJECTIVES["contrastive"].negatives == 100
    assert (OBJECTIVES["masked_text"].share, OBJECTIVES["masked_text"].span) == (0.15, 5)
    assert (OBJECTIVES["tlm"].share, OBJECTIVES["tlm"].prob, OBJECTIVES["tlm"].speech_span) == (0.5, 0.129, 10)
    assert all(config.weight == 1.0 for config in OBJECTIVES.values())
    inputs = {"speech": speech(400, 300), "text": text(20, 9), "pair": pair(*SIZES)}
    encoder = FakeEncoder()
    for config in OBJECTIVES.values():  # every preset runs, and counts say which terms there are
        objective, targets = made(config, encoder)
        shown = inputs[objective.reads]
        lengths = view(objective.view, shown).speech_lengths
        seen = objective.view.build(Batch(shown), ViewContext(lengths, VOCABULARY, 3))
        encoding = encoder(seen)
        needed = {n: m for n, m in targets.items() if n in objective.needs}
        terms = objective(seen, encoding, coded(needed, seen, encoding))
        assert set(terms) == set(objective.counts(seen)) == set(objective.term_weights)
        assert all(t.total.isfinite() for t in terms.values())


def test_every_config_field_has_its_sentence():
    import ast
    import inspect
    from pathlib import Path

    for config in (*OBJECTIVES.values(), *TARGETS.values()):
        tree = ast.parse(Path(inspect.getfile(type(config))).read_text())
        owner = type(config).__qualname__.split(".")[0]
        outer = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner)
        body = next(n for n in outer.body if isinstance(n, ast.ClassDef)).body
        for node, after in zip(body, body[1:]):
            if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
                assert isinstance(after, ast.Expr) and isinstance(after.value.value, str), node.target.id


def test_tlms_contrastive_loss_is_set_by_the_row():
    settings = {"contrastive": True, "diversity": 0.7, "negatives": 7, "kappa": 0.3, "final_dim": 12}
    tlm, _ = made(replace(OBJECTIVES["tlm"], **settings), FakeEncoder())
    assert (tlm.contrastive.negatives, tlm.contrastive.kappa) == (7, 0.3)
    assert tlm.contrastive.from_encoding.out_features == 12 and tlm.term_weights["diversity"] == 0.7


def test_stm_is_masked_at_the_rates_that_the_row_says():
    """They are TLM's unless it says otherwise."""
    assert STM.Config(masked=True).matching().masks == TLM.Config().masks()
    rates = {"share": 0.2, "text_span": 1, "prob": 0.05, "speech_span": 4}
    assert STM.Config(masked=True, **rates).matching().masks == TLM.Config(**rates).masks()
    assert STM.Config(**rates).matching().masks is None
