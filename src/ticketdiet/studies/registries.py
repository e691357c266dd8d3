"""The registries that a study file chooses from, each imported when a study first chooses something unusual.

Reading a study of the usual parts must not wait for torch to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ticketdiet.core.registry import Registry
    from ticketdiet.data.noise import LabelNoise
    from ticketdiet.tickets.controls import InitialWeights
    from ticketdiet.tickets.criteria import Criterion
    from ticketdiet.tickets.metrics import Metric
    from ticketdiet.tickets.pruning_criteria import PruningCriterion
    from ticketdiet.tickets.restarts import RestartPolicy
    from ticketdiet.training.objectives import Objective


def objectives() -> Registry[type[Objective]]:
    """What pre-training can predict."""
    from ticketdiet.training.objectives import OBJECTIVES

    return OBJECTIVES


def noises() -> Registry[type[LabelNoise]]:
    """Kinds of label noise."""
    from ticketdiet.data.noise import NOISES

    return NOISES


def pruning_criteria() -> Registry[type[PruningCriterion]]:
    """What iterative pruning can go by."""
    from ticketdiet.tickets.pruning_criteria import PRUNING_CRITERIA

    return PRUNING_CRITERIA


def mask_criteria() -> Registry[type[Criterion]]:
    """What can choose a mask without a search."""
    from ticketdiet.tickets.criteria import MASK_CRITERIA

    return MASK_CRITERIA


def initial_weights() -> Registry[type[InitialWeights]]:
    """Weights that a ticket can start from."""
    from ticketdiet.tickets.controls import INITIAL_WEIGHTS

    return INITIAL_WEIGHTS


def metrics() -> Registry[type[Metric]]:
    """Numbers of a trained network beside its accuracy and loss."""
    from ticketdiet.tickets.metrics import METRICS

    return METRICS


def restarts() -> Registry[type[RestartPolicy]]:
    """What can go back to the rewinding point before a level."""
    from ticketdiet.tickets.restarts import RESTARTS

    return RESTARTS
