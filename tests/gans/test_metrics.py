"""Measures of sets of images: explicit loops and SciPy beside them, and the laws they obey."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import gans.metrics
from gans.metrics import (
    NEAR_COPY,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    overlap,
    relative_distances,
)


def features(count, size, *, seed, shift=0.0):
    """Correlated features of unequal scales, in float32 as a network gives them."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, size)) @ np.random.default_rng(9).normal(size=(size, size))
    return (mixed + shift).astype(np.float32)


# Real and made: more images than features, and fewer; never as many of one as of the other.
SETS = {
    "many": (features(60, 5, seed=0), features(37, 5, seed=1, shift=0.7)),
    "few": (features(11, 24, seed=2), features(9, 24, seed=3, shift=0.3)),
    "few beside many": (features(50, 12, seed=4), features(8, 12, seed=5)),
}
every_pair = pytest.mark.parametrize("pair", SETS.values(), ids=SETS.keys())


def frechet_by_eigenvalues(real, made):
    """Heusel et al. 2017, eq. 6; the trace of a root is the sum of the eigenvalues' roots."""
    covariances = [np.cov(found, rowvar=False) for found in (real, made)]
    eigenvalues = np.real(np.linalg.eigvals(covariances[0] @ covariances[1]))
    traces = np.trace(covariances[0] + covariances[1])
    root = np.sqrt(np.maximum(eigenvalues, 0)).sum()  # many are 0 here, or just below
    return ((real.mean(0) - made.mean(0)) ** 2).sum() + traces - 2 * root


def kernel_by_loops(real, made):
    def mean(left, right, *, same):
        values = [
            (x @ y / len(x) + 1) ** 3
            for i, x in enumerate(left)
            for j, y in enumerate(right)
            if not (same and i == j)
        ]
        return np.mean(values)

    return (
        mean(real, real, same=True)
        + mean(made, made, same=True)
        - 2 * mean(real, made, same=False)
    )  # fmt: skip


def overlap_by_definition(real, made, k):
    """Precision, recall, density and coverage as their papers write them."""
    distances = cdist(real, made)
    real_radius, made_radius = (np.sort(cdist(x, x), axis=1)[:, k] for x in (real, made))
    near_real = distances <= real_radius[:, None] * (1 + 1e-12)
    near_made = distances <= made_radius * (1 + 1e-12)
    return (
        near_real.any(0).mean(),
        near_made.any(1).mean(),
        near_real.sum() / (k * len(made)),
        near_real.any(1).mean(),
    )


def in_float64(pair):
    return [found.astype(np.float64) for found in pair]


@every_pair
def test_frechet_distance_is_that_of_the_paper(pair):
    expected = frechet_by_eigenvalues(*in_float64(pair))
    assert frechet_distance(*pair) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_known_normal_distributions():
    random = np.random.default_rng(6)
    centred = random.normal(size=(40, 3))
    white = np.linalg.qr(centred - centred.mean(0))[0] * np.sqrt(39)  # covariance exactly 1
    real = white * [1.0, 2.0, 3.0] + [1.0, 0.0, -1.0]
    made = white[::-1] * [2.0, 2.0, 0.5] + [4.0, 0.0, 3.0]
    between_means, between_deviations = 3**2 + 4**2, 1**2 + 2.5**2
    assert frechet_distance(real, made) == pytest.approx(between_means + between_deviations)


@every_pair
def test_kernel_distance_is_the_mean_over_all_pairs(pair):
    assert kernel_distance(*pair) == pytest.approx(kernel_by_loops(*in_float64(pair)), rel=1e-9)


def test_kernel_distance_is_zero_on_average_and_frechet_distance_is_not():
    random = np.random.default_rng(7)
    pairs = [(random.normal(size=(12, 2)), random.normal(size=(7, 2))) for _ in range(400)]
    found = np.array([kernel_distance(*pair) for pair in pairs])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert np.mean([frechet_distance(*pair) for pair in pairs]) > 0.1


@every_pair
def test_a_set_has_no_distance_to_itself_and_more_to_one_far_away(pair):
    real, _ = pair
    assert frechet_distance(real, real[::-1]) == pytest.approx(0, abs=1e-9)
    distances = [frechet_distance(real, real + np.float32(shift)) for shift in (1, 2, 3)]
    # A shift of all features by s moves the mean by s² times their number, and nothing else.
    np.testing.assert_allclose(distances, real.shape[1] * np.array([1, 4, 9]), rtol=1e-4)
    assert kernel_distance(real, real + np.float32(3)) > kernel_distance(real, real)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
@every_pair
def test_overlap_is_that_of_the_papers(pair, neighbours):
    expected = overlap_by_definition(*in_float64(pair), neighbours)
    np.testing.assert_allclose(overlap(*pair, neighbours=neighbours), expected, atol=1e-12)


@every_pair
def test_overlap_of_a_set_with_itself_is_whole(pair):
    real, _ = pair
    found = overlap(real, real[::-1], neighbours=4)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(5 / 4)  # each has itself in its neighbourhood too


def test_overlap_of_sets_far_apart_is_none():
    real, made = SETS["many"]
    assert overlap(real, made + np.float32(100)) == (0, 0, 0, 0)


def test_overlap_tells_the_real_from_the_varied():
    """Many copies of one real image look real and are not varied; too wide a set is the reverse."""
    real = np.random.default_rng(8).normal(size=(50, 2))
    collapsed = real[:1] + 1e-3 * np.random.default_rng(9).normal(size=(30, 2))
    found = overlap(real, collapsed)
    assert found.precision == 1
    assert max(found.recall, found.coverage) < 0.25
    wide = overlap(real, 20 * real)
    assert wide.precision < 0.3
    assert wide.recall == 1


@every_pair
def test_nearest_distances_are_the_smallest_of_all(pair):
    references, found = pair
    every = cdist(*in_float64((found, references)))
    distances, nearest = nearest_distances(found, references)
    np.testing.assert_array_equal(nearest, every.argmin(1))
    np.testing.assert_allclose(distances, every.min(1), rtol=1e-12)


@every_pair
def test_relative_distances_are_in_units_of_the_references_own(pair):
    references, found = in_float64(pair)
    own = cdist(references, references)
    np.fill_diagonal(own, np.inf)
    expected = cdist(found, references).min(1) / np.median(own.min(1))
    np.testing.assert_allclose(relative_distances(*pair[::-1]), expected, rtol=1e-6)
    moved = relative_distances(8 * found - 3, 8 * references - 3)
    np.testing.assert_allclose(moved, expected, rtol=1e-9)


def test_copies_have_no_distance_and_new_images_a_usual_one():
    random = np.random.default_rng(10)
    references = random.normal(loc=50, size=(200, 6)).astype(np.float32)
    np.testing.assert_array_equal(relative_distances(references[::-3], references), 0)
    fresh = random.normal(loc=50, size=(150, 6)).astype(np.float32)
    relative = relative_distances(fresh, references)
    assert np.median(relative) == pytest.approx(1, abs=0.1)
    assert (relative < NEAR_COPY).mean() < 0.1
    near = references + np.float32(0.01) * random.normal(size=references.shape).astype(np.float32)
    assert (relative_distances(near, references) < NEAR_COPY).all()


def test_an_image_does_not_depend_on_its_neighbours():
    references, found = SETS["few beside many"]
    together = relative_distances(found, references)
    alone = [relative_distances(found[i : i + 1], references) for i in range(len(found))]
    np.testing.assert_array_equal(np.concatenate(alone), together)


def test_half_way_between_usual_neighbours_is_the_limit():
    references = np.arange(9.0)[:, None] @ np.array([[3.0, 4.0]])  # 5 from one to the next
    halfway = references[:1] + np.array([1.5, 2.0])
    assert relative_distances(halfway, references) == NEAR_COPY


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_chunks_make_no_difference(chunk, monkeypatch):
    pair = SETS["many"]
    before = (*overlap(*pair), kernel_distance(*pair))
    monkeypatch.setattr(gans.metrics, "CHUNK_ROWS", chunk)
    assert (*overlap(*pair), kernel_distance(*pair)) == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda real, made: frechet_distance(real[:1], made), "at least 2.*got 1 real and 37"),
        (lambda real, made: kernel_distance(real, made[:1]), "at least 2.*got 60 real and 1 "),
        (lambda real, made: overlap(real[:5], made), "at least 6.*got 5 real and 37 to measure"),
        (lambda real, made: overlap(real, made, neighbours=37), "at least 38.*60 real and 37"),
        (lambda real, made: overlap(real, made, neighbours=0), "neighbours.*at least 1, got 0"),
        (lambda real, made: nearest_distances(real[:0], made), "at least 1.*got 37 real and 0"),
        (lambda real, made: relative_distances(made, real[:1]), "at least 2 training.*got 1"),
        (lambda real, made: overlap(real, made[:, :-1]), "features of shape.*equal d, got"),
        (lambda real, made: kernel_distance(real[None], made), "features of shape.*equal d, got"),
        (
            lambda real, made: relative_distances(made, real[[0, 0, 1, 1, 2]]),
            "different training images, got 5",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_sets_too_small_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*SETS["many"])


@pytest.mark.parametrize(
    "measure", [frechet_distance, kernel_distance, overlap, relative_distances, nearest_distances]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(measure, value):
    real, made = SETS["many"]
    broken = made.copy()
    broken[[3, 3, 8], [0, 1, 4]] = value
    with pytest.raises(FloatingPointError, match="2 of 37 images are not finite"):
        measure(real, broken)
