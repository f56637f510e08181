"""One training process for one folder: a second one is told who is there."""

import os
import socket
import time
import warnings
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks; there, nothing is promised.
    fcntl = None

NAME = ".training-lock"


class FolderLock:
    """Hold a folder for this process until `release`, or until the process ends in any way.

    The operating system keeps the lock and drops it with its process, so a dead process never
    blocks, whatever its file still says. That is promised among the processes of one machine, and
    of several machines on a network disk that passes locks on. Google Drive passes none on: two
    Colab sessions that train into one folder do not see each other. Each of their files is still
    whole, but they remove each other's older states.
    """

    def __init__(self, folder: Path):
        """Take the lock of an existing folder; see `take`."""
        self._path = Path(folder) / NAME
        self._file = None
        self.take()

    def take(self) -> None:
        """Take the lock, or take it again if the folder went away and came back meanwhile.

        Raises:
            BlockingIOError: another process holds it; the text says which.
            OSError: the folder is missing or cannot be written.
        """
        if self._file and not self._names_our_file():
            self.release()
        if not self._file:
            file = open(self._path, "a+")  # noqa: SIM115
            try:
                self._lock(file)
            except OSError:
                file.close()
                raise
            self._file = file

    def release(self) -> None:
        """Let the folder go. The file stays, since removing it could race with its next owner."""
        if self._file:
            self._file.close()
            self._file = None

    def _names_our_file(self):
        return os.path.exists(self._path) and os.path.samestat(
            os.stat(self._path), os.fstat(self._file.fileno())
        )

    def _lock(self, file):
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BlockingIOError(
                f"{self._path.parent} is in use by {file.read() or 'another process'}; wait until "
                "that ends, stop it, or give another weights_dir."
            ) from None
        except OSError as error:
            warnings.warn(
                f"{self._path.parent} cannot be locked ({error}); make sure that no other process "
                "trains into it.",
                stacklevel=2,
            )
        # On a full disk the lock holds all the same, only without a name.
        with suppress(OSError):
            file.truncate(0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()}, started at {started}")
            file.flush()
