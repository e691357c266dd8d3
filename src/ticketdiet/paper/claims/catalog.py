"""The claims, by name."""

from __future__ import annotations

from collections.abc import Iterable

from ticketdiet.core.errors import check_known
from ticketdiet.paper.claim import Claim
from ticketdiet.paper.claims.c1 import PreTrainingIsNeeded
from ticketdiet.paper.claims.c2 import RandomSubsetIsEnough
from ticketdiet.paper.claims.c3 import EasiestNeedFewerSteps
from ticketdiet.paper.claims.c4 import EasyDataGainUnderNoise
from ticketdiet.paper.claims.c5 import BarrierPredictsAccuracy
from ticketdiet.paper.claims.c6 import ConnectedExamplesCount
from ticketdiet.paper.claims.c7 import LowestBarrierIsAGoodSubset

CLAIMS: dict[str, Claim] = {
    claim.name: claim()
    for claim in (
        PreTrainingIsNeeded,
        RandomSubsetIsEnough,
        EasiestNeedFewerSteps,
        EasyDataGainUnderNoise,
        BarrierPredictsAccuracy,
        ConnectedExamplesCount,
        LowestBarrierIsAGoodSubset,
    )
}


def chosen_claims(names: Iterable[str] | None = None) -> list[Claim]:
    """Return the claims of these names in the order of the paper; all without names.

    Raises:
        UnknownName: For a claim that does not exist.
    """
    wanted = list(CLAIMS) if names is None else [name.upper() for name in names]
    for name in wanted:
        check_known("claim", name, CLAIMS)
    return [claim for name, claim in CLAIMS.items() if name in wanted]
