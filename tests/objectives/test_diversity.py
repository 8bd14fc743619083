"""Diversity of a moving average: how far from the truth it is, what its gradient is, and that shards do not matter."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pretraining import FakeEncoder, ports, speech, view

from objectives.contrastive import Contrastive
from objectives.diversity import MovingUse, diversity
from objectives.targets import TARGETS
from objectives.tlm import TLM

V = 64


def alone(x):
    return x


def one_hot(frames, seed, groups=1):
    torch.manual_seed(seed)
    return F.one_hot(torch.randint(V, (frames, groups)), V).float()


@pytest.mark.parametrize("frames", [67, 670, 6700])
def test_codes_in_equal_use_score_nearly_nothing_however_few_an_update_has(frames):
    use, values = MovingUse(1, V), []
    for update in range(20 * 20 * V // frames + 40):
        values.append(use(one_hot(frames, update).mean(0), frames).item())
        use.close(alone)
    warm = torch.tensor(values[3 * 20 * V // frames + 2 :])
    assert len(warm) > 30 and 0 <= warm.mean() <= 0.02 and warm.max() <= 0.02
    assert frames > 67 or diversity(one_hot(frames, 0).mean(0)) > 0.35  # of one shard: the fault


def test_uneven_use_is_seen_as_it_is():
    """Half of the codes in use: diversity .5, from an average that began with other codes."""
    use = MovingUse(1, V)
    for update in range(400):
        ids = torch.randint(V // 2, (670,)) + (V // 2 if update < 10 else 0)
        value = use(F.one_hot(ids, V).float().mean(0, keepdim=True), 670)
        use.close(alone)
    assert value.item() == pytest.approx(0.5, abs=0.01)


def test_gradient_is_that_of_diversity_at_the_average_not_a_share_of_it():
    use, usual = MovingUse(2, V), torch.rand(2, V)
    usual /= usual.sum(1, keepdim=True)
    for _ in range(3):
        use(usual, 5000)
        use.close(alone)
    assert torch.allclose(use.mean(), usual, atol=1e-6)
    own = torch.rand(2, V, requires_grad=True)
    use(own, 7).backward()
    at = usual.clone().requires_grad_()
    diversity(at).backward()
    torch.testing.assert_close(own.grad, at.grad)


def test_before_the_first_update_nothing_is_pushed():
    logits = torch.randn(1, V, requires_grad=True)
    MovingUse(1, V)(logits.softmax(1), 5).backward()
    assert logits.grad.abs().max() < 1e-7


def test_weight_of_a_frame_falls_by_e_in_twenty_frames_an_entry():
    use = MovingUse(1, V)
    use(F.one_hot(torch.tensor([[0]]), V).float().mean(0), 1)
    use.close(alone)
    use(F.one_hot(torch.tensor([[1]]), V).float().mean(0), 20 * V)
    use.close(alone)
    assert use.sum_GV[0, 0].item() == pytest.approx(torch.e**-1)
    assert use.frames.item() == pytest.approx(20 * V + torch.e**-1)


def test_an_update_cut_into_shards_gives_the_same_values_gradients_and_average():
    whole, cut = MovingUse(2, V), MovingUse(2, V)
    for update in range(5):
        logits = torch.randn(90, 2, V, generator=torch.Generator().manual_seed(update), requires_grad=True)
        value = 90 * whole(logits.softmax(2).mean(0), 90)
        (one,) = torch.autograd.grad(value, logits)
        parts = [part * cut(logits[a : a + part].softmax(2).mean(0), part) for a, part in ((0, 7), (7, 50), (57, 33))]
        (other,) = torch.autograd.grad(sum(parts), logits)
        torch.testing.assert_close(sum(parts), value, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one, other)
        whole.close(alone)
        cut.close(alone)
        torch.testing.assert_close(whole.state_dict(), cut.state_dict())
    assert diversity(one_hot(7, 0).mean(0)) > 0.8  # of a shard, it is another with every cut


def test_ranks_sum_their_frames():
    together, first, second = MovingUse(1, V), MovingUse(1, V), MovingUse(1, V)
    for update in range(3):
        a, b = one_hot(40, update), one_hot(60, 100 + update)
        for use, part in ((together, a), (together, b), (first, a), (second, b)):
            use(part.mean(0), len(part))
        total = first.fresh + second.fresh
        together.close(alone)
        first.close(lambda x, total=total: total.clone())
        second.close(lambda x, total=total: total.clone())
        torch.testing.assert_close(together.state_dict(), first.state_dict())
        torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_objective_uses_the_average_in_training_and_the_items_themselves_in_evaluation():
    encoder = FakeEncoder()
    build = ports(encoder)
    torch.manual_seed(0)
    plain, moving = (Contrastive.Config(diversity_over=over).build(build) for over in ("shard", "average"))
    learned = TARGETS["learned"].build(build)
    seen = view(plain.view, speech(400, 300, 120))
    encoding = encoder(seen)
    codes = {"learned": learned(seen, encoding, 0.5)}
    assert moving.training and moving(seen, encoding, codes)["diversity"].total.item() == pytest.approx(0, abs=1e-4)
    moving.head.use.close(alone)
    values = [one.eval()(seen, encoding, codes)["diversity"].total.item() for one in (plain, moving)]
    assert values[0] == values[1] > 1
    assert float(moving.head.use.frames) == sum(seen.speech_masked_B)
    assert not any("use" in name for name in plain.state_dict())
    assert any("use.sum_GV" in name for name in moving.state_dict())
    assert copy.deepcopy(moving).state_dict().keys() == moving.state_dict().keys()


@pytest.mark.parametrize("config", [Contrastive.Config, TLM.Config])
def test_what_diversity_is_over_is_checked(config):
    with pytest.raises(ValueError, match="'averag'.*average"):
        config(diversity_over="averag")
    with pytest.raises(ValueError, match="has no effect if contrastive is false"):
        TLM.Config(diversity_over="average")
    assert TLM.Config(diversity_over="average", contrastive=True).diversity_over == "average"
