"""Locks: one process at a time where two would undo each other's work: on journals, runs, teachers, sweeps."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cod_cli.errors import CodError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(path: Path, work: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock until the end; a process that is killed holds nothing.

    Args:
        path: a file that is made for it, and removed afterwards. Where no file can be made nothing can be written, and
            no lock is needed.
        work: what others are told is done there, ``cod eval``.
        shared: whether others may hold it meanwhile that share it, too.

    Raises:
        CodError: another process holds it; it says which.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _claim(path, shared)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a full disk is no reason to refuse what may need no room
            os.ftruncate(file, 0)
            os.pwrite(file, f"{work} (process {os.getpid()})".encode(), 0)
        yield
    finally:
        _release(file, path)


def lock(file: int, path: Path, *, shared: bool = False) -> None:
    """Lock an open file or say that another process is writing ``path``; it ends with the file's closing."""
    # Not `filelock`: it locks a file of its own, so that a `.lock` would stand beside every journal, and on a file
    # system without locks the file itself is the lock, which a process that is killed leaves behind.
    if not _try_lock(file, shared=shared):
        raise CodError(f"another process is writing {path}", "wait until it has ended, or use another folder")


def _try_lock(file: int, *, shared: bool) -> bool:
    """Whether the lock is got, or there are none on this system or file system."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _claim(path: Path, shared: bool) -> int:
    """The open and locked file that stands at ``path``."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(file, shared=shared):
            holder = os.pread(file, 200, 0).decode("utf-8", "replace") or "it does not say which"
            os.close(file)
            raise CodError(
                f"another process works on {path.parent}: {holder}", "wait until it has ended, or use another folder"
            )
        # The one that held it may have removed it between the two lines above.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _release(file: int, path: Path) -> None:
    """Let others in, and remove the file unless some share it still."""
    if _try_lock(file, shared=False):
        path.unlink(missing_ok=True)
    os.close(file)
