"""What all parts of a study file have in common, and the largest numbers that they take."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Far beyond what a study needs, so that a slip of the pen is refused. What a whole study may come to is limited in
# limits.py.
A_BILLION = 10**9
LARGEST_SEED = 2**63 - 1
MOST_PIXELS = 10_000  # of the height and the width
MOST_WIDTH = 10_000
MOST_LEVELS = 1000
MOST_STRATA = 10**6
MOST_MODELS = MOST_REPLICATES = 1000
MOST_CHILDREN = 100
MOST_ALPHAS = 1001
MOST_METRICS = 100
MOST_NAMED = 500  # arms, and scores


class Part(BaseModel):
    """Base of all parts: frozen, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
