import itertools
from typing import Any

import pytest

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.data.images import load_images
from ticketdiet.landscape.barrier import connected_fraction
from ticketdiet.landscape.family import measure_family
from ticketdiet.landscape.rewind_search import ConnectedWhen
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.find_rewind import (
    choose_arm,
    default_candidates,
    find_rewinding_point,
)
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.record import study_digest, study_records
from ticketdiet.studies.stored_networks import load_network

STEPS, LEVELS = 10, 3
SETTINGS = (
    f"training.steps={STEPS}",
    f"pruning.levels={LEVELS}",
    "scores={}",
    "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}",
)
ONE: dict[str, Any] = {"workers": 1, "threads": 1}
ALWAYS, NEVER = ConnectedWhen(max_barrier=1e9), ConnectedWhen(max_barrier=-1e9)


@pytest.fixture(scope="module")
def study(tiny_text):
    return parse_study(tiny_text, SETTINGS)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, study):
    store = ResultStore.open(tmp_path_factory.mktemp("search"))
    return store, find_rewinding_point(study, store, rule=NEVER, candidates=(2, 0, 4), **ONE)


def test_when_no_candidate_is_connected_there_is_no_answer(searched):
    _, found = searched
    assert found.k is None
    assert found.answer.candidates == (0, 2, 4)
    assert [evidence.k for evidence in found.answer.evidence] == [2, 4]


def test_a_second_search_makes_nothing_new_and_says_the_same(searched, study):
    store, found = searched
    before = store.addresses()
    again = find_rewinding_point(study, store, rule=NEVER, candidates=(2, 0, 4), **ONE)
    assert found.made > 0
    assert again.made == 0
    assert store.addresses() == before
    assert again.answer == found.answer
    assert (again.cost, again.seconds) == (found.cost, found.seconds)


def test_the_evidence_is_the_family_measured_from_the_stored_weights(searched, study):
    store, found = searched
    images = load_images("digits", limit=96).train
    for evidence in found.answer.evidence:
        point = found.addresses[evidence.k]
        members = {
            manifest.kind + str(manifest.spec.get("child", "")): load_network(store, address)
            for address in store.addresses()
            for manifest in [store.manifest(address)]
            if manifest.inputs.get("point") == point
        }
        family = measure_family(
            members["level"].build(),
            members["level"].weights,
            [members["child1"].weights, members["child2"].weights],
            images,
        )
        assert evidence.mean_barrier == pytest.approx(family.mean, rel=1e-5, abs=1e-6)
        assert evidence.connected_fraction == pytest.approx(connected_fraction(family.per_example, 0.1))


def test_the_cost_is_three_trainings_a_probe_and_the_sweep_all_levels_of_all_candidates(searched):
    _, found = searched
    assert found.cost.steps == sum(k + 3 * (STEPS - k) for k in (2, 4))
    assert found.sweep.steps == sum(k + (LEVELS + 1) * (STEPS - k) for k in (0, 2, 4))
    assert found.cost.examples == 16 * found.cost.steps
    assert found.sweep_over_search == found.sweep.steps / found.cost.steps
    assert found.seconds > 0


def test_when_every_candidate_is_connected_the_smallest_is_the_answer(searched, study):
    store, _ = searched
    found = find_rewinding_point(study, store, rule=ALWAYS, candidates=(0, 2, 4), max_k=2, **ONE)
    assert found.k == 0
    assert found.answer.candidates == (0, 2)


def test_probes_share_the_trainings_of_the_studys_own_arms_even_behind_a_score_of_barriers(
    tiny_text, tmp_path, run_tiny
):
    more = (
        "pruning.levels=1",
        "children=2",
        "replicates=2",
        "scores={far: {kind: barrier, arm: none@0}}",
        "arms.easy@2={pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: far}}}",
    )
    study, store = parse_study(tiny_text, [*SETTINGS, *more]), ResultStore.open(tmp_path / "store")
    run_tiny(plan_study(study), store)
    found = find_rewinding_point(study, store, arm="easy@2", rule=ALWAYS, candidates=(2,), **ONE)
    assert (found.k, found.made) == (2, 0)
    both = find_rewinding_point(study, store, arm="easy@2", rule=ALWAYS, candidates=(2,), replicates=2, **ONE)
    assert both.made == 0
    assert both.answer.evidence != found.answer.evidence


def test_what_a_search_kept_is_recorded_as_that_of_its_study_and_no_other(searched, study):
    store, _ = searched
    records = list(study_records(store))
    assert {record.of for record in records} == {study_digest(study)}
    assert study_digest(study) not in {record.digest for record in records}  # the study itself was not run
    assert set(store.addresses()) <= {address for record in records for address in record.plan.stages}
    assert study_digest(study.model_copy(update={"seed": 1})) != study_digest(study)


def test_the_arm_is_the_first_that_pretrains_or_the_one_that_is_named(study):
    assert choose_arm(study) == "all@4"
    assert choose_arm(study, "none@0") == "none@0"
    with pytest.raises(UnknownName, match="unknown arm 'al@4'"):
        choose_arm(study, "al@4")


@pytest.mark.parametrize(("steps", "max_k"), [(300, None), (62400, 2000), (10, 0), (1, None)])
def test_default_candidates_rise_from_0_by_about_half_up_to_the_largest(steps, max_k):
    ks = default_candidates(steps, max_k)
    assert ks[0] == 0
    assert ks[-1] <= (steps // 2 if max_k is None else max_k)
    assert all(1 < later / earlier <= 2 for earlier, later in itertools.pairwise(ks[1:]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"candidates": (0, STEPS)}, r"\[0, 9\]"),
        ({"candidates": (-1, 2)}, r"\[0, 9\]"),
        ({"candidates": (2, 2)}, "each once"),
        ({"candidates": (5,), "max_k": 3}, "up to 3"),
        ({"candidates": ()}, "at least one step"),
        ({"replicates": 0}, "at least 1"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused_before_any_training(tmp_path, study, options, says):
    store = ResultStore.open(tmp_path / "store")
    with pytest.raises(UserError, match=says):
        find_rewinding_point(study, store, **ONE, **options)
    assert not store.addresses()
