"""Chapter 1, data: the 5,000 training and 1,000 test cars of CIFAR-10, as the network wants them.

Images are uint8 `(n, 32, 32, 3)` on disk and float32 in [-1, 1] inside the network. Where they come
from, and how their content is checked, says `sources.cifar10`.
"""

import os
from pathlib import Path

import numpy as np

from diffusion_core.checks import ARRAY, PATH, checked, one_of, short_repr, whole
from diffusion_core.sources import cifar10


def LABEL(name, value):
    """The kind of the ten classes, by name or number."""
    if isinstance(value, str) and value in cifar10.LABELS:
        return value
    try:
        return whole(0, 9)(name, value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is {short_repr(value)}; expected a number from 0 to 9 or one of "
            f"{', '.join(cifar10.LABELS)}."
        ) from None


SPLIT = one_of(*cifar10.BATCH_FILES)


def load_cars(split: str = "train", source: str | Path | None = None) -> np.ndarray:
    """Return all CIFAR-10 cars of a split: uint8 `(5000 or 1000, 32, 32, 3)`, in [0, 255].

    The stand-in has fewer. The same as `load_images("automobile", split, source)`.
    """
    return load_images("automobile", split, source)


@checked(label=LABEL, split=SPLIT, source=PATH)
def load_images(
    label: str | int, split: str = "train", source: str | Path | None = None
) -> np.ndarray:
    """Return every CIFAR-10 image of one label, sorted by digest, after checking the content.

    Args:
        label: a name of `LABELS`, or its number (0 to 9; 1 is *automobile*).
        split: "train" (5,000 images a label) or "test" (1,000).
        source: a folder in the official `cifar-10-batches-py` layout, the official archive
            `cifar-10-python.tar.gz`, or the folder in which one of them lies; or "stand-in": about
            1,000 cars drawn by this project's own network. When it is None, the environment
            variable `CIFAR10_DIR` (same values) is used; when that is not set either, these are
            tried in order: our own cache (on Google Drive when it is mounted), the cache of Keras,
            and the addresses of `sources.cifar10.DOWNLOADS`.

    Returns:
        uint8 `(n, 32, 32, 3)` in [0, 255]; the axes are image, height, width and channel (red,
        green, blue).

    Raises:
        ValueError: content that is not CIFAR-10, or an archive that is not the official one.
        FileNotFoundError: what was named is not there.
        ConnectionError: no source could be used; the text lists what was tried.
    """
    number = cifar10.LABELS.index(label) if isinstance(label, str) else label
    source = source or os.environ.get("CIFAR10_DIR")
    if not source:
        return cifar10.search_sources(number, split)
    if str(source) == "stand-in":
        return cifar10.read_stand_in(number, split)
    return cifar10.read_named(Path(os.path.expanduser(source)), number, split)


def PIXELS(name, value):
    """The kind of images on disk: whole numbers from 0 to 255 of any shape, as uint8."""
    images = ARRAY(name, value)
    if images.dtype.kind in "iu" and 0 <= images.min(initial=0) <= images.max(initial=0) < 256:
        return images.astype(np.uint8, copy=False)
    remedy = ""
    if images.dtype.kind == "f" and images.size and images.max() <= 255:
        this = "(255 * np.array(images)).round()" if images.max() <= 1 else "np.array(images)"
        remedy = f'; try normalize({this}.astype("uint8"))'
        if images.min() < 0:  # what is scaled twice is spoiled
            remedy = " (are these normalized already?)"
    raise TypeError(f"{name} are {images.dtype}; expected uint8 pixels in [0, 255]{remedy}.")


def FLOATS(name, value):
    """The kind of what a network draws: finite floats of any shape."""
    images = ARRAY(name, value)
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"denormalize got {images.dtype}; expected floats around [-1, 1].")
    if not np.isfinite(images).all():
        raise ValueError("denormalize got NaN or infinite values; expected floats around [-1, 1].")
    return images


@checked(images=PIXELS)
def normalize(images: np.ndarray) -> np.ndarray:
    """Turn uint8 pixels in [0, 255] into float32 in [-1, 1]: `pixel / 127.5 - 1`. Any shape."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


@checked(images=FLOATS)
def denormalize(images: np.ndarray) -> np.ndarray:
    """Turn floats around [-1, 1] into uint8 pixels: clipped, scaled to [0, 255], rounded."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
