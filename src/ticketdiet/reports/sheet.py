"""A sheet of sample images, one row per class: one look tells whether labels, colours and orientation are right."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images

_GAP = 1  # pixels between images
_INCHES = 0.55  # height and width of an image on paper


def sample_sheet(images: Images, per_class: int = 8, seed: int = 0) -> Figure:
    """Draw ``per_class`` random images of every class, one row per class, with the class names at the left.

    Args:
        images: uint8 images; float images, already prepared, cannot be shown.
        per_class: Images per class; the row of a class that has fewer ends in blanks.
        seed: Seed of the choice.

    Returns:
        A figure that belongs to no window; save it with ``figure.savefig(path)``.

    Raises:
        DataError: When the images are not uint8 with 1 or 3 channels, or ``per_class`` is below 1.
    """
    chosen = sample_indices(images.labels.cpu().numpy(), images.num_classes, per_class, seed)
    mosaic = draw_mosaic(images.pixels.cpu().numpy(), chosen)
    rows, columns = chosen.shape
    height, width = images.pixels.shape[-2:]
    margin = 0.2 + 0.075 * max(map(len, images.class_names))  # inches, room for the longest name at 8 points
    figure = Figure(figsize=(margin + _INCHES * columns, 0.2 + _INCHES * rows), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(mosaic, interpolation="nearest")
    label_rows(axes, list(images.class_names), rows, height)
    axes.tick_params(labelsize=8)
    axes.set_xlim(-0.5, columns * (width + _GAP) - _GAP - 0.5)
    return figure


def sample_indices(labels: np.ndarray, num_classes: int, per_class: int, seed: int) -> np.ndarray:
    """Choose examples of every class at random.

    Args:
        labels: int64 of shape (n,).
        num_classes: Number of rows.
        per_class: Number of columns.
        seed: Seed of the choice; the classes draw independently of each other.

    Returns:
        int64 of shape (num_classes, per_class); -1 where a class has no more examples.

    Raises:
        DataError: When ``per_class`` is below 1.
    """
    if per_class < 1:
        raise DataError(f"Got per_class={per_class}.", expected="at least 1", way_out="for example per_class=8")
    chosen = np.full((num_classes, per_class), -1, dtype=np.int64)
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        drawn = numpy_generator(seed, "sheet", label).permutation(members)[:per_class]
        chosen[label, : len(drawn)] = drawn
    return chosen


def draw_mosaic(pixels: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Lay images out on a white grid.

    Args:
        pixels: uint8 of shape (n, 1 or 3, height, width).
        indices: int64 of shape (rows, columns); -1 leaves a place blank.

    Returns:
        uint8 of shape (rows * (height + 1) - 1, columns * (width + 1) - 1, 3).

    Raises:
        DataError: When the pixels have another dtype or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise DataError(
            f"The pixels have shape {pixels.shape} and dtype {pixels.dtype}.",
            expected="uint8 of shape (n, 1 or 3, height, width)",
            way_out="give the images as loaded, before they are prepared",
        )
    height, width = pixels.shape[2:]
    rows, columns = indices.shape
    mosaic = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for row, column in np.argwhere(indices >= 0):
        top, left = row * (height + _GAP), column * (width + _GAP)
        mosaic[top : top + height, left : left + width] = pixels[indices[row, column]].transpose(1, 2, 0)
    return mosaic


def label_rows(axes: Axes, names: list[str], rows: int, height: int) -> None:
    """Name the rows of a mosaic at the left, and remove its frame and every other tick.

    Args:
        axes: The axes that show the mosaic.
        names: One name per row, or none.
        rows: Number of rows.
        height: Height of an image in pixels.
    """
    centres = [row * (height + _GAP) + (height - 1) / 2 for row in range(rows)]
    axes.set_yticks(centres if names else [], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
