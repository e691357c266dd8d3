"""What all scores have in common: their modes, what they need, and how one is added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.values import Images
from ticketdiet.scores.base import SCORES, Score, ScoreOptions, Subject
from ticketdiet.scores.driver import score_with_model

from .conftest import SNAPSHOTS, SmallNet


def test_a_score_of_one_network_knows_the_batch_norm_quirk_or_refuses_it(net: nn.Module, images: Images) -> None:
    for kind in SNAPSHOTS:
        quirk = score_with_model(kind, net, images, options=ScoreOptions(batch_norm="lth_diet", batch_size=32))
        assert (quirk != score_with_model(kind, net, images, options=ScoreOptions(batch_size=32))).any(), kind
    with pytest.raises(DataError, match="'grand' cannot be computed with batch_norm='lth_diet'"):
        score_with_model("grand", net, images, options=ScoreOptions(batch_norm="lth_diet"))
    with pytest.raises(UnknownName, match="lth_diet"):
        score_with_model("el2n", net, images, options=ScoreOptions(batch_norm="lth"))  # type: ignore[arg-type]


def test_a_missing_network_is_refused(images: Images) -> None:
    with pytest.raises(DataError, match="needs a network"):
        score_with_model("el2n", None, images)


def test_a_diverged_network_is_refused(net: SmallNet, images: Images) -> None:
    with torch.no_grad():
        net.fc.bias[0] = torch.nan
    with pytest.raises(DataError, match="not scores; the first is nan at example 0"):
        score_with_model("el2n", net, images)


def test_another_package_adds_a_score_with_one_verb(images: Images) -> None:
    class Brightness(Score):
        needs = "nothing"

        def score(self, subject: Subject) -> np.ndarray:
            return subject.images.pixels.float().mean((1, 2, 3)).numpy()

    SCORES._known["brightness"] = Brightness
    try:
        assert score_with_model("brightness", None, images).argmax() == images.pixels.float().mean((1, 2, 3)).argmax()
    finally:
        del SCORES._known["brightness"]
