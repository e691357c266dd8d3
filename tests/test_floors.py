"""The house stands: imports go down only, science is pure, and nothing grows out of hand.

Everything is read from the source: imports inside functions count like those at the top; those that only type checkers
see are held to the floors too, but make no cycle at run time.
"""

import ast
import graphlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import ticketdiet

PACKAGE = Path(ticketdiet.__file__).parent
FLOORS = {
    "core": 0,
    "store": 1,
    "data": 1,
    "models": 1,
    "kernels": 2,
    "training": 3,
    "scores": 4,
    "tickets": 4,
    "landscape": 4,
    "studies": 5,
    "reports": 6,
    "page": 7,
    "paper": 7,
    "cli": 8,
}
SCIENCE = ("training", "scores", "tickets", "landscape")
# Where heavy or rare libraries may be imported; anywhere else is a surprise for who has not installed them.
HEAVY = {
    "torchvision": {"data.vision", "models.libraries"},
    "timm": {"models.libraries"},
    "datasets": {"data.huggingface"},
    "pyarrow": {"data.parquet", "reports.table"},
    "PIL": {"data.pictures"},
    "curvlinops": {"landscape.curvature"},
    "pynvml": {"studies.energy"},
    "submitit": {"studies.executors.submitit_queue"},
    "ray": {"studies.executors.ray_connection"},
    "tensorboard": {"studies.loggers.tensorboard"},
    "mlflow": {"studies.loggers.mlflow"},
    "wandb": {"studies.loggers.wandb"},
    "trackio": {"studies.loggers.trackio"},
    "sklearn": {"data.digits", "scores.prototype"},
    "matplotlib": {"reports", "page.figures"},
    "jinja2": {"page.render"},
    "pandas": {"reports", "paper", "scores.files", "cli.summary"},
    "scipy": {"landscape", "page.caveats", "paper", "reports", "scores.noise", "scores.stability"},
    "typer": {"cli"},
    "rich": {"cli", "reports.comparison", "reports.progress", "reports.table", "reports.titled"},
    "yaml": {"studies.yaml_text"},
    "fsspec": {"store"},
    "safetensors": {"store", "tickets.portable_files"},
}
MOST_LINES_OF_A_FILE = 350
MOST_LINES_OF_A_FUNCTION = 60


@dataclass(frozen=True)
class Import:
    """One import of ``importer`` (a module's name below the package): ``name`` in full, at ``line``."""

    importer: str
    name: str
    line: int
    for_types: bool

    def __str__(self):
        return f"{self.importer}:{self.line} imports {self.name}"


@cache
def sources():
    """Source by module name below the package; its own ``__init__`` and ``__main__`` stand above the house."""
    files = {
        path.relative_to(PACKAGE).with_suffix(""): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")
    }
    return {".".join(path.parts).removesuffix(".__init__"): text for path, text in files.items() if len(path.parts) > 1}


@cache
def imports():
    return [found for module, text in sources().items() for found in imports_of(module, ast.parse(text))]


def imports_of(module, node, for_types=False):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(module, alias.name, child.lineno, for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None
            assert not child.level, f"{module}:{child.lineno} is a relative import"
            # ``from ticketdiet.cli import data`` imports a module, not a name.
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                is_module = full.removeprefix("ticketdiet.") in sources()
                yield Import(module, full if is_module else child.module, child.lineno, for_types)
        else:
            guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from imports_of(module, child, for_types or guarded)


def own(found):
    """The imported module's name below the package, or None when it is another's (or the top's ``__version__``)."""
    return found.name.removeprefix("ticketdiet.") if found.name.startswith("ticketdiet.") else None


def package(module):
    return module.split(".")[0]


def within(module, places):
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_package_has_a_floor():
    assert {package(module) for module in sources()} == set(FLOORS)


def test_packages_do_nothing_when_imported():
    busy = [name for name in FLOORS if sources().get(name, "").strip() and name != "cli"]
    assert not busy


def test_imports_go_down_only():
    inside = [(found, package(found.importer), package(own(found))) for found in imports() if own(found)]
    upward = [str(found) for found, here, there in inside if here != there and FLOORS[there] >= FLOORS[here]]
    assert not upward


def test_only_the_command_line_knows_the_top():
    assert not [str(found) for found in imports() if found.name == "ticketdiet" and package(found.importer) != "cli"]


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {module: set() for module in sources()}
    for found in imports():
        target = own(found)
        # A package's ``__init__`` that names its own modules is their door, not one of them.
        if target is not None and not found.for_types and "." in found.importer:
            graph[found.importer].add(target)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_imported_only_where_it_belongs(library):
    everywhere = [found for found in imports() if found.name.split(".")[0] == library and not found.for_types]
    assert not [str(found) for found in everywhere if not within(found.importer, HEAVY[library])]


def test_science_neither_stores_nor_shows():
    shown = {"rich", "typer", "logging", "tqdm", "matplotlib"}
    of_science = [found for found in imports() if package(found.importer) in SCIENCE]
    reached = [
        found for found in of_science if found.name.split(".")[0] in shown or within(own(found) or "", ["store"])
    ]
    assert not [str(found) for found in reached]


def calls_of(*names):
    """``module`` and line of every call of ``names``."""
    return [
        (module, node.lineno)
        for module, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def test_only_the_command_line_prints():
    assert not [call for call in calls_of("print", "input", "breakpoint") if package(call[0]) != "cli"]


def test_only_the_code_of_networks_finds_the_global_generators_seeded_and_they_are_put_back():
    python, own = ("random.seed", "np.random.seed", "numpy.random.seed"), ("torch.manual_seed", "torch.seed")
    devices = ("torch.default_generator.manual_seed", "torch.cuda.manual_seed")
    seeding = {module for module, _ in calls_of(*python, *own, *devices)}
    assert seeding == {"models.build", "training.draws"}
    assert all("fork_rng" in sources()[module] for module in seeding)


def test_no_file_is_too_long():
    lengths = {module: len(text.splitlines()) for module, text in sources().items()}
    assert not {module: lines for module, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE}


def test_no_function_is_too_long():
    functions = [
        (f"{module}.{node.name}", lines_of_code(node))
        for module, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    ]
    assert not [(name, lines) for name, lines in functions if lines > MOST_LINES_OF_A_FUNCTION]


def lines_of_code(function):
    """Lines from ``def`` to the end, without the docstring: saying more about arguments is no fault."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)
