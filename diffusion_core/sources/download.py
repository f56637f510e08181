"""Download one file: `python download.py URL SHA256 FILE MOST_BYTES TIMEOUT_SECONDS`.

A process of its own, since a server can keep any reader waiting, and only a process can be ended.
"""

import sys
from io import FileIO
from pathlib import Path

import pooch


class _BoundedFile(FileIO):
    def __init__(self, path, most_bytes):
        super().__init__(path, "w")
        self._most_bytes = most_bytes

    def write(self, content):
        if self.tell() + len(content) > self._most_bytes:
            raise ValueError(f"the download is larger than {self._most_bytes} bytes")
        return super().write(content)


def main(url: str, sha256: str, file: str, most_bytes: str, timeout: str) -> None:
    """Write the file; raise whatever goes wrong, such as another SHA-256."""
    download = pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=float(timeout))

    def download_bounded(url, path, _):
        with _BoundedFile(path, int(most_bytes)) as bounded:
            download(url, bounded, None)

    file = Path(file)
    pooch.retrieve(url, sha256, file.name, file.parent, downloader=download_bounded)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # a server can cause any
        print(error)
        sys.exit(1)
