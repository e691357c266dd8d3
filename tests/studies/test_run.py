import dataclasses

import pytest
import torch

from ticketdiet.core.errors import StagesFailed, StoreError
from ticketdiet.reports.reading import read_rows
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.run import RunObserver, stages_left
from ticketdiet.tickets.pruning import prune
from ticketdiet.training.evaluation import evaluate


class Log(RunObserver):
    def __init__(self):
        self.events = []

    def set_aside(self, stage, reason):
        self.events.append(("set aside", stage.address))

    def started(self, stage):
        self.events.append(("started", stage.address))

    def finished(self, stage, warnings):
        self.events.append(("finished", stage.address))
        self.events += [("warning", text) for text in warnings]

    def failed(self, stage, error):
        self.events.append(("failed", stage.address))

    def of(self, kind):
        return [what for event, what in self.events if event == kind]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_text, run_tiny):
    store = ResultStore.open(tmp_path_factory.mktemp("finished") / "store")
    plan = plan_study(parse_study(tiny_text, ["children=2"]))
    run_tiny(plan, store)
    return plan, store


def test_a_study_runs_from_images_to_rows(finished):
    plan, store = finished
    assert stages_left(plan, store) == {}
    rows = read_rows(plan, store)
    final = rows[(rows.metric == "accuracy") & (rows.split == "test") & (rows.kind == "level")]
    assert len(final) == 9
    assert final.density.round(2).drop_duplicates().tolist() == [1.0, 0.5, 0.25]
    assert set(rows.address) <= set(plan.stages)


def test_a_second_run_does_nothing(finished, run_tiny):
    plan, store = finished
    log = Log()
    outcome = run_tiny(plan, store, observer=log)
    assert (outcome.made, outcome.kept) == (0, len(plan.stages))
    assert log.events == []


def test_an_executor_is_closed_at_the_end_also_when_nothing_is_left_to_do(finished, run_tiny):
    closed = []

    class Idle:
        capacity = 1

        def submit(self, stage):
            raise AssertionError("nothing is left")

        def progress(self):
            return []

        def close(self, *, now=False):
            closed.append(now)

    plan, store = finished
    run_tiny(plan, store, executor=Idle())
    assert closed == [False]


def test_two_processes_of_one_thread_give_the_results_of_one_process_of_one_thread(
    finished, tmp_path, run_tiny, contents
):
    plan, store = finished
    other = ResultStore.open(tmp_path / "other")
    run_tiny(plan, other, workers=2)
    assert contents(other, plan) == contents(store, plan)


def test_masks_are_those_of_pruning_the_weights_of_the_level_before(finished):
    plan, store = finished
    for stage in plan.stages.values():
        if stage.kind == "level" and "previous" in stage.inputs:
            before = stage.inputs["previous"]
            expected = prune(store.tensors(before, "weights"), store.tensors(before, "mask"), 0.5)
            found = store.tensors(stage.address, "mask")
            assert all(torch.equal(found[name], expected[name]) for name in expected)
            weights = store.tensors(stage.address, "weights")
            assert all((weights[name][found[name] == 0] == 0).all() for name in found)


def test_rows_agree_with_evaluating_the_stored_weights(finished):
    from ticketdiet.data.images import load_images
    from ticketdiet.models.build import build_model

    plan, store = finished
    images = load_images("digits", limit=96)
    model = build_model("resnet8", width=4, in_channels=1, image_size=8)
    rows = read_rows(plan, store)
    for stage in plan.stages.values():
        if stage.kind == "level":
            result = evaluate(model, images.test, weights=store.tensors(stage.address, "weights"))
            own = rows[(rows.address == stage.address) & (rows.split == "test") & (rows.metric == "accuracy")]
            assert own.value.iloc[0] == pytest.approx(result.accuracy, abs=1e-9)


def test_arms_at_one_replicate_share_their_initialisation(finished):
    plan, store = finished
    none = next(s for s in plan.stages.values() if s.kind == "pretrain" and s.steps == 0)
    from ticketdiet.core.seeds import RunSeeds
    from ticketdiet.models.build import build_model

    seed = RunSeeds.of(0, 0).initialisation
    fresh = build_model("resnet8", width=4, in_channels=1, image_size=8, seed=seed).state_dict()
    stored = store.tensors(none.address, "weights")
    assert all(torch.equal(stored[name], fresh[name]) for name in fresh)


def test_the_chosen_subset_is_the_easiest_by_the_stored_scores(finished):
    plan, store = finished
    stage = next(s for s in plan.stages.values() if s.kind == "subset")
    scores = store.tensors(stage.inputs["score"], "scores")["matrix"].double().mean(0)
    chosen = store.tensors(stage.address, "subset")["indices"]
    assert len(chosen) == 32
    rest = torch.ones(96, dtype=torch.bool)
    rest[chosen] = False
    assert scores[chosen].max() <= scores[rest].min()


def test_children_start_from_their_parents_point_and_differ_from_it(finished):
    plan, store = finished
    for stage in plan.stages.values():
        if stage.kind == "barrier":
            all_weights = [store.tensors(address, "weights") for address in stage.inputs.values()]
            weights = [found[min(found)] for found in all_weights]
            assert not torch.equal(weights[0], weights[1])
            assert not torch.equal(weights[1], weights[2])
            assert len({plan.stages[a].inputs["point"] for a in stage.inputs.values()}) == 1


def test_barrier_rows_are_one_a_pair_and_one_a_family(finished):
    plan, store = finished
    rows = read_rows(plan, store)
    own = rows[(rows.metric == "barrier_mean") & (rows.split == "train") & (rows.arm == "all@4")]
    assert sorted(own.pair) == ["child1-child2", "family", "parent-child1", "parent-child2"]
    family = own[own.pair == "family"].value.iloc[0]
    assert family == pytest.approx(own[own.pair != "family"].value.mean())
    assert set(rows[rows.metric == "connected_fraction"].tolerance) == {0.1}


def flip_a_byte(store, address, name):
    from pathlib import Path

    path = next(Path(store.url).rglob(f"{address}/{name}"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def damaged(plan_tiny, store, run_tiny, contents):
    plan = plan_tiny("arms.easiest32@4.pretrain.steps=0", "pruning.levels=1")
    run_tiny(plan, store)
    before = contents(store, plan)
    victim = next(s.address for s in plan.stages.values() if s.kind == "level" and s.level == 0)
    flip_a_byte(store, victim, "weights.safetensors")
    return plan, store, victim, before


def test_a_damaged_result_is_named_made_again_and_others_are_not_touched(damaged, run_tiny, contents):
    plan, store, victim, before = damaged
    log = Log()
    run_tiny(plan, store, observer=log)
    assert log.of("set aside") == [victim]
    assert log.of("started") == [victim]
    assert contents(store, plan) == before


def test_damage_found_only_when_an_input_is_read_is_mended_too(damaged, monkeypatch, run_tiny, contents):
    plan, store, victim, before = damaged
    child = next(s.address for s in plan.stages.values() if s.inputs.get("previous") == victim)
    store.discard(child)
    honest = ResultStore.check
    seen = set()

    def overlook(self, address):
        if address == victim and "first" not in seen:
            seen.add("first")
            from ticketdiet.store.findings import Status

            return Status("done")
        return honest(self, address)

    monkeypatch.setattr(ResultStore, "check", overlook)
    log = Log()
    run_tiny(plan, store, observer=log)
    assert log.of("set aside") == [victim]
    assert contents(store, plan) == before


def test_a_diverging_arm_fails_alone_and_the_run_says_so(plan_tiny, store, run_tiny):
    plan = plan_tiny("arms.all@4.training={lr: 1.0e+30, precision: float32}")
    log = Log()
    with pytest.raises(
        StagesFailed, match=r"1 stage\(s\) failed[\s\S]*pretrain · all@4[\s\S]*not finite|stopped being finite"
    ):
        run_tiny(plan, store, observer=log)
    left = {plan.stages[address].uses[0].arm for address in stages_left(plan, store)}
    assert left == {"all@4"}


def test_layers_that_lose_all_weights_are_warned_of_by_name(plan_tiny, store, run_tiny):
    plan = plan_tiny("arms.easiest32@4.pretrain.steps=0", "pruning.levels=2", "pruning.fraction=0.97")
    log = Log()
    run_tiny(plan, store, observer=log)
    assert any("every weight of layer" in text for text in log.of("warning"))


def test_a_store_that_fails_stops_the_run(plan_tiny, store, monkeypatch, run_tiny):
    def full(*args, **kwargs):
        raise StoreError("disk full.")

    monkeypatch.setattr(ResultStore, "write", full)
    with pytest.raises(StoreError, match="disk full"):
        run_tiny(plan_tiny(), store)


def test_data_that_changed_since_planning_are_refused(plan_tiny, store, run_tiny):
    plan = plan_tiny()
    spec = plan.study.dataset.model_copy(update={"limit": 97})
    stages = {address: dataclasses.replace(stage, dataset=spec) for address, stage in plan.stages.items()}
    with pytest.raises(StagesFailed, match="The study was planned for"):
        run_tiny(dataclasses.replace(plan, stages=stages), store)
