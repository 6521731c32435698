"""The style of sheets of images: colours, fonts, sizes, and how a figure becomes a file.

The same input gives the same bytes: files hold no date, identifiers in an SVG have a fixed salt,
fonts are matplotlib's own, and the user's matplotlib settings are ignored. pyplot is not used,
since it keeps figures in a global list.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours ("Color Universal Design", 2008), told apart by colour-blind readers too.
BLUE = "#0072B2"
PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
INK, SOFT_INK, RULE, PALE = "#1F2933", "#5B6773", "#C9D1D9", "#D5DCE4"
CSS_PX_PER_INCH = 96
Px = int | float  # a length in CSS pixels; run-time checks do not accept an int as float
DEVICE_SCALE = 2  # device pixels of a PNG for each CSS pixel
SHEET_WIDTH_PX = 920  # fits a README and a report without being shrunk
MAX_IMAGE_PX = 160  # largest width of an image on a sheet
MAX_CLASS_CHARACTERS, MAX_NAME_CHARACTERS = 12, 22

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT_INK,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "grid.color": "#E9EDF1",
    "legend.borderaxespad": 0.4,
    "legend.frameon": False,
    "legend.handleheight": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "elicit",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x"
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": SOFT_INK,
    "ytick.labelcolor": SOFT_INK,
    **{f"{axis}tick.{rank}.size": 0 for axis in "xy" for rank in ("major", "minor")},
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Applies the project's style to matplotlib's defaults while a figure is made and drawn."""
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # Letters that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def make_figure(width_px: Px, height_px: Px, layout: Any = "constrained") -> Figure:
    """Makes an empty figure of a size in CSS pixels."""
    size_inches = (width_px / CSS_PX_PER_INCH, height_px / CSS_PX_PER_INCH)
    figure = Figure(figsize=size_inches, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def svg(figure: Figure) -> bytes:
    """The bytes of a figure as SVG, without a date."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def png(figure: Figure) -> bytes:
    """The bytes of a figure as PNG, at twice the screen's resolution."""
    file = io.BytesIO()
    dpi = DEVICE_SCALE * CSS_PX_PER_INCH
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def short(name: str, limit: int = MAX_NAME_CHARACTERS) -> str:
    """Returns a name on one line, with printable characters only, shortened to the limit."""
    clean = "".join(c if c.isprintable() else " " for c in name).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def over_white(images: UInt8[np.ndarray, "*n h w c"]) -> UInt8[np.ndarray, "*n h w _"]:
    """Lays images with opacity, of four channels, over white; others stay as they are."""
    if images.shape[-1] != 4:
        return images
    opacity = images[..., 3:] / 255
    return np.rint(images[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


@dataclass(frozen=True)
class Sheet:
    """A figure with places in CSS pixels, counted from the top left corner."""

    figure: Figure
    width_px: Px
    height_px: Px

    def axes(self, left: Px, top: Px, width: Px, height: Px) -> Axes:
        """Adds axes in a box."""
        bottom = 1 - (top + height) / self.height_px
        box = (left / self.width_px, bottom, width / self.width_px, height / self.height_px)
        return self.figure.add_axes(box)

    def image(self, image: np.ndarray, left: Px, top: Px, size: tuple[Px, Px]) -> None:
        """Draws an image in a box of a size."""
        axes = self.axes(left, top, *size)
        colours = np.broadcast_to(image, (*image.shape[:2], 3))  # grey too
        axes.imshow(colours, aspect="auto", interpolation="nearest")
        axes.set_axis_off()

    def text(self, x: Px, y: Px, words: str, ha: str = "right", **style: Any) -> None:
        """Writes words, vertically centred on y."""
        x, y = x / self.width_px, 1 - y / self.height_px
        self.figure.text(x, y, words, ha=ha, va="center", **style)


def make_sheet(width_px: Px, height_px: Px) -> Sheet:
    """Makes an empty sheet."""
    return Sheet(make_figure(width_px, height_px, "none"), width_px, height_px)


def image_box(shape: tuple[int, ...], room_px: Px) -> tuple[Px, Px]:
    """Width and height in CSS pixels of the largest whole magnification that fits into the room.

    An image that is wider than the room is shrunk, so that its pixels are no longer whole.
    """
    room_px = min(room_px, MAX_IMAGE_PX)
    magnification = (room_px * DEVICE_SCALE) // shape[1] / DEVICE_SCALE or room_px / shape[1]
    return shape[1] * magnification, shape[0] * magnification
