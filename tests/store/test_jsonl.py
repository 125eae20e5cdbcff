"""Files on disk: what is written where, and what is left as it was."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.records import Shot, SoftLabel
from cod_cli.store.jsonl import read_jsonl, read_records, write_output, write_text


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_what_is_written_through_a_link_stands_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    write_output(tmp_path / "link.csv", "new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


def test_a_link_to_nothing_yet_makes_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "later" / "real.csv")
    write_output(tmp_path / "link.csv", "new")
    assert (tmp_path / "later" / "real.csv").read_text() == "new"


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    write_output(path, "a,b\n")
    reader.join(10)
    assert (read, path.is_fifo()) == (["a,b\n"], True)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    # A node of our own, of the same kind as /dev/null; never that itself.
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (tmp_path / "null").write_text("")
    except OSError:
        pytest.skip("only some may make devices")
    write_output(tmp_path / "null", "gone")
    assert (tmp_path / "null").is_char_device()


def test_a_dash_is_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    write_output(Path("-"), "a,b\n")
    assert capfd.readouterr().out == "a,b\n"
    assert not Path("-").exists()


def test_a_path_that_leads_to_standard_output_is_printed_to_without_taking_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "printed.txt").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        out.write("before\n")
        write_output(tmp_path / "printed.txt", "a,b\n")
        out.write("after\n")
    assert (tmp_path / "printed.txt").read_text() == "before\na,b\nafter\n"


def test_a_last_line_without_its_end_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}')
    for torn_tail in (False, True):
        assert [row for _, row in read_jsonl(tmp_path / "a.jsonl", torn_tail=torn_tail)] == [{"a": 1}, {"a": 2}]


def test_a_last_line_that_a_kill_cut_short_is_left_out_where_that_may_be(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"a": 1}\n{"a": "naï'.encode()[:-1])
    assert list(read_jsonl(tmp_path / "a.jsonl", torn_tail=True)) == [(1, {"a": 1})]
    with pytest.raises(CodError, match="line 2"):
        list(read_jsonl(tmp_path / "a.jsonl"))


def test_half_of_a_surrogate_pair_is_read_as_what_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "a\\ud83d b \\ud83d\\ude00", "label": "x"}\n')
    assert read_records(tmp_path / "a.jsonl", Shot)[0].text == "a? b 😀"


def test_logits_that_are_no_numbers_are_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "3-soft-labels.jsonl"
    path.write_text(
        '{"id": "a", "text_sha": "b", "logits": [NaN, 1.0], "teacher": "c", "source": "logits", "covered_mass": 1.0}\n'
    )
    with pytest.raises(CodError, match=r"3-soft-labels\.jsonl, line 1: logits\.0: Input should be a finite number"):
        read_records(path, SoftLabel)


def test_an_id_that_stands_there_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    line = '{"id": "a", "text": "t", "label": "x"}\n'
    (tmp_path / "a.jsonl").write_text(line + line.replace('"a"', '"b"') + line)
    with pytest.raises(CodError, match="line 3: id 'a' stands on line 1 too"):
        read_records(tmp_path / "a.jsonl", Shot)


_WRITE = """
import itertools, sys
from pathlib import Path
from cod_cli.store.jsonl import write_text
path = Path(sys.argv[1])
for n in itertools.count():
    write_text(path, f"{n % 10}" * 3_000_000)
    print(n, flush=True)
"""


def test_a_kill_while_a_file_is_replaced_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for milliseconds in (1, 3, 5, 7):
        process = subprocess.Popen([sys.executable, "-c", _WRITE, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        process.kill()
        process.communicate()
        text = path.read_text()
        assert text == text[0] * 3_000_000


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "file").exists()))
    write_text(tmp_path / "file", "new")
    assert synced == [False]
