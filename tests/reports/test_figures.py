"""What figures contain: lines at the right numbers, labels with units, files that do not change."""

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers

from ticketdiet.core.errors import UserError
from ticketdiet.reports.figures import accuracy_figure
from ticketdiet.reports.landscape_figures import (
    alpha_figure,
    barrier_against_score,
    barrier_histogram,
    connected_fraction_figure,
    eigenvalue_figure,
    prediction_figure,
)
from ticketdiet.reports.prediction import compare_predictors, predict
from ticketdiet.reports.score_figures import image_sheet, rank_stability_figure, score_figure
from ticketdiet.reports.style import arm_styles, save_figure

RNG = np.random.default_rng(0)


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def draw(figure):
    figure.canvas.draw()
    return figure


def overlapping_labels(axis, across):
    boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
    ends = sorted((box.x0, box.x1) if across else (box.y0, box.y1) for box in boxes)
    return [pair for pair in itertools.pairwise(ends) if pair[0][1] > pair[1][0]]


class TestAccuracy:
    def test_one_line_an_arm_goes_through_the_means(self, rows):
        figure = draw(accuracy_figure(rows))
        lines = lines_of(figure.axes[0])
        assert list(lines) == ["k=0", "all@20", "dense: mean of all arms"]
        assert lines["k=0"].get_xdata() == pytest.approx([1.0, 0.512, 0.262])
        assert lines["k=0"].get_ydata() == pytest.approx([91.0, 87.0, 80.0])
        assert lines["dense: mean of all arms"].get_ydata() == pytest.approx([91.5, 91.5])

    def test_the_band_is_one_sample_standard_deviation(self, rows):
        band = np.asarray(accuracy_figure(rows).axes[0].collections[0].get_paths()[0].vertices)
        at_the_end = band[np.isclose(band[:, 0], 0.262)][:, 1]
        assert (at_the_end.min(), at_the_end.max()) == (pytest.approx(78.0), pytest.approx(82.0))

    def test_dense_is_on_the_left_and_densities_are_labelled_in_percent(self, rows):
        axes = draw(accuracy_figure(rows)).axes[0]
        left, right = axes.get_xlim()
        assert left > 1.0 > right
        assert [label.get_text() for label in axes.get_xticklabels()] == ["100 %", "51.2 %", "26.2 %"]
        assert axes.get_ylabel() == "test accuracy (%)"

    def test_the_caption_says_what_the_band_is_and_over_how_many(self, rows):
        said = accuracy_figure(rows).axes[0].get_title(loc="left")
        assert said == "mean, band ± 1 standard deviation (ddof = 1) over 3 replicates"
        assert "95 % t-interval" in accuracy_figure(rows, spread="interval").axes[0].get_title(loc="left")
        single = accuracy_figure(rows[rows["replicate"] == 0])
        assert single.axes[0].get_title(loc="left") == "one replicate, no spread"
        draw(single)

    def test_the_reference_can_be_one_arm(self, rows):
        lines = lines_of(accuracy_figure(rows, reference="all@20").axes[0])
        assert lines["dense: all@20"].get_ydata() == pytest.approx([92.0, 92.0])
        with pytest.raises(UserError, match="no arm 'nope'"):
            accuracy_figure(rows, reference="nope")

    def test_other_metrics_keep_their_own_unit(self, make_rows):
        axes = accuracy_figure(make_rows(metric="loss"), metric="loss", split="test").axes[0]
        assert axes.get_ylabel() == "test loss (nats)"
        assert lines_of(axes)["k=0"].get_ydata() == pytest.approx([0.91, 0.87, 0.80])

    @pytest.mark.parametrize("levels", [1, 2, 7, 20, 40])
    def test_labels_do_not_overlap_however_many_levels(self, make_rows, levels):
        rows = pd.concat([make_rows({"a": [[0.9]]}, level=level, density=0.8**level) for level in range(levels)])
        axes = draw(accuracy_figure(rows)).axes[0]
        assert overlapping_labels(axes.xaxis, across=True) == []
        assert axes.get_xticklabels()[0].get_text() == "100 %"


def test_no_two_arms_look_alike():
    styles = arm_styles(f"arm {i}" for i in range(28))
    assert len({(style.color, style.marker, style.linestyle) for style in styles.values()}) == 28
    assert len({style.color for style in list(styles.values())[:7]}) == 7


def test_files_are_the_same_whenever_they_are_written(rows, tmp_path):
    first = save_figure(accuracy_figure(rows), tmp_path / "one" / "accuracy@3.5")
    second = save_figure(accuracy_figure(rows), tmp_path / "two" / "accuracy@3.5")
    assert [path.name for path in first] == ["accuracy@3.5.png", "accuracy@3.5.svg"]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert b"<dc:date>" not in first[1].read_bytes()


def test_a_folder_that_cannot_be_made_is_the_users_mistake(rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written(.|\n)*--out"):
        save_figure(accuracy_figure(rows), tmp_path / "file" / "accuracy")


def test_the_users_own_settings_and_windows_are_left_alone(rows, tmp_path):
    before = dict(mpl.rcParams)
    save_figure(accuracy_figure(rows), tmp_path / "a")
    assert dict(mpl.rcParams) == before
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


class TestLandscape:
    def test_loss_and_error_along_the_line_are_means_over_pairs(self):
        losses: dict[str, Any] = {"k=0": [[0.0, 2.0, 0.0], [0.0, 4.0, 0.0]], "k=20": [0.1, 0.1, 0.1]}
        errors: dict[str, Any] = {"k=0": [[0.0, 0.5, 0.0], [0.0, 0.7, 0.0]], "k=20": [0.0, 0.01, 0.0]}
        left, right = draw(alpha_figure([0, 0.5, 1], losses, errors)).axes
        assert lines_of(left)["k=0"].get_ydata() == pytest.approx([0, 3, 0])
        assert lines_of(right)["k=0"].get_ydata() == pytest.approx([0, 60, 0])
        assert (left.get_ylabel(), right.get_ylabel()) == ("train loss (nats)", "train error (%)")
        assert "1 to 2 pairs" in left.get_title(loc="left")

    def test_a_histogram_counts_every_example_and_marks_the_tolerance(self):
        barriers: dict[str, Any] = {"k=0": RNG.gamma(2, 1, (3, 200)), "k=20": [[-0.2, 0.0, 0.05, 5.0]]}
        figure = draw(barrier_histogram(barriers, tolerance=0.1))
        axes = figure.axes[0]
        assert [sum(patch.get_data().values) for patch in axes.patches[::2]] == pytest.approx([100, 100])
        assert "k=20: 75 % connected" in legend_of(figure)
        assert lines_of(axes)["tolerance 0.1 nats"].get_xdata() == [0.1, 0.1]
        assert overlapping_labels(axes.xaxis, across=True) == []
        text = axes.get_title(loc="left")
        assert text.startswith(
            "connected: barrier at most 0.1 nats, mean over the pairs of a family\n1 to 3 families of"
        )

    def test_a_histogram_of_one_pair_does_not_speak_of_families(self):
        axes = draw(barrier_histogram({"pair": np.arange(5.0)}, tolerance=2)).axes[0]
        assert axes.get_title(loc="left") == "connected: barrier at most 2 nats\n5 examples"

    @pytest.mark.parametrize("tolerance", [0.0, 0.1, 5.0])
    def test_barriers_that_are_all_alike_can_be_drawn(self, tolerance):
        draw(barrier_histogram({"a": np.zeros(5)}, tolerance=tolerance))
        draw(barrier_against_score(np.zeros(5), np.ones(5), tolerance=tolerance))

    def test_the_connected_fraction_by_tenth_of_the_score_is_counted_right(self):
        scores = np.arange(100.0)
        barriers = np.where(scores < 50, 0.0, 1.0)
        figure = draw(barrier_against_score(barriers, scores))
        top, main = figure.axes[:2]
        assert top.get_lines()[0].get_ydata() == pytest.approx([100] * 5 + [0] * 5)
        assert top.get_lines()[0].get_xdata() == pytest.approx(np.arange(4.5, 100, 10))
        assert main.collections[0].get_array().sum() == 100
        assert main.get_xlabel() == "EL2N (high: hard)"

    def test_families_are_not_averaged_before_it_is_asked_who_is_connected(self):
        scores = np.arange(10.0)
        barriers = np.stack([np.full(10, 0.0), np.full(10, 0.15)])  # connected in one of two; 0.075 in the mean
        top, main = draw(barrier_against_score(barriers, scores, tolerance=0.1)).axes[:2]
        assert top.get_lines()[0].get_ydata() == pytest.approx([50] * 10)
        assert main.collections[0].get_array().sum() == 20
        assert "of 10 examples in each of 2 families" in top.get_title(loc="left")

    def test_the_connected_fraction_over_steps_shows_zero_and_thousands(self):
        fractions = pd.DataFrame(
            [("all", k, v) for k, vs in {0: (0.0, 0.1), 100: (0.5, 0.7), 1600: (1.0, 1.0)}.items() for v in vs],
            columns=["arm", "pretrain_steps", "value"],
        )
        axes = draw(connected_fraction_figure(fractions)).axes[0]
        assert lines_of(axes)["all"].get_ydata() == pytest.approx([5, 60, 100])
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "100", "1600"]
        assert "of 2 values" in axes.get_title(loc="left")

    def test_the_prediction_has_a_marker_an_arm_and_both_correlations(self):
        points = pd.DataFrame({"arm": list("aabbc"), "x": [1.0, 2, 3, 4, 5], "y": [5.0, 4, 3, 2, 1]})
        axes = draw(prediction_figure(points, x_label="barrier (nats)", y_label="accuracy (%)")).axes[0]
        assert len({line.get_marker() for line in axes.get_lines()}) == 3
        text = axes.get_title(loc="left")
        assert "Pearson -1.00     Spearman -1.00" in text
        assert "5 rewinding points; no interval: 3 arms: an interval needs at least 5" in text
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("barrier (nats)", "accuracy (%)")

    def test_the_prediction_has_intervals_over_arms_and_is_held_against_another(self):
        rng = np.random.default_rng(0)
        points = pd.DataFrame({"arm": list("abcdefgh") * 2, "x": rng.normal(size=16), "rival": rng.normal(size=16)})
        points["y"] = rng.normal(size=16) - points["x"]
        axes = draw(prediction_figure(points, x_label="x", y_label="y", rival="the other")).axes[0]
        first, second, third, last = axes.get_title(loc="left").splitlines()
        found = predict(points["x"], points["y"], arms=list(points["arm"])).pearson
        assert f"Pearson {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]     Spearman" in first
        gain = compare_predictors(points["x"], points["rival"], points["y"], arms=list(points["arm"]))
        assert second == "stronger than the other by"
        assert third.startswith(f"Pearson {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]     Spearman")
        assert last == "16 rewinding points of 8 arms; 95 % intervals over arms (jackknife)"

    def test_the_spectrum_is_logarithmic_and_marks_the_largest_eigenvalues(self):
        grid = np.linspace(-1, 10, 50)
        figure = draw(eigenvalue_figure({"k=0": (grid, np.exp(-(grid**2)))}, top={"k=0": [9.0, 7.0]}))
        density, ticks = figure.axes[0].get_lines()
        assert figure.axes[0].get_yscale() == "log"
        assert density.get_ydata() == pytest.approx(np.exp(-(grid**2)))
        assert list(ticks.get_xdata()) == [9.0, 7.0]


def test_examples_of_infinite_score_are_left_out_of_barrier_against_score_and_counted():
    barriers, scores = np.array([0.0, 0.2, 0.4, 0.1]), np.array([1.0, np.inf, 3.0, 2.0])
    top, main = draw(barrier_against_score(barriers, scores)).axes[:2]
    assert "of 3 examples; 1 infinite, not drawn" in top.get_title(loc="left")
    assert main.collections[0].get_array().sum() == 3
    assert list(top.get_lines()[0].get_xdata()) == [1.0, 2.0, 3.0]
    with pytest.raises(UserError, match="infinite"):
        barrier_against_score(barriers, np.full(4, np.inf))


class TestScores:
    def test_the_distribution_counts_finite_scores_and_says_how_many_are_not(self):
        scores = np.array([0.1, 0.2, 0.3, np.inf])
        left, right = draw(score_figure(scores, [0, 0, 1, 1], ["cat", "dog"])).axes
        assert sum(patch.get_height() for patch in left.patches if hasattr(patch, "get_height")) == 3
        assert "1 infinite" in left.get_title(loc="left")
        assert [label.get_text() for label in right.get_yticklabels()] == ["cat", "dog"]

    def test_class_fractions_of_a_subset_are_fractions_of_that_subset(self):
        figure = score_figure(np.arange(8.0), [0, 1] * 4, ["cat", "dog"], subsets={"mine": np.array([0, 2, 4, 1])})
        assert np.asarray(figure.axes[1].get_lines()[0].get_xdata()) == pytest.approx([75, 25])
        assert legend_of(figure) == ["all examples", "mine"]

    def test_a_hundred_classes_fit(self):
        draw(score_figure(RNG.random(500), np.arange(500) % 100, [f"class {i}" for i in range(100)]))

    def test_the_stability_curve_is_a_mean_over_draws(self):
        table = pd.DataFrame({"models": [1, 1, 2], "spearman": [0.4, 0.6, 0.9], "overlap": [0.2, 0.4, 0.5]})
        axes = draw(rank_stability_figure(table, size=256)).axes[0]
        lines = lines_of(axes)
        assert lines["Spearman correlation"].get_ydata() == pytest.approx([0.5, 0.9])
        assert lines["overlap of the 256 easiest"].get_ydata() == pytest.approx([0.3, 0.5])

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_sheet_shows_the_easiest_and_the_hardest_of_each_class(self, channels):
        shades = np.arange(40, dtype=np.uint8)
        pixels = np.broadcast_to(shades[:, None, None, None], (40, channels, 4, 4))
        figure = draw(image_sheet(pixels, np.arange(40) % 2, shades, ["even", "odd", "absent"], per_class=2))
        easiest, hardest = (axes.get_images()[0].get_array() for axes in figure.axes)
        assert easiest[[0, 0, 5, 5], [0, 5, 0, 5], 0].tolist() == [0, 2, 1, 3]
        assert hardest[[0, 0, 5, 5], [0, 5, 0, 5], 0].tolist() == [38, 36, 39, 37]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["even", "odd"]

    def test_what_is_no_image_is_refused(self):
        with pytest.raises(UserError, match=r"uint8 of shape \(n, 1 or 3, height, width\)"):
            image_sheet(np.zeros((2, 4, 4)), [0, 1], [0.0, 1.0], ["a", "b"])
