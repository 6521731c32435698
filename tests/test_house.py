"""The rules of the house that a linter does not know, checked on the real files."""

import ast
import graphlib
import inspect
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = ["imgopt", "train", "gans", "experiments"]

FOLDERS = [
    *("imgopt", "train/runtime", "train/storage", "train/data", "train/models", "train/recipes"),
    *("train", "gans/options", "gans"),
    *(
        "experiments/pages",
        "experiments/console",
        "experiments/options",
        "experiments/training",
        "experiments/data",
    ),
    *("experiments/classifier", "experiments/synthesis", "experiments/transfer"),
    *("experiments/gan", "experiments/share"),
    *("experiments/papers/engine", "experiments/papers/does_it_help", "experiments/papers"),
    "experiments/verify",
    *("experiments/quickstart", "experiments/explore", "experiments"),
]
"""Each folder imports from itself and from those before it only."""

TABLE_OF_COMMANDS = "experiments.commands"
"""A module without imports, which any folder of `experiments` may read."""

OUTSIDE_IMGOPT = {"flax", "orbax", "tensorflow_datasets", "tyro", "matplotlib", "PIL", "sklearn"}

POSITIONAL = {
    *("key", "classify", "images", "originals", "outputs", "targets", "labels", "count"),
    *("log_p", "target", "weights", "pixel_map", "name", "shape"),
    *("radius", "sigma", "pad_px"),  # the only argument of a low-pass filter, or of a crop
    *("image", "classifiers"),  # of an augmentation, and of a mean classifier
    *("height", "width", "value"),
    *("devices", "place", "tree", "function", "rule"),  # of imgopt.programs
    *("method", "state", "indices", "split", "batch", "options", "checked"),  # of method and job
    *(
        "optimizer",
        "opt_state",
        "index",
        "learning_rate",
        "scale",
        "error",
    ),  # of the rules, as optax's
}
"""Parameters that a public function of imgopt may take by position; all others are options."""

MOST_FILES, MOST_TEST_FILES = 12, 14
MOST_LINES = 400
MOST_CODE_LINES = 60
MOST_PARAMETERS = 7

RIDDLES = re.compile(r"\bditto\b", re.IGNORECASE)
NOT_A_CHECKOUT = 128
"""Exit status of git outside a repository."""


class Module(NamedTuple):
    """A source file of a package."""

    name: str
    path: Path
    folder: str
    tree: ast.Module


@cache
def modules() -> dict[str, Module]:
    """All modules of the packages by their dotted names."""
    found = {}
    for path in (path for package in PACKAGES for path in sources(package)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        folder = str(path.parent.relative_to(ROOT))
        found[name] = Module(name, path, folder, ast.parse(path.read_text()))
    return found


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Modules imported anywhere, inside functions too, and the name taken from each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def imported_modules(module: Module) -> set[str]:
    """Modules of our own that a module imports."""
    found = set()
    for source, name in imported_names(module.tree):
        full = f"{source}.{name}"
        found.add(full if full in modules() else source)
    return {name for name in found if name in modules() and name != module.name}


def functions() -> Iterator[tuple[str, Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions of the packages, those inside classes and functions too."""
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module.name}.{node.name}", module.path, node


def public_definitions(package: str) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for module in modules().values():
        if module.name.split(".")[0] == package:
            for node in module.tree.body:
                is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
                if is_definition and not node.name.startswith("_"):
                    yield f"{module.name}.{node.name}", node


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of definitions, and the strings that describe fields and constants."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def code_lines(node: ast.AST, lines: list[str]) -> int:
    """Lines of a definition that are neither blank, comment nor docstring."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    words = {
        line
        for inner in ast.walk(node)
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)
        for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1)
    }
    own = set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - words
    return sum(not re.match(r"\s*(#|$)", lines[number - 1]) for number in own)


# Imports


def test_folders_import_one_way():
    assert {module.folder for module in modules().values()} == set(FOLDERS)
    wrong = {
        f"{module.name} imports {name}"
        for module in modules().values()
        for name in imported_modules(module) - {TABLE_OF_COMMANDS}
        if FOLDERS.index(modules()[name].folder) > FOLDERS.index(module.folder)
    }
    assert not wrong


def test_the_table_of_commands_imports_nothing_of_ours():
    assert not imported_modules(modules()[TABLE_OF_COMMANDS])


def test_no_module_imports_itself_in_a_circle():
    graph = {module.name: imported_modules(module) for module in modules().values()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imgopt_knows_no_network():
    wrong = {
        f"{module.name} imports {source}"
        for module in modules().values()
        for source, _ in imported_names(module.tree)
        if module.folder == "imgopt" and source.split(".")[0] in OUTSIDE_IMGOPT
    }
    assert not wrong


def test_private_names_stay_in_their_module():
    wrong = {
        f"{module.name}: {source}.{name}"
        for module in modules().values()
        for source, name in imported_names(module.tree)
        if name and name.startswith("_") and source.split(".")[0] in PACKAGES
    }
    assert not wrong


# Types of numbers


def draws_without_a_type(tree: ast.Module) -> Iterator[int]:
    """Lines that draw numbers, or make a parameter, in the type that jax_enable_x64 decides."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg for keyword in node.keywords}
        if name == "self.param":  # name, initialiser, shape, dtype
            is_typed = len(node.args) > 3
        elif name == "jax.random.bernoulli":  # draws in the type of p, its second argument
            is_typed = len(node.args) > 1 or "p" in given
        elif name.startswith("jax.random.") and hasattr(jax.random, node.func.attr):
            names = list(inspect.signature(getattr(jax.random, node.func.attr)).parameters)
            typed_by = names.index("dtype") if {"dtype", "shape"} <= {*names} else -1
            is_typed = len(node.args) > typed_by or "dtype" in given
        else:
            continue
        if not is_typed:
            yield node.lineno


def test_what_is_drawn_does_not_depend_on_jax_enable_x64():
    found = {
        f"{module.name}:{line}"
        for module in modules().values()
        for line in draws_without_a_type(module.tree)
    }
    assert not found


def test_names_are_imported_from_the_module_that_defines_them():
    wrong = {
        f"{importer.name}: {source}.{name}"
        for importer in modules().values()
        for source, name in imported_names(importer.tree)
        if (origin := modules().get(source))
        and name is not None
        and origin.path.name != "__init__.py"  # a package's interface
        and name in {own for place, own in imported_names(origin.tree) if place in modules()}
    }
    assert not wrong


# Sizes


@pytest.mark.parametrize(
    ("top", "most"),
    [*((top, MOST_FILES) for top in (*PACKAGES, "benchmarks")), ("tests", MOST_TEST_FILES)],
)
def test_folders_are_small(top, most):
    counts = Counter(path.parent for path in sources(top) if path.name != "__init__.py")
    too_many = {str(folder): count for folder, count in counts.items() if count > most}
    assert not too_many


def test_files_are_short():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for top in [*PACKAGES, "benchmarks", "tests"]
        for path in sources(top)
    }
    too_long = {name: length for name, length in lengths.items() if length > MOST_LINES}
    assert too_long == {}


def test_functions_are_short():
    too_long = {}
    for name, path, node in functions():
        count = code_lines(node, path.read_text().splitlines())
        if count > MOST_CODE_LINES:
            too_long[name] = count
    assert not too_long


def test_functions_take_few_parameters():
    counts = {
        name: len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
        - (bool(node.args.args) and node.args.args[0].arg in ("self", "cls"))
        for name, _, node in functions()
    }
    too_many = {name: count for name, count in counts.items() if count > MOST_PARAMETERS}
    assert not too_many


# Words


def test_docstrings_need_no_neighbour():
    tests = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sources("tests")}
    trees = {name: module.tree for name, module in modules().items()} | tests
    wrong = {
        f"{name}: {text.splitlines()[0]}"
        for name, tree in trees.items()
        for text in docstrings(tree)
        if text.lstrip().startswith("Of ") or RIDDLES.search(text)
    }
    assert not wrong


def test_a_class_name_means_one_thing():
    places = defaultdict(list)
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.name)
    assert not {name: where for name, where in places.items() if len(where) > 1}


# Interfaces


def test_options_of_imgopt_are_keyword_only():
    by_position = {
        f"{where}({argument.arg})"
        for where, node in public_definitions("imgopt")
        if isinstance(node, ast.FunctionDef)
        for argument in [*node.args.posonlyargs, *node.args.args]
        if argument.arg not in POSITIONAL
    }
    assert not by_position


@pytest.mark.parametrize("package", ["imgopt", "train", "gans"])
def test_keys_come_first(package):
    for where, node in public_definitions(package):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            assert "key" not in names[1:], where


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_marked_as_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_no_file_names_a_home_directory():
    command = ["git", "grep", "--untracked", "-IoE", r"/(home|Users|root|work)/[A-Za-z0-9_]+"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode == NOT_A_CHECKOUT:
        pytest.skip("not a git checkout, so the project's files are not known")
    assert not found.stdout
