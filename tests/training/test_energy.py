"""Electricity of a training: what the meter reads, where it is a guess, and what is said without codecarbon."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cod_cli.errors import UsageError
from cod_cli.records import Energy
from cod_cli.training.energy import energy_meter, has_counters


class Clock:
    """A tracker whose sums are known only once it has stopped, as codecarbon's are."""

    def __init__(self) -> None:
        self.running = False
        self.final_emissions_data = SimpleNamespace()

    def start(self) -> None:
        self.running = True

    def stop(self) -> float:
        self.running = False
        self.final_emissions_data = SimpleNamespace(cpu_energy=0.1, gpu_energy=0.2, ram_energy=0.3)
        return 0.0


def counters(folder: Path) -> Path:
    zone = folder / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text("1\n")
    return folder


def test_the_reading_is_had_behind_the_block_that_was_measured(tmp_path: Path) -> None:
    clock = Clock()
    with energy_meter(clock, tmp_path) as reading:
        assert clock.running
    assert not clock.running
    assert reading() == Energy(cpu_kwh=0.1, gpu_kwh=0.2, ram_kwh=0.3, estimated=True)


def test_what_the_processor_counts_itself_is_no_estimate(tmp_path: Path) -> None:
    assert has_counters(counters(tmp_path))
    with energy_meter(Clock(), tmp_path) as reading:
        pass
    assert not reading().estimated


def test_without_counters_it_is_an_estimate(tmp_path: Path) -> None:
    assert not has_counters(tmp_path)
    assert not has_counters(tmp_path / "absent")


def test_a_training_that_fails_stops_the_meter(tmp_path: Path) -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt), energy_meter(clock, tmp_path):
        raise KeyboardInterrupt
    assert not clock.running


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(UsageError, match="needs the package codecarbon") as caught, energy_meter():
        pass
    assert "cod-cli[energy]" in str(caught.value.hint)


def test_codecarbon_measures_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    with energy_meter() as reading:
        sum(range(1_000_000))
    assert reading().cpu_kwh > 0
    assert not list(tmp_path.iterdir())
