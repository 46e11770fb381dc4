"""Norms: which statistics each kind uses, what of it is trained, and what follows the batches."""

import copy

import pytest
import torch
from torch import nn

from mrcnn.norms import FixedStatistics, SyncBatchNorm, convolution, norm_layer

CHANNELS = 6


def maps(seed=0, n=4):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, CHANNELS, 5, 7, generator=g) * 3 + 2


def after_steps(kind):
    """A layer after three training batches, and its output for another in training."""
    layer = norm_layer(kind, CHANNELS).train()
    for seed in range(3):
        layer(maps(seed))
    return layer, layer(maps(9))


@pytest.mark.parametrize("kind", ["frozen", "eval", "none"])
def test_constant_statistics_stay(kind):
    """norm "frozen" and "eval": no batch changes what the layer does; fresh, it does nothing."""
    _, out = after_steps(kind)
    torch.testing.assert_close(out, maps(9), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_batch_statistics_follow_the_batches(kind):
    """norm "batch" and "sync": zero mean and unit variance over the images of a process."""
    layer, out = after_steps(kind)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(CHANNELS), rtol=0, atol=1e-5)
    variance = out.var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance, torch.ones(CHANNELS), rtol=0, atol=1e-4)
    assert float(layer.running_mean.min()) > 0.3
    assert int(layer.num_batches_tracked) == 4
    assert not torch.allclose(layer.eval()(maps(9)), out, atol=0.1)


def test_groups_are_normalised_within_one_image():
    """norm "group": an image's output does not depend on the others of its batch."""
    _, out = after_steps("group")
    alone = norm_layer("group", CHANNELS)(maps(9)[:1])
    torch.testing.assert_close(out[:1], alone)
    batched = norm_layer("batch", CHANNELS).train()
    assert not torch.allclose(batched(maps(9))[:1], batched(maps(9)[:1]), atol=0.1)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (64, 32), (48, 16), (24, 8), (7, 1)])
def test_groups_where_32_does_not_divide(channels, groups):
    assert norm_layer("group", channels).num_groups == groups


TRAINED = {"none": 0, "frozen": 0, "eval": 2, "batch": 2, "sync": 2, "group": 2}


@pytest.mark.parametrize("kind", TRAINED)
def test_what_is_trained(kind):
    """frozen trains nothing; eval, mmdetection's, trains the affine part."""
    assert len(list(norm_layer(kind, CHANNELS).parameters())) == TRAINED[kind]


@pytest.mark.parametrize("kind", ["frozen", "eval", "batch", "sync"])
def test_statistics_are_used_by_the_same_formula(kind):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, written out."""
    g = torch.Generator().manual_seed(3)
    mean, weight, bias = torch.randn(3, CHANNELS, generator=g)
    variance = torch.rand(CHANNELS, generator=g) + 0.1
    layer = norm_layer(kind, CHANNELS, eps=1e-3).eval()
    state = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    layer.load_state_dict(state, strict=False)
    m, v, w, b = (x[:, None, None] for x in (mean, variance, weight, bias))
    torch.testing.assert_close(layer(maps()), (maps() - m) / (v + 1e-3).sqrt() * w + b)
    other_eps = norm_layer(kind, CHANNELS).eval()
    other_eps.load_state_dict(state, strict=False)
    assert not torch.allclose(other_eps(maps()), layer(maps()), rtol=1e-5)


def test_a_convolution_has_a_bias_or_a_norm():
    (conv,) = convolution(3, 8, 3, "none")
    assert conv.bias is not None
    conv, norm = convolution(3, 8, 3, "group")
    assert conv.bias is None
    assert isinstance(norm, nn.GroupNorm)
    assert nn.Sequential(conv, norm)(torch.zeros(1, 3, 5, 5)).shape == (1, 8, 5, 5)


def half_of_the_batch(rank):
    """In one of two processes, per kind: its output, gradients and running statistics."""
    found = {}
    for kind in ("sync", "batch"):
        layer = norm_layer(kind, CHANNELS).train()
        images = maps(1)[rank::2].clone().requires_grad_()
        out = layer(images)
        (out * maps(2)[rank::2]).sum().backward()
        each = [out, images.grad, layer.weight.grad, layer.running_mean, layer.running_var]
        found[kind] = [t.tolist() for t in each]
    return found


def whole_batch():
    layer = nn.BatchNorm2d(CHANNELS).train()
    images = maps(1).requires_grad_()
    out = layer(images)
    (out * maps(2)).sum().backward()
    return out, images.grad, layer.weight.grad, layer.running_mean, layer.running_var


def same_as_the_whole_batch(parts):
    """What two processes found of a kind, against batch norm of one; test_ranks.py starts them."""
    out, gradient, weight, mean, variance = whole_batch()
    for rank, (its, its_gradient, *_) in enumerate(parts):
        torch.testing.assert_close(its, out[rank::2].detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(its_gradient, gradient[rank::2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts[0][2] + parts[1][2], weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts[1][3], mean)
    torch.testing.assert_close(parts[1][4], variance)


def test_sync_in_one_process_is_batch_norm():
    sync, batch = SyncBatchNorm(CHANNELS).train(), nn.BatchNorm2d(CHANNELS).train()
    assert torch.equal(sync(maps()), batch(maps()))
    assert sync.state_dict().keys() == batch.state_dict().keys()
    torch.testing.assert_close(sync.running_var, batch.running_var)


def test_state_dicts_of_frozen_and_eval_are_the_same():
    fixed = FixedStatistics(CHANNELS)
    frozen = copy.deepcopy(norm_layer("frozen", CHANNELS))
    frozen.load_state_dict(fixed.state_dict())
    assert fixed.state_dict().keys() == frozen.state_dict().keys()
