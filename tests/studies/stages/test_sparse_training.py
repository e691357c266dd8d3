import pytest
import torch

from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.sparse_training import SparseTraining, kept_weights
from ticketdiet.tickets.controls import reinitialised, shuffled_mask, sign_only
from ticketdiet.tickets.masks import apply_mask
from ticketdiet.tickets.sensitivity import snip_mask

ARMS = ["shuffled@4", "snip@4", "magnitude@4", "reinitialised@4", "signs@4"]


def ticket(tiny):
    return tiny.make(Level, "all@4", 1)


def kept_by(mask):
    return sum(int(kept.sum()) for kept in mask.values())


@pytest.mark.parametrize("arm", ARMS)
def test_every_control_keeps_as_many_weights_as_the_ticket_and_trains_the_same_steps_on_all_images(tiny, arm):
    stage, training, _ = tiny.prepare(SparseTraining, arm, 1)
    assert kept_by(training.mask) == kept_by(tiny.context.mask(ticket(tiny).address))
    assert (training.start_step, training.stop_step, training.examples) == (4, None, None)
    assert training.recipe == stage.recipe == ticket(tiny).recipe
    assert training.seeds == ticket(tiny).seeds


def test_controls_of_the_weights_have_the_mask_of_their_level(tiny, same):
    expected = tiny.context.mask(ticket(tiny).address)
    for arm in ("reinitialised@4", "signs@4"):
        stage, training, _ = tiny.prepare(SparseTraining, arm, 1)
        assert stage.level == ticket(tiny).address
        assert same(training.mask, expected)


def test_controls_of_the_mask_start_at_the_rewinding_point(tiny, same):
    for arm in ("shuffled@4", "snip@4", "magnitude@4"):
        stage, training, start = tiny.prepare(SparseTraining, arm, 1)
        assert same(start, apply_mask(tiny.context.weights(stage.point), training.mask))


def test_a_shuffled_mask_is_that_of_the_level_permuted_by_the_seed_of_the_control(tiny, same):
    stage, training, _ = tiny.prepare(SparseTraining, "shuffled@4", 1)
    found = tiny.context.mask(stage.level)
    assert same(training.mask, shuffled_mask(found, stage.control_seed))
    assert not same(training.mask, found)


def test_one_shot_magnitude_is_of_the_trained_dense_level(tiny):
    stage, training, _ = tiny.prepare(SparseTraining, "magnitude@4", 1)
    assert stage.level == tiny.find(Level, "all@4", 0).address
    dense = tiny.context.weights(stage.level)
    kept, removed = (torch.cat([dense[n][m == v].abs() for n, m in training.mask.items()]) for v in (1, 0))
    assert kept.min() >= removed.max()


def test_snip_looks_at_the_rewinding_point_through_the_images_that_the_study_says(tiny, same):
    stage, training, _ = tiny.prepare(SparseTraining, "snip@4", 1)
    assert stage.level is None
    model = tiny.initial()
    model.load_state_dict(tiny.context.weights(stage.point))
    total = sum(mask.numel() for mask in training.mask.values())
    expected = snip_mask(model, stage.kept / total, tiny.train, num_images=20, seed=stage.control_seed)
    assert same(training.mask, expected)


def test_reinitialised_weights_are_drawn_by_the_seed_of_the_control(tiny, same):
    stage, training, start = tiny.prepare(SparseTraining, "reinitialised@4", 1)
    assert same(start, reinitialised(tiny.initial, stage.control_seed, training.mask))
    assert not same(start, apply_mask(tiny.initial().state_dict(), training.mask))


def test_signs_are_of_the_point_and_magnitudes_of_the_initialisation(tiny, same):
    stage, training, start = tiny.prepare(SparseTraining, "signs@4", 1)
    expected = sign_only(tiny.context.weights(stage.point), tiny.initial().state_dict(), training.mask)
    assert same(start, expected)


def test_what_is_kept_is_what_a_level_keeps(tiny, same, pretended):
    stage, training, start = tiny.prepare(SparseTraining, "signs@4", 1)
    result = stage.finish(tiny.context, training, pretended(training))
    assert same(result.tensors["weights"], start)
    assert same(result.tensors["mask"], training.mask)
    facts = tiny.store.document(ticket(tiny).address, "facts")
    assert set(result.facts) == set(facts)
    assert all(result.facts[key] == facts[key] for key in ("density", "kept", "layer_densities"))


@pytest.mark.parametrize("level", range(6))
def test_the_weights_that_exact_pruning_keeps_are_counted_as_it_prunes(tiny, level):
    from ticketdiet.tickets.masks import dense_mask
    from ticketdiet.tickets.pruning import prune

    arm, network, model = tiny.plan.study.arm("all@4"), ticket(tiny).network, tiny.initial()
    mask = dense_mask(model)
    for _ in range(level):
        mask = prune(model.state_dict(), mask, 0.5)
    assert kept_weights(network, arm.pruning, level) == kept_by(mask)
