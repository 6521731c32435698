"""Sets on the page: what is shown is what lies in the set, filtered and sorted as asked."""

import base64
import io
import shutil

import numpy as np
import PIL.Image
import pytest

from experiments.explore.image_sets import PAGE_IMAGES, Query, open_sets
from imgopt.errors import InputError
from train.data.load import load_images, read_extras


@pytest.fixture(scope="module")
def shown(made):
    return open_sets([made])[0]


def pixels_of(text):
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text))))


def rows_of(shown, **query):
    return [image["row"] for image in shown.page(Query(**query), None)["images"]]


def test_a_set_is_described(shown, made):
    found = shown.describe()
    assert (found["name"], found["split"], found["images"]) == (str(made), "train", 10)
    assert {"number", "label", "predicted", "kl", "max_error", "steps"} <= {*found["columns"]}


@pytest.mark.parametrize("column", ["number", "label", "predicted", "kl", "max_error", "steps"])
@pytest.mark.parametrize("descending", [False, True])
def test_sets_are_sorted_by_any_column(column, descending, shown):
    images = shown.page(Query(sort=column, descending=descending), None)["images"]
    values = [image["numbers"][column] for image in images]
    assert values == sorted(values, reverse=descending)
    assert sorted(image["row"] for image in images) == list(range(10))


def test_filters_keep_what_they_say(shown, made):
    data = load_images(made)
    kl = read_extras(made, ("kl",))["kl"]
    predicted = data.outputs.argmax(1)
    bound = float(np.median(kl))
    assert rows_of(shown, label=1) == np.flatnonzero(data.labels == 1).tolist()
    assert rows_of(shown, verdict="tp") == np.flatnonzero(predicted == data.labels).tolist()
    assert rows_of(shown, verdict="fp") == np.flatnonzero(predicted != data.labels).tolist()
    assert rows_of(shown, least_kl=bound) == np.flatnonzero(kl >= bound).tolist()


def test_originals_stand_beside_what_was_made_of_them(shown, made, data, subject):
    originals, images = load_images(data), load_images(made)
    (first, *_) = shown.page(Query(sort="kl", descending=True), subject)["images"]
    row = first["row"]
    source = originals.ids.index(images.source_ids[row])
    assert (pixels_of(first["image"]) == images.images[row]).all()
    assert (pixels_of(first["original"]) == originals.images[source]).all()
    assert shown.page(Query(), None)["images"][0]["original"] is None


def test_details_hold_all_numbers(shown, made, subject):
    data = load_images(made)
    found = shown.details(4, subject)
    assert found["id"] == data.ids[4]
    assert found["target"] == pytest.approx(data.targets[4].tolist(), abs=1e-6)
    assert found["output"] == pytest.approx(data.outputs[4].tolist(), abs=1e-6)


def test_pages_hold_every_image_once(data):
    (shown,) = open_sets([data])
    pages = [rows_of(shown, page=page) for page in range(3)]
    assert [row for page in pages for row in page] == list(range(48))
    assert len(pages[0]) == PAGE_IMAGES


WRONG = {
    "column": ({"sort": "beauty"}, "sort must be one of"),
    "class": ({"label": 3}, "0 to 2, got 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_queries_are_refused(name, shown):
    query, words = WRONG[name]
    with pytest.raises(InputError, match=words):
        shown.page(Query(**query), None)


@pytest.mark.parametrize(
    ("query", "words"), [({"verdict": "tp"}, "no predictions"), ({"least_kl": 0.1}, "no KL")]
)
def test_a_set_without_numbers_cannot_be_filtered_by_them(query, words, data):
    (shown,) = open_sets([data])
    with pytest.raises(InputError, match=words):
        shown.page(Query(**query), None)


@pytest.mark.parametrize("row", [-1, 10])
def test_there_is_no_other_image(row, shown):
    with pytest.raises(InputError, match="0 to 9"):
        shown.details(row, None)


def test_a_set_that_is_deleted_while_open_is_named(made, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(made, place)
    (shown,) = open_sets([place])
    assert shown.page(Query(), None)["total"] == 10
    shutil.rmtree(place)
    for ask in (shown.describe, lambda: shown.page(Query(), None), lambda: shown.details(0, None)):
        with pytest.raises(InputError, match="copy is gone"):
            ask()


def test_a_directory_that_is_no_set_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"dataset_info\.json"):
        open_sets([tmp_path])
