import gc

import pytest

from ticketdiet.core.collecting import without_collector


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_off_inside_the_block_and_as_before_after_it(on):
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with without_collector(), without_collector():
            assert not gc.isenabled()
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()


def test_the_collector_is_on_again_after_an_error():
    with pytest.raises(KeyError), without_collector():
        raise KeyError
    assert gc.isenabled()
