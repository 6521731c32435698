"""The entry of the command `elicit`, and a check that no module of the user's hides a package.

The packages have names that a user's own files may have too, such as `train.py` in the working
directory. Python then imports the user's, and what fails is far from the reason.
"""

import importlib.util
import sys
from pathlib import Path

DISTRIBUTION = "elicit-jax"
"""The name on the package index, where `elicit` belongs to another project."""

PACKAGES = ("imgopt", "train", "gans", "experiments")


def check_packages() -> None:
    """Raises ImportError if another module of the same name hides one of our packages.

    Nothing is imported. A package that was imported already counts as what it is.
    """
    ours = Path(__file__).resolve().parent
    for name in PACKAGES:
        module = sys.modules.get(name)
        spec = importlib.util.find_spec(name) if module is None else None
        origin = getattr(module or spec, "__file__" if module else "origin", None)
        if origin is None or Path(origin).resolve() != ours / name / "__init__.py":
            raise ImportError(
                f"expected Elicit's package {name} at {ours / name}, got {origin or 'a folder'}, "
                "which hides it; rename that, or start Python in another directory"
            )


def main() -> int:
    """Runs the command line."""
    try:
        check_packages()
    except ImportError as error:
        print(f"elicit: error: {error}", file=sys.stderr)
        return 2
    from experiments.cli import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
