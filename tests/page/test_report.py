"""The page as a whole: what stands in it, that it loads nothing, and that whatever a user wrote is text."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.page.render import SECTIONS
from ticketdiet.page.report import report_page, write_report
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.verdict import Finding, Verdict
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.record import record_plan

HOSTILE = """<img src=x onerror="alert(1)">&amp;'"</script><script>alert(2)</script>"""


def verdict(study, text):
    finding = Finding(text, "supported", text, 0.02, 0.01, 0.03, 4, 0.125, 0.125, text)
    return Verdict("C1", text, text, "supported", (finding,), text, study)


def test_the_sections_come_in_their_order(page_text, read_page):
    sections = [attributes["id"] for attributes in read_page(page_text).all("section")]
    assert sections == [f"tiny-{key}" for key, _ in SECTIONS]


def test_ids_are_unique_and_every_link_inside_the_page_leads_to_one(page_text, read_page):
    page = read_page(page_text)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inside = [link[1:] for link in [*page.values("href"), *page.values("xlink:href")] if link.startswith("#")]
    referenced = re.findall(r"url\(#([^)]+)\)", page_text)
    labels = page.values("aria-labelledby")
    assert {*inside, *referenced, *labels} <= set(ids)


def test_the_page_loads_nothing(page_text, read_page):
    page = read_page(page_text)
    assert all(link.startswith(("#", "data:")) for link in [*page.values("href"), *page.values("xlink:href")])
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert not re.search(r"@import|url\((?!#)", "".join(page.styles))
    assert {name for name, _ in page.elements}.isdisjoint(
        {"iframe", "object", "embed", "base", "form", "foreignobject"}
    )


def test_the_policy_allows_the_one_script_and_the_one_style_and_no_other(page_text, read_page):
    page = read_page(page_text)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert len(page.scripts) == len(page.styles) == 1

    def allowed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules["script-src"] == allowed(page.scripts[0])
    assert rules["style-src"] == allowed(page.styles[0])
    assert rules["default-src"] == "'none'"
    assert not page.values("style")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_what_a_user_wrote_is_text(tmp_path, read_page):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    path = tmp_path / "x'\"&.npz"
    names = np.array([HOSTILE, "<b>two", "three"])
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels, class_names=names)
    spec = {"study": "hostile", "description": HOSTILE, "dataset": {"name": f"npz:{path}"}, "arms": {"none@0": {}}}
    small = ["model={name: lenet_300_100, width: 8}", "training={steps: 4, batch_size: 16}", "pruning={levels: 1}"]
    plan = plan_study(parse_study(json.dumps(spec), small))
    store = ResultStore.open(tmp_path / "store")
    record_plan(store, plan)
    study = load_study("hostile", store=tmp_path / "store")
    text = report_page(study, judge=lambda found: [verdict("hostile", HOSTILE)])
    page = read_page(text)
    assert len(page.scripts) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert page.text.count('<img src=x onerror="alert(1)">') >= 5


def test_verdicts_stand_with_their_study(studied, read_page):
    judged = [verdict("tiny", "Pre-training helps."), verdict("another", "This is of another study.")]
    text = report_page(studied, judge=lambda found: judged)
    assert "Pre-training helps." in read_page(text).text
    assert "This is of another study." not in text


def test_a_store_without_results_gives_a_page_that_says_so(tmp_path, plan_tiny, read_page):
    store = ResultStore.open(tmp_path / "store")
    record_plan(store, plan_tiny("children=2"))
    page = read_page(report_page(load_study("tiny", store=tmp_path / "store")))
    total = len(plan_tiny("children=2").stages)
    assert f"{total} of {total} stages have no usable result." in page.text
    assert "No accuracy of a sparse network is finished yet." in page.text
    assert "No barrier between dense children is measured yet." in page.text


def test_a_part_finished_study_shows_what_is_there(tmp_path, plan_tiny, run_tiny, read_page):
    store = ResultStore.open(tmp_path / "store")
    plan = plan_tiny("children=2")
    run_tiny(plan.only(["none@0", "all@4"]), store)
    record_plan(store, plan)
    page = read_page(report_page(load_study("tiny", store=tmp_path / "store")))
    assert "easiest32@4" in page.text
    lines = {attributes["data-name"] for attributes in page.all("g") if "data-name" in attributes}
    assert lines == {"none@0", "all@4"}
    assert "stages have no result yet." in page.text


def test_several_studies_stand_in_one_page(studied, tmp_path, plan_tiny, read_page):
    store = ResultStore.open(tmp_path / "store")
    record_plan(store, plan_tiny("study=another_one"))
    text = report_page([studied, load_study("another_one", store=tmp_path / "store")])
    page = read_page(text)
    assert [attributes["id"] for attributes in page.all("article")] == ["tiny", "another_5f_one"]
    assert len(page.values("id")) == len(set(page.values("id")))


def test_the_same_page_is_written_again_into_a_folder_that_is_made(studied, page_text, tmp_path):
    path = write_report(studied, tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "index.html"
    assert path.read_text(encoding="utf-8") == page_text
    assert path.stat().st_size < 3_000_000


def test_a_baseline_that_no_arm_is_called_is_refused(studied, tmp_path):
    with pytest.raises(UnknownName, match="unknown arm 'every@4'"):
        write_report(studied, tmp_path, baseline="every@4")


@pytest.mark.parametrize("times", [0, 2])
def test_no_study_and_one_study_twice_are_refused(studied, tmp_path, times):
    with pytest.raises(UserError, match="name every study once"):
        write_report([studied] * times, tmp_path)
