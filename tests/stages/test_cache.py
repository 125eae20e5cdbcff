"""`cod cache`: what is kept for other runs, and how to forget it."""

from pathlib import Path

import pytest

from cod_cli.cli import views
from cod_cli.settings.cache import CacheSettings
from cod_cli.stages.cache import cache
from cod_cli.store.cache import Cache, default_path
from cod_cli.ui import Ui


def keep(store: str, *keys: str) -> Path:
    path = default_path(store)
    kept = Cache[str](path)
    kept.put_many(dict.fromkeys(keys, "a reply"))
    kept.close()
    return path


def test_every_store_is_counted_and_measured() -> None:
    path = keep("replies", "a", "b")
    keep("teacher-logits", "c")
    found = cache(CacheSettings(), Ui.silent())
    assert [(store.name, store.entries) for store in found.stores] == [("replies", 2), ("teacher-logits", 1)]
    assert found.stores[0].bytes >= path.stat().st_size > 0
    assert found.cleared is None


def test_clear_forgets_everything_and_says_how_much() -> None:
    path = keep("replies", "a", "b")
    found = cache(CacheSettings(clear=True), Ui.silent())
    assert found.cleared == 2
    assert [store.entries for store in found.stores] == [0]
    assert b"a reply" not in path.read_bytes()


def test_it_says_where_it_is_and_that_it_holds_texts(capsys: pytest.CaptureFixture[str]) -> None:
    Ui().show(views.cache(cache(CacheSettings(), Ui.silent())))
    assert "nothing is kept" in capsys.readouterr().out
    path = keep("replies", "a")
    Ui().show(views.cache(cache(CacheSettings(), Ui.silent())))
    out = capsys.readouterr().out
    assert str(path.parents[1]) in out
    assert "texts made from yours" in out


def test_clear_leaves_the_files_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COD_CACHE", str(tmp_path))
    keep("replies", "a")
    (tmp_path / "photos.sqlite").write_text("my notes, not a database")
    (tmp_path / "stores" / "diary.sqlite").write_text("rain")
    found = cache(CacheSettings(clear=True), Ui.silent())
    assert ([store.name for store in found.stores], found.cleared) == (["replies"], 1)
    assert (tmp_path / "photos.sqlite").read_text() == "my notes, not a database"
    assert (tmp_path / "stores" / "diary.sqlite").read_text() == "rain"
    assert not list(tmp_path.rglob("*.damaged"))
