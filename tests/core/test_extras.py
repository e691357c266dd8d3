import math

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.core.extras import import_extra


def test_a_module_that_is_installed_is_imported():
    assert import_extra("math", "vision") is math


def test_a_missing_module_names_the_extra_that_installs_it():
    with pytest.raises(
        UserError, match=r"'no_such_module' cannot be imported(.|\n)*pip install 'ticketdiet\[vision\]'"
    ):
        import_extra("no_such_module", "vision")


def test_the_way_out_names_what_can_be_done_without_the_extra():
    with pytest.raises(UserError, match=r"ticketdiet\[vision\]', or write csv"):
        import_extra("no_such_module", "vision", other="write csv")
