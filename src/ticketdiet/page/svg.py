"""Makes a figure's SVG fit to stand inside the page: themed, with ids of its own, and without inline styles.

The page's content security policy forbids inline styles, so that every one becomes attributes. Colours of the house
style become variables with the printed colour as fallback: ``var(--ink, #222222)`` is light on dark in the dark theme,
and plain ``#222222`` in a downloaded file.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ticketdiet.reports.style import COLOURS, GREY, INK

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PIXELS_A_POINT = 4 / 3
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)

# What the figures of this package are drawn with, and the variables of the page's two themes.
VARIABLES = {
    INK: "ink",
    GREY: "muted",
    "#e6e6e6": "grid",
    "#ffffff": "paper",
    "#d0d0d0": "bar",
    "#e3e3e3": "bar-pale",
    **{colour.lower(): f"arm-{number}" for number, colour in enumerate(COLOURS)},
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(
    r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+px)\s+(?P<family>.+)"
)
_DROPPED = ("metadata", "style", "title")  # a title would say what the figure's label says already


def colour_variable(colour: str) -> str:
    """Return a colour as a variable of the page with itself as fallback, unchanged where the page has none for it."""
    name = VARIABLES.get(colour.lower())
    return f"var(--{name}, {colour.lower()})" if name else colour


def themed_svg(text: str, prefix: str, label: str) -> str:
    """Return an SVG document of matplotlib's as an element of the page.

    Args:
        text: The document.
        prefix: Goes before every id, so that no two figures of a page share one.
        label: What the figure shows, for those who cannot see it.

    Returns:
        The ``<svg>`` element, its width and height in pixels of the page.
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in [one for one in parent if _local(one) in _DROPPED]:
            parent.remove(child)
    referenced = _references(root)
    for element in root.iter():
        _restyle(element)
        _rename(element, prefix, referenced)
    size = {
        name: f"{float(root.attrib.pop(name).removesuffix('pt')) * PIXELS_A_POINT:.0f}" for name in ("width", "height")
    }
    root.attrib.pop("version", None)
    root.attrib |= size | {"role": "img", "aria-label": label, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return ElementTree.tostring(root, encoding="unicode")


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _references(root: ElementTree.Element) -> set[str]:
    found = {
        match for element in root.iter() for value in element.attrib.values() for match in _REFERENCE.findall(value)
    }
    return found | {element.attrib.get(f"{{{XLINK}}}href", "").removeprefix("#") for element in root.iter()}


def _rename(element: ElementTree.Element, prefix: str, referenced: set[str]) -> None:
    name = element.attrib.pop("id", None)
    if name in referenced:
        element.set("id", f"{prefix}-{name}")
    for key, value in list(element.attrib.items()):
        if key == f"{{{XLINK}}}href" and value.startswith("#"):
            element.set(key, f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


def _restyle(element: ElementTree.Element) -> None:
    """Turn the inline style of an element into attributes, and colours of the house style into variables."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        font = _FONT.fullmatch(value) if name == "font" else None
        if font:
            element.attrib |= {f"font-{key}": part for key, part in font.groupdict().items() if part}
        elif name:
            element.set(name, value)
    element.attrib.pop("font-family", None)  # the page's own
    for name in ("fill", "stroke"):
        if name in element.attrib:
            element.set(name, _COLOUR.sub(lambda match: colour_variable(match[0]), element.attrib[name]))
