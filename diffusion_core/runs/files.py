"""Where files live, how they are written (whole or not at all), and one run for one folder."""

import os
import re
import secrets
import shutil
import socket
import stat
import time
import warnings
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

DRIVE = Path("/content/drive/MyDrive")


def drive_dir() -> Path | None:
    """Return the project's folder on Google Drive, or None where Drive is not mounted."""
    return DRIVE / "simple-diffusion" if DRIVE.is_dir() else None


def default_weights_dir() -> Path:
    """Return the folder for weights: on Google Drive when it is mounted, else `./weights`."""
    return (drive_dir() or Path()) / "weights"


class Display:
    """A stream for what is only shown: what cannot be is lost, since printing ends no run."""

    def __init__(self, stream):
        """Write to a stream, which may be full, closed, or None."""
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, where that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, where that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def __getattr__(self, name):
        """Return anything else of the stream."""
        return getattr(self._stream, name)


def read_file(path: Path, most_bytes: int = -1) -> bytes:
    """Return a file's content, cut at so many bytes; refuse what has no end, such as a pipe."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise IsADirectoryError(f"{path.name} is not a file")
    with open(path, "rb") as file:
        return file.read(most_bytes)


# No library: `atomicwrites` is no longer kept up, and none flushes the folder too.
def write_atomically(path: Path, content: bytes, make_folder: bool = True) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a half.

    A link is written through, and a file that is there keeps its mode. Content and name are on the
    disk afterwards, where the platform allows that. Raises `OSError`, with the old file untouched.

    Args:
        path: the file.
        content: all of it.
        make_folder: False refuses to make a missing folder: where Google Drive was unmounted, a
            new folder would lie on the machine that is about to go away.
    """
    path = Path(os.path.realpath(path))
    if os.path.lexists(path) and not path.is_file():  # a folder, a pipe, a link in a circle
        raise FileExistsError(f"{path} is there and is not a file; give another name.")
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:8]}-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _flush_folder(folder):
    # Windows opens no folders, and some network disks flush none; the file itself is on the disk.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed training processes left half-written; only while nobody trains there."""
    for path in folder.iterdir():
        if re.fullmatch(r"\.(state|preview|epoch)-.+\.tmp", path.name):
            with suppress(OSError):
                path.unlink()


class FolderLock:
    """Hold an existing folder for this process until `release`, or until the process ends.

    The operating system drops the lock of a dead process. It holds among the processes of one
    machine, and of several on a network disk that passes locks on. Google Drive passes none on: two
    Colab sessions that train into one folder write whole files, but remove each other's old states.
    """

    def __init__(self, folder: Path):
        """Take the lock."""
        self._path = Path(folder) / ".training-lock"
        # The thread that writes states takes it again, so it belongs to the process.
        self._lock = FileLock(self._path, timeout=0, thread_local=False)
        self._taken = None
        self.take()

    def take(self) -> None:
        """Take the lock, or take it again if the folder went away and came back meanwhile.

        Raises `BlockingIOError`, which names the process that holds it, or another `OSError` where
        the folder is missing or cannot be written.
        """
        if self._taken and self._taken == self._identity():
            return
        self.release()
        there = os.lstat(self._path) if os.path.lexists(self._path) else None
        # A link, symbolic or hard, lead to another file, which would be overwritten.
        if there and (not stat.S_ISREG(there.st_mode) or there.st_nlink > 1):
            raise FileExistsError(f"{self._path} is not a file of `train`; remove it.")
        self._path.touch()  # raises where the folder is missing, which filelock would make
        try:
            self._lock.acquire()
        except Timeout:
            holder = ""
            with suppress(OSError):  # Windows lets nobody read a locked file
                holder = self._path.read_text(errors="replace")
            raise BlockingIOError(
                f"{self._path.parent} is in use by {holder or 'another process'}; wait until that "
                "ends, stop it, or give another weights_dir."
            ) from None
        except OSError as error:
            warnings.warn(
                f"{self._path.parent} cannot be locked ({error}); make sure that no other process "
                "trains into it.",
                stacklevel=2,
            )
        holder = f"process {os.getpid()} on {socket.gethostname()}, started at "
        with suppress(OSError):  # on a full disk the lock holds all the same, only without a name
            self._path.write_text(holder + time.strftime("%Y-%m-%d %H:%M:%S"))
        self._taken = self._identity()

    def release(self) -> None:
        """Let the folder go. The file stays, since removing it could race with its next owner."""
        self._lock.release(force=True)
        self._taken = None

    def _identity(self):
        found = os.stat(self._path) if self._path.exists() else None
        return found and (found.st_dev, found.st_ino)
