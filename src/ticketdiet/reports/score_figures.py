"""Figures of scores and subsets: how hard the examples are, how sure that is, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ticketdiet.reports.sheet import draw_mosaic, label_rows
from ticketdiet.reports.style import arm_styles, caption, house_style, new_figure, side_legend

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
    """Draw the distribution of a score, and the fraction of every class in subsets chosen by it.

    Args:
        scores: Shape (n,); infinities (never learned, for example) are counted in the caption and not drawn.
        labels: int, shape (n,).
        class_names: One name per class.
        subsets: By name, indices of examples; by default the easiest and the hardest tenth.
        score_name: Name of the score, for the axis.
        title: Title of the figure.

    Returns:
        The figure.
    """
    x, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    chosen = {name: np.asarray(where) for name, where in (subsets or _tenths(x)).items()}
    with house_style():
        figure = new_figure(title or f"{score_name} of {len(x)} examples", width=9.0, height=4.2)
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        _draw_distribution(left, x, chosen)
        left.set_xlabel(f"{score_name} (high: hard)")
        _draw_class_fractions(right, classes, chosen, class_names)
        side_legend(figure, left)
    return figure


def rank_stability_figure(stability: pd.DataFrame, *, size: int | None = None, title: str = "") -> Figure:
    """Draw how stable the ranking is with the number of models that are averaged.

    Args:
        stability: Columns ``models``, ``spearman`` (correlation with the ranking by all models) and ``overlap``
            (fraction of the easiest examples common to both); one row per draw of models.
        size: Number of easiest examples that the overlap is of.
        title: Title of the figure.

    Returns:
        The figure.
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
    """Draw the easiest and the hardest images of every class, one row per class.

    Args:
        pixels: uint8, shape (n, channels, height, width); 1 or 3 channels.
        labels: int, shape (n,).
        scores: Shape (n,); ties are taken in the order of the data.
        class_names: One name per class; classes without an example are left out.
        per_class: Images on each side.
        score_name: Name of the score.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        DataError: When the pixels are no images.
    """
    images = np.asarray(pixels)
    classes, values = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    shown = [c for c in range(len(class_names)) if np.any(classes == c)]
    ends = np.array([_ends(np.flatnonzero(classes == c), values, per_class) for c in shown])
    easiest, hardest = draw_mosaic(images, ends[:, 0]), draw_mosaic(images, ends[:, 1])
    with house_style():
        height = 0.8 + TILE * len(shown) * images.shape[2] / images.shape[3]
        title = title or f"Easiest and hardest by {score_name}"
        figure = new_figure(title, width=1.4 + 2 * TILE * per_class, height=height)
        left, right = figure.subplots(1, 2)
        for axes, mosaic, names in ((left, easiest, [class_names[c] for c in shown]), (right, hardest, [])):
            axes.imshow(mosaic, interpolation="nearest")
            label_rows(axes, names, len(shown), images.shape[2])
        caption(left, f"easiest {per_class} of each class, lowest first")
        caption(right, f"hardest {per_class} of each class, highest first")
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


def _draw_class_fractions(
    axes: Axes, labels: np.ndarray, subsets: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> None:
    places = np.arange(len(class_names))
    whole = 100 * np.bincount(labels, minlength=len(class_names)) / max(len(labels), 1)
    axes.barh(places, whole, color="#e3e3e3", height=0.8)
    apart = np.linspace(-0.2, 0.2, len(subsets)) if len(subsets) > 1 else np.zeros(1)  # equal fractions stay visible
    for (name, style), shift in zip(arm_styles(subsets).items(), apart, strict=True):
        own = labels[subsets[name]]
        percent = 100 * np.bincount(own, minlength=len(class_names)) / max(len(own), 1)
        axes.plot(
            percent,
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
    axes.set_xlabel("fraction of the subset (%)")
    caption(axes, "fraction of each class (bars: all examples)")


def _ends(members: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the lowest and the highest scores, shape (2, count); -1 where there are fewer members."""
    order = members[np.argsort(scores[members], kind="stable")]
    ends = np.full((2, count), -1, dtype=np.int64)
    ends[:, : len(order)] = order[:count], order[::-1][:count]
    return ends
