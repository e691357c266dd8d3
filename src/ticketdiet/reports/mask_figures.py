"""Where the kept weights lie: the density of every layer over the levels of an arm."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from ticketdiet.core.errors import UserError
from ticketdiet.reports.figure_registry import FIGURES
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.style import caption, house_style, new_figure
from ticketdiet.reports.table import format_density
from ticketdiet.studies.stages.masked import MaskedTraining

MOST_ARMS = 6  # panels of one figure
MOST_ACROSS = 3
NAMED_LAYERS = 30  # beyond it names would overlap
FAINTEST = 1e-3  # density at which the scale of colours ends
_PERCENT = FuncFormatter(lambda value, _: format_density(value))


@FIGURES.register("layer_density")
def layer_densities_of_arms(found: StudyResults) -> dict[str, Figure]:
    """Density of every layer by level, one panel per arm of one network."""
    densities = read_layer_densities(found)
    if densities.empty or densities["level"].max() == 0:
        return {}
    return {"": layer_density_figure(densities, title=f"{found.name}: density of every layer over the levels")}


def read_layer_densities(found: StudyResults) -> pd.DataFrame:
    """Read the density of every layer of the finished levels.

    Returns:
        Columns ``arm replicate level layer density layer_density``; ``density`` is that of the whole network, and
        layers come in the order of the network.
    """
    rows = [
        {"arm": use.arm, "replicate": use.replicate, "level": use.level, "density": facts["density"]}
        | {"layer": layer, "layer_density": kept}
        for stage in found.plan.of(MaskedTraining)
        if found.store.has(stage.address)
        for facts in [found.store.document(stage.address, "facts")]
        for use in stage.uses
        if not use.through
        for layer, kept in facts["layer_densities"].items()
    ]
    return pd.DataFrame(rows, columns=["arm", "replicate", "level", "density", "layer", "layer_density"])


def layer_density_figure(densities: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the density of every layer by level: one panel per arm, colours on a log scale.

    Args:
        densities: As :func:`read_layer_densities` returns them; means over replicates are drawn.
        title: Title of the figure.

    Returns:
        The figure; arms beyond the first six are left out, and the caption says so.

    Raises:
        UserError: When there are no densities.
    """
    if densities.empty:
        raise UserError("There are no masks.", expected="at least one finished level", way_out="run the study first")
    arms = list(dict.fromkeys(densities["arm"]))
    panels = {str(arm): _table(densities[densities["arm"] == arm]) for arm in itertools.islice(arms, MOST_ARMS)}
    least = max(FAINTEST, min(float(table.to_numpy().min()) for table in panels.values()))
    across = 2 if len(panels) == 4 else min(len(panels), MOST_ACROSS)
    down = -(-len(panels) // across)
    layers = max(len(table) for table in panels.values())
    with house_style():
        height = 0.9 + down * (0.7 + 0.12 * min(max(layers, 8), 40))
        figure = new_figure(title or "Density of every layer over the levels", width=3.0 + 2.1 * across, height=height)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for place, (axes, (arm, table)) in enumerate(zip(grid, panels.items(), strict=False)):
            drawn = _draw_panel(axes, table, LogNorm(least, 1), named=place % across == 0 or not _alike(panels))
            caption(axes, arm)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.colorbar(drawn, ax=grid.tolist(), label="density of the layer (log scale)", pad=0.01, format=_PERCENT)
        more = len(arms) - len(panels)
        left_out = f"; {more} more arm{'s' * (more > 1)} not drawn" if more else ""
        figure.supxlabel(f"density of the network, mean over replicates{left_out}", fontsize=9)
    return figure


def _table(own: pd.DataFrame) -> pd.DataFrame:
    """Layers by levels, columns named by the density of the network; a layer with no weight kept is at the faintest."""
    whole = own.groupby("level")["density"].mean()
    table = own.groupby(["layer", "level"], sort=False)["layer_density"].mean().unstack("level")
    table = table[sorted(table.columns)].clip(lower=FAINTEST)
    table.columns = pd.Index([format_density(whole[level]) for level in table.columns])
    return table


def _alike(panels: Mapping[str, pd.DataFrame]) -> bool:
    return len({tuple(table.index) for table in panels.values()}) == 1


def _draw_panel(axes: Axes, table: pd.DataFrame, norm: LogNorm, *, named: bool) -> AxesImage:
    drawn = axes.imshow(table.to_numpy(), norm=norm, cmap="viridis", aspect="auto", interpolation="nearest")
    every = -(-table.shape[1] // 6)
    axes.set_xticks(np.arange(0, table.shape[1], every), list(table.columns[::every]), rotation=45, ha="right")
    names = [str(layer).removesuffix(".weight") for layer in table.index]
    axes.set_yticks(np.arange(len(names)) if named and len(names) <= NAMED_LAYERS else [])
    if named and len(names) <= NAMED_LAYERS:
        axes.set_yticklabels(names, fontsize=6)
    elif named:
        axes.set_ylabel(f"{len(names)} layers, the first at the top")
    axes.tick_params(length=0, labelsize=6)
    axes.grid(False)
    return drawn
