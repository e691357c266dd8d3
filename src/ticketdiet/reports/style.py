"""How every figure looks: one colour and marker an arm, quiet axes, and files that are the same on every run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ticketdiet.core.writing import writing

# Okabe and Ito's palette, told apart under the common kinds of colour blindness; its yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
INK, GREY = "#222222", "#777777"
SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "ticketdiet",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn in every figure of a study."""

    color: str
    marker: str
    linestyle: str


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """Give each arm its colour, marker and line; no two arms are alike."""
    lines = ("-", "--", ":", "-.")
    return {
        arm: ArmStyle(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], lines[i // len(COLOURS) % len(lines)])
        for i, arm in enumerate(dict.fromkeys(arms))
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the style inside the block, whatever the user's own matplotlib settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def new_figure(title: str, *, width: float = 6.4, height: float = 4.0) -> Figure:
    """Make an empty figure, in inches, outside pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def caption(axes: Axes, text: str) -> None:
    """Say above the axes what is drawn."""
    axes.set_title(text, fontsize=8, color=GREY)


def side_legend(figure: Figure, axes: Axes, title: str = "") -> None:
    """Put the legend beside the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", title=title or None, alignment="left")


def save_figure(figure: Figure, stem: str | os.PathLike[str]) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg``; the same figure gives the same bytes.

    Returns:
        The two paths.

    Raises:
        UserError: When they cannot be written.
    """
    base = Path(stem)
    files = [base.parent / f"{base.name}.{kind}" for kind in ("png", "svg")]
    with writing(files[0]), writing(files[1]), house_style():
        figure.savefig(files[0], format="png", dpi=150, metadata={"Software": None})
        figure.savefig(files[1], format="svg", metadata={"Date": None, "Creator": None})
    return files
