"""Where files live (Google Drive or this machine) and how they are written: whole or not at all."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

DRIVE = Path("/content/drive/MyDrive")


def drive_dir() -> Path | None:
    """Return the project's folder on Google Drive, or None where Drive is not mounted."""
    return DRIVE / "simple-diffusion" if DRIVE.is_dir() else None


def write_atomically(path: Path, content: bytes, make_folder: bool = True) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a half.

    The content is on the disk, not only in memory, before the file gets its name; then the name is
    put on the disk too, where the platform allows that. Several threads and processes may write to
    one path; the last one stays. An existing file keeps its mode.

    Args:
        path: the file; of a symbolic link, the file that it leads to.
        content: all of it.
        make_folder: False refuses to make a missing folder: where Google Drive was unmounted, a
            new folder would lie on the machine that is about to go away.

    Raises:
        OSError: the folder is missing or cannot be made (a file may stand in its place), or the
            disk is full; the old file is then untouched.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Not of `tempfile`, whose files are for their owner alone.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            # A new file has no mode to keep, and some network disks know no modes.
            with suppress(OSError):
                os.chmod(temporary, path.stat().st_mode & 0o7777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed training processes left half-written; only while nobody trains there."""
    for path in folder.iterdir():
        if re.fullmatch(r"\.(state|preview|epoch)-.+\.\w+\.tmp", path.name):
            with suppress(OSError):
                path.unlink()


def _flush_folder(folder):
    # Windows opens no folders, and some network disks flush none; the file itself is on the disk.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
