"""Builds the documentation: `make docs`.

The source directory is the repository, so that every page's links are those that work on GitHub.
Tutorials are notebooks in Markdown, and run when the pages are built.
"""

import os
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

project = "Elicit"
author = "The Elicit authors"
copyright = author  # noqa: A001  (Sphinx's name)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md", "benchmarks/**.md", "experiments/results/**.md", "tests/DURATIONS.md",
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELIABILITY.md",
]  # fmt: skip
exclude_patterns = [".*", "docs/_build", "runs", "data", "build", "*.egg-info"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r".*")]
"""Names in types are not links: their pages, such as JAX's, are elsewhere."""

html_theme = "furo"
html_title = "Elicit"
html_static_path = ["static"]
html_css_files = ["elicit.css"]
html_additional_pages = {"index": "to-the-documentation.html"}
templates_path = ["static"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
copybutton_exclude = ".linenos, .gp"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
default_role = "code"

os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False


def _show_inline(translator: Any, node: nodes.math) -> None:
    """Writes a formula as MathML, which browsers show without a script."""
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _show_block(translator: Any, node: nodes.math_block) -> None:
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def _skip_fields(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool:
    """Leaves out the fields of named tuples, which their class describes."""
    del app, what, name, options
    return skip or type(value).__name__ == "_tuplegetter"


def setup(app: Sphinx) -> None:
    """Adds to Sphinx what it lacks."""
    app.add_html_math_renderer("mathml", (_show_inline, None), (_show_block, None))
    app.connect("autodoc-skip-member", _skip_fields)
