"""Options of `elicit synthesize` for attacks, in place of an update rule and targets."""

import math
from dataclasses import dataclass
from typing import Literal

from experiments.console.options import check_unused
from imgopt.errors import InputError

MAX_STEPS = 2**31 - 1
"""Largest int32, since an image's updates are counted in one."""

RADIUS_LEVELS = {"linf": 8.0, "l2": 128.0}
"""Radii by default: 8/255 (Madry et al. 2018), and 0.5 in [0, 1], usual for CIFAR-10."""

OWN_OPTIONS = {
    "fgsm": ("norm", "radius_levels"),
    "pgd": ("norm", "radius_levels", "step_levels", "attack_steps", "start_at_image"),
    "smallest": ("searches", "search_updates"),
}
"""Options of each attack beside its goal."""


@dataclass(frozen=True)
class AttackConfig:
    """Attacks: small changes of the images that change the classifier's first class."""

    attack: Literal["none", "fgsm", "pgd", "smallest"] = "none"
    """Attack in place of --rule and --targets. fgsm: one step of the gradient's sign; pgd:
    projected gradient descent in a ball around the image; smallest: the smallest perturbation, by a
    search over the weight of the loss."""
    goal: Literal["untargeted", "targeted", "output"] = "untargeted"
    """untargeted: any class but the label; targeted: --target-class, or by default another class,
    drawn by key for each image; output: the distribution of --targets."""
    target_class: str | None = None
    """For targeted: name or number of the class."""
    norm: Literal["linf", "l2"] = "linf"
    """For fgsm and pgd: norm of the perturbation, the largest change of a value or the Euclidean
    norm."""
    radius_levels: float | None = None
    """For fgsm and pgd: largest norm of the perturbation, in grey levels of 255; 8 by default, and
    128 for l2."""
    step_levels: float | None = None
    """For pgd: length of a step in grey levels; a quarter of the radius by default."""
    attack_steps: int = 10
    """For pgd: number of steps."""
    start_at_image: bool = False
    """For pgd: start at the image itself, not at a random point of the ball, drawn by key."""
    searches: int = 10
    """For smallest: weights of the loss that are tried."""
    search_updates: int = 20
    """For smallest: updates for each weight."""

    def __post_init__(self) -> None:
        """Raises InputError for an option without effect, or a number outside its range."""
        if self.attack == "none":
            names = [name for names in OWN_OPTIONS.values() for name in names]
            check_unused(self, "goal", "target_class", *names, why="without --attack")
        used = OWN_OPTIONS.get(self.attack, ())
        for kind, names in OWN_OPTIONS.items():
            others = (name for name in names if name not in used)
            check_unused(self, *others, why=f"without --attack {kind}")
        if self.goal != "targeted":
            check_unused(self, "target_class", why="without --goal targeted")
        if not 1 <= self.attack_steps < MAX_STEPS:
            raise InputError(
                f"attack_steps must be at least 1 and below {MAX_STEPS}, got {self.attack_steps}"
            )
        if self.searches * self.search_updates > MAX_STEPS:
            raise InputError(
                f"searches times search_updates must be at most {MAX_STEPS}, got {self.searches} "
                f"and {self.search_updates}"
            )
        for name in ("radius_levels", "step_levels"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be above 0 and finite, got {value}")

    @property
    def is_attack(self) -> bool:
        """Whether an attack is asked for."""
        return self.attack != "none"

    @property
    def makes_targets(self) -> bool:
        """Whether the goal says what the targets are."""
        return self.is_attack and self.goal != "output"

    @property
    def radius(self) -> float:
        """Radius of the ball, in grey levels."""
        return self.radius_levels or RADIUS_LEVELS[self.norm]

    def describe(self) -> dict[str, object]:
        """Everything that the images depend on: the options in use."""
        used = {name: getattr(self, name) for name in OWN_OPTIONS[self.attack]}
        if "radius_levels" in used:
            used["radius_levels"] = self.radius
        targeted = {"target_class": self.target_class} if self.goal == "targeted" else {}
        return {"name": self.attack, "goal": self.goal, **targeted, **used}
