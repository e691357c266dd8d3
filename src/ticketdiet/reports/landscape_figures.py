"""Figures of the loss landscape: the line between networks, barriers of examples, and what they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE
from ticketdiet.reports.prediction import KINDS, Advantage, Correlation, compare_predictors, predict
from ticketdiet.reports.style import GREY, INK, arm_styles, caption, house_style, new_figure, side_legend
from ticketdiet.reports.table import span

SMALLEST_UNIT = 1e-3  # nats: a tolerance of 0 needs a linear part too


def alpha_figure(
    alphas: npt.ArrayLike,
    losses: Mapping[str, npt.ArrayLike],
    errors: Mapping[str, npt.ArrayLike],
    *,
    split: str = "train",
    title: str = "",
    legend: str = "arm",
) -> Figure:
    """Draw mean loss and error along the line between two networks: one line per arm, a band over its pairs.

    Args:
        alphas: Shape (alphas,), from 0 (network a) to 1 (network b).
        losses: By arm, mean cross-entropy in nats, shape (pairs, alphas) or (alphas,).
        errors: By arm, error as a fraction in [0, 1], likewise.
        split: Split they were measured on.
        title: Title of the figure.
        legend: What the lines are.

    Returns:
        The figure.
    """
    x = np.asarray(alphas, dtype=np.float64)
    styles = arm_styles(losses)
    with house_style():
        figure = new_figure(title or f"Along the line between children, {split}", width=8.6, height=3.8)
        left, right = figure.subplots(1, 2)
        for axes, curves, scale in ((left, losses, 1.0), (right, errors, 100.0)):
            highest = 0.0
            for arm, curve in curves.items():
                values = scale * np.atleast_2d(np.asarray(curve, dtype=np.float64))
                highest = max(highest, float(values.max()))
                axes.plot(x, values.mean(0), label=arm, **vars(styles[arm]))
                axes.fill_between(x, values.min(0), values.max(0), color=styles[arm].color, alpha=0.16, linewidth=0)
            axes.set_xlabel("alpha: fraction of network b")
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(0, 1.06 * highest or 1)
        left.set_ylabel(f"{split} loss (nats)")
        right.set_ylabel(f"{split} error (%)")
        pairs = [len(np.atleast_2d(np.asarray(curve))) for curve in losses.values()]
        caption(left, f"mean, band from lowest to highest of {span(pairs)} pairs" if max(pairs) > 1 else "one pair")
        side_legend(figure, left, legend)
    return figure


def barrier_histogram(
    barriers: Mapping[str, npt.ArrayLike],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    split: str = "train",
    title: str = "",
    legend: str = "arm",
) -> Figure:
    """Draw how the barriers of examples are distributed, with the tolerance below which an example is connected.

    Args:
        barriers: By arm, the barrier of each example in nats, shape (n,), or (families, n) of several families, whose
            connected fractions are averaged. In a family the barrier of an example is its mean over all pairs.
        tolerance: In nats.
        split: Split they were measured on.
        title: Title of the figure.
        legend: What the lines are.

    Returns:
        The figure.
    """
    families = {arm: np.atleast_2d(np.asarray(values, dtype=np.float64)) for arm, values in barriers.items()}
    everything = np.concatenate([values.ravel() for values in families.values()])
    edges = _barrier_edges(everything, tolerance)
    styles = arm_styles(families)
    with house_style():
        figure = new_figure(title or f"Barriers of single examples, {split}", width=7.4, height=3.8)
        axes = figure.add_subplot()
        for arm, values in families.items():
            percent = 100 * np.histogram(values, edges)[0] / values.size
            label = f"{arm}: {100 * np.mean(values <= tolerance):.0f} % connected"
            color, line = styles[arm].color, styles[arm].linestyle
            axes.stairs(percent, edges, color=color, linestyle=line, linewidth=1.5, label=label)
            axes.stairs(percent, edges, color=color, fill=True, alpha=0.10)
        _tolerance_line(axes.axvline, tolerance)
        _barrier_scale(axes, "x", tolerance, everything)
        axes.set_xlabel("barrier at the midpoint (nats, symmetric log scale)")
        axes.set_ylabel("fraction of examples (%)")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        caption(axes, _connected_caption(list(barriers.values()), tolerance))
        side_legend(figure, axes, legend)
    return figure


def _connected_caption(barriers: Sequence[npt.ArrayLike], tolerance: float) -> str:
    shapes = [np.shape(values) for values in barriers]
    counts = [shape[0] for shape in shapes if len(shape) > 1]
    number = span(counts) if counts else ""
    families = f"{number} famil{'y' if number == '1' else 'ies'} of " if counts else ""
    whose = ", mean over the pairs of a family" if counts else ""
    return f"connected: barrier at most {tolerance:g} nats{whose}\n{families}{shapes[0][-1]:,} examples"


def barrier_against_score(
    barriers: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    score_name: str = "EL2N",
    tolerance: float = DEFAULT_TOLERANCE,
    title: str = "",
) -> Figure:
    """Draw the joint histogram of barrier and score, and above it the connected fraction by tenth of the score.

    Args:
        barriers: The barrier of each example in nats, shape (n,), or (families, n) of several families, which are
            pooled. In a family the barrier of an example is its mean over all pairs.
        scores: Shape (n,). Examples whose score is infinite are left out, and the caption counts them.
        score_name: Name of the score, for the axis.
        tolerance: In nats.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        UserError: When no score is finite.
    """
    whole = np.asarray(scores, dtype=np.float64)
    finite = np.isfinite(whole)
    if not finite.any():
        raise UserError(
            f"All {len(whole)} scores are infinite.", expected="some finite scores", way_out="draw another score"
        )
    x, y = whole[finite], np.atleast_2d(np.asarray(barriers, dtype=np.float64))[:, finite]
    lost = f"; {len(whole) - len(x)} infinite, not drawn" if len(x) < len(whole) else ""
    several = f" in each of {len(y)} families" if len(y) > 1 else ""
    with house_style():
        figure = new_figure(title or f"Barrier against {score_name}", width=6.2, height=5.2)
        top, main = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
        _joint_histogram(figure, main, np.tile(x, len(y)), y.ravel(), tolerance)
        main.set_xlabel(f"{score_name} (high: hard)")
        main.set_ylabel("barrier at the midpoint (nats)")
        centres, fractions = _connected_by_tenth(x, (y <= tolerance).mean(0))
        top.plot(centres, 100 * fractions, color=INK, marker="o", markersize=4)
        top.set_ylim(-4, 104)
        top.set_ylabel("connected (%)")
        text = f"connected: barrier at most {tolerance:g} nats; one point per tenth of {len(x)} examples"
        caption(top, text + several + lost)
    return figure


def connected_fraction_figure(
    fractions: pd.DataFrame, *, tolerance: float = DEFAULT_TOLERANCE, title: str = ""
) -> Figure:
    """Draw the connected fraction over pre-training steps: mean and range over replicates, one line per arm.

    Args:
        fractions: Columns ``arm`` (what was pre-trained on), ``pretrain_steps`` and ``value`` (in [0, 1]); one row per
            replicate or pair.
        tolerance: In nats.
        title: Title of the figure.

    Returns:
        The figure.
    """
    steps = np.unique(fractions["pretrain_steps"].to_numpy(dtype=np.float64))
    with house_style():
        figure = new_figure(title or "Connected examples over pre-training", width=7.0, height=3.8)
        axes = figure.add_subplot()
        for arm, style in arm_styles(fractions["arm"]).items():
            found = fractions[fractions["arm"] == arm].groupby("pretrain_steps")["value"].agg(["mean", "min", "max"])
            x = found.index.to_numpy(dtype=np.float64)
            axes.plot(x, 100 * found["mean"].to_numpy(), label=arm, **vars(style))
            low, high = 100 * found["min"].to_numpy(), 100 * found["max"].to_numpy()
            axes.fill_between(x, low, high, color=style.color, alpha=0.16, linewidth=0)
        step_axis(axes, steps)
        axes.set_ylim(-3, 103)
        axes.set_ylabel("connected examples (%)")
        counts = fractions.groupby(["arm", "pretrain_steps"]).size()
        caption(axes, f"barrier at most {tolerance:g} nats; mean, band from lowest to highest of {span(counts)} values")
        side_legend(figure, axes, "arm")
    return figure


def prediction_figure(points: pd.DataFrame, *, x_label: str, y_label: str, title: str = "", rival: str = "") -> Figure:
    """Draw what a measurement at the rewinding point says about the sparse network: one marker per arm.

    Args:
        points: Columns ``arm``, ``x`` and ``y``, and ``rival`` for another predictor of the same ``y``; one row per
            rewinding point.
        x_label: What ``x`` is, with its unit.
        y_label: What ``y`` is, with its unit.
        title: Title of the figure.
        rival: What to call the other predictor; empty for no comparison.

    Returns:
        The figure.
    """
    arms = list(points["arm"])
    found = predict(points["x"], points["y"], arms=arms)
    lines = ["     ".join(map(_describe, (found.pearson, found.spearman)))]
    if rival:
        gains = [compare_predictors(points["x"], points["rival"], points["y"], kind=k, arms=arms) for k in KINDS]
        lines += [f"stronger than {rival} by", "     ".join(map(_describe, gains))]
    reasons = dict.fromkeys(one.reason for one in (found.pearson, found.spearman) if one.reason)
    lines.append(f"{found.points} rewinding points of {found.arms} arms; 95 % intervals over arms (jackknife)")
    if reasons:
        lines[-1] = f"{found.points} rewinding points; no interval: {'; '.join(reasons)}"
    with house_style():
        figure = new_figure(title or "What the rewinding point predicts", width=7.0, height=4.6)
        axes = figure.add_subplot()
        for arm, style in arm_styles(points["arm"]).items():
            own = points[points["arm"] == arm]
            axes.plot(own["x"], own["y"], linestyle="", color=style.color, marker=style.marker, alpha=0.85, label=arm)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        caption(axes, "\n".join(lines))
        side_legend(figure, axes, "arm")
    return figure


def _describe(found: Correlation | Advantage) -> str:
    text = f"{found.kind.capitalize()} {found.value:+.2f}"
    return text if found.reason else f"{text} [{found.low:+.2f}, {found.high:+.2f}]"


def eigenvalue_figure(
    densities: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    top: Mapping[str, npt.ArrayLike] | None = None,
    operator: str = "Hessian",
    title: str = "",
    legend: str = "arm",
) -> Figure:
    """Draw the spectral density of a curvature operator: one line per arm, ticks at its largest eigenvalues.

    Args:
        densities: By arm, eigenvalues (points,) and density at them (points,), which integrates to 1.
        top: By arm, its largest eigenvalues, any number.
        operator: ``"Hessian"`` or ``"Gauss-Newton"``.
        title: Title of the figure.
        legend: What the lines are.

    Returns:
        The figure.
    """
    highest = max(float(np.max(np.asarray(density))) for _, density in densities.values())
    with house_style():
        figure = new_figure(title or f"Eigenvalue density of the {operator}", width=7.0, height=3.8)
        axes = figure.add_subplot()
        for arm, style in arm_styles(densities).items():
            grid, density = (np.asarray(values, dtype=np.float64) for values in densities[arm])
            axes.plot(grid, density, color=style.color, linestyle=style.linestyle, label=arm)
            if top is not None and arm in top:
                ends = np.asarray(top[arm], dtype=np.float64)
                axes.plot(ends, np.full(len(ends), highest * 1e-6), "|", color=style.color, markersize=11, mew=1.6)
        axes.set_yscale("log")
        axes.set_ylim(highest * 4e-7, highest * 3)
        axes.set_xlabel(f"eigenvalue of the {operator}")
        axes.set_ylabel("density (log scale)")
        caption(axes, "ticks at the bottom: largest eigenvalues" if top else "")
        side_legend(figure, axes, legend)
    return figure


def _joint_histogram(figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, tolerance: float) -> None:
    bins = (np.histogram_bin_edges(x, 50), _barrier_edges(y, tolerance))
    _, _, _, drawn = axes.hist2d(x, y, bins=bins, cmap="viridis", norm=LogNorm(1))
    figure.colorbar(drawn, ax=axes, label="examples", pad=0.01)
    _tolerance_line(axes.axhline, tolerance)
    _barrier_scale(axes, "y", tolerance, y)
    axes.grid(False)


def _connected_by_tenth(scores: np.ndarray, connected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tenths = np.array_split(np.argsort(scores, kind="stable"), min(10, len(scores)))
    return np.array([scores[t].mean() for t in tenths]), np.array([connected[t].mean() for t in tenths])


def _barrier_edges(values: np.ndarray, tolerance: float, bins: int = 60) -> np.ndarray:
    """Return edges of bins that are equally wide on the axis of ``_barrier_scale``."""
    unit = max(tolerance, SMALLEST_UNIT)
    edges: np.ndarray = unit * np.sinh(np.histogram_bin_edges(np.arcsinh(values / unit), bins))
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())  # rounding must lose no example
    return edges


def _barrier_scale(axes: Axes, which: str, tolerance: float, values: np.ndarray) -> None:
    # Most barriers are near 0 and a few are large, on both sides: asinh shows both and is smooth through 0.
    unit = max(tolerance, SMALLEST_UNIT)
    set_scale, axis = (axes.set_xscale, axes.xaxis) if which == "x" else (axes.set_yscale, axes.yaxis)
    set_scale("asinh", linear_width=unit)
    powers = [m * 10.0**e for e in range(-3, 4) for m in (1, 3) if m * 10.0**e >= unit * 0.99]
    ticks = [t for t in [*(-p for p in powers[::-1]), 0.0, *powers] if values.min() <= t <= values.max()]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _tolerance_line(draw: object, tolerance: float) -> None:
    assert callable(draw)
    draw(tolerance, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, label=f"tolerance {tolerance:g} nats")


def step_axis(axes: Axes, steps: np.ndarray) -> None:
    """Make the x axis one of pre-training steps: 0 included, on a log scale when they span a wide range."""
    positive = steps[steps > 0]
    if len(positive) and steps.max() / positive.min() > 8:
        axes.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.6)
        axes.xaxis.set_minor_locator(NullLocator())
    if len(steps) <= 9:
        axes.xaxis.set_major_locator(FixedLocator(steps.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("k: pre-training steps")
