"""Every command with arguments that nobody meant: a result or a message, never a traceback, and no waiting.

Whatever is tried, nothing outside of the test's own folder is written: there the system refuses it, whoever runs this.
"""

import errno
import os
import shutil
import stat
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from ticketdiet.cli.main import main

SETTINGS = (
    "model.width=2",
    "training.steps=4",
    "pruning.levels=1",
    "children=2",
    "scores={luck: {kind: random}}",
    "arms={none@0: {}, lucky@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: luck}}}}",
)
LONG = "x" * 5000
PLACES = {
    "too long": LONG,
    "too long inside": f"{LONG}/x",
    "inside a file": "PLACE/file/x",
    "a file": "PLACE/file",
    "a folder": "PLACE/folder",
    "a folder with a suffix": "PLACE/folder.csv",
    "a pipe": "PLACE/pipe.csv",
    "a device": "/dev/full",
    "a process": "/proc/self/nothing",
    "a link to itself": "PLACE/loop/x",
    "not to be written": "PLACE/locked/x.csv",
    "not to be read": "PLACE/secret.yaml",
    "nothing": "",
    "a blank": " ",
    "a null character": "a\0b",
    "half of a character": "a\udce9b",
    "an unknown home": "~nobody-of-that-name/x",
    "the root": "/",
    "a line": "a\nb",
    "an option": "--nope",
}
URLS = [
    *(
        "://",
        "x://",
        "nope://x",
        "file://",
        "file://PLACE/file",
        "memory://",
        "memory://x",
        "memory://\0",
        "::",
        "a::b",
    ),
    *("zip://x::file://PLACE/none.zip", "simplecache::nope://x", "tar://x", "dir://x", "reference://"),
    *("libarchive://", "data:,x://", "local://PLACE/file", "blockcache::memory://x", "generic://x"),
]
NUMBERS = [
    "-1",
    "0",
    "1",
    "1e9",
    "99999999999",
    "9" * 400,
    "9" * 5000,
    "0x10",
    "1_0",
    "nan",
    "inf",
    "-inf",
    "",
    " ",
    "x",
    "\u0663",
]
LISTS = [
    *NUMBERS,
    ",",
    "1,",
    "0.5,0.5",
    "1,0",
    "a,b",
    "0,1,x",
    "nan,1",
    "inf",
    "1e999",
    "-0.1",
    "1.1",
    ",".join(["0.5"] * 5000),
]
TEXTS = ["", " ", ",", "nope", LONG, "\0", "a\nb", "[red]", "%s%n", "\u202e", "9" * 5000]

EVERY = 6
WITH_STUDY = ("run", "plan", "results", "figure", "per-example", "geometry", "find-rewind", "gc")
ADDRESSED = ("barrier", "curvature")


class Fence:
    """Refuses, as the system refuses a user, to write outside of ``roots`` while there are any."""

    def __init__(self):
        self.roots: tuple[str, ...] = ()
        sys.addaudithook(self)

    @contextmanager
    def around(self, place):
        session = place.parent  # with the cache of decoded images
        self.roots = (str(session), os.devnull, "/dev/full")
        try:
            yield
        finally:
            self.roots = ()

    def __call__(self, event, arguments):
        writes = event == "os.mkdir" or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if self.roots and writes and not isinstance(arguments[0], int):
            place = os.path.abspath(os.fsdecode(arguments[0]))
            if not any(os.path.commonpath((root, place)) == root for root in self.roots):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)


FENCE = Fence()


def paired(first, second, *, every):
    """All pairs: one in ``every`` is tried each time, and each value with it; the others with ``-m slow``."""
    return [
        pytest.param(one, other, marks=() if (i + j) % every == 0 else pytest.mark.slow)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_file):
    """A folder with a finished study, and with everything that is in the way of reading and writing."""
    folder = tmp_path_factory.mktemp("place")
    study = tiny_file(folder, *SETTINGS)
    (folder / "file").write_text("x")
    shutil.copyfile(study, folder / "secret.yaml")
    (folder / "folder").mkdir()
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "locked").mkdir()
    (folder / "secret.yaml").chmod(0)
    (folder / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["ticketdiet", "run", "tiny.yaml", "--workers", "1"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    yield folder
    (folder / "locked").chmod(stat.S_IRWXU)


@pytest.fixture(autouse=True)
def one_small_figure(monkeypatch):
    """What is drawn is tested elsewhere; here it is where to."""
    from matplotlib.figure import Figure

    one = {"accuracy": Figure((1, 1))}
    monkeypatch.setattr("ticketdiet.reports.drawing.draw_figures", lambda *_: iter(one.items()))
    monkeypatch.setattr("ticketdiet.reports.diet_figures.score_figures", lambda *_: one)
    monkeypatch.setattr("ticketdiet.reports.diet_figures.subset_figures", lambda *_: {"accuracy": Figure((1, 1))})
    monkeypatch.setattr("ticketdiet.reports.pair_report.pair_figures", lambda *_, **__: {"line": Figure((1, 1))})
    monkeypatch.setattr("ticketdiet.reports.sheet.sample_sheet", lambda *_: Figure((1, 1)))


@pytest.fixture
def call(place, monkeypatch, capfd):
    """Runs the command line in this process, as it is run by itself; returns its exit code and what it printed."""
    monkeypatch.chdir(place)

    def run(*arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["ticketdiet", *(str(a).replace("PLACE", str(place)) for a in arguments)])
        with FENCE.around(place), pytest.raises(SystemExit) as ended:  # any other exception is a traceback
            main()
        return ended.value.code or 0, "".join(capfd.readouterr())

    return run


def keeps_the_law(call, *arguments, **environment):
    code, said = call(*arguments, **environment)
    assert code in (0, 2), said
    assert "Traceback" not in said
    if code:
        assert 20 < len(said) < 12_000, said
    return code


def a_network(place):
    return next(path.parent.name for path in sorted((place / "runs").rglob("weights.safetensors")))


@pytest.mark.parametrize(("command", "what"), paired(WITH_STUDY, PLACES, every=EVERY))
def test_a_place_instead_of_the_study(call, command, what):
    keeps_the_law(call, command, PLACES[what], *(["--arm", "nope"] if command == "find-rewind" else []))


@pytest.mark.parametrize(
    ("command", "what"), paired(["results", "per-example", "geometry", "compare"], PLACES, every=EVERY)
)
def test_a_place_for_rows(call, command, what):
    arms = ("none@0", "lucky@2") if command == "compare" else ()
    keeps_the_law(call, command, "tiny.yaml", *arms, "--out", PLACES[what])


@pytest.mark.parametrize(("command", "what"), paired(["run", "figure"], PLACES, every=EVERY))
def test_a_place_for_figures(call, command, what):
    keeps_the_law(call, command, "tiny.yaml", "--out", PLACES[what])


@pytest.mark.parametrize("what", PLACES)
def test_a_place_for_a_score(call, what):
    keeps_the_law(call, "scores", "export", "tiny.yaml", "luck", "--out", PLACES[what])


@pytest.mark.parametrize(
    ("command", "what"),
    paired(["scores show tiny.yaml luck", "subset show tiny.yaml lucky@2", "data show digits"], PLACES, every=EVERY),
)
def test_a_place_for_pictures(call, command, what):
    keeps_the_law(call, *command.split(), "--out", PLACES[what])


@pytest.mark.parametrize(("option", "what"), paired(["--json", "--per-example", "--out"], PLACES, every=EVERY))
def test_a_place_for_a_barrier(call, place, what, option):
    address = a_network(place)
    keeps_the_law(call, "barrier", address, address, "--study", "tiny.yaml", "--alphas", "2", option, PLACES[what])


@pytest.mark.parametrize("what", PLACES)
def test_a_place_for_curvature(call, place, what):
    arguments = ("--dataset", "digits", "--limit", "96", "--top", "0", "--json", PLACES[what])
    keeps_the_law(call, "curvature", a_network(place), *arguments)


@pytest.mark.parametrize(
    ("command", "where"), paired(["results", "verify", "run"], [*PLACES.values(), *URLS], every=EVERY)
)
def test_a_place_for_the_store(call, command, where, monkeypatch):
    from ticketdiet.studies.run import RunOutcome

    monkeypatch.setattr("ticketdiet.reports.study.run_plan", lambda *_, **__: RunOutcome(0, 0))  # the place is prepared
    study = [] if command == "verify" else ["tiny.yaml"]
    keeps_the_law(call, command, *study, "--store", where)


@pytest.mark.parametrize("where", [LONG, "", "PLACE/file", "nope://x", "a\udce9b"])
def test_a_place_for_the_store_in_the_environment(call, place, where):
    keeps_the_law(call, "results", "tiny.yaml", TICKETDIET_STORE=where.replace("PLACE", str(place)))


@pytest.mark.parametrize("what", PLACES)
def test_a_place_for_the_cache(call, place, what):
    if "\0" in PLACES[what]:
        pytest.skip("no process can be given it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that decoded images are not kept
        keeps_the_law(call, "data", "show", "digits", TICKETDIET_CACHE=PLACES[what].replace("PLACE", str(place)))


@pytest.mark.parametrize(
    ("kind", "source"),
    paired(["", "npz:", "folder:", "parquet:", "digits:"], [*PLACES.values(), *URLS, *TEXTS], every=EVERY),
)
def test_a_source_of_data(call, kind, source):
    keeps_the_law(call, "data", "show", kind + source)


@pytest.mark.parametrize(
    ("command", "number"),
    paired(
        [
            "data show digits --limit",
            "data show digits --resolution",
            "scores show tiny.yaml luck --size",
            "subset show tiny.yaml lucky@2 --replicate",
            "scores show tiny.yaml luck --replicate",
            "compare tiny.yaml none@0 lucky@2 --level",
            "compare tiny.yaml none@0 lucky@2 --at",
            "compare tiny.yaml none@0 lucky@2 --margin",
            "per-example tiny.yaml --by quantile --quantiles",
            "per-example tiny.yaml --by class --tolerance",
            "find-rewind tiny.yaml --arm nope --max-barrier",
            "find-rewind tiny.yaml --arm nope --min-fraction",
            "find-rewind tiny.yaml --arm nope --tolerance",
            "find-rewind tiny.yaml --arm nope --replicates",
            "find-rewind tiny.yaml --arm nope --max-k",
            "find-rewind tiny.yaml --arm nope --workers",
            "run tiny.yaml --workers",
        ],
        NUMBERS,
        every=EVERY,
    ),
)
def test_a_number(call, command, number):
    keeps_the_law(call, *command.split(), number)


@pytest.mark.parametrize(
    ("option", "number"), paired(["--alphas", "--tolerance", "--limit", "--resolution"], NUMBERS, every=EVERY)
)
def test_a_number_for_a_barrier(call, place, option, number):
    if option == "--alphas" and number == "1e9":
        pytest.skip("is one of the lists")
    data = (
        ("--dataset", "digits") if option in ("--limit", "--resolution") else ("--study", "tiny.yaml", "--alphas", "2")
    )
    keeps_the_law(call, "barrier", a_network(place), a_network(place), *data, option, number)


@pytest.mark.parametrize(("option", "number"), paired(["--examples", "--top", "--seed"], NUMBERS, every=EVERY))
def test_a_number_for_curvature(call, place, option, number):
    few = () if option == "--examples" else ("--examples", "16")
    keeps_the_law(call, "curvature", a_network(place), "--study", "tiny.yaml", "--top", "0", *few, option, number)


@pytest.mark.parametrize("given", LISTS)
def test_a_list_of_numbers(call, place, given):
    arguments = ("--study", "tiny.yaml", "--alphas", given)
    keeps_the_law(call, "barrier", a_network(place), a_network(place), *arguments)
    assert keeps_the_law(call, "find-rewind", "tiny.yaml", "--arm", "nope", "--candidates", given) == 2


@pytest.mark.parametrize(
    ("command", "text"),
    paired(
        [
            "barrier",
            "curvature --dataset digits",
            "barrier ADDRESS --study tiny.yaml",
            "barrier ADDRESS ADDRESS --dataset",
            "barrier ADDRESS ADDRESS --study",
            "barrier ADDRESS ADDRESS --study tiny.yaml --split",
            "barrier ADDRESS ADDRESS --study tiny.yaml --align",
            "export",
            "export tiny.yaml",
            "export ADDRESS --out ticket --to",
            "import --from open_lth --out ticket",
            "barrier ADDRESS ADDRESS --study tiny.yaml --device",
            "run tiny.yaml --device",
            "run tiny.yaml --limit-arms",
            "plan tiny.yaml --format",
            "plan tiny.yaml --set",
            "plan tiny.yaml --set description=1 --set",
            "results tiny.yaml --limit-arms",
            "results tiny.yaml --format",
            "results tiny.yaml --columns",
            "compare tiny.yaml",
            "compare tiny.yaml none@0 lucky@2 --metric",
            "compare tiny.yaml none@0 lucky@2 --split",
            "compare tiny.yaml none@0 lucky@2 --with",
            "scores show tiny.yaml luck --set scores.luck.kind=",
            "scores show tiny.yaml",
            "scores export tiny.yaml luck --out x.csv --store",
            "subset show tiny.yaml",
            "per-example tiny.yaml --split",
            "per-example tiny.yaml --by",
            "per-example tiny.yaml --by quantile --score",
            "find-rewind tiny.yaml --arm",
            "studies show",
            "studies --store",
            "studies",
            "figure tiny.yaml --name",
            "data",
            "scores",
            "verify",
            "gc tiny.yaml",
            "",
            "--version",
            "--help",
        ],
        TEXTS,
        every=EVERY,
    ),
)
def test_a_text(call, place, command, text):
    keeps_the_law(call, *command.replace("ADDRESS", a_network(place)).split(), text)


@pytest.mark.parametrize("path", ["/ticketdiet-test", "/dev/ticketdiet-test", "../../outside"])
def test_the_fence_holds(place, path, monkeypatch):
    monkeypatch.chdir(place)
    with FENCE.around(place):
        with pytest.raises(PermissionError):
            Path(path).write_text("x")
        with pytest.raises(PermissionError):
            Path(path).mkdir()
    assert not os.path.exists(path)


def test_a_fault_of_the_program_keeps_its_traceback(call, monkeypatch):
    def fails(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("ticketdiet.reports.study.plan_study", fails)
    with pytest.raises(ZeroDivisionError):
        call("plan", "tiny.yaml")


def test_a_missing_file_of_the_program_keeps_its_traceback(call, monkeypatch):
    import ticketdiet

    def fails(*_, **__):
        os.stat(os.path.join(os.path.dirname(ticketdiet.__file__), "no_such_file"))

    monkeypatch.setattr("ticketdiet.reports.study.plan_study", fails)
    with pytest.raises(FileNotFoundError):
        call("plan", "tiny.yaml")
