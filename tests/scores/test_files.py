from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.values import Images, Scores
from ticketdiet.data.prepare import KeptExamples
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model
from ticketdiet.scores.files import export_scores, load_scores, read_values, save_scores


@pytest.fixture
def scores(images: Images) -> Scores:
    matrix = np.random.default_rng(0).random((3, len(images)), dtype=np.float32)
    return Scores(matrix, "el2n", images.fingerprint, {"steps": 5, "batch_norm": "eval"})


def test_saved_scores_come_back_whole(tmp_path: Path, scores: Scores, images: Images) -> None:
    save_scores(tmp_path / "s.npz", scores)
    back = load_scores(tmp_path / "s.npz", images)
    assert (back.matrix == scores.matrix).all()
    assert back.matrix.dtype == np.float32
    assert (back.kind, back.fingerprint, back.provenance) == (scores.kind, scores.fingerprint, scores.provenance)


def test_scores_of_another_order_are_refused(tmp_path: Path, scores: Scores, images: Images) -> None:
    save_scores(tmp_path / "s.npz", scores)
    with pytest.raises(DataError, match="same images in the same order"):
        load_scores(tmp_path / "s.npz", images.take(np.arange(len(images))[::-1].copy()))
    with pytest.raises(DataError, match="96 scores for 5 images"):
        load_scores(tmp_path / "s.npz", images.take(np.arange(5)))


def test_damaged_missing_and_newer_files_are_refused(tmp_path: Path, scores: Scores) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(DataError, match="cannot be read as scores"):
        load_scores(path)
    save_scores(path, scores)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as scores"):
        load_scores(path)
    np.savez(path, matrix=scores.matrix, facts=np.array('{"format": 2}'))
    with pytest.raises(DataError, match="format 2"):
        load_scores(path)


def test_a_recipe_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not JSON"):
        save_scores(tmp_path / "s.npz", Scores(np.zeros((1, 2)), "el2n", provenance={"a": object()}))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_exported_tables_are_read_back_in_order(tmp_path: Path, scores: Scores, ending: str, images: Images) -> None:
    path = tmp_path / f"table.{ending}"
    export_scores(path, scores, images.labels.numpy())
    assert (read_values(path, len(scores)) == scores.mean.astype(np.float32)).all()
    assert (read_values(path, len(scores), column="model_1") == scores.matrix[1]).all()
    table = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert list(table.columns) == ["index", "label", "score", "model_0", "model_1", "model_2"]


def test_a_table_in_another_order_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"index": [1, 0], "score": [0.5, 0.6]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="not in the order of the data set"):
        read_values(tmp_path / "t.csv", 2)


def test_an_unknown_column_lists_the_known_ones(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="one of: a, b"):
        read_values(tmp_path / "t.csv", 1)
    assert read_values(tmp_path / "t.csv", 1, column="b").tolist() == [2.0]


def test_a_file_of_ones_own_is_a_score(tmp_path: Path, images: Images) -> None:
    values = np.arange(96.0)
    values[3] = np.inf
    np.save(tmp_path / "mine.npy", values)
    assert (
        score_with_model("file", None, images, options=ScoreOptions(path=str(tmp_path / "mine.npy"))) == values
    ).all()
    with pytest.raises(DataError, match="needs a file"):
        score_with_model("file", None, images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(95), r"shape \(95,\)"),
        (np.zeros((96, 1)), "shape"),
        (np.full(96, np.nan), "96 values that are not scores"),
        (np.full(96, -np.inf), "-inf at example 0"),
        (np.array(["a"] * 96), "dtype"),
    ],
)
def test_unusable_numbers_are_refused_with_the_reason(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "mine.npy", values)
    with pytest.raises(DataError, match=message):
        read_values(tmp_path / "mine.npy", 96)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_values(tmp_path / "mine.npy", 2)


def test_a_text_file_called_npy_is_refused_without_advice_to_unpickle(tmp_path: Path) -> None:
    (tmp_path / "mine.npy").write_text("0.5\n0.6\n")
    for read in (lambda path: read_values(path, 2), load_scores):
        with pytest.raises(DataError, match="not a numpy file at all") as refused:
            read(tmp_path / "mine.npy")
        assert "unsafe" not in str(refused.value)
        assert "allow_pickle" not in str(refused.value)


def test_files_that_are_empty_or_hold_several_arrays_are_refused(tmp_path: Path, scores: Scores) -> None:
    (tmp_path / "empty.npy").touch()
    (tmp_path / "empty.csv").touch()
    for name in ("empty.npy", "empty.csv"):
        with pytest.raises(DataError, match="cannot be read"):
            read_values(tmp_path / name, 2)
    with pytest.raises(DataError, match="cannot be read as scores"):
        load_scores(tmp_path / "empty.npy")
    save_scores(tmp_path / "s.npz", scores)
    (tmp_path / "s.npz").rename(tmp_path / "s.npy")
    with pytest.raises(DataError, match="several arrays"):
        read_values(tmp_path / "s.npy", 96)


def test_an_ending_that_is_not_read_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in '\.npz'(.|\n)*\.npy or \.csv or \.parquet(.|\n)*load_scores"):
        read_values(tmp_path / "s.npz", 2)
    with pytest.raises(DataError, match="has no ending"):
        read_values(tmp_path / "scores", 2)


def test_folders_on_the_way_are_made(tmp_path: Path, scores: Scores) -> None:
    save_scores(tmp_path / "a" / "b" / "s.npz", scores)
    assert (load_scores(tmp_path / "a" / "b" / "s.npz").matrix == scores.matrix).all()
    for name in ("t.csv", "t.parquet"):
        export_scores(tmp_path / name[2:] / "d" / name, scores)
        assert len(read_values(tmp_path / name[2:] / "d" / name, len(scores))) == len(scores)


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, scores: Scores) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"s\.npz' cannot be written(.|\n)*another file"):
        save_scores(tmp_path / "file" / "s.npz", scores)
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UserError, match=r"t\.csv' cannot be written"):
        export_scores(tmp_path / "t.csv", scores)


@pytest.mark.parametrize("name", ["mine.pt", "missing.npy", "missing.csv", "missing.parquet"])
def test_missing_and_strange_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_values(tmp_path / name, 2)


def test_export_refuses_labels_of_another_length(tmp_path: Path, scores: Scores) -> None:
    with pytest.raises(DataError, match="5 labels"):
        export_scores(tmp_path / "t.csv", scores, torch.zeros(5).numpy())


def test_an_exported_array_is_the_mean_in_order_and_is_read_back(tmp_path: Path, scores: Scores) -> None:
    export_scores(tmp_path / "s.npy", scores)
    array = np.load(tmp_path / "s.npy", allow_pickle=False)
    assert array.dtype == np.float32
    assert np.array_equal(array, scores.matrix.mean(axis=0, dtype=np.float64).astype(np.float32))
    assert np.array_equal(read_values(tmp_path / "s.npy", len(scores)), array)


def test_numbers_of_a_whole_data_set_are_read_for_the_examples_that_are_kept(tmp_path: Path) -> None:
    whole = np.array([0.0, np.nan, 2.0, 3.0, np.inf])
    kept = KeptExamples(np.array([0, 2, 3]), total=5)
    np.save(tmp_path / "whole.npy", whole)
    pd.DataFrame({"score": whole}).to_csv(tmp_path / "whole.csv", index=False)
    for name in ("whole.npy", "whole.csv"):
        assert read_values(tmp_path / name, 3, kept=kept).tolist() == [0.0, 2.0, 3.0]
    np.save(tmp_path / "part.npy", whole[2:])
    assert read_values(tmp_path / "part.npy", 3, kept=kept).tolist() == [2.0, 3.0, np.inf]
    with pytest.raises(DataError, match=r"shape \(5,\)"):
        read_values(tmp_path / "whole.npy", 3)
    with pytest.raises(DataError, match="1 values that are not scores"):
        read_values(tmp_path / "whole.npy", 2, kept=KeptExamples(np.array([0, 1]), total=5))
