"""Options of a job of several processes."""

from dataclasses import dataclass
from typing import Literal

from imgopt.errors import InputError


@dataclass(frozen=True)
class DistributedConfig:
    """Several processes that do one job, each started with the same command."""

    distributed: Literal["off", "auto", "on"] = "off"
    """on: JAX finds the other processes by Slurm, GKE or a TPU pod, or by the three options below;
    auto: the same, but without a cluster the process runs alone."""
    coordinator: str | None = None
    """Address of process 0, as host:port with a free port; without a cluster."""
    processes: int | None = None
    """Number of processes; without a cluster."""
    process: int | None = None
    """Number of this process, from 0; without a cluster."""

    def __post_init__(self) -> None:
        """Raises InputError for options that do not fit together."""
        given = {name: getattr(self, name) for name in ("coordinator", "processes", "process")}
        lacking = [f"--{name}" for name, value in given.items() if value is None]
        if lacking and len(lacking) < len(given):
            raise InputError(f"{' and '.join(lacking)} must be given too, without a cluster")
        if not lacking and self.distributed == "off":
            raise InputError("--coordinator, --processes and --process need --distributed on")
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdecimal():
            raise InputError(f"coordinator must be such as host:1234, got {self.coordinator!r}")
        processes, process = self.processes, self.process
        if processes is not None and process is not None and not 0 <= process < processes:
            raise InputError(
                f"process must be at least 0 and below the {processes} processes, got {process}"
            )
