"""The page in a real browser: no errors, arms that can be switched, points that speak, and no overflow anywhere."""

import json

import pytest

pytestmark = pytest.mark.browser
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CHART = "document.querySelector('[data-chart] svg.wide')"


@pytest.fixture
def page(browser, tmp_path_factory, page_text):
    """The page, opened anew on a desktop in the light theme."""
    path = tmp_path_factory.mktemp("shown") / "index.html"
    path.write_text(page_text, encoding="utf-8")
    browser.errors.clear()
    browser.theme("light")
    browser.resize(1280, 900)
    browser.open(path.as_uri())
    yield browser
    assert not browser.errors


def shown(page, number):
    """How many of the elements of a line in the charts are drawn."""
    return page.run(
        f"[...document.querySelectorAll('svg.wide [data-line=\"{number}\"]')]"
        ".filter((group) => getComputedStyle(group).display !== 'none').length"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_overflows_in_either_theme(page, width, theme):
    page.theme(theme)
    page.resize(width, 800)
    assert page.run(OVERFLOW) == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_every_button_is_inside_of_the_window(page, width):
    page.resize(width, 800)
    rights = page.run("[...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect().right)")
    assert max(rights) <= width


def test_the_themes_differ_and_text_is_readable_in_both(page):
    ratio = """(() => {
      const channel = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
      const of = (element, what) => getComputedStyle(element)[what].match(/\\d+/g).slice(0, 3).map(Number).map(channel)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const quiet = document.querySelector(".card .quiet");
      const [a, b] = [of(quiet, "color"), of(quiet.closest(".card"), "backgroundColor")].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    })()"""
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    assert page.run(ratio) >= 4.5  # WCAG AA
    page.run("document.getElementById('theme').click()")
    assert page.run(ground) != light
    assert page.run(ratio) >= 4.5


def test_the_button_and_the_system_give_the_same_dark_theme(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page.run("document.getElementById('theme').click()")
    by_button = page.run(ground)
    page.run("delete document.documentElement.dataset.theme")
    page.theme("dark")
    assert page.run(ground) == by_button


def test_an_arm_is_switched_off_and_on_again(page):
    button = "document.querySelector('button[data-line=\"1\"]')"
    assert shown(page, 1) == 2  # in the plot, and in the legend of a downloaded file
    page.run(f"{button}.click()")
    assert shown(page, 1) == 0
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "false"
    assert shown(page, 0) == 2
    page.run("document.querySelector('[data-all]').click()")
    assert shown(page, 1) == 2


def box_of(page, element):
    """Bring an element to the middle of the window, and return its x, y, width and height once it stands still."""
    return page.run(
        f"(async () => {{ const one = {element}; one.scrollIntoView({{behavior: 'instant', block: 'center'}});"
        " for (let n = 0; n < 2; n += 1) await new Promise(requestAnimationFrame);"
        " const box = one.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()"
    )


def test_a_point_under_the_mouse_says_what_it_is(page):
    x, y, width, height = box_of(page, f"{CHART}.querySelector('.point')")
    page.mouse("mouseMoved", x + width / 2, y + height / 2)
    assert "100 % density" in page.run("document.getElementById('tip').textContent")
    assert page.run("document.getElementById('tip').hidden") is False


def test_arrow_keys_move_from_point_to_point_and_escape_goes_back_from_a_zoom(page):
    page.run(f"{CHART}.focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert "50.0 % density" in page.run("document.getElementById('tip').textContent")
    path = f"{CHART}.querySelector('.line path.mean').getAttribute('d')"
    before = page.run(path)
    page.press("+")
    assert page.run(path) != before
    page.press("Escape")
    assert page.run(path) == before


def test_dragging_over_a_part_enlarges_it_and_the_button_goes_back(page):
    x, y, width, height = box_of(page, CHART)
    path = f"{CHART}.querySelector('.line path.mean').getAttribute('d')"
    before = page.run(path)
    page.mouse("mousePressed", x + 0.3 * width, y + 0.3 * height)
    page.mouse("mouseMoved", x + 0.7 * width, y + 0.7 * height)
    page.mouse("mouseReleased", x + 0.7 * width, y + 0.7 * height)
    assert page.run(path) != before
    reset = "document.querySelector('[data-reset]')"
    assert page.run(f"{reset}.hidden") is False
    page.run(f"{reset}.click()")
    assert page.run(path) == before


def downloads(page, button):
    """Press a button that saves a file, and return its name and content."""
    script = """new Promise((resolve) => {
      const real = HTMLAnchorElement.prototype.click;
      HTMLAnchorElement.prototype.click = function () {
        HTMLAnchorElement.prototype.click = real;
        resolve([this.download, this.href]);
      };
      const make = URL.createObjectURL;
      window.saved = [];
      URL.createObjectURL = (blob) => (window.saved.push(blob), make.call(URL, blob));
      BUTTON.click();
    })""".replace("BUTTON", button)
    name, _ = page.run(script)
    content = page.run(
        "saved.at(-1).arrayBuffer().then((b) => [...new Uint8Array(b)].map((c) => String.fromCharCode(c)).join(''))"
    )
    return name, content.encode("latin-1")


def test_a_figure_is_saved_as_svg_in_the_colours_of_print(page):
    page.theme("dark")
    name, content = downloads(page, "document.querySelector('[data-chart] [data-save=svg]')")
    text = content.decode()
    assert name == "tiny-accuracy.svg"
    assert "var(" not in text
    assert "#0072b2" in text
    for arm in ("none@0", "all@4", "easiest32@4"):
        assert f">{arm}</text>" in text  # the legend


def test_a_figure_is_saved_as_png(page):
    name, content = downloads(page, "document.querySelector('.drawn [data-save=png]')")
    assert name.endswith(".png")
    assert content.startswith(b"\x89PNG")


def test_the_rows_are_saved_as_csv(page, studied):
    name, content = downloads(page, "document.querySelector('[data-unpack]')")
    assert name == "tiny.csv"
    assert content.decode() == studied.rows().to_csv(index=False, lineterminator="\n")


def test_without_a_script_everything_is_there_but_the_buttons(browser, tmp_path, page_text):
    path = tmp_path / "index.html"
    path.write_text(page_text, encoding="utf-8")
    browser("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.resize(1280, 900)
        browser.open(path.as_uri())
        tree = browser("DOMSnapshot.captureSnapshot", computedStyles=["display"])
        text = json.dumps(tree["strings"])
        assert "What came out" in text
        assert "Test accuracy" in text
    finally:
        browser("Emulation.setScriptExecutionDisabled", value=False)


def test_the_page_prints_on_white(page, tmp_path):
    page.theme("dark")
    page("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.run("getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
        assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    finally:
        page("Emulation.setEmulatedMedia", media="")
