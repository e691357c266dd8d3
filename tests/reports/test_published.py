"""The published curves are those of the paper, and are laid beside the arms that they belong to."""

import csv
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from ticketdiet.paper.claims.catalog import CLAIMS
from ticketdiet.paper.setting import load_setting
from ticketdiet.reports.figures import accuracy_figure
from ticketdiet.reports.published import curves_of, distance, published_curves
from ticketdiet.reports.rows import COLUMNS
from ticketdiet.studies.load import load_spec


def curve(dataset, kind, steps, size=None):
    found = [
        c
        for c in published_curves()
        if (c.dataset, c.curve, c.pretrain_steps, c.subset_size) == (dataset, kind, steps, size)
    ]
    assert len(found) == 1
    return found[0]


def rows_like(curve, *, shift=0.0, spread=(0.0,), arm="all@200"):
    """Rows of an arm whose replicates lie at the published means, shifted."""
    records = [
        {
            "study": "s",
            "arm": arm,
            "replicate": replicate,
            "level": int(level),
            "density": density,
            "step": 10,
            "metric": "accuracy",
            "split": "test",
            "value": mean + shift + off,
            "address": "a",
        }
        for level, density, mean in zip(curve.levels, curve.densities, curve.means, strict=True)
        for replicate, off in enumerate(spread)
    ]
    return pd.DataFrame(records, columns=list(COLUMNS))


@pytest.mark.parametrize(
    ("dataset", "kind", "steps", "size", "density", "accuracy"),
    [  # as the text of the paper's figures gives them, to the digits printed there
        ("CIFAR-10", "all_data", 1000, None, 0.107, 0.910),
        ("CIFAR-10", "random", 200, 3200, 0.107, 0.9016),
        ("CIFAR-10", "all_data", 200, None, 0.107, 0.8962),
    ],
)
def test_the_published_accuracies_are_those_of_the_figures(dataset, kind, steps, size, density, accuracy):
    found = curve(dataset, kind, steps, size)
    at = int(np.argmin(np.abs(found.densities - density)))
    assert found.means[at] == pytest.approx(accuracy, abs=6e-4)


def test_every_row_of_the_file_but_the_dense_ones_belongs_to_one_curve():
    with (resources.files("ticketdiet.reports") / "published.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["curve"] != "dense"]
    assert sum(len(c.levels) for c in published_curves()) == len(rows)
    assert all((np.diff(c.densities) < 0).all() for c in published_curves())


def test_population_deviations_are_turned_into_sample_ones():
    found = curve("CIFAR-10", "all_data", 200)
    with (resources.files("ticketdiet.reports") / "published.csv").open(encoding="utf-8") as file:
        first = next(
            row
            for row in csv.DictReader(file)
            if (row["dataset"], row["curve"], row["pretrain_steps"], row["level"])
            == ("CIFAR-10", "all_data", "200", "0")
        )
    assert found.stds[0] == pytest.approx(float(first["std_accuracy"]) * (4 / 3) ** 0.5)


def test_the_papers_recipe_finds_its_curves_and_a_miniature_finds_none():
    assert list(curves_of(load_spec("cifar10-resnet20"))) == [
        "none@0",
        "all@200",
        "all@400",
        "random3200@200",
        "easiest3200@200",
        "hardest3200@200",
    ]
    assert curves_of(load_spec("mini-cifar")) == {}


@pytest.mark.parametrize("claim", ["C3", "C4", "C7"])
def test_controls_noise_and_other_scores_have_no_published_curve(claim):
    found = curves_of(CLAIMS[claim].study(load_setting("cifar10-resnet20", "full")))
    assert found
    assert not any(word in name for name in found for word in ("like", "balanced", "unforgotten", "noise", "barrier"))


def test_a_distance_is_the_mean_and_the_largest_of_the_differences():
    published = curve("CIFAR-10", "all_data", 200)
    rows = rows_like(published, shift=0.01, spread=(-0.002, 0.002))
    rows.loc[rows["level"] == 3, "value"] -= 0.05
    found = distance(rows, "all@200", published)
    levels = len(published.levels)
    assert found.points == levels
    assert found.mean == pytest.approx((0.01 * (levels - 1) - 0.04) / levels)
    assert found.largest == pytest.approx(-0.04)
    assert (found.n, found.published_n) == (2, 4)


def test_the_fraction_within_two_standard_errors_is_counted_by_hand():
    published = curve("CIFAR-10", "all_data", 200)
    spread = (-0.002, 0.0, 0.002)
    rows = rows_like(published, shift=0.004, spread=spread)
    errors = np.sqrt(np.std(spread, ddof=1) ** 2 / 3 + published.stds**2 / 4)
    assert distance(rows, "all@200", published).within == pytest.approx(np.mean(2 * errors >= 0.004))


def test_one_replicate_has_no_fraction_and_other_densities_have_no_distance():
    published = curve("CIFAR-10", "all_data", 200)
    assert np.isnan(distance(rows_like(published), "all@200", published).within)
    apart = rows_like(published).assign(density=lambda rows: rows["density"] * 0.93)
    assert distance(apart, "all@200", published) is None


def test_the_accuracy_figure_draws_the_published_curve_in_the_colour_of_its_arm():
    published = curve("CIFAR-10", "all_data", 200)
    figure = accuracy_figure(rows_like(published, spread=(-0.001, 0.001)), published={"all@200": published})
    ours, theirs = figure.axes[0].get_lines()[:2]
    assert theirs.get_label() == published.label == "published: all data, k = 200"
    assert theirs.get_color() == ours.get_color()
    np.testing.assert_allclose(np.asarray(theirs.get_ydata(), dtype=float), 100 * published.means)
