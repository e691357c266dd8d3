"""The plane through a parent and two children of a study: measured when it is asked for, and drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.landscape.family import PARENT
from ticketdiet.landscape.plane import POINTS, Plane, measure_plane
from ticketdiet.reports.completeness import Results
from ticketdiet.reports.images import loaded_images
from ticketdiet.reports.style import INK, caption, house_style, new_figure
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stages.barrier import BarrierStage

MOST_EXAMPLES = 1000
LEAST_LOSS = 1e-3  # nats: lower ones are drawn as this, on the log scale of the colours
MEMBERS = (PARENT, "child1", "child2")


def measured_plane(
    plan: Plan, store: Results, arm: str, *, replicate: int = 0, points: int = POINTS, examples: int = MOST_EXAMPLES
) -> Plane:
    """Measure the training loss on the plane through the dense parent of an arm and its first two children.

    Args:
        plan: The study's stages.
        store: Where their results are.
        arm: Name of the arm.
        replicate: From 0.
        points: Points of each side of the grid.
        examples: Training examples at most; when there are more, a seeded random choice.

    Returns:
        The plane.

    Raises:
        UnknownName: When the study has no such arm.
        UserError: When the family is not finished.
        DataError: When the images cannot be read, or are no longer those of the study.
    """
    check_known("arm", arm, plan.study.arms)
    uses = {(use.arm, use.replicate, use.level): stage for stage in plan.of(BarrierStage) for use in stage.uses}
    stage = uses.get((arm, replicate, 0))
    if stage is None or not stage.family or not all(store.has(address) for address in stage.networks.values()):
        raise UserError(
            f"The store {store.url} has no dense family of arm {arm!r}, replicate {replicate}.",
            expected="a study with children: 2 whose dense family is finished",
            way_out="run the study first, or name another arm",
        )
    train = loaded_images(plan, "train")
    chosen = np.sort(numpy_generator(0, "plane").permutation(len(train))[:examples])
    networks = [store.tensors(stage.networks[role], "weights") for role in MEMBERS]
    return measure_plane(stage.network.build(0), networks, train.take(chosen), points=points)


def plane_figure(plane: Plane, *, title: str = "") -> Figure:
    """Draw the loss on a plane as contours on a log scale, with the three networks.

    Args:
        plane: What was measured; the first network is the parent.
        title: Title of the figure.

    Returns:
        The figure.
    """
    losses = np.log10(np.maximum(plane.losses, LEAST_LOSS))
    low, high = float(losses.min()), float(losses.max())
    levels = np.linspace(low, high if high > low else low + 1, 13)
    with house_style():
        figure = new_figure(title or "Loss on the plane through a parent and two children", width=6.6, height=5.2)
        axes = figure.add_subplot()
        drawn = axes.contourf(plane.x, plane.y, losses, levels=levels, cmap="viridis_r")
        axes.contour(plane.x, plane.y, losses, levels=levels, colors="white", linewidths=0.4, alpha=0.5)
        axes.fill(*plane.corners.T, fill=False, edgecolor="white", linestyle=(0, (4, 3)), linewidth=1)
        for (x, y), name, marker in zip(plane.corners, ("parent", "child 1", "child 2"), "os^", strict=True):
            axes.plot(x, y, marker, color="white", markeredgecolor=INK, markersize=7)
            axes.annotate(
                name,
                (x, y),
                textcoords="offset points",
                xytext=(7, 7),
                fontsize=9,
                bbox={"facecolor": "#fefefe", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
                color="#111111",
            )
        axes.set_aspect("equal")
        axes.grid(False)
        axes.set_xlabel("distance in the space of weights, toward child 1")
        axes.set_ylabel("distance, toward child 2")
        scale = figure.colorbar(drawn, ax=axes, label="train loss (nats, log scale)", pad=0.01)
        scale.formatter = FuncFormatter(lambda value, _: f"{10**value:.2g}")
        scale.update_ticks()
        size = f"{plane.losses.shape[1]} x {plane.losses.shape[0]} points"
        caption(axes, f"mean over {plane.examples:,} training examples; BatchNorm recalibrated at each of {size}")
    return figure
