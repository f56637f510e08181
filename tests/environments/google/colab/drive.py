"""Mount Google Drive: here, a folder that plays it.

`COLAB_DRIVE` names that folder, which outlives sessions; without it, the reader refuses.
"""

import os
from pathlib import Path


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    """Show the reader's Drive below `mountpoint`; refuse and repeat as Colab does."""
    mountpoint = Path(mountpoint)
    if not mountpoint.parent.is_dir():
        raise ValueError("Mountpoint must be in a directory that exists")
    if (mountpoint / "MyDrive").is_dir() and not force_remount:
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly remount, call "
            f'drive.mount("{mountpoint}", force_remount=True).'
        )
        return
    flush_and_unmount(mountpoint)
    if mountpoint.is_dir() and any(mountpoint.iterdir()):
        raise ValueError("Mountpoint must not already contain files")
    if not os.environ.get("COLAB_DRIVE"):
        from google.colab import MessageError

        raise MessageError("Error: credential propagation was unsuccessful")
    mountpoint.mkdir(exist_ok=True)
    (mountpoint / "MyDrive").symlink_to(os.environ["COLAB_DRIVE"], target_is_directory=True)
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(mountpoint="/content/drive", timeout_ms=24 * 60 * 60 * 1000):
    """Take the Drive away again; the empty folder stays."""
    (Path(mountpoint) / "MyDrive").unlink(missing_ok=True)
