"""Quantities of single examples against numpy and where they are known."""

from __future__ import annotations

import math

import numpy as np
import torch

from ticketdiet.scores.pointwise import error_vectors, pointwise


def test_even_odds_have_the_entropy_of_all_classes_and_no_margin() -> None:
    found = pointwise(torch.zeros(2, 4), torch.tensor([0, 3]))
    for values, expected in ((found.loss, math.log(4)), (found.entropy, math.log(4)), (found.confidence, 0.25)):
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert not found.margin.any()
    assert not found.logit_margin.any()


def test_the_logit_margin_is_to_the_highest_other_logit_and_its_sign_says_whether_it_is_correct() -> None:
    found = pointwise(torch.tensor([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]]), torch.tensor([1, 2]))
    np.testing.assert_allclose(found.logit_margin, [3, -3], rtol=1e-5)
    assert found.correct.tolist() == [True, False]


def test_a_certain_prediction_has_no_entropy_rather_than_nan() -> None:
    found = pointwise(torch.tensor([[500.0, -500.0]]), torch.tensor([1]))
    assert found.entropy.tolist() == [0]
    assert found.loss.tolist() == [1000]


def test_error_vectors_are_probabilities_minus_the_label_and_leave_the_logits_alone() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 1.0, 0.0]])
    before = logits.clone()
    found = error_vectors(logits, torch.tensor([2, 0]))
    powers = np.exp(before.numpy())
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True) - np.eye(3)[[2, 0]], rtol=1e-5)
    assert torch.equal(logits, before)
