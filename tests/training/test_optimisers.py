import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.models.build import build_model
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.engine import Engine
from ticketdiet.training.loop import TrainingState, train
from ticketdiet.training.observers import StateObserver
from ticketdiet.training.optimisers import OPTIMISERS, Optimiser
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)
ADAMW = Recipe(
    steps=30,
    batch_size=8,
    lr=3e-3,
    weight_decay=0.1,
    optimiser="adamw",
    optimiser_options={"betas": [0.8, 0.97], "eps": 1e-6},
)


class SignDescent(Optimiser):
    """Goes by the sign alone, and by a bit where there is none: it does not keep zeros."""

    state_names = ("last",)

    def direction(self, weights, gradient, state, update):
        state["last"].copy_(gradient.sign() + 0.01)
        return state["last"]


def some_mask():
    return {"0.weight": (torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.5).to(torch.uint8)}


def adamw_of_torch(model, images, recipe, count):
    options = recipe.optimiser_options
    optimiser = torch.optim.AdamW(
        model.parameters(), recipe.lr, tuple(options["betas"]), options["eps"], recipe.weight_decay
    )
    batches = ImageBatches(images, recipe, SEEDS)
    for step in range(count):
        batch = batches.batch(step)
        optimiser.zero_grad()
        F.cross_entropy(model(batch.inputs), batch.labels).backward()
        optimiser.step()
    return optimiser


def test_ten_updates_agree_with_torchs_adamw(images, make_model):
    ours, theirs = make_model(), make_model()
    state = train(ours, images, ADAMW, seeds=SEEDS, stop_step=10).optimiser
    expected = adamw_of_torch(theirs, images, ADAMW, 10).state
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
        for kind in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(state[kind][name], expected[b][kind], rtol=1e-3, atol=1e-6, msg=name)


def test_after_rewinding_the_moments_of_adamw_count_from_the_rewinding_point(images, make_model):
    recipe = Recipe(steps=30, batch_size=8, lr=0.01, weight_decay=0.0, schedule="constant", optimiser="adamw")
    model = make_model()
    before = model[5].weight.clone()
    train(model, images, recipe, seeds=SEEDS, start_step=20, stop_step=21)
    moved = (model[5].weight - before).abs()
    torch.testing.assert_close(moved[moved > 1e-3], torch.full_like(moved[moved > 1e-3], 0.01), rtol=1e-2, atol=0)
    assert (moved > 1e-3).any()


@pytest.mark.parametrize("killed_at", [0, 1, 13, 29])
@pytest.mark.parametrize("start", [0, 1])
def test_a_resumed_training_under_adamw_is_equal_to_the_bit(images, make_model, killed_at, start):
    states = []
    how = {"seeds": SEEDS, "start_step": start, "mask": some_mask()}
    whole = train(make_model(), images, ADAMW, observers=[StateObserver(states.append, 99.0, 1)], **how)
    middle = next(state for state in states if state.step == max(killed_at, start + 1))
    state = TrainingState.from_tensors(middle.to_tensors(), 0)
    resumed = train(make_model(9), images, ADAMW, resume=state, **how)
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name
    for kind in ("exp_avg", "exp_avg_sq"):
        assert all(torch.equal(resumed.optimiser[kind][name], value) for name, value in whole.optimiser[kind].items())


@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "sign"])
@pytest.mark.parametrize("deferred", [False, True])
def test_removed_weights_are_exactly_zero_under_every_optimiser(images, make_model, optimiser, deferred):
    with OPTIMISERS.temporarily("sign", SignDescent):
        recipe = Recipe(steps=30, batch_size=8, lr=0.01, weight_decay=0.1, optimiser=optimiser)
        engine = Engine(make_model(), recipe, some_mask(), deferred=deferred)
    batches, removed = ImageBatches(images, recipe, SEEDS), some_mask()["0.weight"] == 0
    for step in range(12):
        engine.update(engine.forward(batches.batch(step))[1], 0.01, step)
        assert (engine.model.get_parameter("0.weight")[removed] == 0).all()
    assert (engine.model.get_parameter("0.weight")[~removed] != 0).all()


def test_sparse_kernels_train_under_adamw_as_the_stock_ones_do_to_rounding(images):
    recipe = Recipe(steps=6, batch_size=8, lr=1e-3, optimiser="adamw", optimiser_options={"eps": 1e-3})
    found = {}
    for kernels in ("auto", "off"):
        model = build_model("resnet8", num_classes=4, image_size=8, width=8)
        generator = torch.Generator().manual_seed(3)
        mask = {
            name: (torch.rand(value.shape, generator=generator) < 0.15).to(torch.uint8)
            for name, value in model.named_parameters()
            if value.dim() > 1
        }
        found[kernels] = train(
            model, images, recipe.model_copy(update={"sparse_kernels": kernels}), seeds=SEEDS, mask=mask, stop_step=3
        )
    for name, value in found["off"].weights.items():
        torch.testing.assert_close(found["auto"].weights[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_an_optimiser_of_another_package_trains(images, make_model):
    with OPTIMISERS.temporarily("sign", SignDescent):
        recipe = Recipe(steps=5, batch_size=8, lr=0.01, schedule="constant", weight_decay=0.0, optimiser="sign")
        model = make_model()
        before = model[5].weight.clone()
        trained = train(model, images, recipe, seeds=SEEDS, stop_step=1)
        moved = (model[5].weight - before).abs()
        assert recipe.identity()["optimiser"] == "sign"
    torch.testing.assert_close(moved.max(), torch.tensor(0.0101))
    assert set(trained.optimiser) == {"last"}


def test_the_state_of_another_optimiser_is_no_state_to_resume_from(images, make_model):
    sgd = train(make_model(), images, Recipe(steps=30, batch_size=8), seeds=SEEDS, stop_step=1)
    state = TrainingState(1, sgd.weights, sgd.optimiser)
    with pytest.raises(UserError, match=r"lacks 'exp_avg' of the optimiser 'adamw'"):
        train(make_model(), images, ADAMW, seeds=SEEDS, resume=state)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"optimiser": "adam"}, "unknown optimiser 'adam'; expected one of: adamw, sgd; did you mean 'adamw'"),
        ({"optimiser": "adamw", "momentum": 0.5}, "momentum has no effect with optimiser 'adamw'; leave momentum out"),
        ({"optimiser": "adamw", "nesterov": True}, "nesterov has no effect with optimiser 'adamw'"),
        ({"optimiser": "adamw", "optimiser_options": {"beta": 0.9}}, "'adamw' has no option 'beta'.*betas, eps"),
        ({"optimiser": "adamw", "optimiser_options": {"betas": [0.9, 1.0]}}, "'betas'.*below 1"),
        ({"optimiser": "adamw", "optimiser_options": {"betas": 0.9}}, r"got 0\.9 for its option 'betas'"),
        ({"optimiser": "adamw", "optimiser_options": {"eps": 0}}, "'eps'.*a value greater than 0"),
        ({"optimiser_options": {"eps": 1e-8}}, "optimiser 'sgd' has no option 'eps'; expected no options"),
    ],
)
def test_optimisers_and_options_that_do_not_go_together_are_refused(keys, words):
    with pytest.raises(ValidationError, match=words):
        Recipe(**keys)


def test_the_identity_holds_only_what_can_change_a_number():
    plain = Recipe().identity()
    assert not {"optimiser", "optimiser_options", "loss", "loss_options"} & set(plain)
    adamw = Recipe(optimiser="adamw").identity()
    assert set(adamw) == set(plain) - {"momentum", "nesterov"} | {"optimiser", "optimiser_options"}
    assert adamw == Recipe(optimiser="adamw", optimiser_options={"eps": 1e-8}).identity()
    assert adamw != Recipe(optimiser="adamw", optimiser_options={"eps": 1e-7}).identity()


@pytest.mark.parametrize("keys", [{}, {"optimiser": "adamw"}, {"loss": "focal", "schedule": "cosine"}])
def test_a_recipe_can_be_read_back_from_its_identity(keys):
    identity = Recipe(**keys).identity()
    assert Recipe.model_validate(identity).identity() == identity
