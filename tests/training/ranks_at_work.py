"""What ``test_distributed.py`` lets one process do, or several together: every case gives tensors or a message.

Arguments: rank, number of ranks, a file where they find each other, and the file for what came out. Under torchrun:
a folder alone, for a file of each rank.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.landscape.measurement import measure_barrier
from ticketdiet.models.build import build_model
from ticketdiet.scores.driver import score_examples, score_replicate
from ticketdiet.tickets.masks import dense_mask
from ticketdiet.training.distributed import Ranks, joined, present_ranks
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.loop import DivergedAt, train
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)
RECIPE = Recipe(steps=12, batch_size=16, lr=0.05, crop_padding=1)


def drawn_images(count=96):
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (count,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


IMAGES = drawn_images()


def network(seed=0):
    return build_model("resnet8", width=4, num_classes=4, image_size=8, seed=seed)


def half_mask(model):
    generator = torch.Generator().manual_seed(2)
    return {
        name: (torch.rand(kept.shape, generator=generator) < 0.5).to(torch.uint8)
        for name, kept in dense_mask(model).items()
    }


def flat(weights):
    return {name: value.float() for name, value in weights.items()}


def trained(recipe=RECIPE, **options):
    observers = [BatchLossObserver(4), EvaluationObserver({"all": IMAGES}, (0, 6, 12), "float32")]
    found = train(network(), IMAGES, recipe, seeds=SEEDS, observers=observers, **options)
    momenta = {f"momentum of {name}": value for name, value in found.optimiser["momentum"].items()}
    trace = torch.tensor([row.value for row in found.trace], dtype=torch.float64)
    return {**flat(found.weights), **momenta, "trace": trace}


def masked():
    return trained(mask=half_mask(network()))


def ghosts():
    return trained(RECIPE.model_copy(update={"ghost_batch_size": 4}))


def in_bfloat16():
    start = torch.cat([value.detach().flatten() for value in network().parameters()])
    model = network()
    train(model, IMAGES, RECIPE.model_copy(update={"precision": "bfloat16"}), seeds=SEEDS, stop_step=3)
    return {"moved": torch.cat([value.detach().flatten() for value in model.parameters()]) - start}


def resumed():
    """The largest difference to the same training without a pause: none at all."""
    states = []

    class Keep(Observer):
        def before_step(self, step, model, capture):
            if step == 5:
                states.append(capture())

    whole = train(network(), IMAGES, RECIPE, seeds=SEEDS, observers=[Keep()]).weights
    again = train(network(9), IMAGES, RECIPE, seeds=SEEDS, observers=[Observer()], resume=states[0]).weights
    return {name: (whole[name] - again[name]).abs().max().double() for name in whole}


def recorded():
    """A score that watches the training sees all examples of each batch."""
    return {"forgetting": score(kind="forgetting"), "loss": score(kind="loss")}


def score(kind):
    row = score_replicate(kind, 0, IMAGES, network, RECIPE, seed=1)
    return torch.from_numpy(row).nan_to_num(posinf=100)


def el2n():
    scores = score_examples("el2n", IMAGES, network, RECIPE, models=1, steps=4)
    grand = score_examples("grand", IMAGES.take(torch.arange(30)), network, RECIPE, models=1, steps=2)
    return {"el2n": torch.from_numpy(scores.matrix), "grand": torch.from_numpy(grand.matrix)}


def evaluated():
    sizes = {size: evaluate(network(), IMAGES, batch_size=size) for size in (7, 50, 96, 500)}
    return {
        f"{name} by {size}": getattr(found, name) for size, found in sizes.items() for name in ("losses", "correct")
    }


def barriers():
    a, b = network(1).state_dict(), network(2).state_dict()
    found = {
        policy: measure_barrier(network(), a, b, IMAGES, batch_norm=policy, batch_size=20)
        for policy in ("interpolate", "recalibrate", "batch")
    }
    return {policy: barrier.losses for policy, barrier in found.items()}


def one_bad_example():
    """An example that only one rank computes makes the loss infinite for all, at the same step."""
    pixels = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels[20] = float("inf")
    images = replace(IMAGES.take(torch.arange(32)), pixels=pixels)
    try:
        train(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images, RECIPE, seeds=SEEDS)
    except DivergedAt as error:
        return f"{error.came} with the state of step {error.state.step}"


def batch_of_fifteen():
    try:
        train(network(), IMAGES, RECIPE.model_copy(update={"batch_size": 15}), seeds=SEEDS)
    except UserError as error:
        return str(error)


def ghosts_too_large():
    try:
        trained(RECIPE.model_copy(update={"ghost_batch_size": 16}))
    except UserError as error:
        return str(error)


def first_says():
    return f"{present_ranks().first_says(present_ranks().rank)} of {present_ranks().count}"


CASES = [
    trained,
    masked,
    ghosts,
    in_bfloat16,
    resumed,
    recorded,
    el2n,
    evaluated,
    barriers,
    one_bad_example,
    batch_of_fifteen,
    ghosts_too_large,
    first_says,
]


def main(rank, count, rendezvous, out):
    torch.set_num_threads(1)
    if count == 1:
        results = {case.__name__: case() for case in CASES}
    else:
        with joined(Ranks(rank, count), Path(rendezvous).as_uri(), torch.device("cpu")):
            results = {case.__name__: case() for case in CASES}
    torch.save(results, out)


def main_of_torchrun(folder):
    torch.set_num_threads(1)
    ranks = Ranks.of_torchrun()
    with joined(ranks, "env://", torch.device("cpu")):
        torch.save(trained(), Path(folder, f"rank{ranks.rank} of {ranks.count}"))


if __name__ == "__main__":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    if len(sys.argv) == 2:
        main_of_torchrun(sys.argv[1])
    else:
        main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
