"""Builds the documentation: `make docs`.

The source directory is the repository, so that every page's links are those that work on GitHub.
Tutorials are notebooks in Markdown, and run when the pages are built.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from myst_nb.core import render
from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

import imgopt

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
    "docs/**.md",
    *("benchmarks/*.md", "benchmarks/results/*.md", "experiments/results/**.md"),
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELIABILITY.md", "tests/DURATIONS.md"),
]
exclude_patterns = [".*", "docs/_build", "runs", "data", "build", "*.egg-info"]
suppress_warnings = ["myst.header", "toc.no_title"]
"""Committed results begin with a heading of the second level, or with none."""
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
smartquotes = False  # options begin with two dashes

os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_merge_streams = True
nb_render_markdown_format = "gfm"

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


def _without_modules(annotation: str) -> str:
    return re.sub(r"~?(?:\b[A-Za-z_]\w*\.)+(?=[A-Z])", "", annotation)


OWN_TYPES = {
    _without_modules(stringify_annotation(getattr(imgopt, name))): name
    for name in ("Augmentation", "Classify", "ImageFilter", "Loss")
}


def _short(annotation: str) -> str:
    """Writes a type as the code does: without modules, and with the names of our own types."""
    text = _without_modules(annotation)
    for long, name in OWN_TYPES.items():
        text = text.replace(long, name)
    return text


def _shorten_types(app: Sphinx, domain: str, kind: str, content: Any) -> None:
    """Shortens the types of parameters, before autodoc puts them into their descriptions."""
    del domain, kind, content
    for types in app.env.current_document.autodoc_annotations.values():
        types.update({name: _short(text) for name, text in types.items()})


def _keep_sentence(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Remembers what an attribute is, before napoleon takes a part for its type."""
    del app, value, options
    if what in ("attribute", "property"):
        _sentences[name] = list(lines)


def _restore_sentence(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Undoes what napoleon did to an attribute's sentence, and shortens types in descriptions."""
    del app, what, value, options
    lines[:] = _sentences.pop(name, lines)
    for number, line in enumerate(lines):
        if line.startswith(":vartype "):
            field, _, annotation = line[1:].partition(":")
            lines[number] = f":{field}: {_short(annotation)}"


_sentences: dict[str, list[str]] = {}


def _join_streams(outputs: list[Any], merge: Any = render.coalesce_streams) -> list[Any]:
    """Merges a cell's text; it comes in pieces of 100 bytes, which myst-nb takes for lines."""
    whole: dict[str, Any] = {}
    for output in [each for each in outputs if each["output_type"] == "stream"]:
        if output["name"] in whole:
            whole[output["name"]]["text"] += output["text"]
            outputs.remove(output)
        else:
            whole[output["name"]] = output
    return merge(outputs)


def _write_dashes(app: Sphinx, doctree: nodes.document) -> None:
    """Puts a dash between a parameter and its description, since `smartquotes` is off."""
    del app
    for text in list(doctree.findall(lambda node: node == " -- ")):
        text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> None:
    """Adds to Sphinx what it lacks."""
    render.coalesce_streams = _join_streams
    app.add_lexer("console", BashLexer)  # commands without prompts, so that they can be copied
    app.add_html_math_renderer("mathml", (_show_inline, None), (_show_block, None))
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("autodoc-process-docstring", _keep_sentence, priority=100)
    app.connect("autodoc-process-docstring", _restore_sentence, priority=900)
    app.connect("object-description-transform", _shorten_types, priority=100)
    app.connect("doctree-read", _write_dashes)
