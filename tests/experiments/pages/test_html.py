import base64
import io
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from experiments.pages.html import (
    Fact,
    Picture,
    Section,
    Strip,
    Strips,
    Table,
    provenance,
    write_report,
)
from experiments.pages.svg import Chart, text
from experiments.pages.verdict import Verdict
from tests.experiments.pages.reports import Page, assert_is_report

CHART = Chart(text(0, 12, "9"), 20, "nine is 9")
HOSTILE = "<script>alert('x')</script>\"' onerror=\"x\" &amp; </style> {{ 7 * 7 }} javascript:x"


def png(size: tuple[int, int] = (6, 4), **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, "teal").save(file, "PNG", **options)
    return file.getvalue()


def report(words: str = "words", sections: int = 1) -> dict[str, Any]:
    section = Section(
        words,
        f"{words}\n\n{words}",
        [
            Picture(png(), words),
            Picture(png((900, 4)), words),
            Picture(CHART, words),
        ],
        [Table([words, "n ↓"], [[words, "3"]], caption=words)],
        [Strips([Strip(words, png(), (words,), words)], words, 2)],
    )
    return {
        "title": words,
        "verdict": Verdict(words, words, words),
        "facts": [Fact(words, words, words)],
        "sections": [section] * sections,
        "footer": {words: words},
    }


def page_of(**parts: Any) -> Page:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(path, **parts)
        return Page(path.read_text())


def test_the_page_needs_nothing_from_outside() -> None:
    page = page_of(**report())
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    addresses = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")]
    assert len(addresses) == 3
    assert all(address and address.startswith("data:image/") for address in addresses)
    style = "".join(page.words)
    assert "@import" not in style
    assert "url(" not in style
    policies = [attrs.get("content") for tag, attrs in page.tags if tag == "meta"]
    assert any(policy and "default-src 'none'" in policy for policy in policies)


def test_tags_are_closed_in_order() -> None:
    assert page_of(**report(sections=6)).open == []


def test_hostile_words_stay_words() -> None:
    plain, hostile = page_of(**report()), page_of(**report(HOSTILE))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [set(attrs) for _, attrs in hostile.tags] == [set(attrs) for _, attrs in plain.tags]
    assert hostile.words.count(HOSTILE) == plain.words.count("words")
    assert " ".join([HOSTILE] * 3) in hostile.words  # the verdict


def test_images_come_back_as_they_went_in() -> None:
    sources = [each["src"] or "" for each in page_of(**report()).attributes("img")]
    kinds, data = zip(*(source.split(";base64,") for source in sources), strict=True)
    assert set(kinds) == {"data:image/png"}
    assert [base64.b64decode(text) for text in data] == [png(), png(), png((900, 4))]


def test_a_picture_s_size_follows_its_resolution() -> None:
    assert Picture(png((6, 4)), "").size_px == (6, 4)
    assert Picture(png((600, 400), dpi=(192, 192)), "").size_px == (300, 200)
    assert Picture(CHART, "").size_px is None


def test_a_report_obeys_the_laws_of_all_reports(tmp_path: Path) -> None:
    footer = provenance({"command": "c", "device": "d", "versions": {"jax": "1"}}, data="digits")
    verdict = Verdict("Two images were made.", "They work.", "Not decided: n = 1.")
    path = tmp_path / "report.html"
    write_report(path, **report() | {"verdict": verdict, "footer": footer})
    page = assert_is_report(path)
    assert "".join(page.by_class["verdict"]) == verdict.text
    lower = [words for words in page.by_class["note"] if "lower is better" in words]
    assert lower == ["words. ↓ lower is better"]
    bad = Picture(Chart(CHART.body, 20, "a chart"), "")
    write_report(path, **report() | {"footer": footer, "sections": [Section("", "", [bad])]})
    with pytest.raises(AssertionError):  # the law sees a chart without numbers
        assert_is_report(path)


@pytest.mark.parametrize(("sections", "links"), [(4, 0), (5, 5)])
def test_contents_are_listed_only_where_there_are_many(sections: int, links: int) -> None:
    page = page_of(**report(sections=sections))
    targets = [(attrs["href"] or "")[1:] for tag, attrs in page.tags if tag == "a"]
    assert len(targets) == links
    assert set(targets) <= {attrs.get("id") for _, attrs in page.tags}


def test_an_empty_report_has_no_empty_parts() -> None:
    page = page_of(title="t", verdict=Verdict("v", ""), facts=[], sections=[], footer={})
    assert not {tag for tag, _ in page.tags} & {"dl", "nav", "section", "footer", "figure", "ul"}


def test_columns_of_numbers_are_told_from_words() -> None:
    rows = [["VGG 16", "97.8 ± 0.2 %", "1,437", "1e-5"], ["2 of 3 runs", "-0.5", "–", ""]]
    assert Table(["a", "b", "c", "d"], rows).numeric == (False, True, True, True)


def test_a_table_in_markdown():
    table = Table(["name", "n"], [["a", "1"], ["b", "2"]])
    assert table.markdown == "| name | n |\n| --- | --- |\n| a | 1 |\n| b | 2 |"


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 JPEG", b"<svg></svg>"])
def test_bytes_of_another_kind_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected the bytes of a PNG; received b"):
        Picture(data, "")


def test_a_report_is_written_whole_and_alike_every_time(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")
    write_report(path, **report("ship ≥ 0.9"))
    first = path.read_bytes()
    assert "ship ≥ 0.9" in first.decode()
    write_report(path, **report("ship ≥ 0.9"))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_s_undecodable_name_does_not_stop_the_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, **report("cl\udcffss"))
    assert b"cl&#56575;ss" in path.read_bytes()
