"""No text of a user hangs the parser or ends in anything but a value or a message."""

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import StudyError, UserError
from ticketdiet.studies.load import load_spec, parse_study
from ticketdiet.studies.yaml_text import MOST_CHARACTERS, MOST_LEVELS, MOST_VALUES, parse_yaml


def bomb(levels, wide, form="- &a{} [{}]\n"):
    """Each line stands ``wide`` times for the one before: ``wide ** levels`` values in a few hundred characters."""
    lines = ["- &a0 [x]\n"]
    lines += [form.format(level, ", ".join([f"*a{level - 1}"] * wide)) for level in range(1, levels + 1)]
    return "".join(lines)


def ladder(count):
    """Aliases that nest one level deeper with every line."""
    return "- &a0 [x]\n" + "".join(f"- &a{level} [*a{level - 1}]\n" for level in range(1, count))


NO_VALUE = {
    "a month that does not exist": "a: !!timestamp 2020-13-45",
    "a binary number without digits": "a: 0b_",
    "a hexadecimal number without digits": "a: 0x_",
    "an integer of 5 000 digits": "a: " + "9" * 5000,
    "a hexadecimal integer of 5 000 digits": "a: 0x" + "f" * 5000,
    "a float of 5 000 digits": "a: 0." + "9" * 5000,
    "base 60 without end": "a: " + "1:" * 5000 + "1",
    "a word called integer": "a: !!int abc",
    "nothing called integer": "a: !!int ''",
    "a word called float": "a: !!float abc",
    "nothing called float": "a: !!float",
    "a word called boolean": "a: !!bool maybe",
    "a list called integer": "a: !!int [1]",
    "a mapping called list": "a: !!seq {b: 1}",
    "a list called mapping": "a: !!map [1, 2]",
    "bytes": "a: !!binary gA==",
    "a set": "a: !!set {b}",
    "pairs": "a: !!pairs [b: 1]",
    "a Python object": "a: !!python/object:os.system {}",
    "an unknown tag": "a: !mine 3",
    "a tag that is not UTF-8": "a: !%ff 3",
    "an escape beyond Unicode": 'a: "\\UFFFFFFFF"',
    "half of a character": 'a: "\\uD800"',
    "a null character": 'a: "x\\0y"',
    "an escape sequence of a terminal": 'a: "\\e[31m"',
    "a raw null character": "a: x\0y",
    "a version of 5 000 digits": f"%YAML 1.{'9' * 5000}\n---\na: 1",
    "a list as a key": "? [a]\n: b",
    "a mapping as a key": "? {a: b}\n: c",
    "nothing as a key": "null: 1",
    "a key twice": "a: 1\nb: 2\na: 3",
    "a merge key": "a: &t {b: 1}\nc: {<<: *t, d: 2}",
    "a merge of itself": "a: &a {<<: *a}",
    "an alias of nothing": "a: *b",
    "an alias inside of itself": "a: &a [*a]",
    "an alias as its own key": "&a ? *a",
    "a mapping inside of itself": "a: &a {b: {c: *a}}",
    "an anchor twice": "&a &b c",
    "a list without end": "a: [1, 2",
    "a string without end": "a: 'b",
    "a tab": "a:\n\t- b",
    "two documents": "a: 1\n---\nb: 2",
    "a deep list": "[" * 100_000,
    "a deep list on lines": "[\n" * 100_000,
    "a deep mapping": "{a: " * 50_000,
    "deep blocks": "- " * 100_000,
    "deep keys": "? " * 100_000,
    "a bomb of aliases": bomb(30, 9),
    "a bomb of two": bomb(39, 2),
    "a bomb of mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 39)),
    "a ladder of aliases": ladder(5000),
    "a long string": "a: " + "b" * 100_000,
    "a long text": "# " + "b" * MOST_CHARACTERS,
    "a long list": "a: [" + "1," * MOST_VALUES + "1]",
}


@pytest.mark.parametrize("text", NO_VALUE.values(), ids=NO_VALUE)
def test_what_is_no_value_is_refused_with_a_message(text):
    with pytest.raises(StudyError) as caught:
        parse_yaml(text, "mine.yaml")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("mine.yaml")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 0x_\n", 2),
        ("a: 1\n\nb: [1, 2\nc: 3\n", 4),
        ("a: 1\nb: !!int abc\n", 2),
        ("a: 1\nb: 2\na: 3\n", 3),
        ("a: 1\nb: x\0y\n", 2),
        ("a: 1\nb: 2\nc: " + "9" * 5000, 3),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2),
        ("a: 1\nb: " + "[" * 1000, 2),
        (bomb(30, 9), 7),
    ],
)
def test_the_line_is_named(text, line):
    with pytest.raises(StudyError, match=rf"^mine\.yaml, line {line}: "):
        parse_yaml(text, "mine.yaml")


@pytest.mark.parametrize("text", NO_VALUE.values(), ids=NO_VALUE)
def test_as_the_value_of_set_it_is_refused_too(tiny_text, text):
    with pytest.raises(StudyError, match=r"^--set "):
        parse_study(tiny_text, [f"description={text}"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-13-45", "2020-13-45"),
        ("2020-01-02", "2020-01-02"),
        ("=", "="),
        ("'<<'", "<<"),
        ("0x1F", 31),
        ("1_000", 1000),
        (".inf", float("inf")),
        ("-0.5", -0.5),
        ("yes", True),
        ("~", None),
        ("", None),
        ("\ufeffa: b", {"a": "b"}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("[&a [1, 2], *a]", [[1, 2], [1, 2]]),
        ("{a: &t {b: 1}, c: *t}", {"a": {"b": 1}, "c": {"b": 1}}),
        ("{2: a, 2.5: b, true: c}", {2: "a", 2.5: "b", True: "c"}),
        ("!!str 3", "3"),
        ("[" * MOST_LEVELS + "]" * MOST_LEVELS, None),
    ],
)
def test_plain_values_are_what_they_say(text, value):
    found = parse_yaml(text, "mine.yaml")
    assert value is None or (found == value and type(found) is type(value))


def test_an_alias_is_a_copy_that_set_changes_alone(tiny_text):
    text = tiny_text.replace("all@4: {", "all@4: {training: &t {lr: 0.1}, ").replace(
        "none@0: {}", "none@0: {training: *t}"
    )
    text = text.replace("  none@0: {training: *t}\n", "") + "  none@0: {training: *t}\n"
    study = parse_study(text, ["arms.all@4.training.lr=0.7"])
    assert (study.arm("all@4").training.lr, study.arm("none@0").training.lr) == (0.7, 0.1)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<=-:#1", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_what_pyyaml_writes_is_read_as_it_was(value):
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True), "study") == value


PIECES = [
    *"[]{},:?-&*!|>'\"%@#`~<= \n\t\\\0",
    *("---", "...", "<<", "a", "&a", "*a", "!!int", "!!float", "!!map", "!!seq", "!!str", "!<x>", "%YAML 1.1", "%TAG"),
    *(
        "0x",
        "0b_",
        "1:2",
        ".nan",
        "2020-13-45",
        "1e400",
        "\\U0011FFFF",
        "\ud800",
        "\u2028",
        "\ufeff",
        "- ",
        ": ",
        "\n  ",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_gives_a_value_or_a_message(text):
    try:
        parse_yaml(text, "study")
    except UserError:
        return


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_any_long_text_gives_a_value_or_a_message(seed):
    import random

    draw = random.Random(seed)
    for _ in range(2000):
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 200)))
        try:
            parse_yaml(text, "study")
        except UserError:
            continue


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and devices")
def test_a_study_is_read_from_regular_files_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (4 * MOST_CHARACTERS + 1))
    (tmp_path / "latin.yaml").write_bytes("description: caf\u00e9".encode("latin-1"))
    wrong = {
        "pipe.yaml": "Not a regular file",
        "folder.yaml": "Is a directory",
        "large.yaml": "more than",
        "latin.yaml": "utf-8",
        "none.yaml": "No such file",
        f"{'x' * 300}.yaml": "File name too long",
        "null\0.yaml": "null",
    }
    for name, reason in wrong.items():
        with pytest.raises(StudyError, match=reason):
            load_spec(str(tmp_path / name))
    with pytest.raises(StudyError, match="Not a regular file"):
        load_spec("/dev/zero")
    with pytest.raises(UserError):
        load_spec("x" * 5000)
