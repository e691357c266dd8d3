"""Studies on a Ray cluster of several nodes, all on this machine and on loopback."""

import warnings
from typing import Any

import numpy as np
import pytest

from ticketdiet.core.options import make
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import ray_connection
from ticketdiet.studies.executors.base import EXECUTORS
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.run import RunObserver, run_plan

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

ARMS = "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}"


@pytest.fixture
def cluster():
    """A head node without CPUs for stages, and two nodes of one CPU; both take stages."""
    pytest.importorskip("ray")
    ray_connection.import_ray()
    with warnings.catch_warnings(), ray_connection._loopback_only(True):
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.to_lose, _ = (made.add_node(num_cpus=1) for _ in range(2))
        yield made
        made.shutdown()


def run(plan, store, cluster, *, observer=None, **options):
    place = make(EXECUTORS, "ray", {"address": cluster.address, **options})
    return run_plan(
        plan, store, executor=place, devices=("auto",), threads=1, save_every_seconds=0.0, observer=observer
    )


def test_a_lost_node_costs_time_and_no_bit(cluster, plan_tiny, store, run_tiny, tmp_path, contents):
    plan = plan_tiny("training.steps=400", "pruning.levels=1", ARMS, "scores={}")
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    told = set()

    class LoseANode(RunObserver):
        def progressed(self, stage, step):
            if step > 20 and not told:
                told.add(stage.address)
                cluster.remove_node(cluster.to_lose, allow_graceful=False)

    run(plan, store, cluster, observer=LoseANode())
    assert told
    assert contents(store, plan) == contents(alone, plan)


def test_nodes_that_have_no_data_get_them_from_the_run(cluster, tiny_text, store, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"{name}_{split}": values
        for split in ("train", "test")
        for name, values in (
            ("x", generator.integers(0, 256, (48, 8, 8), dtype=np.uint8)),
            ("y", np.arange(48) % 10),
        )
    }
    np.savez(tmp_path / "mine.npz", **arrays)
    plan = plan_study(parse_study(tiny_text, [f"dataset={{name: 'npz:{tmp_path}/mine.npz'}}", ARMS, "scores={}"]))

    started = []

    class TakeDataAway(RunObserver):
        def started(self, stage):
            started.append(stage)
            if len(started) == 2:  # the first was handed over with its images, and this one goes to the other node
                (tmp_path / "mine.npz").unlink()

    run(plan, store, cluster, observer=TakeDataAway())
    assert all(store.has(address) for address in plan.stages)


def test_two_processes_share_the_batches_of_a_stage(cluster, plan_tiny, store, run_tiny, tmp_path):
    plan = plan_tiny("pruning.levels=1", "arms={none@0: {}}", "scores={}")
    place = make(EXECUTORS, "ray", {"address": cluster.address, "cpus_per_stage": 1})
    run_plan(plan, store, executor=place, devices=("auto",), devices_per_stage=2, threads=1)
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    for address in plan.stages:
        assert store.manifest(address).provenance["machine"]["devices"] == 2
        values = [[row["value"] for row in one.document(address, "rows")] for one in (store, alone)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)
