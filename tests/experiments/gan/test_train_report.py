"""A GAN's report: samples in the order of training, and curves of all metrics."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from experiments.gan.acceptance import acceptance_line
from experiments.gan.train_report import TrainedGan, strip, write_gan_report
from experiments.pages.image_sheets import GAP_PX, sample_grid
from gans.dcgan import DcganConfig
from gans.sampling import GanSpec
from tests.experiments.pages.reports import assert_is_report

SIDES = (4, 6)
SHEETS = {"level-image-00009": 10, "level-image-00010": 60, "joint-00005": 110, "joint-00010": 160}
"""Grey level of each sheet by its name, in the order of training."""

LEVEL = {"generator_loss": 1.5, "discriminator_loss": 0.7, "discriminator_accuracy": 0.5,
         "entropy_error": 0.08, "feature_error": 0.3, "generator_steps": 1.0}  # fmt: skip
METRICS = [
    *(
        {"stage": "encoder", "epoch": e, "step": 6 * e, "loss": 1.1, "accuracy": 0.4}
        for e in (1, 2)
    ),
    *(
        {"stage": "level-fc3", "epoch": e, "step": 700 * e, **LEVEL, "generator_steps": e / 2}
        for e in (1, 2)
    ),
    *({"stage": "level-image", "epoch": e, "step": 600 * e, **LEVEL} for e in range(1, 11)),
    *(
        {"stage": "joint", "epoch": e, "step": 6 * e, "generator_steps": 1.0}
        | {f"generator_loss_{target}": 1.0 + e for target in ("fc3", "image")}
        for e in range(1, 11)
    ),
]
SPEC = GanSpec("dcgan", ("ant", "bee"), DcganConfig())
FACTS = {
    "data": "insects",
    "key": 7,
    "training_images": 1234,
    "parameters": 56789,
    "acceptance_images": 50,
    "footer": {"command": "elicit gan train --model sgan", "device": "1 × cpu (cpu)", "key": "7",
               "versions": "python 3.11", "data": "insects", "classifier": "none"},
}  # fmt: skip


def sheet(level, channels=3, classes=2):
    """A sheet of eight images a class; the first column is one level brighter."""
    images = np.full((classes, 8, *SIDES, channels), level, np.uint8)
    images[:, 0] += 1
    return sample_grid(images)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory with sheets and their report."""
    run = tmp_path_factory.mktemp("runs") / "run"
    (run / "samples").mkdir(parents=True)
    for name, level in SHEETS.items():
        (run / "samples" / f"{name}.png").write_bytes(sheet(level))
    write_gan_report(run, TrainedGan(spec=SPEC._replace(model="sgan"), metrics=METRICS, **FACTS))
    return run


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_has_the_first_column_of_every_sheet(channels, tmp_path):
    levels = (10, 60, 110)
    paths = [tmp_path / f"gan-{level:05d}.png" for level in levels]
    for path, level in zip(paths, levels, strict=True):
        path.write_bytes(sheet(level, channels))
    found = pixels(strip(paths))
    height, width = (2 * side for side in SIDES)  # enlarged
    column = width + GAP_PX
    assert found.shape[:2] == (2 * height + GAP_PX, 3 * column - GAP_PX)
    for index, level in enumerate(levels):
        part = found[:, index * column : (index + 1) * column]
        assert (part[:height, :width] == level + 1).all()
        assert (part[-height:, :width] == level + 1).all()
        assert (part[:, width:] == 255).all()


def test_the_report_shows_sheets_in_the_order_of_training(run):
    """The order of the names is another one: "joint" before "level", 10 before 9."""
    page = assert_is_report(run / "report.html")
    sources = [each["src"].partition(",")[2] for each in page.attributes("img")]
    ant, _, progress, _ = (pixels(base64.b64decode(source)) for source in sources)
    assert ant[0, -1, 0] == SHEETS["joint-00010"]
    first_pixels = progress[0, :: SIDES[1] + GAP_PX // 2, 0]
    assert first_pixels.tolist() == [level + 1 for level in SHEETS.values()]
    assert "".join(page.by_class["b"]) == "antbee" * 2  # the names of the rows


def test_the_report_says_what_was_trained(run):
    page = (run / "report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page))
    assert "A Stacked GAN" in text
    assert "1,234" in text
    assert "56,789" in text
    assert f"{12 + 1400 + 6000 + 60:,}" in text  # steps of all stages
    assert "elicit gan train --model sgan" in text
    places = [text.index(f"Training: {stage}") for stage in
              ("encoder", "level-fc3", "level-image", "joint")]  # fmt: skip
    assert places == sorted(places)


def test_curves_of_all_that_a_stage_measures(run):
    found = {path.stem for path in (run / "figures").iterdir()}
    assert found == {
        "encoder-0", "encoder-1", "joint-0",
        *(f"level-fc3-{index}" for index in range(5)),
        *(f"level-image-{index}" for index in range(4)),  # its updates a step never change
    }  # fmt: skip
    drawn = (run / "figures" / "joint-0.svg").read_text()
    assert "generator loss fc3" in drawn
    assert "generator loss image" in drawn
    assert "1/12 is no knowledge" in (run / "figures" / "level-fc3-2.svg").read_text()


def test_numbers_by_class_are_not_drawn(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "gan-00001.png").write_bytes(sheet(10))
    lines = [
        {"stage": "gan", "epoch": 1, "step": 3, "generator_loss": 1.0,
         "by_class": {"generator_loss": [0.5, 1.5]}},
    ]  # fmt: skip
    write_gan_report(tmp_path, TrainedGan(spec=SPEC, metrics=lines, **FACTS))
    assert "A DCGAN" in (tmp_path / "report.html").read_text()
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"gan-0.svg"}


def with_acceptance(shares, every=2):
    """Lines of a stage of which some epochs are measured: the share of each class."""
    return [
        {"stage": "gan", "epoch": e, "step": 3 * e, "generator_loss": 1.0 + e}
        | (acceptance_line(np.array(shares[e // every - 1])) if e % every == 0 else {})
        for e in range(1, every * len(shares) + 1)
    ]


def test_the_acceptance_of_each_class_and_the_best_epoch(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "gan-00001.png").write_bytes(sheet(10))
    lines = with_acceptance([(0.2, 0.4), (0.1, 0.8), (0.3, 0.5)])
    write_gan_report(tmp_path, TrainedGan(spec=SPEC, metrics=lines, **FACTS))
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", (tmp_path / "report.html").read_text()))
    assert "Best of 3 measurements: epoch 4 of gan, 45.0% [35.6%, 54.8%] of 100 samples" in text
    assert "At the end: 40.0%" in text
    assert re.search(r"ant 6 of gan 30\.0% \[[\d.]+%, [\d.]+%\] 30\.0%", text)
    assert re.search(r"bee 4 of gan 80\.0% \[[\d.]+%, [\d.]+%\] 50\.0%", text)
    drawn = (tmp_path / "figures" / "acceptance-gan.svg").read_text()
    assert all(name in drawn for name in ("all classes", "ant", "bee"))


def test_of_many_classes_the_lowest_and_the_highest_are_drawn(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "gan-00001.png").write_bytes(sheet(10, classes=13))
    names = tuple(f"class {number}" for number in range(13))
    lines = with_acceptance(np.linspace(0, 1, 26).reshape(2, 13))
    write_gan_report(
        tmp_path, TrainedGan(spec=SPEC._replace(class_names=names), metrics=lines, **FACTS)
    )
    drawn = (tmp_path / "figures" / "acceptance-gan.svg").read_text()
    assert "lowest of a class" in drawn
    assert "class 3" not in drawn
    assert "class 12" in (tmp_path / "report.html").read_text()
