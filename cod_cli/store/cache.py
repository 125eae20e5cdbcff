"""What was computed or paid for once, kept by key for other runs: small SQLite stores, safe for several processes."""

import contextlib
import math
import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Generic, Literal, TypeVar

from platformdirs import user_cache_path

V = TypeVar("V", bytes, str)
T = TypeVar("T")
# SQLite takes so many `?` in one statement, whatever its build.
_KEYS_AT_ONCE = 500


# As SQLite gives it back, by which a store is known.
_TABLE = "CREATE TABLE entries (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID"
_SET_UP = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
{_TABLE.replace("TABLE", "TABLE IF NOT EXISTS")};
"""


_CLEAR = "DELETE FROM entries; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);"


# All that is kept for other runs. `COD_CACHE` may name a folder where others keep theirs: no other file is touched.
STORES = ("replies", "soft-labels", "teacher-logits")


def cache_folder() -> Path:
    """``COD_CACHE``, else the platform's cache folder for ``cod``."""
    return Path(os.environ.get("COD_CACHE") or user_cache_path("cod")).expanduser()


def default_path(store: str) -> Path:
    """The file of one of `STORES`, in a folder of their own; one of an earlier version stays where it is."""
    own = cache_folder() / "stores" / f"{store}.sqlite"
    older = cache_folder() / own.name
    # os.path answers where pathlib raises: a name that is too long, a folder that may not be entered.
    return older if not os.path.exists(own) and _is_store(older) else own


def stores() -> list[Path]:
    """The files of all stores that there are, those set aside as damaged left out."""
    return [path for path in map(default_path, STORES) if os.path.exists(path)]


def _is_store(path: Path) -> bool:
    """Whether a file is a store, and not something of another program's that has its name."""
    if not os.path.isfile(path):
        return False
    db = None
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        return db.execute("SELECT sql FROM sqlite_master").fetchall() == [(_TABLE,)]
    except sqlite3.Error:
        return False
    finally:
        if db is not None:
            db.close()


def read_floats(value: object, kind: Literal["f", "d"], n: int) -> tuple[float, ...] | None:
    """The n finite floats (``f``: 4 bytes, ``d``: 8, little-endian) that a value is; None where it is none."""
    try:
        floats = struct.unpack(f"<{n}{kind}", value)  # type: ignore[arg-type]
    except (struct.error, TypeError):
        return None
    return floats if all(map(math.isfinite, floats)) else None


class Cache(Generic[V]):
    """Values by key in one SQLite file, all bytes or all text.

    A cache never stops the work: where the file cannot be read or written it finds nothing, keeps nothing, and
    ``problem`` says why. A damaged file is set aside (``*.damaged``) and begun anew.

    Args:
        path: the file; None is a cache that is switched off.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._db = self._open(path) if path is not None else None

    def get_many(self, keys: Iterable[str]) -> dict[str, V]:
        """The values of those keys that are there."""
        remaining = iter(dict.fromkeys(keys))
        found: dict[str, V] = {}
        while chunk := list(islice(remaining, _KEYS_AT_ONCE)):
            found.update(self._select(chunk))
        return found

    def put_many(self, entries: Mapping[str, V]) -> None:
        """Keep values; what stands there already under a key is replaced."""
        query = "INSERT OR REPLACE INTO entries VALUES (?, ?)"
        self._try(lambda db: db.executemany(query, list(entries.items())), None)

    def count(self) -> int:
        """The number of entries."""
        return self._try(lambda db: int(db.execute("SELECT count(*) FROM entries").fetchone()[0]), 0)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self._files() if file.exists())

    def clear(self) -> None:
        """Forget everything, a damaged file that was set aside too, and give the disk space back."""
        self._try(lambda db: db.executescript(_CLEAR), None)
        if self.path is None:
            return
        _set_aside(self.path).unlink(missing_ok=True)
        if self.problem is not None:  # it cannot even be emptied
            self.close()
            for file in self._files():
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the cache is then switched off."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _files(self) -> list[Path]:
        path = self.path
        return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")] if path else []

    def _select(self, keys: list[str]) -> list[tuple[str, V]]:
        query = f"SELECT key, value FROM entries WHERE key IN ({','.join('?' * len(keys))})"
        return self._try(lambda db: db.execute(query, keys).fetchall(), [])

    def _try(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        with self._lock:
            if self._db is None:
                return otherwise
            try:
                with self._db:
                    return action(self._db)
            except sqlite3.Error as error:
                self.problem = f"{self.path}: {error}"
                return otherwise

    def _open(self, path: Path) -> sqlite3.Connection | None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(path)
            return _connect(path)
        except sqlite3.OperationalError as error:
            self.problem = f"{path}: {error}"
        except sqlite3.DatabaseError:
            return self._begin_anew(path)
        except OSError as error:
            self.problem = f"{path}: {error.strerror}"
        return None

    def _begin_anew(self, path: Path) -> sqlite3.Connection | None:
        try:
            path.replace(_set_aside(path))
            _make_private(path)
            return _connect(path)
        except (OSError, sqlite3.Error) as error:
            self.problem = f"{path}: {error}"
            return None


def _make_private(path: Path) -> None:
    """Make the file where there is none, and let nobody else read it: it may hold users' texts."""
    # SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    with contextlib.suppress(PermissionError):  # another's, who shares it
        path.chmod(path.stat().st_mode & 0o770)


def _set_aside(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        db.executescript(_SET_UP)
    except sqlite3.Error:
        db.close()
        raise
    return db
