import pytest

from ticketdiet.data.options import DatasetOptions


@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"root": "/data", "cache": False, "download": False}])
def test_options_that_change_no_image_have_no_identity(options):
    assert DatasetOptions(**options).identity is None


@pytest.mark.parametrize("options", [{"resolution": 4}, {"limit": 10}, {"validation": 0.1}])
def test_options_that_change_the_images_have_an_identity_of_their_own(options):
    identity = DatasetOptions(**options).identity
    assert identity is not None
    assert identity != DatasetOptions(resolution=7).identity
    assert identity == DatasetOptions(**options, root="/data", download=False).identity


def test_the_seed_counts_only_where_examples_are_chosen():
    assert DatasetOptions(resolution=4, seed=1).identity == DatasetOptions(resolution=4, seed=2).identity
    assert DatasetOptions(limit=4, seed=1).identity != DatasetOptions(limit=4, seed=2).identity


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="sise"):
        DatasetOptions(sise=4)  # type: ignore[call-arg]
