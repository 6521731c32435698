"""What every report has, whichever command wrote it."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID_TAGS = {"meta", "img"}
FOOTER = ("command", "data", "classifier", "device", "versions")


class Page(HTMLParser):
    """What a browser would see: the tags with their attributes, the text, and what isn't closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.by_class: dict[str, list[str]] = {}
        self._classes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)
            self._classes.append(dict(attrs).get("class") or tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._classes.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._classes:
            self.by_class.setdefault(self._classes[-1], []).append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all tags of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def assert_is_report(path: Path) -> Page:
    """Checks the laws of all reports; gives the page for further checks."""
    page = Page(path.read_text())
    assert page.open == []
    verdict = "".join(page.by_class["verdict"])
    assert len(re.findall(r"[.:;] ", verdict + " ")) >= 2, verdict
    assert set(FOOTER) <= set("".join(page.by_class["dt"]).split()) | set(page.by_class["dt"])
    assert all(words.strip() for words in page.by_class["dd"])
    assert len(page.by_class.get("basis", ())) == len(page.by_class.get("value", ()))
    charts = [each for each in page.attributes("svg") if each.get("role") == "img"]
    for each in charts:
        assert re.search(r"\d", each["aria-label"] or ""), each  # its numbers, not "a chart"
    for each in page.attributes("img"):
        assert (each["alt"] or "").strip()
        assert (each["src"] or "").startswith("data:image/png;base64,")
    regions = [each for each in page.attributes("div") if "scroll" in (each.get("class") or "")]
    assert len(regions) >= len(page.attributes("table"))
    for each in regions:
        assert each["tabindex"] == "0"
        assert each["role"] == "region"
        assert (each["aria-label"] or "").strip()
    text = " ".join(page.words)
    assert "nan" not in text.split()
    if "↓" in text:
        assert "lower is better" in text
    return page
