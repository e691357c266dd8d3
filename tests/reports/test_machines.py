import pandas as pd
import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.reports.machine_columns import choose_columns
from ticketdiet.reports.machines import Arithmetic, mixed_machines
from ticketdiet.reports.reading import read_rows
from ticketdiet.store.results import ResultStore

SETTINGS = ("pruning.levels=1", "children=2", "scores={}", "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}")
ROWS = [{"step": 12, "metric": "accuracy", "split": "test", "value": 0.5}]


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny(*SETTINGS)


@pytest.fixture
def store(tmp_path):
    return ResultStore.open(tmp_path / "store")


def made_on(*, cpu="Imaginary CPU", capability="AVX512", threads=1, torch="2.14.1+cpu", device="cpu", **more):
    machine = {"cpu": cpu, "capability": capability, "threads": threads, "device": device, **more}
    return {"machine": machine, "versions": {"torch": torch}, "seconds": 1.5}


def keep(plan, store, others=None, *, default=None):
    """Keep a result of every stage, made on ``default``; ``others`` maps (kind, arm) to where that was made."""
    for address, stage in plan.stages.items():
        provenance = (others or {}).get((stage.kind, stage.uses[0].arm), default or made_on())
        store.write(
            address,
            kind=stage.kind,
            version=stage.version,
            spec=stage.identity,
            inputs=stage.inputs,
            documents={"rows": ROWS, "facts": {"density": 0.5}},
            provenance=provenance,
        )


def test_rows_show_where_they_were_made_when_asked(plan, store):
    keep(plan, store, {("level", "none@0"): made_on(threads=2, capability="AVX2")})
    rows = choose_columns(read_rows(plan, store), store, ["arm", "kind", "value", "threads", "capability"])
    assert list(rows.columns) == ["arm", "kind", "value", "threads", "capability"]
    levels = rows[rows["kind"] == "level"].drop_duplicates()
    assert levels.values.tolist() == [["none@0", "level", 0.5, 2, "AVX2"], ["all@4", "level", 0.5, 1, "AVX512"]]


def test_every_column_of_the_machine_is_that_of_the_manifest(plan, store):
    keep(plan, store)
    names = ["cpu", "capability", "threads", "torch", "device", "seconds"]
    row = choose_columns(read_rows(plan, store), store, names).iloc[0]
    assert row.tolist() == ["Imaginary CPU", "AVX512", 1, "2.14.1+cpu", "cpu", 1.5]


def test_results_of_several_devices_are_told_from_those_of_one(plan, store):
    keep(plan, store, {("level", "none@0"): made_on(device="H100", devices=4)}, default=made_on(device="H100"))
    said = mixed_machines(plan, store)
    assert "(none@0): 4 x H100, AVX512" in said
    assert "): H100, AVX512" in said


def test_columns_of_the_rows_alone_need_no_manifest_and_keep_their_order(plan, store):
    rows = pd.DataFrame({"arm": ["a"], "value": [0.5], "address": ["0" * 24]}, index=[7])
    assert choose_columns(rows, store, ["value", "arm"]).equals(rows[["value", "arm"]])


def test_rows_of_results_that_do_not_say_where_they_were_made_have_nothing_there(plan, store):
    keep(plan, store, default={"seconds": 2})
    row = choose_columns(read_rows(plan, store), store, ["threads", "cpu", "seconds"]).iloc[0]
    assert pd.isna(row["threads"])
    assert row["cpu"] is None
    assert row["seconds"] == 2


def test_an_unknown_column_is_a_users_mistake_with_the_known_ones_listed(plan, store):
    keep(plan, store)
    with pytest.raises(
        UserError, match=r"unknown column 'thread'[\s\S]*arm[\s\S]*seconds[\s\S]*did you mean 'threads'"
    ):
        choose_columns(read_rows(plan, store), store, ["arm", "thread"])


def test_a_study_of_one_machine_or_of_none_yet_warns_of_nothing(plan, store):
    assert mixed_machines(plan, store) == ""
    keep(plan, store)
    assert mixed_machines(plan, store) == ""


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"capability": "AVX2"}, "cpu, AVX2, 1 thread, torch 2.14.1+cpu"),
        ({"threads": 2}, "cpu, AVX512, 2 threads, torch 2.14.1+cpu"),
        ({"torch": "2.15.0"}, "cpu, AVX512, 1 thread, torch 2.15.0"),
        ({"device": "NVIDIA H100"}, "NVIDIA H100, AVX512, 1 thread, torch 2.14.1+cpu"),
        ({"onednn_limit": "AVX2"}, "cpu, AVX512 (oneDNN up to AVX2), 1 thread, torch 2.14.1+cpu"),
    ],
)
def test_a_study_of_two_machines_says_which_with_how_many_results_of_which_arms(plan, store, other, says):
    keep(plan, store, {("level", "all@4"): made_on(**other)})
    first, usual, found, barriers = mixed_machines(plan, store).splitlines()
    assert first.startswith("the results of tiny were made with different kernels, threads")
    assert usual == f"  {len(plan.stages) - 2} results (none@0, all@4): cpu, AVX512, 1 thread, torch 2.14.1+cpu"
    assert found == f"  2 results (all@4): {says}"
    assert barriers.endswith("made differently: 1 (all@4 · replicate 0 · level 0)")


def test_another_cpu_with_the_same_kernels_is_not_a_mixture(plan, store):
    keep(plan, store, {("level", "all@4"): made_on(cpu="Another CPU", bfloat16=True)})
    assert mixed_machines(plan, store) == ""


def test_families_are_named_only_where_their_own_networks_differ(plan, store):
    elsewhere = made_on(capability="AVX2")
    kinds = ("pretrain", "level", "child", "barrier")
    keep(plan, store, {(kind, "all@4"): elsewhere for kind in kinds} | {("barrier", "none@0"): elsewhere})
    found = mixed_machines(plan, store)
    assert "results (all@4, none@0)" in found or "results (none@0, all@4)" in found
    assert "made differently" not in found


def test_what_is_missing_or_damaged_is_passed_over(plan, store, tmp_path):
    keep(plan, store, {("level", "all@4"): made_on(capability="AVX2")})
    for address, stage in plan.stages.items():
        if stage.kind == "level" and stage.uses[0].arm == "all@4":
            store.discard(address)
        elif stage.kind == "level":
            next((tmp_path / "store").rglob(f"{address}/manifest.json")).write_text("{}")
    assert mixed_machines(plan, store) == ""


@pytest.mark.parametrize("provenance", [{}, {"machine": None, "versions": []}, {"machine": {"device": "cpu"}}])
def test_results_that_do_not_record_their_machine_differ_from_those_that_do(plan, store, provenance):
    assert "kernels not recorded, threads not recorded, torch not recorded" in str(Arithmetic.of(provenance))
    keep(plan, store, {("level", "all@4"): provenance})
    assert "kernels not recorded" in mixed_machines(plan, store)
