"""Files that one process alone may work on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cod_cli.errors import CodError


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold ``path``, an empty file made for it, until the end; a process that is killed holds nothing.

    Raises:
        CodError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(file, path.parent)
        yield
    finally:
        os.close(file)


def lock(file: int, path: Path) -> None:
    """Lock an open file or say that another process is writing ``path``; it ends with the file's closing."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CodError(f"another process is writing {path}", "wait until it has ended, or use another folder") from None
    except OSError:  # a file system without locks
        return
