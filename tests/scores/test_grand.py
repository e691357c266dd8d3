"""GraNd against autograd; test_gradient_norms has every kind of layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model

from .conftest import SmallNet, prepared


def test_grand_matches_one_backward_pass_per_example(net: SmallNet, images: Images) -> None:
    scores = score_with_model("grand", net, images, options=ScoreOptions(batch_norm="eval", batch_size=40))
    # In float64: in float32 a strided convolution of few channels could corrupt memory (see training/convolutions.py).
    exact, expected = net.double().eval(), []
    for x, y in zip(prepared(images).double(), images.labels, strict=True):
        parts = torch.autograd.grad(nn.functional.cross_entropy(exact(x[None]), y[None]), list(exact.parameters()))
        expected.append(torch.cat([part.flatten() for part in parts]).norm().item())
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_grand_last_matches_autograd_of_the_last_layer(net: SmallNet, images: Images) -> None:
    net.eval()
    expected = []
    for x, y in zip(prepared(images), images.labels, strict=True):
        loss = nn.functional.cross_entropy(net(x[None]), y[None])
        parts = torch.autograd.grad(loss, list(net.fc.parameters()))
        expected.append(torch.cat([part.flatten() for part in parts]).norm().item())
    np.testing.assert_allclose(
        score_with_model("grand_last", net, images, options=ScoreOptions(batch_norm="eval")), expected, rtol=1e-4
    )
