"""Class names, ids, commands and options of others stay plain text in reports."""

import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.classifier import report
from experiments.classifier.report import TrainedRun, write_run_report
from experiments.cli import main
from experiments.gan.train_report import TrainedGan, write_gan_report
from experiments.pages.html import Picture, Table, provenance
from experiments.pages.image_sheets import sample_grid
from experiments.pages.markdown import as_code, as_words
from experiments.pages.svg import Chart
from experiments.synthesis.report import ElicitedSet, write_set_report
from experiments.synthesis.summary import SetSummary
from gans.dcgan import DcganConfig
from gans.sampling import GanSpec
from tests.faults.hostile import descriptions
from train.data.image_data import ImageData
from train.evaluation import Evaluation

SCRIPT = "<script>alert(1)</script>"
WORDS = f"{SCRIPT}\"'><img src=x onerror='alert(1)'>|`$x$ \\frac {{{{ 7 * 7 }}}} &amp;"
CLASSES = (SCRIPT, "\"'><svg onload=alert(1)>", "]]><!--|&amp;$\\frac")
PAGE_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "div", "header", "h1", "h2", "p", "main"),
    *("dl", "dt", "dd", "nav", "ol", "ul", "li", "a", "section", "figure", "figcaption", "img"),
    *("b", "span", "table", "thead", "tbody", "tr", "th", "td", "footer"),
}
"""Tags of a page's template; none of them comes from data."""

RESULT = {
    "device": WORDS, "versions": {WORDS: WORDS}, "command": WORDS, "key": WORDS,
}  # fmt: skip


class Tags(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check_page(directory: Path, *, words: str = WORDS) -> None:
    """Checks that a page and its drawings have no tags from data."""
    page = Tags((directory / "report.html").read_text())
    assert words in "\n".join(page.words)
    own = {"svg", "g", "text", "line", "rect", "circle", "polyline", "polygon"}
    assert set(page.tags) <= own | PAGE_TAGS
    assert not [name for name in page.attributes if name.startswith("on")]
    for path in directory.glob("figures/*.svg"):
        drawing = Tags(path.read_text())
        assert set(drawing.tags) <= {*own, "style"}
        assert not [name for name in drawing.attributes if name.startswith("on")]


def test_a_classifier_s_report(tmp_path):
    empty = np.full(15, 0.5)
    images = np.zeros((2, 8, 6, 3), np.uint8)
    data = ImageData(images, np.arange(2, dtype=np.int32), CLASSES[:2], CLASSES)
    evaluation = Evaluation(
        0.5, 1.0, np.eye(3, dtype=np.int64), empty, empty, np.ones(15, np.int64), 0.1
    )
    run = TrainedRun(
        title=WORDS,
        variant=WORDS,
        metrics=[{"epoch": 1, "train_accuracy": 0.5, "test_accuracy": 0.25}] * 2,
        parameters=9,
        train_images=9,
        footer=provenance(RESULT, data=WORDS, classifier=WORDS),
        test=report.ClassifierTest(
            evaluation, lambda x: x.sum((1, 2)) + jnp.arange(3.0)[None], data
        ),
    )
    write_run_report(tmp_path / "report.html", run)
    check_page(tmp_path)
    drawn = (tmp_path / "figures" / "test-confusion.svg").read_text()
    assert SCRIPT not in drawn


def test_a_set_s_report(tmp_path):
    shares = np.full((2, 3), 1 / 3, np.float32)
    images = np.zeros((2, 8, 6, 3), np.uint8)
    data = ImageData(
        images, np.zeros(2, np.int32), CLASSES[:2], CLASSES, shares, shares, CLASSES[:2]
    )
    originals = data._replace(targets=None, outputs=None, source_ids=None)
    made = ElicitedSet(
        title=WORDS,
        summary=SetSummary(2, *[0.5] * 12),
        kl={"all images": np.ones(2, np.float32)},
        shown=(data, originals),
        worst=(data, originals),
        budget=WORDS,
        footer=provenance(RESULT, data=WORDS, classifier=WORDS),
    )
    write_set_report(tmp_path / "report.html", made)
    check_page(tmp_path)


def test_a_gan_s_report(tmp_path):
    (tmp_path / "samples").mkdir()
    sheet = sample_grid(np.zeros((3, 8, 4, 4, 3), np.uint8))
    (tmp_path / "samples" / "gan-00001.png").write_bytes(sheet)
    line = {"stage": "gan", "epoch": 1, "step": 3, "loss": 1.0, f"loss_{SCRIPT}": 2.0}
    gan = TrainedGan(
        WORDS, 7, GanSpec("dcgan", CLASSES, DcganConfig()), [line, line], 9, 9,
        footer=provenance(RESULT, data=WORDS), acceptance_images=5,
    )  # fmt: skip
    write_gan_report(tmp_path, gan)
    check_page(tmp_path)


TABLE = {
    **descriptions.RESULT,
    "missing": [WORDS],
    "rows": [{"slug": "0", "name": WORDS, "paper": None, "is_control": False}],
    "arms": [{**descriptions.RESULT["arms"][0], "classifier_sha256": WORDS, "device": WORDS}],
    "settings": {"model": WORDS, "width": 0.25, "train": {"epochs": 2}},
    "data": {"name": WORDS, "sha256": {"train": "1", "test": "2"}},
    "device_kind": WORDS,
    **RESULT,
}


def test_a_table_of_others(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(TABLE))
    assert main(["report", str(tmp_path)]) == 0
    check_page(tmp_path)
    check_markdown((tmp_path / "table.md").read_text())


def test_two_tables_of_others(tmp_path, capsys):
    for name, key in (("a", WORDS), ("b", "another")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({**TABLE, "key": key}))
    out = tmp_path / "both"
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    assert (out / "comparison.md").read_text() == capsys.readouterr().out
    check_markdown((out / "comparison.md").read_text())


def check_markdown(page: str) -> None:
    """Checks that there are no tags outside of code, and that all rows have the same cells."""
    assert SCRIPT in page  # in the command, which is code
    prose = re.sub(r"(?m)(`+) .*? \1$", "", page)
    assert "<" not in prose
    tables = re.findall(r"(?m)^\|.*\|$", page)
    assert len(tables) >= 3
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in tables}) == 1


def test_a_cell_stays_a_cell():
    table = Table(["a|b", "n"], [["x\ny\u2028z", "<i>&\\|"]])
    assert table.markdown == "| a\\|b | n |\n| --- | --- |\n| x y z | &lt;i>&amp;\\\\\\| |"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("elicit list", "`elicit list`"),
        ("a`b", "`` a`b ``"),
        ("a``` b\n# c", "```` a``` b # c ````"),
        ("", "``"),
    ],
)
def test_a_command_stays_code(command, code):
    assert as_code(command) == code


def test_plain_words_stay_as_they_are():
    text = "97.8 ± 0.2 % (n = 3) [+0.1, +0.4], train_loss, 32×32; key 0"
    assert as_words(text) == text


@pytest.mark.parametrize("name", ["../up", "/up", "a/b", "..", ".hidden", "a\n"])
def test_a_picture_s_name_stays_in_its_directory(name):
    with pytest.raises(ValueError, match="plain name of a picture"):
        Picture(Chart("", 9, "nothing, 0"), "", name=name)


@pytest.mark.parametrize("cut", [9, 30])
def test_a_damaged_png_is_no_picture(cut):
    sheet = sample_grid(np.zeros((1, 1, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="expected a whole PNG"):
        Picture(sheet[:cut], "")


def test_a_resolution_of_zero_is_refused():
    sheet = sample_grid(np.zeros((1, 1, 4, 4, 3), np.uint8))
    physical = b"\0\0\0\x09pHYs" + b"\0" * 8 + b"\x01"
    physical += zlib.crc32(physical[4:]).to_bytes(4, "big")
    with pytest.raises(ValueError, match="expected a whole PNG"):
        _ = Picture(sheet[:33] + physical + sheet[33:], "")
