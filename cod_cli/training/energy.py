"""How much electricity a training took, by codecarbon, offline: nothing leaves the machine."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cod_cli.errors import UsageError
from cod_cli.records import Energy

# Linux counts the energy of Intel's and AMD's processors there; readable to root only on most machines.
COUNTERS = Path("/sys/class/powercap")


class Tracker(Protocol):
    """What is used of codecarbon's tracker."""

    final_emissions_data: Any

    def start(self) -> None:
        """Begin to measure."""

    def stop(self) -> float | None:
        """End, and put the sums, in kWh, into ``final_emissions_data``."""


@contextmanager
def energy_meter(tracker: Tracker | None = None, counters: Path = COUNTERS) -> Iterator[Callable[[], Energy]]:
    """Measure while the block runs; what it yields gives the reading, in kWh, behind the block; for `cod distill`.

    Args:
        tracker: measures; codecarbon's unless given.
        counters: where the processor's own counters would be.

    Raises:
        UsageError: the package codecarbon is missing.
    """
    tracker = tracker or _codecarbon()
    tracker.start()

    def reading() -> Energy:
        data = tracker.final_emissions_data
        return Energy(
            cpu_kwh=data.cpu_energy,
            gpu_kwh=data.gpu_energy,
            ram_kwh=data.ram_energy,
            estimated=not has_counters(counters),
        )

    try:
        yield reading
    finally:
        tracker.stop()


def _codecarbon() -> Tracker:
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        raise UsageError("--energy needs the package codecarbon", "pip install 'cod-cli[energy]'") from None
    logging.getLogger("codecarbon").addFilter(lambda record: record.levelno >= logging.ERROR)
    # The country only turns energy into emissions, which are not reported.
    tracker: Tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="error", measure_power_secs=1, allow_multiple_runs=True
    )
    return tracker


def has_counters(folder: Path) -> bool:
    """Whether the processor's own energy counters can be read; without, codecarbon guesses from its load."""
    return any(os.access(path, os.R_OK) for path in folder.glob("*/energy_uj"))
