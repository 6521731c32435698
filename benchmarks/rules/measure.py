"""Measures how many updates each rule needs, on CIFAR-10 test images.

Usage: python benchmarks/rules/measure.py --classifier RUN --data-dir DIR --out DIR

Every arm optimises the same images towards the same two-class targets (own class 0.9). After every
update the images are rounded to 8 bits and measured. Results of an arm and a batch go into one JSON
file in --out; what is there is not measured again. `table.py` makes the table and the plot.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import imgopt
from train.classifiers import classify_function, load_classifier
from train.data.load import load_images
from train.storage.runs import environment

FIRST_IMAGE = 1000
"""The first 64 test images served to choose the default's scale and memory; they are left out."""

DAMPING = 0.1
"""Damping of the Gauss-Newton step, as a share of the mean curvature."""

BLEND = 0.85
"""Share of the original in a warm start; the rest is an image of the other class."""


class Arm(NamedTuple):
    """One way to make the images.

    Attributes:
        rule: makes the rule, given the logits as a function of the weights of one image.
        updates: most updates.
        warm: whether it starts from a blend with an image of the other class.
        passes: backward passes of an update, but for those of a line search.
    """

    rule: Callable[[Callable], optax.GradientTransformation]
    updates: int
    warm: bool = False
    passes: int = 1


ARMS = {
    "SGD, rate 0.05 (paper)": Arm(lambda _: imgopt.sgd(), 100),
    "momentum 0.9, rate 0.05 (paper)": Arm(lambda _: imgopt.momentum_sgd(), 100),
    "Adam, rate 0.03": Arm(lambda _: optax.adam(0.03), 40),
    "Polyak, s = 0.5": Arm(lambda _: imgopt.polyak(0.5, momentum=0.0), 40),
    "Polyak, s = 0.5, momentum 0.5": Arm(lambda _: imgopt.polyak(), 40),
    "Polyak, s = 0.25, momentum 0.5": Arm(lambda _: imgopt.polyak(0.25), 40),
    "Polyak, s = 0.35, momentum 0.5": Arm(lambda _: imgopt.polyak(0.35), 40),
    "L-BFGS with Polyak's step (default)": Arm(lambda _: imgopt.polyak_lbfgs(), 40),
    "the same, warm start": Arm(lambda _: imgopt.polyak_lbfgs(), 40, warm=True),
    "Gauss-Newton, damped": Arm(lambda logits: gauss_newton(logits), 10, passes=11),
    "L-BFGS with line search": Arm(lambda _: optax.lbfgs(), 14),
}


def gauss_newton(logits: Callable) -> optax.GradientTransformation:
    """Damped Gauss-Newton on the logits: minimises gᵀd + dᵀJᵀHJd/2 + λ|d|²/2 over the change d.

    J is the Jacobian of the logits, H = diag(p) - ppᵀ the curvature of the cross entropy in the
    logits, and λ a share of the mean curvature.
    """

    def update(gradient: Any, state: Any, weights: Any = None) -> tuple[Any, Any]:
        jacobian = jax.jacrev(logits)(weights).reshape(-1, weights.size)
        p = jax.nn.softmax(logits(weights))
        gram = jacobian @ jacobian.T
        # The gradient is Jᵀr; r = p - q* follows from it.
        residual = jnp.linalg.lstsq(gram, jacobian @ gradient.ravel())[0]
        curvature = (jnp.diag(p) - p[:, None] * p[None]) @ gram
        # An image that nothing can move has no curvature at all.
        damping = (DAMPING * jnp.trace(curvature) / len(p) + 1e-12) * jnp.eye(len(p))
        change = jacobian.T @ jnp.linalg.solve(curvature + damping, residual)
        return -change.reshape(weights.shape), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


@dataclass(frozen=True)
class RulesConfig:
    """Measures update rules."""

    classifier: Path
    """Run of the classifier."""
    data_dir: Path
    """Data directory with CIFAR-10."""
    out: Path
    """Directory of the results."""
    images: int = 1000
    """Number of test images."""
    batch_size: int = 250
    """Images in a batch."""


class Batch(NamedTuple):
    """Originals, the images to start from, and the targets."""

    originals: jax.Array
    warm: jax.Array
    targets: jax.Array


def read_batches(config: RulesConfig) -> list[Batch]:
    """Reads the images and draws the targets; warm starts blend in training images."""
    data = load_images("cifar10", "test", data_dir=config.data_dir)
    rows = slice(FIRST_IMAGE, FIRST_IMAGE + config.images)
    labels = np.asarray(data.labels[rows])
    targets = imgopt.two_class_targets(
        jax.random.key(0), labels, num_classes=10, indices=np.arange(rows.start, rows.stop)
    )
    others = np.asarray(jnp.argsort(targets, axis=1)[:, -2])
    donors = load_images("cifar10", "train", data_dir=config.data_dir)
    of_class = [np.flatnonzero(donors.labels == c) for c in range(10)]
    chosen = [of_class[c][i % len(of_class[c])] for i, c in enumerate(others)]
    originals = imgopt.to_float(data.images[rows])
    warm = BLEND * originals + (1 - BLEND) * imgopt.to_float(donors.images[np.array(chosen)])
    size = config.batch_size
    return [
        Batch(originals[i : i + size], warm[i : i + size], targets[i : i + size])
        for i in range(0, config.images, size)
    ]


def measure(classify: Callable, batch: Batch, arm: Arm) -> dict[str, Any]:
    """Runs an arm on a batch; sums over the images before and after every update."""
    pixel_map = imgopt.arctan_map()

    def logits(weights: jax.Array) -> jax.Array:
        return classify(pixel_map.to_image(weights)[None])[0]

    init, update, finish = imgopt.transform(classify, batch.targets, optimizer=arm.rule(logits))
    state = init(batch.warm if arm.warm else batch.originals)
    update = jax.jit(update).lower(state).compile()
    finish = jax.jit(finish)
    rows: dict[str, list[float]] = {"kl": [], "ranked": [], "change": [], "passes": []}
    seconds = [0.0]
    for step in range(arm.updates + 1):
        result = finish(state)
        rows["kl"].append(float(result.kl.sum()))
        ranked = imgopt.ranking_as_asked(result.outputs, batch.targets)
        rows["ranked"].append(int(ranked.sum()))
        changes = imgopt.mean_absolute_change(result.images, batch.originals)
        rows["change"].append(float(changes.sum()))
        passes = arm.passes + searches(state.opt_state).mean()
        rows["passes"].append(float(passes) if step else 0.0)
        if step < arm.updates:
            began = time.perf_counter()
            state = jax.block_until_ready(update(state))
            seconds.append(time.perf_counter() - began)
    count = len(batch.targets)
    return {**rows, "passes": np.cumsum(rows["passes"]).tolist(), "seconds": seconds, "n": count}


def searches(opt_state: Any) -> np.ndarray:
    """Evaluations of each image's last line search; 0 for rules without one."""
    found = optax.tree.get(opt_state, "num_linesearch_steps", None)
    count = len(jax.tree.leaves(opt_state)[0]) if jax.tree.leaves(opt_state) else 1
    return np.zeros(count) if found is None else np.asarray(found, float)


def main(config: RulesConfig) -> None:
    """Measures what is not measured yet, arm by arm."""
    config.out.mkdir(parents=True, exist_ok=True)
    classify = classify_function(load_classifier(config.classifier))
    batches = read_batches(config)
    for arm_number, (name, arm) in enumerate(ARMS.items()):
        for number, batch in enumerate(batches):
            place = config.out / f"{arm_number:02d}-{number}.json"
            if place.exists():
                continue
            found = measure(classify, batch, arm)
            record = {"arm": name, "batch": number, "warm": arm.warm, **environment(), **found}
            place.write_text(json.dumps(record))
            print(name, number, f"{sum(found['seconds']):.0f} s", flush=True)


if __name__ == "__main__":
    main(tyro.cli(RulesConfig))
