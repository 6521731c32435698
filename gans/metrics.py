"""Distances between generated and real images, as sets and one by one, in a classifier's features.

All functions take feature vectors, one row for each image (see
`train.classifiers.feature_function`), and compute in float64. None of them is random. All work with
fewer images than features, but some values depend on the number of images: see each function.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from gans.options.selection import NEIGHBOURS
from imgopt.errors import InputError

CHUNK_ROWS = 1000
"""Rows of a distance matrix that are computed at once: 400 MB of float64 for 50,000 images."""


NEAR_COPY = 0.5
"""Relative distance below which an image counts as a near-copy of a training image.

The midpoint of two typical neighbours has a relative distance of 0.5. An image that is nearer than
that to a training image is nearer to it than to any other one a typical distance away (by the
triangle inequality). So it shows this one image and no mixture.
"""

RADIUS_SLACK = 1 + 1e-9
"""Factor on radii, so that rounding never excludes the neighbour that defines the radius."""


class Overlap(NamedTuple):
    """How far two sets cover each other, by the neighbourhoods of their images.

    Attributes:
        precision: share of generated images in a real image's neighbourhood; how real they look.
        recall: share of real images in a generated image's neighbourhood; how varied they are.
        density: mean number of real images' neighbourhoods around a generated image, over k. The
            expected value is 1 for two sets of one distribution, and more where generated images
            crowd together.
        coverage: share of real images with a generated image in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance between normal distributions with the two sets' moments.

    `|μ_r − μ_g|² + tr(S_r + S_g − 2 (S_r S_g)^½)` (Heusel et al. 2017, eq. 6). The matrix root is
    not computed: with S = AᵀA, where A holds the centred rows over √(n − 1), its trace is the sum
    of the singular values of `A_r A_gᵀ`. That is exact for singular covariances too.

    The value is biased upwards, and more so for fewer images: compare equal numbers of images only.

    Args:
        real: features of real images, n ≥ 2.
        generated: features of generated images, m ≥ 2.

    Returns:
        The squared distance, at least 0, in squared units of the features.

    Raises:
        InputError: a set is too small.
        FloatingPointError: a feature is not finite.

    Example:
        >>> real = np.array([[0.0, 0.0], [2.0, 0.0]])
        >>> round(frechet_distance(real, real + 3), 6)  # the means differ by (3, 3)
        18.0
    """
    real, generated = _checked(real, generated, fewest=2)
    of_means = ((real.mean(0) - generated.mean(0)) ** 2).sum()
    roots = [_covariance_root(features) for features in (real, generated)]
    traces = sum((root**2).sum() for root in roots)
    shared = np.linalg.norm(roots[0] @ roots[1].T, ord="nuc")
    return max(0.0, float(of_means + traces - 2 * shared))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R whose RᵀR is the covariance, with no more rows than images or features."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    root: Any = np.linalg.qr(centred, mode="r")  # NumPy's types know the pair (Q, R) only
    return root


def kernel_distance(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (kernel inception distance).

    mean k(r, r') + mean k(g, g') − 2 mean k(r, g) over pairs of different images, with
    k(x, y) = (x·y / d + 1)³ (Bińkowski et al. 2018, section 4). They average over random subsets;
    here it is computed once, over the whole sets.

    Args:
        real: features of real images, n ≥ 2.
        generated: features of generated images, m ≥ 2.

    Returns:
        The estimate. For two sets of one distribution its mean is 0, whatever n and m, so it may
        be negative.

    Raises:
        InputError: a set is too small.
        FloatingPointError: a feature is not finite.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0]])
        >>> bool(kernel_distance(real, real + 9) > kernel_distance(real, real + 1))
        True
    """
    real, generated = _checked(real, generated, fewest=2)
    between = _kernel_sum(real, generated) / (len(real) * len(generated))
    return _mean_kernel_within(real) + _mean_kernel_within(generated) - 2 * between


def _mean_kernel_within(features: np.ndarray) -> float:
    """Mean of the kernel over all pairs of different rows."""
    with_themselves = (((features**2).mean(1) + 1) ** 3).sum()
    pairs = len(features) * (len(features) - 1)
    return (_kernel_sum(features, features) - with_themselves) / pairs


def _kernel_sum(left: np.ndarray, right: np.ndarray) -> float:
    chunks = gen_batches(len(left), CHUNK_ROWS)
    return float(sum(polynomial_kernel(left[rows], right, degree=3).sum() for rows in chunks))


def overlap(
    real: Float[np.ndarray, "n d"],
    generated: Float[np.ndarray, "m d"],
    *,
    neighbours: int = NEIGHBOURS,
) -> Overlap:
    """Precision and recall, density and coverage.

    See Kynkäänniemi et al. 2019, eqs. 1 and 2, and Naeem et al. 2020, eqs. 3 and 4. An image's
    neighbourhood is the closed ball around it whose radius is the distance to its k-th nearest
    neighbour in its own set. Recall and coverage grow with the number of generated images: compare
    equal numbers of images only.

    Args:
        real: features of real images, n > k.
        generated: features of generated images, m > k.
        neighbours: number of neighbours, k, at least 1.

    Raises:
        InputError: k is below 1 or a set is too small.
        FloatingPointError: a feature is not finite.

    Example:
        >>> real = np.arange(10.0)[:, None]
        >>> overlap(real, real + 100, neighbours=2)
        Overlap(precision=0.0, recall=0.0, density=0.0, coverage=0.0)
    """
    if neighbours < 1:
        raise InputError(f"neighbours must be at least 1, got {neighbours}")
    real, generated = _checked(real, generated, fewest=neighbours + 1)
    real_radius, generated_radius = (_radii(features, neighbours) for features in (real, generated))
    around_generated, reached, covered = np.zeros(len(generated), np.int64), [], []
    for rows in gen_batches(len(real), CHUNK_ROWS):
        distances = euclidean_distances(real[rows], generated)
        near_real = distances <= real_radius[rows, None]
        around_generated += near_real.sum(0)
        covered.append(near_real.any(1))
        reached.append((distances <= generated_radius).any(1))
    return Overlap(
        precision=float((around_generated > 0).mean()),
        recall=float(np.concatenate(reached).mean()),
        density=float(around_generated.mean() / neighbours),
        coverage=float(np.concatenate(covered).mean()),
    )


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row, times `RADIUS_SLACK`."""
    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(features)
    distances, _ = search.kneighbors()  # without arguments, a row is not its own neighbour
    return distances[:, -1] * RADIUS_SLACK


def nearest_distances(
    features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Euclidean distance of each row to its nearest reference.

    Args:
        features: features of at least one image.
        references: features of the images to search, m ≥ 1.

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
    generated: Float[np.ndarray, "n d"],
    references: Float[np.ndarray, "m d"],
    *,
    unit: float | None = None,
) -> Float64[np.ndarray, " n"]:
    """Distance of each row to its nearest reference, over the usual distance among references.

    So new images of the references' distribution have about 1, and copies have 0.

    Args:
        generated: features of at least one image.
        references: features of training images, m ≥ 2.
        unit: the references' `usual_distance`, if known; it takes long to compute.

    Raises:
        InputError: a set is too small, or most references are copies of one another.
        FloatingPointError: a feature is not finite.

    Example:
        >>> references = np.arange(10.0)[:, None]
        >>> relative_distances(np.array([[3.0], [12.0]]), references).tolist()
        [0.0, 3.0]
    """
    distances, _ = nearest_distances(generated, references)
    return distances / (usual_distance(references) if unit is None else unit)


def usual_distance(references: Float[np.ndarray, "m d"]) -> float:
    """Median distance of a reference to its nearest other one, the unit of `relative_distances`.

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
    """Distances row by row; the faster |x|² + |y|² − 2 x·y suffers from cancellation."""
    return np.linalg.norm(left - right, axis=1)


def _checked(
    real: np.ndarray, generated: np.ndarray, *, fewest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Converts both sets to float64; checks that they are large enough and finite."""
    for features in (real, generated):
        if features.ndim != 2 or features.shape[1] != real.shape[1]:
            raise InputError(
                "expected two sets of features of shape (n, d), with equal d, got "
                f"{real.shape} and {generated.shape}"
            )
    if min(len(real), len(generated)) < fewest:
        raise InputError(
            f"expected at least {fewest} images in each set, got {len(real)} real and "
            f"{len(generated)} to measure; give more images"
        )
    for features in (real, generated):
        broken = int((~np.isfinite(features)).any(1).sum())
        if broken:
            raise FloatingPointError(
                f"the features of {broken} of {len(features)} images are not finite; the "
                "classifier's training diverged"
            )
    return real.astype(np.float64), generated.astype(np.float64)
