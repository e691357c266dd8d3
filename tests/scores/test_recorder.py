from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.scores.recorder import TrainingRecorder


def _record(histories: list[str]) -> TrainingRecorder:
    """Replay histories of visits, c for correct and w for wrong; an example may have fewer visits than another."""
    recorder = TrainingRecorder(len(histories))
    for visit in range(max(map(len, histories))):
        present = [number for number, history in enumerate(histories) if visit < len(history)]
        logits = torch.tensor([[1.0, 0.0] if histories[n][visit] == "c" else [0.0, 1.0] for n in present])
        recorder.update(torch.tensor(present), logits, torch.zeros(len(present), dtype=torch.int64))
    return recorder


def test_forgetting_counts_changes_from_correct_to_wrong() -> None:
    recorder = _record(["wcccc", "cwcwc", "cw", "wwcwwcw", "c"])
    assert recorder.scores("forgetting").tolist() == [0, 2, 1, 2, 0]
    assert recorder.visits.tolist() == [5, 5, 2, 7, 1]


def test_what_was_never_learned_is_the_hardest() -> None:
    assert _record(["www", "cwc"]).scores("forgetting").tolist() == [np.inf, 1]


def test_aum_is_minus_the_mean_logit_margin_over_visits() -> None:
    recorder = TrainingRecorder(2)
    labels = torch.tensor([0, 2])
    recorder.update([0, 1], torch.tensor([[3.0, 1.0, 0.0], [5.0, 0.0, 1.0]]), labels)
    recorder.update([1, 0], torch.tensor([[0.0, 2.0, 8.0], [1.0, 4.0, 0.0]]), labels.flip(0))
    np.testing.assert_allclose(recorder.scores("aum"), [-(2 - 3) / 2, -(-4 + 6) / 2], rtol=1e-5)


def _hand_written(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Scores from logits of shape (visits, n, classes), in float64."""
    powers = np.exp(logits)
    p = powers / powers.sum(axis=2, keepdims=True)
    rows = np.arange(len(labels))
    own = p[:, rows, labels]
    masked = np.where(np.eye(p.shape[2])[labels] == 1, -np.inf, logits)
    margins = logits[:, rows, labels] - masked.max(axis=2)
    other = np.where(np.eye(p.shape[2])[labels] == 1, -1, p).max(axis=2)
    return {
        "loss": -np.log(own).mean(axis=0),
        "entropy": -(p * np.log(p)).sum(axis=2).mean(axis=0),
        "margin": (other - own).mean(axis=0),
        "confidence": 1 - own.mean(axis=0),
        "aum": -margins.mean(axis=0),
        "variance": own.var(axis=0),
    }


def test_running_statistics_match_hand_written_ones_over_the_whole_history() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(9, 12, 5)) * 2, generator.integers(0, 5, 12)
    recorder = TrainingRecorder(12)
    for visit in logits:
        order = generator.permutation(12)
        for part in np.split(order, 3):
            recorder.update(part, torch.from_numpy(visit[part]), torch.from_numpy(labels[part]))
    for kind, expected in _hand_written(logits, labels).items():
        np.testing.assert_allclose(recorder.scores(kind), expected, rtol=1e-4, atol=1e-6, err_msg=kind)


def test_saturated_logits_give_finite_numbers() -> None:
    recorder = TrainingRecorder(1)
    recorder.update(torch.tensor([0]), torch.tensor([[500.0, -500.0]]), torch.tensor([1]))
    for kind in ("loss", "entropy", "margin", "confidence", "aum", "variance"):
        assert np.isfinite(recorder.scores(kind)).all()
    assert recorder.scores("aum")[0] == 1000


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_an_example_that_repeats_in_a_batch_counts_as_visits_in_order(visits: list[tuple[int, bool]]) -> None:
    together, apart = TrainingRecorder(4), TrainingRecorder(4)
    indices = torch.tensor([index for index, _ in visits])
    logits = torch.tensor([[1.0, 0.0] if correct else [0.0, 1.0] for _, correct in visits])
    labels = torch.zeros(len(visits), dtype=torch.int64)
    together.update(indices, logits, labels)
    for number in range(len(visits)):
        apart.update(*(part[number : number + 1] for part in (indices, logits, labels)))
    for name, value in together.tensors().items():
        torch.testing.assert_close(value, apart.tensors()[name])


def test_a_saved_record_goes_on_where_it_was() -> None:
    whole, first, second = (TrainingRecorder(3) for _ in range(3))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(3, 4, generator=generator) for _ in range(6)]
    labels, indices = torch.tensor([0, 1, 2]), torch.arange(3)
    for number, logits in enumerate(batches):
        whole.update(indices, logits, labels)
        if number == 3:
            second.load(first.tensors())
        (first if number < 3 else second).update(indices, logits, labels)
    assert (whole.scores("variance") == second.scores("variance")).all()
    assert (whole.scores("forgetting") == second.scores("forgetting")).all()


def test_what_was_never_visited_is_refused_by_number() -> None:
    recorder = TrainingRecorder(3)
    recorder.update(torch.tensor([0, 2]), torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="1 of 3 examples were never visited; the first is example 1"):
        recorder.scores("loss")


def test_bad_batches_are_refused() -> None:
    recorder = TrainingRecorder(3)
    with pytest.raises(DataError, match=r"positions in \[0, 2\]"):
        recorder.update(torch.tensor([3]), torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(DataError, match="shapes"):
        recorder.update(torch.tensor([0, 1]), torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(UnknownName, match="forgetting"):
        recorder.scores("forgeting")
    with pytest.raises(UnknownName, match="logit_margin"):
        recorder.mean("logits")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_refused_and_leave_the_record_as_it_was(bad: float) -> None:
    recorder = TrainingRecorder(9)
    logits = torch.zeros(3, 2)
    logits[1, 1] = logits[2, 0] = bad
    with pytest.raises(DataError, match="2 of 3 examples have NaN or infinite logits; the first is example 7"):
        recorder.update(torch.tensor([4, 7, 8]), logits, torch.zeros(3, dtype=torch.int64))
    assert recorder.visits.sum() == 0


@pytest.mark.parametrize("as_given", [np.asarray, torch.as_tensor, list])
def test_a_batch_comes_as_arrays_tensors_or_lists(as_given: Callable[[object], object]) -> None:
    expected, recorder = TrainingRecorder(3), TrainingRecorder(3)
    logits = [[1.0, 2.0], [0.5, 0.25]]
    expected.update(torch.tensor([2, 0]), torch.tensor(logits), torch.tensor([1, 1]))
    recorder.update(as_given([2, 0]), as_given(logits), as_given([1, 1]))  # type: ignore[arg-type]
    recorder.update(as_given([]), torch.zeros(0, 2), as_given([]))  # type: ignore[arg-type]
    for name, value in expected.tensors().items():
        torch.testing.assert_close(recorder.tensors()[name], value)


def test_labels_may_be_of_any_integer_type() -> None:
    recorder = TrainingRecorder(2)
    recorder.update([0, 1], torch.zeros(2, 2), torch.tensor([0, 1], dtype=torch.uint8))
    assert recorder.visits.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (([0, 1], torch.zeros(2, 2), [0, 2]), r"labels range from 0 to 2(.|\n)*labels in \[0, 1\]"),
        (([0, 1], torch.zeros(2, 2), [-1, 0]), "labels range from -1 to 0"),
        (([0, 1], torch.zeros(2, 2), [0.0, 1.0]), "labels have the dtype torch.float32"),
        ((torch.tensor([True, False]), torch.zeros(2, 2), [0, 1]), "indices have the dtype torch.bool"),
        (([0.5, 1.5], torch.zeros(2, 2), [0, 1]), "indices have the dtype torch.float32"),
        (([0, 1], "logits", [0, 1]), "logits of type str cannot be made a tensor"),
        (([0, 1], None, [0, 1]), "logits of type NoneType"),
        (([0, 1], torch.zeros(2, 2, dtype=torch.complex64), [0, 1]), "real numbers"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_reason(batch: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TrainingRecorder(3).update(*batch)


@pytest.mark.parametrize("count", [0, -1, "a", None, 2.0, True])
def test_a_recorder_wants_the_number_of_examples(count: Any) -> None:
    with pytest.raises(DataError, match=r"an integer of at least 1(.|\n)*len\(data\)"):
        TrainingRecorder(count)


@pytest.mark.cuda
def test_a_record_is_kept_on_the_gpu_and_read_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 8, 3, generator=generator), torch.randint(0, 3, (8,), generator=generator)
    on_cpu, on_gpu = TrainingRecorder(8), TrainingRecorder(8)
    for visit in logits:
        on_cpu.update(torch.arange(8), visit, labels)
        on_gpu.update(torch.arange(8), visit.cuda(), labels)
    assert on_gpu.visits.device.type == "cuda"
    assert all(tensor.device.type == "cpu" for tensor in on_gpu.tensors().values())
    for kind in ("forgetting", "aum", "variance"):
        np.testing.assert_allclose(on_gpu.scores(kind), on_cpu.scores(kind), rtol=1e-4, atol=1e-6)
