"""What ``test_convolutions.py`` runs in a process of its own, since it may die: narrow networks, against float64.

One line for each thing: its name and the norm of its error, relative to its own.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.landscape.curvature import curvature_operator
from ticketdiet.models.build import build_model
from ticketdiet.scores.gradient_norms import gradient_norms
from ticketdiet.training.batches import ImageBatches, prepare
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe

RECIPE = Recipe(
    steps=4,
    batch_size=32,
    lr=0.02,
    weight_decay=0.0,
    schedule="constant",
    precision="float32",
    sparse_kernels="off",
)
SEEDS = RunSeeds.of(0, 0)


def drawn_images(side):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (64, 3, side, side), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.randint(0, 4, (64,), generator=generator), tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


def own_module(channels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(channels)
        return nn.Sequential(
            nn.Conv2d(3, channels, 1, stride=2),
            nn.Tanh(),
            nn.Conv2d(channels, 8, 1, stride=2, bias=False),
            nn.Tanh(),
            nn.ConvTranspose2d(8, channels, 1, stride=2, output_padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(4),
        )


def trained_in_float64(model, images):
    """The weights after torch's own SGD on a contiguous copy of the network in float64, which oneDNN has no part in."""
    model = copy.deepcopy(model).double().train()
    optimiser = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum)
    batches = ImageBatches(images, RECIPE, SEEDS)
    for step in range(RECIPE.steps):
        batch = batches.batch(step)
        optimiser.zero_grad()
        F.cross_entropy(model(batch.inputs.double().contiguous()), batch.labels).backward()
        optimiser.step()
    return model.state_dict()


def error(found, wanted):
    found, wanted = torch.as_tensor(found).double(), torch.as_tensor(wanted).double()
    return float((found - wanted).norm() / wanted.norm())


def moved(weights, model):
    return torch.cat([(weights[name].double() - start.double()).flatten() for name, start in model.named_parameters()])


def trains(name, model, images):
    start = copy.deepcopy(model)
    wanted, found = trained_in_float64(model, images), train(model, images, RECIPE, seeds=SEEDS).weights
    with torch.no_grad():
        print(name, error(moved(found, start), moved(wanted, start)), flush=True)


def main():
    # A ReLU at its kink goes one way in float32 and the other in float64, and training then goes two ways.
    torch.relu_ = torch.tanh_
    small, large = drawn_images(16), drawn_images(80)
    for width in range(2, 8):
        trains(f"resnet8 of width {width}", build_model("resnet8", width=width, num_classes=4, seed=1), small)
    for name, images in (("small", small), ("large", large)):
        model = own_module(5)
        model(prepare(images.pixels[:1], images))
        trains(f"own module on {name} images", model, images)
    model = build_model("resnet8", width=3, num_classes=4, seed=2).eval()
    inputs, labels = prepare(small.pixels, small), small.labels
    exact = copy.deepcopy(model).double()
    wanted = gradient_norms(exact, inputs.double(), labels, method="func")
    for method in ("closed", "func"):
        for chunk in (1, 16):
            found = gradient_norms(model, inputs, labels, method=method, chunk=chunk)
            print(f"GraNd {method} by {chunk}", error(found, wanted), flush=True)
    vector = np.random.default_rng(0).normal(size=sum(p.numel() for p in model.parameters()))
    products = [
        curvature_operator(model, model.state_dict(), small, precision=precision).multiply(vector)
        for precision in ("float32", "float64")
    ]
    print("Hessian", error(*products), flush=True)


if __name__ == "__main__":
    main()
