"""What BatchNorm normalises by when scores are computed. Study files are checked with it, so it imports no torch."""

from __future__ import annotations

from typing import Literal, get_args

ScoreBatchNorm = Literal["recalibrate", "eval", "lth_diet"]
SCORE_BATCH_NORMS: tuple[ScoreBatchNorm, ...] = get_args(ScoreBatchNorm)

# Statistics as training left them lag behind the weights while these move fast, and rank other examples as easy. On
# digits they shared 36 % of the easiest 256 with recalibrated ones after 20 steps, 57 % after 40 and 73 % after 80;
# with a learning rate of 0.1 throughout 74 to 82 % from 200 steps on, and 90 % once the rate had fallen.
FEWEST_STEPS_FOR_EVAL = 200
