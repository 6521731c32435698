"""The rules of the house that a linter does not know, over the real files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["imgopt", "train", "gans", "experiments"]
"""Each package imports from those before it only."""

PACKAGES = [name for name in ORDER if (ROOT / name).is_dir()]
OUTSIDE_IMGOPT = {"flax", "orbax", "tensorflow_datasets", "tyro", "matplotlib", "PIL", "sklearn"}

POSITIONAL = {"key", "classify", "images", "originals", "outputs", "targets", "labels", "count"} | {
    "logits",
    "log_p",
    "target",
    "weights",
    "pixel_map",
    "name",
    "shape",
    "radius",  # the one thing that makes a low-pass
    "sigma",  # likewise
    "devices",  # and what the functions of imgopt.devices are about
    "mesh",
    "tree",
    "function",
}
"""What a public function of imgopt may take by place; all else is an option, by keyword."""

HOME = re.compile(r"/(home|Users|root|work)/\w+")


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree):
    """Top-level packages imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module).partition(".")[0]


def public_functions(package):
    for path in sources(package):
        for node in ast.parse(path.read_text()).body:
            is_function = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_function and not node.name.startswith("_"):
                yield f"{path.name}: {node.name}", node


def test_there_is_something_to_check():
    assert {"imgopt", "train", "experiments"} <= set(PACKAGES)
    assert len(list(public_functions("imgopt"))) > 20


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    later = set(ORDER[ORDER.index(package) + 1 :])
    for path in sources(package):
        wrong = later & set(imported(ast.parse(path.read_text())))
        assert not wrong, f"{path} imports {wrong}"


def test_imgopt_knows_no_network():
    for path in sources("imgopt"):
        wrong = OUTSIDE_IMGOPT & set(imported(ast.parse(path.read_text())))
        assert not wrong, f"{path} imports {wrong}"


@pytest.mark.parametrize("package", ["imgopt", "train", "gans"])
def test_public_functions_say_what_they_do(package):
    silent = [where for where, node in public_functions(package) if not ast.get_docstring(node)]
    assert not silent


def test_options_of_imgopt_are_keyword_only():
    by_place = {
        f"{where}({argument.arg})"
        for where, node in public_functions("imgopt")
        if isinstance(node, ast.FunctionDef)
        for argument in [*node.args.posonlyargs, *node.args.args]
        if argument.arg not in POSITIONAL
    }
    assert not by_place


@pytest.mark.parametrize("package", ["imgopt", "train", "gans"])
def test_keys_come_first(package):
    for where, node in public_functions(package):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            assert "key" not in names[1:], where


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_marked_as_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_no_file_names_a_home_directory():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so the project's files are not known")
    found = []
    for name in listed.stdout.splitlines():
        try:
            text = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{name}: {match.group()}" for match in HOME.finditer(text)]
    assert not found
