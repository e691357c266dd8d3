"""Claims are planned together, run replicate by replicate, and judged from the store."""

from dataclasses import replace

import pytest

from ticketdiet.paper import recognise
from ticketdiet.paper.claims.catalog import CLAIMS, chosen_claims
from ticketdiet.paper.contrasts import EXAMPLE_CORRELATION
from ticketdiet.paper.overview import claim_costs
from ticketdiet.paper.session import Paper, judge_claims
from ticketdiet.reports.loading import load_study
from ticketdiet.studies.run import RunObserver


class Order(RunObserver):
    def __init__(self):
        self.replicates = []

    def started(self, stage):
        self.replicates.append(min(use.replicate for use in stage.uses))


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_setting):
    """All claims at the smallest setting, run in one process of one thread."""
    paper = Paper(tuple(chosen_claims()), tiny_setting, str(tmp_path_factory.mktemp("paper") / "runs"))
    order = Order()
    paper.run(workers=1, threads=1, observer=order)
    return paper, order


def test_equal_work_of_several_claims_is_done_once(done):
    paper, _ = done
    together = paper.planned.together()
    assert set(together.stages) == {address for plan in paper.planned.plans for address in plan.stages}
    *each, all_of_them = claim_costs(paper.planned)
    assert all_of_them.stages == len(together.stages) < sum(cost.stages for cost in each)
    assert all_of_them.cost.flops == sum(stage.cost.flops for stage in together.stages.values())


def test_a_stage_follows_what_it_consumes_and_every_arm_of_every_claim_uses_it(done):
    paper, _ = done
    together, seen = paper.planned.together(), set()
    for address, stage in together.stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(address)
        expected = {use for plan in paper.planned.plans if address in plan.stages for use in plan.stages[address].uses}
        assert set(stage.uses) == expected


def test_replicates_are_finished_in_order(done):
    _, order = done
    assert order.replicates == sorted(order.replicates)
    assert set(order.replicates) == {0, 1}


def test_every_study_can_be_read_from_the_store_by_its_name(done):
    paper, _ = done
    for claim in paper.claims:
        study = load_study(f"{claim.name.lower()}-{paper.setting.name}", store=paper.url)
        assert study.results().state.is_complete
    assert load_study(f"paper-{paper.setting.name}", store=paper.url).results().state.is_complete


def test_two_replicates_leave_every_claim_undecided_with_its_numbers(done):
    paper, _ = done
    rows = paper.rows()
    assert set(rows.loc[rows["metric"] == EXAMPLE_CORRELATION, "replicate"]) == {0, 1}
    for verdict in judge_claims(paper.claims, paper.setting, rows):
        assert verdict.outcome == "undecided"
        answered = [finding.n for finding in verdict.findings]
        assert answered.count(2) >= len(answered) - 1, verdict  # small accuracies may tie, and have no correlation


def test_rows_of_a_file_fill_in_what_the_store_lacks(done, tmp_path):
    paper, _ = done
    paper.rows().to_csv(tmp_path / "rows.csv", index=False)
    elsewhere = Paper(paper.claims, paper.setting, str(tmp_path / "no-store"))
    assert elsewhere.rows().empty
    from_store, from_file = (
        str(judge_claims(each.claims, each.setting, rows))
        for each, rows in ((paper, paper.rows()), (elsewhere, elsewhere.rows([tmp_path / "rows.csv"])))
    )
    assert from_file == from_store


def test_a_part_of_the_replicates_is_run_alone(tmp_path, tiny_setting):
    paper = Paper((CLAIMS["C1"],), tiny_setting, str(tmp_path / "runs"))
    paper.run(range(1, 2), workers=1, threads=1)
    rows = paper.rows()
    assert set(rows["replicate"]) == {1}
    for name in ("c1", "paper"):
        state = load_study(f"{name}-{paper.setting.name}", store=paper.url).results().state
        assert {use.replicate for address in state.missing for use in state.stages[address].uses} == {0}
    assert judge_claims(paper.claims, paper.setting, rows)[0].findings[0].n == 1


def test_the_study_of_a_claim_is_known_by_name_and_arms(done, monkeypatch):
    paper, _ = done
    monkeypatch.setattr(recognise, "recipe_names", lambda: [paper.setting.recipe])
    monkeypatch.setattr(recognise, "load_setting", lambda recipe, scale: paper.setting)
    study = load_study(f"c2-{paper.setting.name}", store=paper.url)
    found = study.results()
    assert [verdict.claim for verdict in recognise.verdicts_on(found)] == ["C2"]
    changed = replace(found, plan=replace(found.plan, study=found.plan.study.model_copy(update={"children": 2})))
    assert recognise.verdicts_on(changed) == []
    other = load_study(f"paper-{paper.setting.name}", store=paper.url).results()
    assert recognise.verdicts_on(other) == []
