"""How near made images come to real ones, as sets and one by one, in a classifier's features.

All functions take feature vectors, a row an image (see `train.classifiers.feature_function`), and
compute in float64. None draws at random. They hold for fewer images than features too, but not
every value is the same for any number of images: see each function.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from imgopt.errors import InputError

CHUNK_ROWS = 1000
"""Of a matrix of all pairs at once: 400 MB of float64 against 50,000 images."""

NEIGHBOURS = 5
"""Naeem et al. 2020; Kynkäänniemi et al. 2019 take 3."""

NEAR_COPY = 0.5
"""Relative distance below which an image counts as a near-copy of a training image.

The point half-way between two training images that are typical neighbours has 0.5. What is nearer
to one of them than that is nearer to it than to any other image a typical distance away from it
(by the triangle inequality), so it shows that one image and no mixture.
"""

RADIUS_SLACK = 1 + 1e-9
"""Neighbourhoods are closed: rounding must not shut out the neighbour that their radius is of."""


class Overlap(NamedTuple):
    """How two sets cover each other, by the neighbourhoods of their images.

    Attributes:
        precision: share of made images within the neighbourhood of a real one; how real they look.
        recall: share of real images within the neighbourhood of a made one; how varied they are.
        density: neighbourhoods of real images around a made one, over k; expected to be 1 where
            both sets are of one distribution, and above it where made images crowd together.
        coverage: share of real images with a made one in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real: Float[np.ndarray, "n d"], made: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance between the normal distributions of both sets' moments.

    |μ_r − μ_m|² + tr(S_r + S_m − 2 (S_r S_m)^½) (Heusel et al. 2017, eq. 6). The root is not taken:
    with S = AᵀA, where A holds the centred rows over √(n − 1), the trace of the root is the sum of
    the singular values of A_r A_mᵀ, which is exact for singular covariances too.

    It is biased upwards, the more the fewer images there are: compare equal numbers only.

    Args:
        real: features of real images, n ≥ 2.
        made: of the images to judge, m ≥ 2.

    Returns:
        At least 0, in squared units of the features.

    Raises:
        InputError: a set is too small.
        FloatingPointError: a feature is not finite.
    """
    real, made = _checked(real, made, fewest=2)
    of_means = ((real.mean(0) - made.mean(0)) ** 2).sum()
    roots = [_covariance_root(features) for features in (real, made)]
    traces = sum((root**2).sum() for root in roots)
    shared = np.linalg.norm(roots[0] @ roots[1].T, ord="nuc")
    return max(0.0, float(of_means + traces - 2 * shared))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R with RᵀR the covariance, of no more rows than images or features."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    root: Any = np.linalg.qr(centred, mode="r")  # NumPy's types know the pair (Q, R) only
    return root


def kernel_distance(real: Float[np.ndarray, "n d"], made: Float[np.ndarray, "m d"]) -> float:
    """Squared maximum mean discrepancy, the unbiased estimate over all pairs.

    mean k(r, r') + mean k(m, m') − 2 mean k(r, m) over pairs of different images, with
    k(x, y) = (x·y / d + 1)³ (Bińkowski et al. 2018, section 4). There it is averaged over random
    subsets; here it is taken of the whole sets at once.

    Args:
        real: features of real images, n ≥ 2.
        made: of the images to judge, m ≥ 2.

    Returns:
        0 on average where both sets are of one distribution, whatever n and m; so it may be
        negative.

    Raises:
        InputError: a set is too small.
        FloatingPointError: a feature is not finite.
    """
    real, made = _checked(real, made, fewest=2)
    between = _kernel_sum(real, made) / (len(real) * len(made))
    return _mean_kernel_within(real) + _mean_kernel_within(made) - 2 * between


def _mean_kernel_within(features: np.ndarray) -> float:
    """Mean of the kernel over all pairs of different rows."""
    with_themselves = (((features**2).mean(1) + 1) ** 3).sum()
    pairs = len(features) * (len(features) - 1)
    return (_kernel_sum(features, features) - with_themselves) / pairs


def _kernel_sum(left: np.ndarray, right: np.ndarray) -> float:
    parts = (polynomial_kernel(left[rows], right, degree=3) for rows in _chunks(left))
    return float(sum(part.sum() for part in parts))


def overlap(
    real: Float[np.ndarray, "n d"],
    made: Float[np.ndarray, "m d"],
    *,
    neighbours: int = NEIGHBOURS,
) -> Overlap:
    """Precision and recall, density and coverage.

    Kynkäänniemi et al. 2019, eqs. 1 and 2, and Naeem et al. 2020, eqs. 3 and 4. An image's
    neighbourhood is the closed ball around it that reaches to its k-th nearest neighbour in its own
    set. Recall and coverage grow with the number of made images: compare equal numbers only.

    Args:
        real: features of real images, n > k.
        made: of the images to judge, m > k.
        neighbours: k, at least 1.

    Raises:
        InputError: k is below 1 or a set is too small.
        FloatingPointError: a feature is not finite.
    """
    if neighbours < 1:
        raise InputError(f"neighbours must be at least 1, got {neighbours}")
    real, made = _checked(real, made, fewest=neighbours + 1)
    real_radius, made_radius = (_radii(features, neighbours) for features in (real, made))
    around_made, reached, covered = np.zeros(len(made), np.int64), [], []
    for rows in _chunks(real):
        distances = euclidean_distances(real[rows], made)
        near_real = distances <= real_radius[rows, None]
        around_made += near_real.sum(0)
        covered.append(near_real.any(1))
        reached.append((distances <= made_radius).any(1))
    return Overlap(
        precision=float((around_made > 0).mean()),
        recall=float(np.concatenate(reached).mean()),
        density=float(around_made.mean() / neighbours),
        coverage=float(np.concatenate(covered).mean()),
    )


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row, and a rounding error more."""
    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(features)
    distances, _ = search.kneighbors()  # of no given points: a row is not its own neighbour
    return distances[:, -1] * RADIUS_SLACK


def nearest_distances(
    features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Euclidean distance of each row to its nearest reference.

    Args:
        features: of any number of images, at least one.
        references: of those to search, m ≥ 1.

    Returns:
        The distances, exactly 0 for a copy, and the indices of the references.

    Raises:
        InputError: a set is empty.
        FloatingPointError: a feature is not finite.
    """
    references, features = _checked(references, features, fewest=1)
    nearest = pairwise_distances_argmin(features, references)
    return _distances(features, references[nearest]), nearest


def relative_distances(
    made: Float[np.ndarray, "n d"],
    references: Float[np.ndarray, "m d"],
    *,
    unit: float | None = None,
) -> Float64[np.ndarray, " n"]:
    """Distance of each row to its nearest reference, in units of what is usual among references.

    The unit is the median over the references of the distance to the nearest other one. So new
    images of the references' own distribution have about 1, and copies have 0.

    Args:
        made: features of the images to judge, at least one.
        references: of training images, m ≥ 2.
        unit: their `usual_distance`, if it is known already: finding it takes all pairs.

    Raises:
        InputError: a set is too small, or most references are copies of one another.
        FloatingPointError: a feature is not finite.
    """
    distances, _ = nearest_distances(made, references)
    return distances / (usual_distance(references) if unit is None else unit)


def usual_distance(references: Float[np.ndarray, "m d"]) -> float:
    """Median distance of a reference to the nearest other one, the unit of `relative_distances`.

    Args:
        references: features of training images, m ≥ 2.

    Raises:
        InputError: there are fewer, or most are copies of one another.
    """
    if len(references) < 2:
        raise InputError(
            f"expected at least 2 training images to compare with, got {len(references)}; give more"
        )
    rows = references.astype(np.float64)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
    others = search.kneighbors(return_distance=False)[:, 0]
    usual = float(np.median(_distances(rows, rows[others])))
    if usual == 0:
        raise InputError(
            f"expected different training images, got {len(rows)} of which most have the same "
            "features as another; there is no usual distance to compare with"
        )
    return usual


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Distances row by row, without the cancellation of the quicker |x|² + |y|² − 2 x·y."""
    return np.linalg.norm(left - right, axis=1)


def _checked(real: np.ndarray, made: np.ndarray, *, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in float64, if they are large enough and finite."""
    if min(len(real), len(made)) < fewest:
        raise InputError(
            f"expected at least {fewest} images in each set, got {len(real)} real and {len(made)} "
            "to judge; give more images"
        )
    for features in (real, made):
        broken = int((~np.isfinite(features)).any(1).sum())
        if broken:
            raise FloatingPointError(
                f"the features of {broken} of {len(features)} images are not finite; the "
                "classifier's training diverged"
            )
    return real.astype(np.float64), made.astype(np.float64)


def _chunks(features: np.ndarray) -> list[slice]:
    return list(gen_batches(len(features), CHUNK_ROWS))
