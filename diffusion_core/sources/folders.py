"""Pictures of one's own: a folder of them, as people have it, for the network."""

import os
import warnings

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from diffusion_core.checks import PATH, SIDE, checked, short_repr
from diffusion_core.sources.cifar10 import sort

# Others are rare, and for some Pillow starts a program of another maker.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def FOLDER(name, value):
    """The kind of the folders that are there."""
    path = PATH(name, value)
    if path is None or not os.path.isdir(path):
        raise NotADirectoryError(f"{name} is {short_repr(value)}; expected a folder of pictures.")
    return path


@checked(folder=FOLDER, size=SIDE)
def load_folder(folder: str | os.PathLike, size: int = 32) -> np.ndarray:
    """Return the pictures of a folder, and of those in it: uint8 `(n, size, size, 3)` in [0, 255].

    Each is turned as its camera says, laid on white where it is transparent, cropped to the square
    in its middle, and resized; of a moving one the first frame counts. They are sorted by digest,
    so that names do not matter. Files that are no pictures are left out, and a warning names them.

    Raises `NotADirectoryError` for what is no folder, and `ValueError` for one without a picture.
    """
    pictures, left_out = [], []
    for file in tqdm(sorted(p for p in folder.rglob("*") if p.is_file()), unit="file"):
        try:
            with Image.open(file, formats=FORMATS) as picture:
                pictures.append(_square(picture, size))
        except Exception:  # a broken or hostile file may cause any
            left_out.append(file.name)
    if left_out:
        names = f"{', '.join(left_out[:5])}{', …' if left_out[5:] else ''}"
        warnings.warn(f"{len(left_out)} files are no pictures: {names}.", stacklevel=3)
    if not pictures:
        raise ValueError(f"{folder} holds no picture; expected files of {', '.join(FORMATS)}.")
    return sort(np.stack(pictures))


def _square(picture, size):
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # grey, in 16 bits
        picture = Image.fromarray((np.asarray(picture) / 257).astype(np.uint8))
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(
        ImageOps.fit(Image.alpha_composite(white, picture).convert("RGB"), (size, size))
    )
