import numpy as np
import pandas as pd
import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.reports.mask_figures import layer_density_figure, read_layer_densities
from ticketdiet.reports.reading import read_study
from ticketdiet.store.results import ResultStore


@pytest.fixture(scope="module")
def found(tmp_path_factory, plan_tiny, run_tiny):
    store, plan = ResultStore.open(tmp_path_factory.mktemp("masks") / "store"), plan_tiny()
    run_tiny(plan, store)
    return read_study(plan, store)


def test_densities_are_those_of_the_masks(found):
    densities = read_layer_densities(found)
    assert set(densities["arm"]) == set(found.plan.study.arms)
    rows = found.rows[(found.rows["kind"] == "level") & (found.rows["level"] == 2)]
    for arm, address in rows.drop_duplicates("arm")[["arm", "address"]].itertuples(index=False):
        mask = found.store.tensors(address, "mask")
        own = densities[(densities["arm"] == arm) & (densities["level"] == 2)]
        assert list(own["layer"])
        assert set(own["layer"]) == set(mask)
        for layer, value in own[["layer", "layer_density"]].itertuples(index=False):
            assert value == pytest.approx(float(mask[layer].float().mean()))
        whole = sum(int(kept.sum()) for kept in mask.values()) / sum(kept.numel() for kept in mask.values())
        assert own["density"].unique() == pytest.approx([whole])


def imagined(arms, layers=3, levels=2):
    return pd.DataFrame(
        [
            {"arm": arm, "replicate": r, "level": level, "layer": f"l{layer}.weight"}
            | {"density": 0.5**level, "layer_density": 0.5**level * (1 + r) / 2}
            for arm in arms
            for r in (0, 1)
            for level in range(levels)
            for layer in range(layers)
        ]
    )


def test_there_is_a_panel_per_arm_with_means_over_replicates():
    figure = layer_density_figure(imagined(["a", "b"]))
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b"]
    assert np.asarray(panels[0].get_images()[0].get_array()) == pytest.approx(np.tile([0.75, 0.375], (3, 1)))
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["l0", "l1", "l2"]


def test_arms_that_do_not_fit_are_counted():
    figure = layer_density_figure(imagined(list("abcdefgh")))
    assert len([axes for axes in figure.axes if axes.get_images()]) == 6
    assert figure.get_supxlabel().endswith("2 more arms not drawn")


def test_many_layers_are_not_named():
    figure = layer_density_figure(imagined(["a"], layers=60))
    assert not figure.axes[0].get_yticklabels()
    assert figure.axes[0].get_ylabel() == "60 layers, the first at the top"


def test_without_masks_there_is_no_figure():
    with pytest.raises(UserError, match="There are no masks"):
        layer_density_figure(imagined([]))
