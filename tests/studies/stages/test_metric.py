import pytest

from ticketdiet.studies.stages.metric import MetricStage
from ticketdiet.tickets.metrics import METRICS, Metric


@pytest.fixture(scope="module")
def distance(tiny):
    stage = tiny.find(MetricStage, "all@4", 1, metric="distance")
    return stage, stage.compute(tiny.context)


def test_a_metric_is_measured_on_the_trained_network_against_its_rewinding_point(tiny, distance):
    stage, result = distance
    trained, point = tiny.context.weights(stage.of), tiny.context.weights(stage.point)
    mask = tiny.context.mask(stage.of)
    way = sum(float((((trained[n] - point[n]) * kept).double() ** 2).sum()) for n, kept in mask.items()) ** 0.5
    length = sum(float(((point[n] * kept).double() ** 2).sum()) for n, kept in mask.items()) ** 0.5
    (row,) = result.rows
    assert (row["metric"], row["split"], row["step"]) == ("distance", "", 12)
    assert row["value"] == pytest.approx(way / length)
    assert result.facts == {"density": pytest.approx(0.5, abs=1e-3)}


def test_a_metric_of_images_has_a_row_per_split(tiny):
    stage = tiny.find(MetricStage, "all@4", 0, metric="calibration_error")
    assert stage.options == {"bins": 3}
    assert [row["split"] for row in stage.compute(tiny.context).rows] == ["train", "test"]


def test_every_reported_network_is_measured_and_nothing_is_trained_for_it(tiny):
    own = [stage for stage in tiny.plan.of(MetricStage) if any(use.arm == "shuffled@4" for use in stage.uses)]
    kinds = [tiny.plan.stages[stage.of].kind for stage in own if stage.metric == "distance"]
    assert kinds == ["level", "sparse_training"]
    assert {stage.cost.steps for stage in own} == {0}


def test_a_metric_may_not_change_the_network_that_it_sees_for_others(tiny, distance):
    class Spoiler(Metric):
        def measure(self, subject):
            for weight in subject.model.parameters():
                weight.data.zero_()
            return {"": 0.0}

    stage, result = distance
    with METRICS.temporarily("spoiler", Spoiler):
        MetricStage.of_fields(stage.fields() | {"metric": "spoiler"}).compute(tiny.context)
    assert stage.compute(tiny.context).rows == result.rows
