"""``ticketdiet compare`` on a study and on two, and the same from Python."""

import io

import pandas as pd
import pytest
from typer.testing import CliRunner

import ticketdiet as td
from ticketdiet.cli.main import app
from ticketdiet.core.errors import UnknownName, UserError

SMALL = ["replicates=3", "training.steps=6", "model.width=2", "pruning.levels=1", "scores={}"]
ARMS = "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_file):
    """Two studies on one store, the second with another seed and one arm."""
    folder = tmp_path_factory.mktemp("compare")
    for settings in ([*SMALL, ARMS], [*SMALL, "study=again", "seed=5", "replicates=2", "arms={all@4: {}}"]):
        td.load_study(tiny_file(folder, *settings), store=folder / "runs").run(workers=1, threads=1)
    return folder


def compare(folder, *arguments):
    return CliRunner().invoke(app, ["compare", "tiny", *map(str, arguments), "--store", str(folder / "runs")])


def table(folder, *arguments):
    result = compare(folder, *arguments, "--format", "csv")
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))


def test_a_comparison_ends_with_what_it_comes_to_in_sentences(folder):
    said = " ".join(compare(folder, "all@4", "none@0").stdout.split())
    assert said.startswith("tiny: all@4 minus none@0")
    assert "the smallest p-value that 3 replicates can reach is 0.25" in said
    assert "all@4 is above none@0 at 0 of 2 densities, below it at 0, and undecided at 2." in said
    assert "none@0 matches its dense networks within 0.005" in said
    assert "Averaged over the logarithm of density, 100 % to 50.0 %, all@4 minus none@0 is" in said
    assert "within 0.5" in " ".join(compare(folder, "all@4", "none@0", "--margin", 0.5).stdout.split())


def test_one_density_can_be_asked_for(folder):
    whole, one = table(folder, "all@4", "none@0"), table(folder, "all@4", "none@0", "--at", 0.505)
    assert one["level"].tolist() == [1]
    assert one["difference"].tolist() == whole["difference"].tolist()[1:]
    assert table(folder, "all@4", "none@0", "--level", 1).equals(one)
    assert "Averaged" not in compare(folder, "all@4", "none@0", "--at", 0.5).stdout
    refused = compare(folder, "all@4", "none@0", "--at", 0.04).exception
    assert isinstance(refused, UserError)
    assert "one of: 1, 0.5" in str(refused)
    assert isinstance(compare(folder, "all@4", "none@0", "--at", 0.5, "--level", 1).exception, UserError)


def test_an_arm_of_another_study_is_paired_by_replicate_and_a_note_says_what_they_do_not_share(folder):
    result = compare(folder, "all@4", "all@4", "--with", "again")
    assert result.exit_code == 0, result.output
    assert "tiny: all@4 minus all@4 of again" in result.stdout
    assert "all@4 is above all@4 of again at 0 of 2" in " ".join(result.stdout.split())
    assert "all@4 of again matches its dense networks" in " ".join(result.stdout.split())
    said = " ".join(result.stderr.split())
    assert "tiny has the seed 0 and again the seed 5, so that replicates of one number share neither" in said
    own, other = (td.load_study(name, store=folder / "runs") for name in ("tiny", "again"))
    levels = {
        study.name: study.rows().query("arm == 'all@4' and level == 1 and metric == 'accuracy' and split == 'test'")
        for study in (own, other)
    }
    by_hand = levels["tiny"]["value"].to_numpy()[:2].mean() - levels["again"]["value"].to_numpy().mean()
    found = table(folder, "all@4", "all@4", "--with", "again", "--at", 0.5)
    assert found["n"].tolist() == [2]
    assert found["difference"].tolist() == [pytest.approx(by_hand)]


def test_python_gives_the_same(folder):
    own, other = (td.load_study(name, store=folder / "runs") for name in ("tiny", "again"))
    columns = ["level", "difference", "n", "p_value", "corrected_p", "low", "high", "outcome"]
    pd.testing.assert_frame_equal(
        own.compare("all@4", "none@0")[columns], table(folder, "all@4", "none@0")[columns], check_dtype=False
    )
    across = own.compare("all@4", "all@4", other=other, at=0.5)
    assert (
        across["difference"].tolist()
        == table(folder, "all@4", "all@4", "--with", "again", "--at", 0.5)["difference"].tolist()
    )
    with pytest.raises(UnknownName, match="unknown arm 'none@0'"):
        own.compare("all@4", "none@0", other=other)
    assert own.compare("all@4", "none@0", level=0, metric="loss", split="train")["level"].tolist() == [0]


def test_an_arm_that_the_other_study_does_not_have_is_refused(folder):
    refused = compare(folder, "all@4", "none@0", "--with", "again").exception
    assert isinstance(refused, UnknownName)
    assert "one of: all@4" in str(refused)
