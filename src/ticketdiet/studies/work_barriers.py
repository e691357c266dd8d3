"""How barrier stages are worked: all pairs among the networks of a family, or two successive levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ticketdiet.landscape.barrier import PairBarrier, measure_pairs
from ticketdiet.landscape.family import Family, PairSummary
from ticketdiet.studies.bench import Bench, Made, Row
from ticketdiet.studies.stages import Stage


def barrier(bench: Bench, stage: Stage) -> Made:
    """Measure the barriers of all pairs on every split, un-augmented; BatchNorm is recalibrated on training images."""
    spec, store = stage.spec, bench.store
    networks = {role: store.tensors(address, "weights") for role, address in stage.inputs.items()}
    masks = {role: store.tensors(made, "mask") for role, made in stage.inputs.items() if not spec["family"]}
    rows: list[Row] = []
    arrays: dict[str, Tensor] = {}
    model = bench.make_model(stage, 0)
    for split, images in bench.splits(stage).items():
        pairs = measure_pairs(
            model,
            networks,
            images,
            spec["alphas"],
            spec["batch_norm"],
            masks=masks or None,
            calibration=bench.images(stage).train,
            precision=spec["precision"],
        )
        summaries = list(_keep_arrays(pairs, split, arrays))
        family = Family(tuple(summaries), tuple(_points(arrays)), spec["batch_norm"])
        named = {f"{pair.a}-{pair.b}": pair for pair in summaries} | ({"family": family} if spec["family"] else {})
        for name, found in named.items():
            rows.extend(_barrier_rows(found, name, split, spec["tolerance"], spec["step"]))
        arrays[f"{split}/family"] = family.per_example
    pair_names = [f"{pair.a}-{pair.b}" for pair in summaries]
    return Made(
        {"barrier": arrays}, tuple(rows), {"pairs": pair_names, "alphas": _points(arrays), **_density(bench, stage)}
    )


def _keep_arrays(pairs: Iterator[PairBarrier], split: str, arrays: dict[str, Tensor]) -> Iterator[PairSummary]:
    """Keep what figures need of each pair: barriers by example, mean loss and error along the line."""
    for pair in pairs:
        found, name = pair.barrier, f"{split}/{pair.a}-{pair.b}"
        arrays[f"{name}/per_example"] = found.per_example.float()
        arrays[f"{name}/loss"] = found.losses.double().mean(1)
        arrays[f"{name}/error"] = 1 - found.correct.double().mean(1)
        arrays["alphas"] = torch.tensor(found.alphas, dtype=torch.float64)
        yield PairSummary.of(pair)


def _barrier_rows(found: PairSummary | Family, name: str, split: str, tolerance: float, step: int) -> Iterator[Row]:
    values = {
        "barrier_mean": found.mean,
        "barrier_max": found.max,
        "error_barrier": found.error_barrier,
        "connected_share": found.connected_share(tolerance),
    }
    for metric, value in values.items():
        yield {"step": step, "metric": metric, "split": split, "value": value, "pair": name, "tolerance": tolerance}


def _points(arrays: Mapping[str, Tensor]) -> list[float]:
    points: list[float] = arrays["alphas"].tolist()
    return points


def _density(bench: Bench, stage: Stage) -> dict[str, float]:
    levels = [address for role, address in stage.inputs.items() if role == "parent" or role.startswith("level")]
    found: float = bench.store.document(levels[-1], "facts")["density"]
    return {"density": found}
