"""A module of the user's that hides one of the packages is named at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elicit_jax import PACKAGES

ROOT = Path(__file__).parents[1]
COMMAND = "import sys, elicit_jax; sys.argv[1:] = ['data', 'show']; sys.exit(elicit_jax.main())"


@pytest.mark.parametrize(
    ("name", "program"),
    [
        *((name, COMMAND) for name in PACKAGES),
        *((name, "import gans") for name in PACKAGES if name != "gans"),
        *((name, "import experiments.cli") for name in PACKAGES if name != "experiments"),
    ],
)
def test_a_module_that_hides_a_package_is_named(name, program, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    *above, last = done.stderr.splitlines()
    assert f"expected Elicit's package {name} at {ROOT / name}, got {tmp_path / name}.py" in last
    assert done.returncode == (2 if program == COMMAND else 1)
    assert program != COMMAND or not above


def test_a_folder_of_images_hides_nothing(tmp_path):
    """A folder without `__init__.py` comes after every package, wherever it lies."""
    (tmp_path / "train").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import elicit_jax; elicit_jax.check_packages()"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
