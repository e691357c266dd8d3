"""Scores on disk: kept whole with what produced them, exported as a table, or read from a file of your own.

Nothing is pickled. The order is that of the data set; a file whose index shows another order is refused.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.reading import open_regular, reason_of
from ticketdiet.core.values import Images, Scores
from ticketdiet.core.writing import writing
from ticketdiet.data.prepare import KeptExamples
from ticketdiet.scores.base import usable_scores

FORMAT = 1
INDEX_COLUMN = "index"
SCORE_COLUMN = "score"


def save_scores(path: str | os.PathLike[str], scores: Scores) -> None:
    """Write scores with their fingerprint and recipe as ``.npz``: the matrix, and JSON beside it.

    Missing folders are made.

    Args:
        path: The file to write.
        scores: What to write.

    Raises:
        DataError: When the recipe is not JSON.
        UserError: When the file cannot be written.
    """
    recipe = dict(scores.provenance)  # the name that format 1 has for it
    facts = {"format": FORMAT, "kind": scores.kind, "fingerprint": scores.fingerprint, "recipe": recipe}
    try:
        text = json.dumps(facts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as reason:
        raise DataError(
            f"The recipe of the scores cannot be written as JSON: {reason}.",
            expected="plain values",
            way_out="convert it",
        ) from None
    with writing(path), open(path, "wb") as file:
        np.savez_compressed(file, matrix=scores.matrix, facts=np.array(text))


def load_scores(path: str | os.PathLike[str], images: Images | None = None) -> Scores:
    """Read what ``save_scores`` wrote.

    Args:
        path: The file.
        images: The images that the scores belong to; scores of others, or in another order, are refused.

    Returns:
        The scores with their fingerprint and what produced them.

    Raises:
        DataError: When the file is missing, damaged or of a newer format, or the scores belong to other images.
    """
    try:
        # numpy leaves a damaged file open unless it is handed an open one.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            scores = _scores_of(stored["matrix"], json.loads(str(stored["facts"])))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as reason:
        raise DataError(
            f"{path} cannot be read as scores: {reason_of(reason)}.",
            expected="an .npz that save_scores wrote, of this version or an older one",
            way_out="write it again; numbers of your own are read by the score 'file'",
        ) from None
    if images is not None:
        scores.check_belongs_to(images)
    return scores


def _scores_of(matrix: np.ndarray, facts: dict[str, Any]) -> Scores:
    if facts["format"] > FORMAT or matrix.ndim != 2:
        raise ValueError(f"format {facts['format']}, matrix of shape {matrix.shape}")
    return Scores(matrix, facts["kind"], facts["fingerprint"], facts["recipe"])


def export_scores(path: str | os.PathLike[str], scores: Scores, labels: np.ndarray | None = None) -> None:
    """Write scores in their order, as others publish them.

    A table has the columns ``index``, ``label`` if given, ``score`` (mean), ``model_0``, ... A ``.npy`` file has the
    mean as float32 (n,). Missing folders are made.

    Args:
        path: ``.csv``, ``.parquet`` or ``.npy``.
        scores: What to write.
        labels: int (n,), or None.

    Raises:
        DataError: For another ending or labels of another length.
        UserError: When the file cannot be written.
    """
    ending = _ending(path, (".csv", ".parquet", ".npy"))
    if ending == ".npy":
        with writing(path), open(path, "wb") as file:
            np.save(file, scores.mean.astype(np.float32), allow_pickle=False)
        return
    import pandas as pd

    columns: dict[str, np.ndarray] = {INDEX_COLUMN: np.arange(len(scores))}
    if labels is not None:
        if len(labels) != len(scores):
            raise DataError(
                f"There are {len(labels)} labels and {len(scores)} scores.",
                expected="one label per score",
                way_out="give the labels of the same data set",
            )
        columns["label"] = np.asarray(labels)
    columns[SCORE_COLUMN] = scores.mean
    columns |= {f"model_{number}": row for number, row in enumerate(scores.matrix)}
    table = pd.DataFrame(columns)
    with writing(path):
        if ending == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)


def read_values(
    path: str | os.PathLike[str], count: int, *, column: str | None = None, kept: KeptExamples | None = None
) -> np.ndarray:
    """Read one number per example.

    Args:
        path: ``.npy`` with shape (n,), or a ``.csv`` or ``.parquet`` table; its column ``index``, if there is one, must
            count 0, 1, 2, ...
        count: Number of examples (n).
        column: Column of a table; by default ``score``, or the only one.
        kept: Which examples of a larger data set these are: numbers of that whole set, in its own order, are then read
            too, and only those of the kept examples are looked at.

    Returns:
        float32 (n,), in the order of the examples.

    Raises:
        DataError: For a missing or damaged file, another length or order, NaN or -inf.
    """
    ending = _ending(path, (".npy", ".csv", ".parquet"))
    try:
        open_regular(path).close()  # reading a pipe or a device would wait
        values = _read_array(path) if ending == ".npy" else _read_column(path, ending, column)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, ImportError, zipfile.BadZipFile) as reason:
        raise DataError(
            f"{path} cannot be read: {reason_of(reason)}.",
            expected="a .npy array of numbers, or a table in CSV or Parquet",
            way_out="write it with numpy.save or DataFrame.to_csv; pickled objects are never loaded",
        ) from None
    if kept is not None and values.shape == (kept.total,) and count == len(kept.indices):
        values = values[kept.indices]
    return usable_scores(values, count, source=f"The file {path}", may_be_infinite=True)


def _read_array(path: str | os.PathLike[str]) -> np.ndarray:
    with open(path, "rb") as file:  # np.load leaves a file open that it cannot read
        values = np.load(file, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("it holds several arrays")
        return values


def _read_column(path: str | os.PathLike[str], ending: str, column: str | None) -> np.ndarray:
    import pandas as pd

    table = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    if INDEX_COLUMN in table and not np.array_equal(table[INDEX_COLUMN].to_numpy(), np.arange(len(table))):
        raise DataError(
            f"{path} is not in the order of the data set: its column 'index' is not 0, 1, 2, ... .",
            expected="one row per example, in order",
            way_out="sort the rows by index, and add those that are missing",
        )
    others = [str(name) for name in table.columns if name != INDEX_COLUMN]
    name = column or (SCORE_COLUMN if SCORE_COLUMN in others or len(others) != 1 else others[0])
    if name not in others:
        raise DataError(
            f"{path} has no column {name!r}.",
            expected=f"one of: {', '.join(others)}",
            way_out="name one with column=",
        )
    return np.asarray(table[name].to_numpy())


def _ending(path: str | os.PathLike[str], known: tuple[str, ...]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in known:
        way_out = "rename or convert it"
        if ending == ".npz":
            way_out = "np.save('scores.npy', load_scores(path).mean) writes the mean of what save_scores wrote"
        raise DataError(
            f"The name of {path} " + (f"ends in {ending!r}." if ending else "has no ending."),
            expected=f"a name that ends in {' or '.join(known)}",
            way_out=way_out,
        )
    return ending
