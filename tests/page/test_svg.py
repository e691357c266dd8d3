import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from ticketdiet.page.figures import page_figure
from ticketdiet.page.svg import VARIABLES, colour_variable, themed_svg
from ticketdiet.reports.style import COLOURS, INK, house_style, new_figure


def drawn(label="A title"):
    with house_style():
        figure = new_figure(label, width=3, height=2)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=COLOURS[1], label="<b>&")
        axes.fill_between([0, 1], [0, 1], [1, 2], color=COLOURS[0], alpha=0.2)
        axes.legend()
    return figure


def document(figure):
    buffer = io.BytesIO()
    with house_style(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg")
    return buffer.getvalue().decode()


def test_no_inline_style_is_left_and_what_it_said_is_an_attribute():
    text = themed_svg(document(drawn()), "one", "A title")
    elements = list(ElementTree.fromstring(text).iter())
    assert not [element for element in elements if "style" in element.attrib or element.tag.endswith("style")]
    sizes = {element.attrib["font-size"] for element in elements if element.tag.endswith("}text")}
    assert "9px" in sizes
    assert "A title" in text


def test_colours_of_the_house_are_variables_that_fall_back_on_themselves():
    text = themed_svg(document(drawn()), "one", "A title")
    assert f"var(--ink, {INK})" in text
    assert f"var(--arm-1, {COLOURS[1].lower()})" in text
    left = re.sub(r"var\(--[\w-]+, #\w{6}\)", "", text)
    assert not {colour for colour in re.findall(r"#[0-9a-f]{6}\b", left) if colour in VARIABLES}
    assert colour_variable("#123456") == "#123456"


def test_two_figures_of_one_page_share_no_id():
    texts = [themed_svg(document(drawn()), prefix, "A title") for prefix in ("one", "two")]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    for text, own in zip(texts, ids, strict=True):
        assert {*re.findall(r"url\(#([^)]+)\)", text), *re.findall(r'href="#([^"]+)"', text)} <= own


def test_the_label_is_escaped():
    root = ElementTree.fromstring(themed_svg(document(drawn()), "one", '"><script>'))
    assert root.attrib["aria-label"] == '"><script>'


@pytest.mark.parametrize("number", range(len(COLOURS)))
def test_every_arm_has_a_colour_in_both_themes(number):
    from importlib import resources

    style = (resources.files("ticketdiet.page") / "assets" / "page.css").read_text(encoding="utf-8")
    found = re.findall(rf"--arm-{number}: (#\w{{6}})", style)
    assert len(found) == 3  # light; dark by the system; dark by the button
    assert found[0] == COLOURS[number].lower()
    assert found[1] == found[2]
    assert contrast(found[1], "#1b1f24") >= 3  # WCAG for graphics


def contrast(one, other):
    levels = sorted((luminance(one), luminance(other)))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(rgb):
    xyz = np.clip(rgb, 0, 1) @ np.array(
        [[0.4124564, 0.2126729, 0.0193339], [0.3575761, 0.7151522, 0.1191920], [0.1804375, 0.0721750, 0.9503041]]
    )
    x, y, z = np.cbrt(xyz / np.array([0.95047, 1.0, 1.08883]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("theme", [0, 1])
def test_the_colours_of_the_first_arms_differ_for_colour_blind_readers(kind, theme):
    from importlib import resources

    style = (resources.files("ticketdiet.page") / "assets" / "page.css").read_text(encoding="utf-8")
    colours = [re.findall(rf"--arm-{number}: (#\w{{6}})", style)[theme] for number in range(6)]
    seen = [lab(np.array(BLINDNESS[kind]) @ linear(colour)) for colour in colours]
    apart = min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i])
    assert apart > 8  # of CIELAB; 2.3 can just be told apart


def test_a_figure_of_the_page_is_labelled_with_its_title_and_has_a_pdf():
    import base64

    figure = page_figure(drawn("quickstart: something"), "one")
    assert figure.title == "quickstart: something"
    assert 'aria-label="quickstart: something"' in figure.svg
    assert base64.b64decode(figure.pdf).startswith(b"%PDF")
    assert not figure.on_paper


def test_the_same_figure_gives_the_same_bytes():
    assert page_figure(drawn(), "one") == page_figure(drawn(), "one")


def test_the_rectangles_of_a_histogram_are_one_picture_on_a_light_ground():
    with house_style():
        figure = new_figure("Many", width=3, height=2)
        figure.add_subplot().pcolormesh(np.random.default_rng(0).random((100, 100)))
    made = page_figure(figure, "one")
    assert made.on_paper
    assert made.svg.count("<path") < 200
    assert made.svg.count("<image") == 1
