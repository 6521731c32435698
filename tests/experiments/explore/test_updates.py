"""The page's frames are those of `imgopt.synthesize`, and wrong requests are refused."""

import base64
import io

import numpy as np
import PIL.Image
import pytest

import imgopt
from experiments.explore.pictures import Uploads
from experiments.explore.updates import (
    KEPT_RUNS,
    Optimisation,
    Optimisations,
    read_request,
    read_target,
)
from imgopt.errors import InputError
from tests.experiments.explore.clients import RULE


def begin(subject, request_fields):
    return Optimisation(subject, read_request(subject, Uploads(), request_fields))


def pixels_of(frame):
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(frame["image"]))))


def straight(subject, index, target, *, steps, **options):
    original = subject.data.read(index, index + 1).images
    result = imgopt.synthesize(
        subject.classify,
        imgopt.to_float(original),
        np.array([target], np.float32),
        steps=steps,
        indices=np.array([index]),
        **options,
    )
    return np.asarray(imgopt.to_uint8(result.images))[0], result


SGD = {"optimizer": imgopt.sgd(3.0), "tolerance": None}


def test_every_frame_is_what_synthesize_makes(subject, request_fields):
    run = begin(subject, request_fields())
    for step in range(4):
        (frame,) = run.advance()
        pixels, result = straight(subject, 3, [0.2, 0.5, 0.3], steps=step, **SGD)
        assert frame["step"] == step
        assert (pixels_of(frame) == pixels).all()
        assert frame["kl"] == pytest.approx(float(result.kl[0]), rel=1e-5)
        assert frame["output"] == pytest.approx(result.outputs[0].tolist(), abs=1e-6)


def test_two_rules_run_side_by_side(subject, request_fields):
    momentum = {**RULE, "rule": "momentum"}
    run = begin(subject, request_fields(rules=[RULE, momentum]))
    frames = [run.advance() for _ in range(4)]
    assert [[frame["rule"] for frame in each] for each in frames] == 4 * [[0, 1]]
    pixels, _ = straight(
        subject, 3, [0.2, 0.5, 0.3], steps=3,
        optimizer=imgopt.momentum_sgd(3.0), tolerance=None,
    )  # fmt: skip
    assert (pixels_of(frames[3][1]) == pixels).all()


def test_a_rule_that_is_done_lets_the_other_go_on(subject, request_fields):
    easy = {**RULE, "tolerance": 100.0}
    run = begin(subject, request_fields(rules=[RULE, easy]))
    frames = [run.advance() for _ in range(3)]
    assert [len(each) for each in frames] == [2, 1, 1]
    assert not run.is_done
    lone = begin(subject, request_fields(rules=[easy]))
    assert [len(lone.advance()) for _ in range(3)] == [1, 0, 0]
    assert lone.is_done


def test_a_page_that_was_stopped_gets_the_frames_that_it_missed(subject, request_fields):
    run = begin(subject, request_fields())
    for _ in range(3):
        run.advance()
    assert [frame["step"] for frame in run.missed(1)] == [2]
    assert run.missed(2) == []


def test_other_targets_images_and_numbers_of_steps_compile_nothing(
    subject, request_fields, compilations
):
    begin(subject, request_fields()).advance()
    run = begin(subject, request_fields())
    run.advance(), run.advance()
    with compilations() as names:
        other = begin(
            subject, request_fields(image=9, target=[1, 0, 0], rules=[{**RULE, "steps": 9}])
        )
        other.advance(), other.advance()
    assert [name for name in names if "update" in name or "finish" in name] == []


WRONG_TARGETS = {
    "words": ("0.2 0.5 0.3", "must be numbers"),
    "a word among them": ([0.2, "0.5", 0.3], "must be numbers"),
    "too few": ([0.5, 0.5], "3 numbers.*got 2"),
    "too many": ([0.25] * 4, "3 numbers.*got 4"),
    "sum above 1": ([0.5, 0.5, 0.5], "sum to 1, got 1.5"),
    "sum below 1": ([0.2, 0.2, 0.2], "sum to 1, got 0.6"),
    "negative": ([1.5, -0.5, 0.0], "0 to 1"),
    "not a number": ([float("nan"), 0.5, 0.5], "0 to 1"),
    "true": ([True, False, False], "must be numbers"),
}


@pytest.mark.parametrize("name", WRONG_TARGETS)
def test_wrong_targets_are_refused_in_one_line(name):
    values, words = WRONG_TARGETS[name]
    with pytest.raises(InputError, match=words):
        read_target(values, ("ant", "bee", "cow"))


WRONG_WISHES = {
    "no object": ([], "an object"),
    "no rules": ({"rules": []}, "1 or 2 rules"),
    "three rules": ({"rules": [RULE] * 3}, "1 or 2 rules"),
    "unknown field": ({"rules": [{**RULE, "speed": 3}]}, "expected the fields"),
    "unknown rule": ({"rules": [{**RULE, "rule": "adan2"}]}, "unknown update rule 'adan2'"),
    "unknown map": ({"rules": [{**RULE, "pixel_map": "cubic"}]}, "as pixel_map"),
    "too many updates": ({"rules": [{**RULE, "steps": 10_001}]}, "0 to 10,000"),
    "negative updates": ({"rules": [{**RULE, "steps": -1}]}, "0 to 10,000"),
    "negative tolerance": ({"rules": [{**RULE, "tolerance": -1}]}, "tolerance must be"),
    "strange option": ({"rules": [{**RULE, "rule_options": ["0.1"]}]}, "name=value"),
    "image as a word": ({"image": "3"}, "whole number"),
    "no such image": ({"image": 48}, "0 to 47"),
    "no such upload": ({"upload": "0" * 32}, "upload it again"),
}


@pytest.mark.parametrize("name", WRONG_WISHES)
def test_wrong_requests_are_refused_in_one_line(name, subject, request_fields, compilations):
    other, words = WRONG_WISHES[name]
    given = other if isinstance(other, list) else request_fields(**other)
    with compilations() as compiled, pytest.raises(InputError, match=words) as caught:
        begin(subject, given)
    assert "\n" not in str(caught.value)
    assert "_update" not in compiled


def test_old_optimisations_are_forgotten(subject, request_fields):
    kept = Optimisations()
    run = begin(subject, request_fields())
    names = [kept.add(run) for _ in range(KEPT_RUNS + 1)]
    assert kept.get(names[-1]) is run
    with pytest.raises(InputError, match="run it again"):
        kept.get(names[0])
