"""The stores of what was computed or paid for."""

import multiprocessing
import os
import sqlite3
import struct
from pathlib import Path

import pytest

from cod_cli.store.cache import Cache, default_path, read_floats, stores


def test_what_is_put_is_found_by_another_opening(tmp_path: Path) -> None:
    Cache[bytes](tmp_path / "a.sqlite").put_many({"x": b"\x00\xff", "y": b""})
    assert Cache[bytes](tmp_path / "a.sqlite").get_many(["x", "y", "z", "x"]) == {"x": b"\x00\xff", "y": b""}


def test_text_comes_back_as_text(tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "a.sqlite")
    cache.put_many({"x": "naïve 中文"})
    assert cache.get_many(["x"]) == {"x": "naïve 中文"}


def test_a_later_value_replaces_an_earlier_one(tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "a.sqlite")
    cache.put_many({"x": "old", "y": "same"})
    cache.put_many({"x": "new"})
    assert cache.get_many(["x", "y"]) == {"x": "new", "y": "same"}
    assert cache.count() == 2


def test_thousands_of_keys_can_be_asked_for_at_once(tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "a.sqlite")
    entries = {f"key {i}": str(i) for i in range(3001)}
    cache.put_many(entries)
    assert cache.get_many([*entries, "none"]) == entries


def test_a_cache_that_is_switched_off_holds_nothing() -> None:
    cache = Cache[str](None)
    cache.put_many({"x": "1"})
    cache.clear()
    assert (cache.get_many(["x"]), cache.count(), cache.size(), cache.problem) == ({}, 0, 0, None)


def test_clearing_forgets_everything_and_gives_the_space_back(tmp_path: Path) -> None:
    cache = Cache[bytes](tmp_path / "a.sqlite")
    cache.put_many({str(i): os.urandom(1000) for i in range(1000)})
    before = cache.size()
    cache.clear()
    assert cache.count() == 0
    assert before > 1_000_000 > 50_000 > cache.size()


def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"this was a data base once" * 100)
    cache = Cache[str](path)
    cache.put_many({"x": "1"})
    assert Cache[str](path).get_many(["x"]) == {"x": "1"}
    assert path.with_name("a.sqlite.damaged").exists()
    assert cache.problem is None


def test_a_file_damaged_in_its_middle_does_not_stop_the_work(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    cache = Cache[str](path)
    cache.put_many({str(i): "x" * 100 for i in range(1000)})
    cache.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    damaged = Cache[str](path)
    damaged.put_many({"new": "1"})
    damaged.get_many(["500"])
    assert damaged.problem is not None


def test_what_cannot_be_read_is_forgotten_too(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Cache[str](path).put_many({str(i): "a user's text" * 100 for i in range(1000)})
    content = bytearray(path.read_bytes())
    content[4096:] = b"a user's text".ljust(16) * (len(content[4096:]) // 16)
    path.write_bytes(content)
    path.with_name("a.sqlite.damaged").write_bytes(b"a user's text")
    Cache[str](path).clear()
    assert not [file for file in tmp_path.iterdir() if b"a user's text" in file.read_bytes()]


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_place_that_cannot_be_used_does_not_stop_the_work(place: str, tmp_path: Path) -> None:
    path = tmp_path / "file" / "a.sqlite" if place == "file" else tmp_path / "a.sqlite"
    (tmp_path / "file").write_text("no folder")
    if place == "folder":
        path.mkdir()
    cache = Cache[str](path)
    cache.put_many({"x": "1"})
    assert cache.get_many(["x"]) == {}
    assert str(path) in str(cache.problem)


def test_a_full_disk_does_not_stop_the_work(tmp_path: Path) -> None:
    cache = Cache[bytes](tmp_path / "a.sqlite")
    cache.put_many({"x": b"1"})
    assert cache._db is not None
    cache._db.execute("PRAGMA max_page_count = 10")
    cache.put_many({str(i): os.urandom(1000) for i in range(1000)})
    assert "full" in str(cache.problem)
    assert cache.get_many(["x", "0"]) == {"x": b"1"}


def _write(path: Path, worker: int) -> None:
    for i in range(50):
        cache = Cache[str](path)
        cache.put_many({f"{worker} {i}": "1", "shared": str(worker)})
        assert cache.problem is None
        cache.close()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(path, worker)) for worker in range(4)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [0] * 4
    assert Cache[str](path).count() == 4 * 50 + 1


def test_entries_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "a.sqlite")
    cache.put_many({"a": "1", "b": None})  # type: ignore[dict-item]
    assert cache.get_many(["a", "b"]) == {}


def test_stores_stand_where_cod_cache_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COD_CACHE", str(tmp_path / "here"))
    path = tmp_path / "here" / "stores" / "replies.sqlite"
    assert default_path("replies") == path
    assert stores() == []
    Cache[str](default_path("replies")).put_many({"x": "1"})
    assert stores() == [path]
    monkeypatch.setenv("COD_CACHE", "")
    assert default_path("replies").parent.is_absolute()


def test_a_store_is_for_its_owner_alone_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COD_CACHE", str(tmp_path))
    tmp_path.chmod(0o755)
    Cache[str](default_path("replies")).put_many({"x": "1"})
    made = [default_path("replies").parent, *default_path("replies").parent.iterdir()]
    assert len(made) == 4
    assert [path.stat().st_mode & 0o077 for path in made] == [0] * 4


def test_others_lose_sight_of_a_store_that_they_could_read(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch(0o644)
    Cache[str](tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").stat().st_mode & 0o007 == 0


def test_a_store_of_an_earlier_version_is_used_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COD_CACHE", str(tmp_path))
    older = Cache[str](tmp_path / "replies.sqlite")
    older.put_many({"x": "1"})
    older.close()
    assert default_path("replies") == tmp_path / "replies.sqlite"
    assert stores() == [tmp_path / "replies.sqlite"]


@pytest.mark.parametrize("content", ["my notes, not a database", None])
def test_a_file_of_another_program_is_no_store(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COD_CACHE", str(tmp_path))
    foreign = tmp_path / "replies.sqlite"
    if content:
        foreign.write_text(content)
    else:
        db = sqlite3.connect(foreign)
        db.executescript("CREATE TABLE entries(day TEXT, body TEXT); INSERT INTO entries VALUES ('monday', 'rain')")
        db.close()
    before = foreign.read_bytes()
    Cache[str](default_path("replies")).put_many({"x": "1"})
    assert stores() == [tmp_path / "stores" / "replies.sqlite"]
    assert foreign.read_bytes() == before


def test_a_name_that_is_too_long_for_a_folder_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COD_CACHE", "/tmp/" + "x" * 300)
    cache = Cache[str](default_path("replies"))
    assert (cache.get_many(["x"]), stores()) == ({}, [])
    assert "File name too long" in str(cache.problem)


@pytest.mark.parametrize(
    ("value", "floats"),
    [
        (struct.pack("<2f", 1.5, -2.0), (1.5, -2.0)),
        (struct.pack("<3f", 1, 2, 3), None),
        (struct.pack("<2f", 1, float("nan")), None),
        ("12345678", None),
        (12345678, None),
    ],
)
def test_floats_are_read_from_what_holds_so_many_and_from_nothing_else(value: object, floats: object) -> None:
    assert read_floats(value, "f", 2) == floats
