"""Programs on simulated devices, in processes of their own: JAX counts its devices once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_on_eight_devices(program: str) -> Any:
    """Runs Python and gives what it prints last, read as JSON."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
