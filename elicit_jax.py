"""The entry of the command `elicit`, and how its packages are imported.

The packages have names that a user's own files may have too, such as `train.py` in the working
directory. Python then imports the user's, and what fails is far from the reason.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def interface(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Gives a package's `__getattr__`, `__dir__` and `__all__`; names are imported when used.

    So a part of a package that needs no JAX can be imported without it, as the options of the
    command line are. The stub `__init__.pyi` says which module each name comes from.

    Args:
        package: name of the package.
        file: its `__init__.py`.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: str(node.module) for node in imports for alias in node.names}

    def get(name: str) -> Any:
        whole = f"{package}.{name}"
        if name in modules:
            found = getattr(importlib.import_module(modules[name]), name)
        elif whole in modules.values():  # a module, as after `import package.name`
            found = importlib.import_module(whole)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted([*vars(sys.modules[package]), *modules]), sorted(modules)


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
