"""Where files live (Google Drive or this machine) and how they are written: whole or not at all."""

import os
from pathlib import Path

DRIVE = Path("/content/drive/MyDrive")


def drive_dir() -> Path | None:
    """Return the project's folder on Google Drive, or None where Drive is not mounted."""
    return DRIVE / "simple-diffusion" if DRIVE.is_dir() else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a half.

    The folder is made when it is missing. Raises `OSError` with the path when the folder cannot be
    made (a file may stand in its place) or the disk is full; the old file is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
