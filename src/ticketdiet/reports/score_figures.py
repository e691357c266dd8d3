"""Figures of scores and subsets: how hard the examples are, how sure that is, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ticketdiet.core.errors import UserError
from ticketdiet.reports.style import GREY, INK, arm_styles, caption, house_style, new_figure, side_legend

NAMED_CLASSES = 30  # beyond it names would overlap
TILE = 0.5  # inches


def score_figure(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    subsets: Mapping[str, npt.ArrayLike] | None = None,
    score_name: str = "EL2N",
    title: str = "",
) -> Figure:
    """Draw the distribution of a score, and the share of every class in subsets chosen by it.

    Args:
        scores: Shape (n,); infinities (never learned, for example) are counted in the caption and not drawn.
        labels: int, shape (n,).
        class_names: One name a class.
        subsets: By name, indices of examples; by default the easiest and the hardest tenth.
        score_name: Name of the score, for the axis.
        title: Title of the figure.
    """
    x, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    chosen = {name: np.asarray(where) for name, where in (subsets or _tenths(x)).items()}
    with house_style():
        figure = new_figure(title or f"{score_name} of {len(x)} examples", width=9.0, height=4.2)
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        _draw_distribution(left, x, chosen)
        left.set_xlabel(f"{score_name} (high: hard)")
        _draw_class_shares(right, classes, chosen, class_names)
        side_legend(figure, left)
    return figure


def rank_stability_figure(stability: pd.DataFrame, *, size: int | None = None, title: str = "") -> Figure:
    """Draw how stable the ranking is with the number of models that are averaged.

    Args:
        stability: Columns ``models``, ``spearman`` (correlation with the ranking by all models) and ``overlap`` (share
            of the easiest examples common to both); one row a draw of models.
        size: Number of easiest examples that the overlap is of.
        title: Title of the figure.
    """
    names = {"spearman": "Spearman correlation", "overlap": f"overlap of the {size or ''} easiest".replace("  ", " ")}
    with house_style():
        figure = new_figure(title or "How stable the ranking is", width=6.6, height=3.6)
        axes = figure.add_subplot()
        for column, style in arm_styles(names).items():
            found = stability.groupby("models")[column].agg(["mean", "min", "max"])
            x = found.index.to_numpy(dtype=np.float64)
            axes.plot(x, found["mean"].to_numpy(), label=names[column], **vars(style))
            low, high = found["min"].to_numpy(), found["max"].to_numpy()
            axes.fill_between(x, low, high, color=style.color, alpha=0.16, linewidth=0)
        axes.set_ylim(min(0.0, float(stability[list(names)].min().min())), 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("models averaged")
        axes.set_ylabel("agreement (1: same)")
        caption(axes, "mean, band from lowest to highest over draws of models")
        side_legend(figure, axes)
    return figure


def image_sheet(
    pixels: npt.ArrayLike,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    per_class: int = 6,
    score_name: str = "EL2N",
    title: str = "",
) -> Figure:
    """Draw the easiest and the hardest images of every class, one row a class.

    Args:
        pixels: uint8, shape (n, channels, height, width); 1 or 3 channels.
        labels: int, shape (n,).
        scores: Shape (n,); ties are taken in the order of the data.
        class_names: One name a class; classes without an example are left out.
        per_class: Images on each side.
        score_name: Name of the score.
        title: Title of the figure.

    Raises:
        UserError: When the pixels are no images.
    """
    images = np.asarray(pixels)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8:
        raise UserError(
            f"pixels of shape {images.shape} and dtype {images.dtype}.",
            expected="uint8 of shape (n, 1 or 3, height, width)",
            way_out="give the images as loaded, before normalisation",
        )
    classes, values = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    shown = [c for c in range(len(class_names)) if np.any(classes == c)]
    rows = [_ends(np.flatnonzero(classes == c), values, per_class) for c in shown]
    with house_style():
        height = 0.8 + TILE * len(shown) * images.shape[2] / images.shape[3]
        title = title or f"Easiest and hardest by {score_name}"
        figure = new_figure(title, width=1.4 + 2 * TILE * per_class, height=height)
        for axes, side, heading in zip(figure.subplots(1, 2), (0, 1), ("easiest", "hardest"), strict=True):
            axes.imshow(_mosaic(images, [row[side] for row in rows], per_class), interpolation="nearest")
            _label_sheet(axes, [class_names[c] for c in shown] if side == 0 else [], len(shown), images.shape[2:])
            reading = "lowest first" if side == 0 else "highest first"
            caption(axes, f"{heading} {per_class} of each class, {reading}")
    return figure


def _tenths(scores: np.ndarray) -> dict[str, np.ndarray]:
    order, size = np.argsort(scores, kind="stable"), max(1, len(scores) // 10)
    return {"easiest tenth": order[:size], "hardest tenth": order[-size:]}


def _draw_distribution(axes: Axes, scores: np.ndarray, subsets: Mapping[str, np.ndarray]) -> None:
    finite = np.isfinite(scores)
    edges = np.histogram_bin_edges(scores[finite], bins=60)
    axes.hist(scores[finite], edges.tolist(), color="#d0d0d0", label="all examples")
    for name, style in arm_styles(subsets).items():
        own = scores[subsets[name]]
        counts = np.histogram(own[np.isfinite(own)], edges)[0]
        axes.stairs(counts, edges, color=style.color, linestyle=style.linestyle, linewidth=1.5)
        axes.plot([], [], label=name, **vars(style))  # the legend speaks for the markers of the other axes too
    axes.set_ylabel("examples")
    lost = int((~finite).sum())
    within = (
        [f"{int((~finite[chosen]).sum())} in {name}" for name, chosen in subsets.items()] if len(subsets) == 1 else []
    )
    caption(axes, "; ".join(["distribution", *([", ".join([f"{lost} infinite, not drawn", *within])] if lost else [])]))


def _draw_class_shares(
    axes: Axes, labels: np.ndarray, subsets: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> None:
    places = np.arange(len(class_names))
    whole = 100 * np.bincount(labels, minlength=len(class_names)) / max(len(labels), 1)
    axes.barh(places, whole, color="#e3e3e3", height=0.8)
    apart = np.linspace(-0.2, 0.2, len(subsets)) if len(subsets) > 1 else np.zeros(1)  # equal shares stay visible
    for (name, style), shift in zip(arm_styles(subsets).items(), apart, strict=True):
        own = labels[subsets[name]]
        share = 100 * np.bincount(own, minlength=len(class_names)) / max(len(own), 1)
        axes.plot(
            share,
            places + shift,
            linestyle="",
            marker=style.marker,
            color=style.color,
            markersize=5,
            clip_on=False,
            zorder=3,
        )
    if len(class_names) <= NAMED_CLASSES:
        axes.set_yticks(places, list(class_names), fontsize=8 if len(class_names) <= 12 else 6)
    else:
        axes.set_ylabel("class")
    axes.set_ylim(len(class_names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the subset (%)")
    caption(axes, "share of each class (bars: all examples)")


def _ends(members: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    order = members[np.argsort(scores[members], kind="stable")]
    return order[:count], order[::-1][:count]


def _mosaic(images: np.ndarray, rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Tile images on white, one pixel apart; (height, width, 3) uint8."""
    height, width = images.shape[2] + 1, images.shape[3] + 1
    sheet = np.full((len(rows) * height - 1, columns * width - 1, 3), 255, dtype=np.uint8)
    for row, indices in enumerate(rows):
        for column, index in enumerate(indices):
            tile = np.moveaxis(images[index], 0, -1)
            sheet[row * height : (row + 1) * height - 1, column * width : (column + 1) * width - 1] = tile
    return sheet


def _label_sheet(axes: Axes, names: Sequence[str], rows: int, tile: tuple[int, ...]) -> None:
    axes.set_xticks([])
    centres = [row * (tile[0] + 1) + (tile[0] - 1) / 2 for row in range(rows)]
    axes.set_yticks(centres if names else [], list(names), color=INK)
    axes.tick_params(length=0, color=GREY)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
