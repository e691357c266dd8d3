import io

from rich.console import Console

from ticketdiet.reports.titled import Grid, TitledTable

LINES = (("none@0", "3", "0.812 ± 0.010\n[0.800, 0.824]"), ("[red]all@20[/red] :cat:", "2", ""))
GRID = Grid(("arm", "n", "density 51.2 %"), LINES)


def printed(what, width=100):
    file = io.StringIO()
    Console(file=file, width=width).print(what)
    return file.getvalue()


def test_a_table_is_printed_between_title_and_caption():
    first, *between, last = printed(TitledTable("a title", (GRID, GRID), "a caption")).splitlines()
    assert (first, last) == ("a title", "a caption")
    assert "\n".join(between) == printed(GRID).rstrip() + "\n" + printed(GRID).rstrip()


def test_without_a_title_there_is_no_line_for_it():
    assert printed(TitledTable("", (), "nothing to show")) == "nothing to show\n"


def test_cells_are_printed_as_they_are():
    text = printed(GRID)
    assert "[red]all@20[/red] :cat:" in text
    assert "0.812 ± 0.010" in text
    assert "[0.800, 0.824]" in text


def test_names_of_a_narrow_table_are_not_wrapped():
    narrow = Grid(("arm", "n", "density"), (("a name of several words", "2 to 4", "0.8 ± 0.1"),), is_narrow=True)
    assert "a name of several words │2 to 4 │" in printed(narrow, width=42)
    assert "a name of several words" not in printed(Grid(narrow.headings, narrow.lines), width=42)
