"""Tables of results: read from Markdown as they were written, and damage is named."""

import json

import pytest

from experiments.explore.result_tables import (
    check_results,
    first_paragraph,
    markdown_tables,
    read_shown_results,
)
from experiments.pages.html import Table
from imgopt.errors import InputError

CELLS = [["a | b", "1.5 ± 0.2"], ["<b>bold</b> & more", "-"], ["a\\b", "3"]]


def test_a_table_that_elicit_wrote_is_read_back():
    text = f"# Title\n\n{Table(['row', 'value'], CELLS).markdown}\n\n## Next\n\ntext | no table\n"
    (table,) = markdown_tables(text)
    assert table == {"title": "Title", "header": ["row", "value"], "rows": CELLS}


@pytest.mark.parametrize("text", ["", "| a |", "| a |\n| b |", "a | b\n--- | ---", "# | a |"])
def test_what_is_no_table_gives_none(text):
    assert list(markdown_tables(text)) == []


def test_results_are_found_in_folders(tmp_path):
    for name in ("b", "a/deep", "damaged"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(json.dumps({"device": {"kind": "cpu"}}))
    (tmp_path / "b" / "table.md").write_text(Table(["x", "y"], [["1", "2"]]).markdown)
    (tmp_path / "damaged" / "result.json").write_text("{")
    (tmp_path / "other").mkdir()
    found = read_shown_results(tmp_path)
    assert [each["name"] for each in found] == ["b", "damaged", "a/deep"]
    assert found[0]["tables"][0]["rows"] == [["1", "2"]]
    assert found[0]["facts"] == {"device": "kind cpu"}
    assert "cannot be read" in found[1]["error"]


def test_the_folder_s_own_result_comes_first_and_pieces_are_left_out(tmp_path):
    for name in ("a", "pieces/base-1", "pieces/base-1/deep", "."):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "result.json").write_text(json.dumps({"test_accuracy": 0.8583333}))
    found = read_shown_results(tmp_path)
    assert [each["name"] for each in found] == [tmp_path.name, "a"]
    assert found[0]["facts"] == {"test_accuracy": "85.83%"}


@pytest.mark.parametrize(
    "content",
    [
        {"accuracies": {"a": [0.5, 0.6], "b": [0.75]}},
        {"comparison": {"arms": [{"name": "a", "accuracies": [0.5, 0.6]},
                                 {"name": "b", "accuracies": [0.75]}]}},
    ],
)  # fmt: skip
def test_a_result_without_markdown_shows_the_accuracies_that_it_holds(content, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(content))
    (found,) = read_shown_results(tmp_path)
    (table,) = found["tables"]
    assert table["rows"] == [["a", "55.00 ± 7.07", "2"], ["b", "75.00", "1"]]


@pytest.mark.parametrize("content", [[], {"accuracies": 3}, {"arms": [{}]}, {"comparison": 1}])
def test_a_result_of_another_kind_has_no_table(content, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(content))
    (found,) = read_shown_results(tmp_path)
    assert found["tables"] == []


def test_the_first_paragraph_is_the_verdict():
    text = "# A title\n\n- a fact: 3\n\n![chart](x.svg)\n\nIt *works*,\nwith `a \\| b`.\n\nMore."
    assert first_paragraph(text) == "It works, with a | b."
    assert first_paragraph("# A title\n\n| a |\n| - |\n") == ""


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match="must be a directory"):
        check_results(tmp_path / "none")
    with pytest.raises(InputError, match="none is gone"):
        read_shown_results(tmp_path / "none")
    assert check_results(None) is None
