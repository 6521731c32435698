"""Measures the page of `elicit explore` in a browser, and records it as an animated picture.

The page must be open already, with the digits' classifier:

    elicit explore --no-open
    python benchmarks/explore_page.py ADDRESS --picture docs/explore.gif

It needs playwright and Chromium.
"""

import argparse
import io
import shutil
import statistics
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import PIL.Image
from playwright.sync_api import Page, sync_playwright

RUNS = 10
UPDATES = 50

PACKAGES = ("starlette", "uvicorn", "anyio", "idna", "click", "h11")
"""Packages that the extra `explore` installs."""

PICTURE_PX = (1200, 1000)
SHOWN_PX = 800  # width of the animated picture
SHOWN_UPDATES = 14
HOLD_MS, FRAME_MS = 1600, 160
COLOURS = 128
IMAGE = 0
TARGET = "0.6 0 0 0 0 0 0.1 0 0.3 0"

FIRST_FRAME = """() => new Promise((resolve) => {
  const began = performance.now(), numbers = document.getElementById("numbers");
  const observer = new MutationObserver(() => {
    observer.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - began));
  });
  observer.observe(numbers, { childList: true });
  document.getElementById("run").click();
})"""
"""Presses Run and gives the milliseconds until the first update is drawn."""

WEIGHT = """() => [...performance.getEntriesByType("navigation"),
  ...performance.getEntriesByType("resource").filter((each) => !each.name.includes("/api/"))]
  .reduce((sum, each) => sum + each.decodedBodySize, 0)"""


def main() -> None:
    """Reads the options, measures, and records the picture if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="address that elicit explore printed")
    parser.add_argument("--picture", type=Path, help="animated GIF to write")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        size = {"width": PICTURE_PX[0], "height": PICTURE_PX[1]}
        page = browser.new_page(viewport=size)
        page.goto(options.address)
        page.wait_for_selector("#classes .bar")
        for line in measure(page):
            print(line)
        if options.picture:
            options.picture.write_bytes(animated(record(page)))
            print(f"{options.picture}: {options.picture.stat().st_size / 1024:.0f} KiB")
        browser.close()


def measure(page: Page) -> list[str]:
    """Measures the weight of the page and the speed of its updates, in words."""
    weight = page.evaluate(WEIGHT)
    page.fill("#tolerance", "")
    page.fill("#updates", str(UPDATES))
    first, rates = [], []
    for run in range(RUNS + 1):
        page.click("#random")
        page.wait_for_timeout(300)
        waited = page.evaluate(FIRST_FRAME)
        began = page.evaluate("performance.now()")
        page.wait_for_selector("#go-on:enabled", timeout=120_000)
        seconds = (page.evaluate("performance.now()") - began) / 1000
        if run:  # the first one may compile
            first.append(waited)
            rates.append(UPDATES / seconds)
    return [
        f"page: {weight / 1024:.1f} KiB; installed packages: {installed_bytes() / 2**20:.1f} MiB",
        f"first warm frame: median {statistics.median(first):.0f} ms, "
        f"{min(first):.0f} to {max(first):.0f}, n = {RUNS}",
        f"updates a second: median {statistics.median(rates):.1f}, "
        f"{min(rates):.1f} to {max(rates):.1f}, n = {RUNS} runs of {UPDATES}",
    ]


def installed_bytes() -> int:
    """Size of the packages' files, without compiled bytecode."""
    files = [file for name in PACKAGES for file in metadata.files(name) or ()]
    places = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(place.stat().st_size for place in places if place.is_file())


def record(page: Page) -> list[PIL.Image.Image]:
    """Pictures of the page: the image as it is, and after each update."""
    page.fill("#index", str(IMAGE))
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    page.fill("#typed", TARGET)
    page.click("#take-typed")
    page.fill("#updates", str(SHOWN_UPDATES))
    page.click("#run")
    page.wait_for_selector("#go-on:enabled", timeout=120_000)
    shots = []
    for update in range(SHOWN_UPDATES + 1):
        page.fill("#scrub", str(update))
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(200)
        with PIL.Image.open(io.BytesIO(page.screenshot())) as shot:
            height = round(shot.height * SHOWN_PX / shot.width)
            small = shot.convert("RGB").resize((SHOWN_PX, height), PIL.Image.Resampling.LANCZOS)
            shots.append(small)
    return shots


def animated(shots: Sequence[PIL.Image.Image]) -> bytes:
    """An animated GIF of pictures, all with the colours of the last one."""
    palette = shots[-1].quantize(COLOURS)
    frames = [shot.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for shot in shots]
    durations: list[Any] = [HOLD_MS, *[FRAME_MS] * (len(frames) - 2), HOLD_MS]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0,
        optimize=True,
    )  # fmt: skip
    return file.getvalue()


if __name__ == "__main__":
    main()
