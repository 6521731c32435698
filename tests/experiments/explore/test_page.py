"""The page in a real browser: what a user does with it, and what it must never do."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from experiments.explore.command import bind
from experiments.explore.gan_samples import open_gans
from experiments.explore.guard import Guard
from experiments.explore.image_sets import open_sets
from experiments.explore.server import Explorer, make_app
from experiments.explore.updates import Optimisation
from tests.experiments.explore.clients import TOKEN
from tests.experiments.made_up_gans import write_sampled_gan

api = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
if CHROMIUM is None:
    pytest.skip("the page's tests need Chromium", allow_module_level=True)

SMALL, LARGE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
TABS = ("elicit", "sets", "gans", "results")


@pytest.fixture(scope="module")
def address(explorer, made, data, run, tmp_path_factory) -> Iterator[str]:
    """A server with two sets, a GAN and a folder of results."""
    import uvicorn

    place = tmp_path_factory.mktemp("explored")
    gan = write_sampled_gan(place / "gan", ("ant", "bee", "cow"))
    shown = Explorer(
        explorer.loader, sets=open_sets([made, data]), gans=open_gans([gan]), results=run.parent
    )
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        app = Guard(make_app(shown), token=TOKEN, host="127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        # Chromium's sandbox does not start for root, as whom tests run in containers.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page in a browser of its own; no script may fail, no other host be asked."""
    with contextlib.ExitStack() as stack:
        faults = []

        def note(request):
            is_inline = urlsplit(request.url).scheme in ("data", "blob")
            if not (is_inline or request.url.startswith(address)):
                faults.append(request.url)

        def open_one(*, viewport=LARGE, **options):
            context = browser.new_context(viewport=viewport, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", note)
            page.goto(address)
            page.wait_for_selector("#elicit:not([hidden])")
            page.wait_for_selector("#classes .bar")
            return page

        yield open_one
        assert faults == []


def run_to_end(page, *, updates=3):
    page.fill("#updates", str(updates))
    page.fill("#tolerance", "")
    page.click("#run")
    page.wait_for_selector("#go-on:enabled")
    api.expect(page.locator("#step")).to_have_text(f"{updates} of {updates}")


def asked(page):
    return [
        float(field.input_value()) for field in page.locator("#classes input[type=number]").all()
    ]


def problem(page):
    page.wait_for_selector("#problem:visible")
    text = page.inner_text("#problem")
    assert "\n" not in text
    return text


def test_an_image_is_watched_update_by_update(open_page):
    page = open_page()
    page.select_option("#rule-1", "sgd")
    page.fill("#options-1", "learning_rate=3.0")
    run_to_end(page)
    assert page.locator("#pictures canvas").count() == 5
    assert page.locator("#curve polyline").count() == 2
    assert page.locator("#numbers tr").count() == 2
    page.locator("#scrub").focus()
    page.keyboard.press("Home")
    api.expect(page.locator("#step")).to_have_text("0 of 3")
    page.fill("#updates", "5")
    page.click("#go-on")
    api.expect(page.locator("#step")).to_have_text("5 of 5")
    assert "update 5, KL" in page.inner_text("#spoken")
    assert page.inner_text("#ended") == "All updates are made"


def test_the_sliders_always_sum_to_1(open_page):
    page = open_page()
    page.click("[data-preset=ranked]")
    assert sum(asked(page)) == pytest.approx(1, abs=1e-9)
    page.fill("#classes input[type=number] >> nth=1", "0.25")
    page.keyboard.press("Enter")
    values = asked(page)
    assert values[1] == 0.25
    assert sum(values) == pytest.approx(1, abs=1e-9)
    page.locator("#classes input[type=range] >> nth=0").focus()
    for key in ("End", "Home", "ArrowRight", "PageUp"):
        page.keyboard.press(key)
        assert sum(asked(page)) == pytest.approx(1, abs=1e-9)
    page.click("[data-preset=uniform]")
    assert max(asked(page)) - min(asked(page)) < 2e-4


@pytest.mark.parametrize(
    ("typed", "words"),
    [("0.5 0.3 0.3", "must sum to 1, got 1.1"), ("0.5 0.5", "3 numbers"), ("1 x 0", "3 numbers")],
)
def test_targets_typed_by_hand_are_taken_or_refused(typed, words, open_page):
    page = open_page()
    page.fill("#typed", typed)
    page.keyboard.press("Enter")
    assert words in problem(page)
    page.fill("#typed", "0.2, 0.3, 0.5")
    page.click("#take-typed")
    assert asked(page) == [0.2, 0.3, 0.5]
    assert page.is_hidden("#problem")


def test_wrong_numbers_are_answered_on_the_page(open_page):
    page = open_page()
    page.fill("#updates", "1.5")
    page.click("#run")
    assert "whole number" in problem(page)
    page.fill("#updates", "3")
    page.fill("#options-0", "speed=3")
    page.click("#run")
    assert "speed" in problem(page)
    page.fill("#index", "48")
    page.keyboard.press("Enter")
    assert "0 to 47" in problem(page)


def test_uploads_are_taken_or_refused(open_page, picture_file):
    page = open_page()
    bad = {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#file", bad)
    assert "no PNG" in problem(page)
    page.set_input_files("#file", {**bad, "buffer": picture_file("L"), "name": "mine.png"})
    api.expect(page.locator("#image-words")).to_contain_text("mine.png")
    run_to_end(page)
    assert page.is_disabled("#copy-command")
    page.click("#copy-python")
    page.wait_for_selector("#code:visible")
    assert "mine.png" in page.inner_text("#code")


def test_the_code_is_that_of_the_update_shown(open_page):
    page = open_page()
    run_to_end(page)
    page.locator("#scrub").focus()
    page.keyboard.press("ArrowLeft")
    api.expect(page.locator("#step")).to_have_text("2 of 3")
    page.click("#copy-command")
    page.wait_for_selector("#code:visible")
    assert "--steps 2 " in page.inner_text("#code")
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "elicit-2.png"


def test_two_browsers_work_side_by_side(open_page):
    first, second = open_page(), open_page()
    for page, updates in ((first, 4), (second, 6)):
        page.fill("#updates", str(updates))
        page.fill("#tolerance", "")
        page.click("#run")
    api.expect(first.locator("#step")).to_have_text("4 of 4")
    api.expect(second.locator("#step")).to_have_text("6 of 6")


@pytest.mark.slow
def test_stopping_and_closing_stop_the_work(open_page, address, monkeypatch):
    advance = Optimisation.advance
    monkeypatch.setattr(Optimisation, "advance", lambda self: time.sleep(0.05) or advance(self))
    page, other = open_page(), open_page()

    def running():
        return other.request.get(f"{address}api/state").json()["running"]

    page.fill("#updates", "10000")
    page.fill("#tolerance", "")
    page.click("#run")
    page.wait_for_selector("#numbers tr")
    assert running() == 1
    page.click("#stop")
    page.wait_for_selector("#go-on:enabled")
    other.wait_for_timeout(500)
    assert running() == 0
    page.click("#go-on")
    page.wait_for_selector("#stop:enabled")
    other.wait_for_timeout(500)
    assert running() == 1
    page.close()
    other.wait_for_timeout(1000)
    assert running() == 0


def test_sets_gans_and_results_are_shown(open_page, made):
    page = open_page()
    assert page.locator("#sets *, #gans *, #results *").count() == 0  # nothing is read unasked
    page.click("#tab-sets")
    of_made = page.get_by_label(str(made), exact=True)
    api.expect(of_made.locator(".card")).to_have_count(10)
    assert of_made.get_by_alt_text("Original").count() == 10
    of_made.get_by_text("Worst first").click()
    of_made.locator(".card >> nth=0").click()
    page.wait_for_selector("#details[open] tbody tr")
    api.expect(page.get_by_role("button", name="Close")).to_be_focused()
    assert page.locator("#details tbody tr").count() > 6
    page.keyboard.press("Escape")
    page.click("#tab-gans")
    page.wait_for_selector("#gans .card")  # the generator is compiled first
    api.expect(page.locator("#gans .card")).to_have_count(24)
    api.expect(page.locator("#gans [role=status] >> nth=0")).to_contain_text("true positives")
    page.click("text=Interpolate")
    page.wait_for_selector("#gans .way img")
    api.expect(page.locator("#gans .way img")).to_have_count(9)
    page.click("#tab-results")
    api.expect(page.locator("#results section")).to_have_count(1)


def test_tabs_are_chosen_by_keyboard(open_page):
    page = open_page()
    page.locator("#tab-elicit").focus()
    for name in ("sets", "gans", "results", "elicit"):
        page.keyboard.press("ArrowRight")
        assert page.is_visible(f"#{name}")
        assert page.get_attribute(f"#tab-{name}", "aria-selected") == "true"


NARROW = """() => [...document.querySelectorAll(".grid input, .grid select")]
  .filter((each) => each.offsetParent && each.offsetWidth < 100).map((each) => each.id)"""
"""Fields of the method that are too narrow to read."""

UNNAMED = """() => [...document.querySelectorAll('button, input, select, canvas, img, [role]')]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.labels?.length || each.getAttribute('aria-label') || each.alt
    || each.getAttribute('aria-labelledby') || each.textContent.trim()
    || ['status', 'alert', 'none'].includes(each.getAttribute('role'))))
  .map((each) => each.outerHTML)"""


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [SMALL, LARGE])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_tab_fits_and_every_control_has_a_name(viewport, colours, open_page):
    page = open_page(viewport=viewport, color_scheme=colours)
    run_to_end(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(245, 247, 249)", "dark": "rgb(18, 23, 28)"}[colours]
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(NARROW) == []
