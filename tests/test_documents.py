"""The documents are true: paths, modules, links and trees exist; CI calls existing targets.

`make docs` builds the pages and runs the tutorials.
"""

import ast
import importlib
import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("imgopt", "train", "gans", "experiments")
FOLDERS = (*PACKAGES, "benchmarks", "tests", ".github")
DOCUMENTS = (
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "RELIABILITY.md", "CHANGELOG.md",
    "benchmarks/NOTES.md", "benchmarks/RESULTS.md",
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if "_build" not in path.parts
    ),
)  # fmt: skip
MOST_README_BYTES = 8000
TREES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))

CODE_SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:\.\./)*[\w.*-]+(?:/[\w.*-]+)*/?")
MODULE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
TREE_LINE = re.compile(r"( *)(\.?[\w./-]+)(?:  +\S|$)")


def prose(document):
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.DOTALL | re.M)


def words_in_code(text):
    return [word.strip("(),;:'") for span in CODE_SPAN.findall(text) for word in span.split()]


def find(path):
    """Files and folders of this name or pattern; a name without a folder may lie anywhere."""
    path = path.rstrip("/")
    found = list(ROOT.glob(path))
    if found or "/" in path:
        return found
    return [each for folder in FOLDERS for each in (ROOT / folder).rglob(path)]


def paths_in(text):
    """Words that name a file or folder of this repository."""
    for word in words_in_code(text):
        is_inside = "/" in word and PurePosixPath(word).parts[0] in FOLDERS
        if PATH.fullmatch(word) and (is_inside or word.endswith((".py", ".yml", ".yaml", ".toml"))):
            yield word


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_exist(document):
    missing = [path for path in paths_in(prose(document)) if not find(path)]
    assert not missing


def test_paths_in_the_makefile_exist():
    paths = re.findall(r"(?<![\w./])(?:tests|benchmarks)/[\w./*-]*", MAKEFILE)
    assert paths
    assert not [path for path in paths if not find(path)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_and_their_names_exist(document):
    missing = []
    for name in filter(MODULE.fullmatch, words_in_code(prose(document))):
        parts = name.split(".")
        if not any((ROOT / "/".join(parts)).with_suffix(end).exists() for end in ("", ".py")):
            found = importlib.import_module(".".join(parts[:-1]) if len(parts) > 2 else parts[0])
            missing += [] if hasattr(found, parts[-1]) else [name]
    assert not missing


def anchors(path):
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    for link in re.findall(r"\]\(([^)]+)\)", prose(document)):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = folder / place if place else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def trees(document):
    """Paths in the trees of a document: fenced blocks without a language."""
    text = (ROOT / document).read_text()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language:
            continue
        above: list[tuple[int, str]] = []
        for line in block.splitlines():
            match = TREE_LINE.match(line)
            if not match:
                continue
            indent, name = len(match[1]), match[2]
            above = [(depth, part) for depth, part in above if depth < indent]
            yield "/".join([*(part.rstrip("/") for _, part in above), name])
            above.append((indent, name))


@pytest.mark.parametrize("document", TREES)
def test_what_a_tree_shows_exists(document):
    assert not [path for path in trees(document) if not (ROOT / path).exists()]


def test_the_architecture_shows_every_folder_of_code():
    shown = {path.rstrip("/") for path in trees("ARCHITECTURE.md")}
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in (*PACKAGES, "benchmarks")
        for path in (ROOT / package).rglob("*.py")
    }
    assert folders <= shown


@pytest.mark.parametrize("package", ["imgopt", "train", "gans"])
def test_the_reference_has_every_public_name_once(package):
    text = (ROOT / f"docs/api/{package}.md").read_text()
    listed = re.findall(r"^\.\. (?:auto\w+|py:data):: (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(importlib.import_module(package).__all__)


def walks():
    """The walks of the architecture: for each, the steps that its heading counts, and its steps."""
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Three walks\n")[2]
    parts = re.split(r"^\*\*.*\*\* .*: (\d+) steps\.$", text.partition("\n## ")[0], flags=re.M)
    for count, body in zip(parts[1::2], parts[2::2], strict=True):
        yield int(count), re.findall(r"^\d+\. ((?:.+\n)(?:   .+\n)*)", body, re.M)


def imports(path):
    """Modules that a file imports, and the names that it takes from them, with their modules."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_walks_follow_the_imports():
    found = list(walks())
    assert len(found) == 3
    for count, steps in found:
        assert count == len(steps)
        files = [path for step in steps for path in words_in_code(step) if path.endswith(".py")]
        known = set()
        for number, path in enumerate(files):
            module = path.removesuffix(".py").replace("/", ".")
            package = module.partition(".")[0]  # whose names load their modules when used
            assert not number or {module, package} & known, path
            known |= {*imports(path)}


def test_walks_name_what_their_files_define():
    for step in (step for _, steps in walks() for step in steps):
        words = words_in_code(step)
        modules = [
            importlib.import_module(word.removesuffix(".py").replace("/", "."))
            for word in words
            if word.endswith(".py")
        ]
        for name in words:
            if name.isidentifier():
                assert any(hasattr(module, name) for module in modules), name
            elif re.fullmatch(r"[A-Z]\w*\.\w+", name):
                owner, attribute = name.split(".")
                assert any(hasattr(getattr(m, owner, None), attribute) for m in modules), name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < MOST_README_BYTES


def test_workflows_call_targets_that_exist():
    workflows = "\n".join(path.read_text() for path in WORKFLOWS)
    called = set(re.findall(r"\bmake ([a-z-]+)", workflows))
    assert {"lint"} < called <= TARGETS


def test_the_makefile_has_help_for_every_target():
    assert set(re.findall(r"^([a-z-]+):.* ## ", MAKEFILE, re.MULTILINE)) == TARGETS


def test_workflows_test_the_oldest_and_the_newest_jax_that_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (jax,) = (each for each in project["dependencies"] if re.match(r"jax\b[^t]", each))
    low, high = re.fullmatch(r"jax>=0\.(\d+),<0\.(\d+)", jax).groups()
    (matrix,) = (
        job["strategy"]["matrix"]["include"]
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        if "strategy" in job
    )
    assert {f"0.{low}.0", f"0.{int(high) - 1}.*"} <= {each["jax"] for each in matrix}
    assert {"3.11", "3.13"} == {each["python"] for each in matrix}
    assert project["requires-python"] == ">=3.11,<3.14"
