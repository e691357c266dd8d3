import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.tickets.masks import count_kept, empty_layers
from ticketdiet.tickets.sensitivity import SynapticFlow, snip_mask, snip_scores, synflow_mask


def float_images(count=10, features=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, features, generator=generator)
    return Images(inputs, torch.randint(0, classes, (count,), generator=generator), tuple("abcdefgh"[:classes]))


def plain_network(widths, seed=0, bias=False):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
        layers[-2].weight.data = torch.randn(outputs, inputs, generator=generator)
    return nn.Sequential(*layers[:-1])


def test_snip_of_a_linear_classifier_by_hand():
    """dL/dW of softmax regression is (p - y) x / n, without autograd."""
    images, model = float_images(), plain_network((5, 3))
    weight = model[0].weight.detach()
    error = torch.softmax(images.pixels @ weight.T, 1) - F.one_hot(images.labels, 3)
    by_hand = (error.T @ images.pixels / 10 * weight).abs()
    assert torch.allclose(snip_scores(model, images)["0.weight"], by_hand, atol=1e-7)


def test_snip_equals_the_gradient_by_a_mask_of_ones():
    """Lee et al. define it as dL/dc at c = 1 of the network with weights c * w: another way to the same number."""
    images, model = float_images(), plain_network((5, 7, 3))
    connections = {name: torch.ones_like(weight).requires_grad_() for name, weight in model.named_parameters()}
    weights = {name: connections[name] * weight.detach() for name, weight in model.named_parameters()}
    logits = torch.func.functional_call(model, weights, (images.pixels,))
    F.cross_entropy(logits, images.labels).backward()
    scores = snip_scores(model, images)
    assert all(torch.allclose(scores[name], connections[name].grad.abs(), atol=1e-7) for name in connections)


def test_snip_over_batches_is_snip_over_all_images_at_once():
    images, model = float_images(count=11), plain_network((5, 7, 3))
    whole, parts = snip_scores(model, images), snip_scores(model, images, batch_size=4)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-7) for name in whole)


def test_snip_sees_batch_norm_as_training_does_and_dropout_off():
    images = float_images(count=12)
    linear, norm, head = plain_network((5, 6))[0], nn.BatchNorm1d(6), plain_network((6, 3), seed=1)[0]
    assert norm.running_mean is not None
    norm.running_mean += 7
    with_dropout = nn.Sequential(linear, norm, nn.Dropout(0.5), head).eval()
    hidden = F.linear(images.pixels, linear.weight)
    normal = (hidden - hidden.mean(0)) / torch.sqrt(hidden.var(0, correction=0) + norm.eps)
    F.cross_entropy(F.linear(normal, head.weight), images.labels).backward()
    by_hand = (head.weight.grad * head.weight).abs().detach()
    assert torch.allclose(snip_scores(with_dropout, images)["3.weight"], by_hand, atol=1e-6)
    assert norm.running_mean.tolist() == [7.0] * 6


def test_snip_does_not_stumble_over_a_last_batch_of_one():
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    assert snip_scores(model, float_images(count=9), batch_size=8)["0.weight"].shape == (6, 5)


def test_snip_refuses_no_images_and_a_single_one_that_batch_norm_cannot_normalise():
    plain, normed = plain_network((5, 3)), nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    with pytest.raises(UserError, match="0 images"):
        snip_mask(plain, 0.5, float_images().take([]))
    with pytest.raises(UserError, match="-3 images"):
        snip_mask(plain, 0.5, float_images(), num_images=-3)
    with pytest.raises(UserError, match=r"1 images[\s\S]*two for a network with BatchNorm"):
        snip_mask(normed, 0.5, float_images(), num_images=1)
    assert snip_scores(plain, float_images(), num_images=1)


def images_seen(model, images, **options):
    """Rows that a first layer was given, as tuples."""
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.extend(map(tuple, inputs[0].tolist())))
    snip_scores(model, images, **options)
    return seen


def test_snip_draws_one_batch_with_a_seed_and_all_images_when_asked():
    images = float_images(count=400)
    rows = set(map(tuple, images.pixels.tolist()))
    drawn = [images_seen(plain_network((5, 3)), images, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(one) == len(set(one)) == 128 and set(one) < rows for one in drawn)
    assert set(images_seen(plain_network((5, 3)), images, num_images=None)) == rows
    assert len(images_seen(plain_network((5, 3)), images.take(range(50)))) == 50


def test_snip_on_images_sorted_by_class_finds_nearly_the_mask_of_mixed_ones():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    pixels = torch.randn(600, 5, generator=generator) * (1 + 2 * labels)[:, None] + 3 * labels[:, None]
    mixed = Images(pixels, labels, tuple("abc"))
    first, second, head = (plain_network(widths, seed=seed) for seed, widths in enumerate([(5, 30), (30, 30), (30, 3)]))
    model = nn.Sequential(first, nn.BatchNorm1d(30), nn.ReLU(), second, nn.BatchNorm1d(30), nn.ReLU(), head)
    by_class = mixed.take(labels.argsort(stable=True))
    plain, of_sorted = (
        torch.cat([kept.flatten() for kept in snip_mask(model, 0.2, images, num_images=None, batch_size=100).values()])
        for images in (mixed, by_class)
    )
    # In the order of the data set the two masks share 59 % of their weights.
    assert int((plain & of_sorted).sum()) > 0.9 * int(plain.sum())


@settings(max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=6), st.integers(0, 2**32))
def test_synaptic_flow_is_conserved_from_layer_to_layer(widths, seed):
    model = plain_network(widths, seed)
    flows = [float(scores.sum()) for scores in SynapticFlow(model, (widths[0],)).scores().values()]
    product = torch.ones(widths[0], dtype=torch.float64)
    for weight in model.parameters():
        product = weight.detach().double().abs() @ product
    assert flows == pytest.approx([float(product.sum())] * len(flows), rel=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_synaptic_flow_is_conserved_at_every_hidden_unit(seed):
    """Tanaka et al., theorem 1: what flows into a unit flows out of it."""
    scores = SynapticFlow(plain_network((4, 6, 5, 3), seed), (4,)).scores()
    into, out_of = scores["0.weight"].sum(1), scores["2.weight"].sum(0)
    assert torch.allclose(into, out_of, rtol=1e-9)
    assert torch.allclose(scores["2.weight"].sum(1), scores["4.weight"].sum(0), rtol=1e-9)


def test_synaptic_flow_is_conserved_through_convolution_and_pooling():
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, bias=False), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2, bias=False))
    flows = [float(scores.sum()) for scores in SynapticFlow(model, (3, 10, 10)).scores().values()]
    assert flows == pytest.approx([flows[0]] * 3, rel=1e-9)


def test_with_a_batch_norm_that_is_the_identity_nothing_changes_but_its_epsilon():
    plain = plain_network((4, 6, 3))
    normed = nn.Sequential(plain[0], nn.BatchNorm1d(6, eps=0.0), nn.ReLU(), plain[2])
    normed.get_buffer("1.running_mean").add_(3)
    normed.get_buffer("1.running_var").mul_(9)
    expected, found = SynapticFlow(plain, (4,)).scores(), SynapticFlow(normed, (4,)).scores()
    assert torch.equal(expected["2.weight"], found["3.weight"])
    untracked = nn.Sequential(plain[0], nn.BatchNorm1d(6, eps=0.0, track_running_stats=False), nn.ReLU(), plain[2])
    assert torch.equal(expected["0.weight"], SynapticFlow(untracked, (4,)).scores()["0.weight"])


def test_a_synaptic_flow_of_one_round_by_hand():
    """Weights 2 x 2 then 1 x 2: the flow over w is |w| times all that reaches it and all that leaves it."""
    model = plain_network((2, 2, 1))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    model[2].weight.data = torch.tensor([[-5.0, 1.0]])
    scores = SynapticFlow(model, (2,)).scores()
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [3.0, 4.0]]
    assert scores["2.weight"].tolist() == [[15.0, 7.0]]
    assert synflow_mask(model, 0.5, (2,), rounds=1)["0.weight"].tolist() == [[0, 1], [0, 0]]


def test_synflow_follows_its_schedule_round_by_round():
    """The algorithm written out with matrix products, for two linear layers."""
    model = plain_network((6, 8, 4), seed=5)
    first, second = (weight.detach().double().abs() for weight in model.parameters())
    total, rounds, target = first.numel() + second.numel(), 10, 0.2
    for done in range(1, rounds + 1):
        into = first * second.sum(0)[:, None]
        out_of = second * first.sum(1)[None, :]
        flat = torch.cat([into.flatten(), out_of.flatten()])
        keep = torch.zeros(total, dtype=torch.bool)
        keep[flat.argsort()[total - round(target ** (done / rounds) * total) :]] = True
        first, second = first * keep[:48].reshape(8, 6), second * keep[48:].reshape(4, 8)
    mask = synflow_mask(model, target, (6,), rounds=rounds)
    assert torch.equal(mask["0.weight"], (first > 0).to(torch.uint8))
    assert torch.equal(mask["2.weight"], (second > 0).to(torch.uint8))


def test_synflow_empties_no_layer_where_magnitude_at_initialisation_of_unequal_layers_would():
    model = plain_network((20, 20, 20, 5), seed=1)
    model[2].weight.data *= 0.01
    assert empty_layers(synflow_mask(model, 0.05, (20,))) == ()
    assert count_kept(synflow_mask(model, 0.05, (20,))) == round(0.05 * 900)


def test_the_flow_of_a_deep_residual_network_stays_finite():
    model = build_model("resnet110", width=4)
    assert all(bool(torch.isfinite(scores).all()) for scores in SynapticFlow(model, (3, 8, 8)).scores().values())


def test_a_flow_beyond_all_range_is_refused():
    model = plain_network((2, 2, 2))
    for weight in model.parameters():
        weight.data.fill_(1e38)
    deep = nn.Sequential(*(plain_network((2, 2)) for _ in range(12)))
    for weight in deep.parameters():
        weight.data.fill_(1e38)
    assert SynapticFlow(model, (2,)).scores()
    with pytest.raises(UserError, match="synaptic flow is not finite"):
        synflow_mask(deep, 0.5, (2,))


def test_no_round_is_refused():
    with pytest.raises(UserError, match="rounds=0"):
        synflow_mask(plain_network((4, 3)), 0.5, (4,), rounds=0)
