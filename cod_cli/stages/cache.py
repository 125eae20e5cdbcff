"""`cod cache`: what is kept for other runs, where, and how to forget it."""

from dataclasses import dataclass
from pathlib import Path

from cod_cli.settings.cache import CacheSettings
from cod_cli.store.cache import Cache, cache_folder, stores
from cod_cli.ui import Ui


@dataclass(frozen=True)
class Store:
    """One store: its file, how many entries it has, and how many bytes it takes."""

    name: str
    path: Path
    entries: int
    bytes: int


@dataclass(frozen=True)
class CacheResult:
    """The stores as they are now; ``cleared`` counts the entries that were forgotten, None where none was to be."""

    folder: Path
    stores: tuple[Store, ...]
    cleared: int | None


def cache(settings: CacheSettings, ui: Ui) -> CacheResult:
    """Look at every store, and empty it where that is asked for; replies in run folders stay."""
    cleared = 0
    found = []
    for path in stores():
        store: Cache[str] = Cache(path)
        if settings.clear:
            cleared += store.count()
            store.clear()
        if store.problem:
            ui.warn(store.problem)
        found.append(Store(path.stem, path, store.count(), store.size()))
        store.close()
    return CacheResult(cache_folder(), tuple(found), cleared if settings.clear else None)
