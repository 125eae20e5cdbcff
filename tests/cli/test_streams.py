"""What becomes of a command whose standard streams are closed, cut off or not UTF-8."""

import subprocess
import sys
from pathlib import Path

import pytest

COD = f'"{sys.executable}" -m cod_cli'


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", ["--help", "sample --help", "cache", "cache --json", "show --prompt sentiment"])
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(words: str) -> None:
    done = shell(f"{COD} {words} | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_work_goes_on_where_nobody_reads_what_is_said(tmp_path: Path) -> None:
    rows = "".join(f'{{"text": "text {n}", "label": {n % 2}}}\n' for n in range(8))
    (tmp_path / "data.jsonl").write_text(rows + rows)  # doubled rows are told of on stderr
    done = shell(f"{COD} sample {tmp_path}/run --data {tmp_path}/data.jsonl -k 4 2>&1 >{tmp_path}/out | true")
    assert done.returncode == 0
    assert "4 shots" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_stop_nothing(closed: str) -> None:
    done = shell(f"{COD} cache {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("description: d\nsystem: naïve 😀\nuser: $text\n", encoding="utf-8")
    shown = shell(f"PYTHONIOENCODING=ascii {COD} show --prompt {tmp_path}/p.yaml")
    assert shown.returncode == 0
    assert "na\\xefve" in shown.stdout


def test_what_standard_output_cannot_take_is_an_error(tmp_path: Path) -> None:
    done = shell(f"ulimit -f 0; {COD} cache --json >{tmp_path}/out")
    assert (done.returncode, done.stderr) == (
        1,
        "error: File too large\nhint: allow larger files (`ulimit -f`); the same command goes on from what is saved\n",
    )
