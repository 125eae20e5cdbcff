"""How much electricity a training took, by codecarbon, offline: nothing leaves the machine."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cod_cli.errors import UsageError
from cod_cli.records import Energy

# Linux counts the energy of Intel's and AMD's processors there; readable to root only on most machines.
COUNTERS = Path("/sys/class/powercap")


@contextmanager
def energy_meter() -> Iterator[Callable[[], Energy]]:
    """Measure while the block runs; what it yields gives the reading behind the block.

    Raises:
        UsageError: the package codecarbon is missing.
    """
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        raise UsageError("--energy needs the package codecarbon", "pip install 'cod-cli[energy]'") from None
    logging.getLogger("codecarbon").addFilter(lambda record: record.levelno >= logging.ERROR)
    # The country only turns energy into emissions, which are not reported.
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="error", measure_power_secs=1, allow_multiple_runs=True
    )
    tracker.start()

    def reading() -> Energy:
        data = tracker.final_emissions_data
        return Energy(
            cpu_kwh=data.cpu_energy, gpu_kwh=data.gpu_energy, ram_kwh=data.ram_energy, estimated=not has_counters()
        )

    try:
        yield reading
    finally:
        tracker.stop()


def has_counters(folder: Path = COUNTERS) -> bool:
    """Whether the processor's own energy counters can be read; without, codecarbon guesses from its load."""
    return any(os.access(path, os.R_OK) for path in folder.glob("*/energy_uj"))
