"""Figures of a study: accuracy against density, and along pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ticketdiet.core.errors import UserError
from ticketdiet.reports.published import PublishedCurve
from ticketdiet.reports.statistics import summarise
from ticketdiet.reports.style import GREY, ArmStyle, arm_styles, caption, house_style, new_figure, side_legend
from ticketdiet.reports.table import describe_replicates, format_density

Spread = Literal["std", "interval"]
UNITS = {"accuracy": "accuracy (%)", "error": "error (%)", "loss": "loss (nats)"}
MOST_PANELS_ACROSS = 3
PERCENT = {"accuracy", "error"}


def accuracy_figure(
    rows: pd.DataFrame,
    *,
    split: str = "test",
    title: str = "",
    metric: str = "accuracy",
    spread: Spread = "std",
    reference: str | None = None,
    published: Mapping[str, PublishedCurve] | None = None,
) -> Figure:
    """Draw a metric against density, dense on the left: one line per arm, a band for the spread over replicates.

    Args:
        rows: Tidy rows.
        split: Which split.
        title: Title of the figure.
        metric: Which metric.
        spread: Band of one sample standard deviation (ddof = 1) or of the 95 % t-interval of the mean.
        reference: Arm whose dense network is the reference line; by default the mean of all arms' dense networks.
        published: Arm -> published curve, drawn dotted in the colour of the arm.

    Returns:
        The figure.

    Raises:
        UserError: When nothing of it has been measured, or ``reference`` is no arm.
    """
    summary = summarise(rows, metric=metric, split=split)
    scale = 100.0 if metric in PERCENT else 1.0
    with house_style():
        figure = new_figure(title or f"{split.capitalize()} {metric} of sparse networks", width=7.0)
        axes = figure.add_subplot()
        for arm, style in arm_styles(summary["arm"]).items():
            _draw_arm(axes, summary[summary["arm"] == arm], str(arm), style, scale, spread)
            if published and arm in published:
                _draw_published(axes, published[arm], style, scale)
        _draw_reference(axes, summary, scale, reference)
        density_axis(axes, summary["density"].to_numpy())
        axes.set_ylabel(f"{split} {UNITS.get(metric, metric)}")
        caption(axes, describe_spread(summary["n"], spread))
        side_legend(figure, axes, "arm")
    return figure


def pretraining_figure(rows: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the accuracy over the steps of pre-training: a panel per arm, a line per split.

    Args:
        rows: Columns ``arm``, ``step``, ``split`` and ``value`` (accuracy in [0, 1]), one row per replicate; lines are
            means over replicates, bands go from the lowest to the highest.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        UserError: When there are no rows.
    """
    if rows.empty:
        raise UserError(
            "There are no accuracies along pre-training.",
            expected="at least one evaluation",
            way_out="set pretrain.evaluate_every",
        )
    arms, styles = list(dict.fromkeys(rows["arm"])), arm_styles(rows["split"])
    columns = 2 if len(arms) == 4 else min(len(arms), MOST_PANELS_ACROSS)
    down = -(-len(arms) // columns)
    with house_style():
        figure = new_figure(title or "Accuracy in pre-training", width=2.0 + 2.5 * columns, height=0.6 + 2.5 * down)
        panels = figure.subplots(down, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, arm in zip(panels, arms, strict=False):
            own = rows[rows["arm"] == arm]
            for split in dict.fromkeys(own["split"]):
                _draw_along(axes, own[own["split"] == split], str(split), styles[split])
            caption(axes, str(arm))
        for place, axes in enumerate(panels):
            axes.tick_params(labelbottom=place + columns >= len(arms))  # the lowest of its column
            axes.set_axis_on() if place < len(arms) else axes.set_axis_off()
        figure.supxlabel("step of pre-training", fontsize=9)
        figure.supylabel("accuracy, BatchNorm recalibrated (%)", fontsize=9)
        handles = {handle.get_label(): handle for axes in panels for handle in axes.get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", title="split", alignment="left")
    return figure


def _draw_along(axes: Axes, points: pd.DataFrame, split: str, style: ArmStyle) -> None:
    found = points.groupby("step")["value"].agg(["mean", "min", "max"])
    steps, values = found.index.to_numpy(dtype=np.float64), 100 * found
    axes.plot(steps, values["mean"].to_numpy(), label=split, **vars(style))
    axes.fill_between(
        steps, values["min"].to_numpy(), values["max"].to_numpy(), color=style.color, alpha=0.16, linewidth=0
    )


def describe_spread(counts: pd.Series, spread: Spread = "std") -> str:
    """Say what a band is and over how many replicates."""
    text = describe_replicates(counts).replace("mean ± ", "mean, band ± 1 ")
    return text if spread == "std" else text.replace("± 1 standard deviation (ddof = 1)", "95 % t-interval of the mean")


def density_axis(axes: Axes, densities: np.ndarray) -> None:
    """Make x a logarithmic axis of densities, dense on the left, labelled in % at densities that were measured."""
    known = np.unique(np.round(np.asarray(densities, dtype=np.float64), 6))[::-1]
    axes.set_xscale("log")
    apart = np.log(known.max() / known.min()) / 9 if len(known) > 1 else 0.0
    ticks: list[float] = []
    for density in known:
        if not ticks or np.log(ticks[-1] / density) >= max(apart, 1e-3):
            ticks.append(float(density))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_density(value)))
    margin = 1.06 if len(known) > 1 else 1.5
    axes.set_xlim(known.max() * margin, known.min() / margin)
    axes.set_xlabel("density: fraction of weights kept (log scale)")


def _draw_arm(axes: Axes, points: pd.DataFrame, arm: str, style: ArmStyle, scale: float, spread: Spread) -> None:
    x, mean = points["density"].to_numpy(), scale * points["mean"].to_numpy()
    if spread == "std":
        low, high = mean - scale * points["std"].to_numpy(), mean + scale * points["std"].to_numpy()
    else:
        low, high = scale * points["low"].to_numpy(), scale * points["high"].to_numpy()
    axes.plot(x, mean, color=style.color, marker=style.marker, linestyle=style.linestyle, label=arm)
    axes.fill_between(x, low, high, color=style.color, alpha=0.16, linewidth=0)


def _draw_published(axes: Axes, curve: PublishedCurve, style: ArmStyle, scale: float) -> None:
    axes.plot(curve.densities, scale * curve.means, color=style.color, linestyle=":", linewidth=1.1, label=curve.label)


def _draw_reference(axes: Axes, summary: pd.DataFrame, scale: float, reference: str | None) -> None:
    dense = summary[np.isclose(summary["density"], 1.0)]
    if reference is not None and reference not in set(summary["arm"]):
        arms = ", ".join(dict.fromkeys(summary["arm"]))
        raise UserError(f"There is no arm {reference!r}.", expected=f"one of: {arms}", way_out="choose one of these")
    if reference is not None:
        dense = dense[dense["arm"] == reference]
    if dense.empty:
        return
    label = f"dense: {reference}" if reference else "dense: mean of all arms"
    axes.axhline(scale * float(dense["mean"].mean()), color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, label=label)
