"""Pictures of one's own: a folder of them, as people have it, for the network."""

import io
import math
import os
import re
import warnings

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from diffusion_core.checks import PATH, SIDE, checked, one_line, short_repr
from diffusion_core.sources.cifar10 import sort

# Others are rare, and for some Pillow starts a program of another maker.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# More than most cameras have; each takes four bytes while it is read, of a WebP sixteen.
MOST_PIXELS, MOST_OF_WEBP, LONGEST_SIDE = 2**26, 2**24, 2**16
# Padding is read byte by byte, and each scan of a JPEG, of which a camera makes ten, takes as long
# as all pixels. Each tag of EXIF may ask for all bytes of it again.
MOST_READS, MOST_SCANS, MOST_TAGS = 2**18, 2**7, 2**16
SCAN = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e][\1-\4]")
ORIENTATION, TILE_WIDTH, TILE_LENGTH = 0x0112, 0x0142, 0x0143  # tags of EXIF and TIFF


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
    so that names do not matter. Files that are no pictures, or have more than 67 million pixels or
    256 MiB (a WebP: a quarter), are left out, and a warning names them.

    Raises `NotADirectoryError` for what is no folder, and `ValueError` for one without a picture.
    """
    pictures, left_out = [], []
    for file in tqdm(sorted(p for p in folder.rglob("*") if p.is_file()), unit="file"):
        try:
            pictures.append(_read(file, size))
        except Exception:  # a broken or hostile file may cause any
            left_out.append(one_line(file.name))
    if left_out:
        names = f"{', '.join(left_out[:5])}{', …' if left_out[5:] else ''}"
        warnings.warn(
            f"{len(left_out)} files are no pictures, or have more than {MOST_PIXELS:,} pixels (a "
            f"WebP: {MOST_OF_WEBP:,}): {names}.",
            stacklevel=3,
        )
    if not pictures:
        raise ValueError(f"{folder} holds no picture; expected files of {', '.join(FORMATS)}.")
    return sort(np.stack(pictures))


class _File(io.BufferedReader):
    """A file that ends the reading of what would take hours, or fill the memory."""

    reads = scans = tags = size = 0

    def __init__(self, path):
        super().__init__(io.FileIO(path))
        self.most = 2**16 + 3 * os.path.getsize(path)

    def read(self, size=-1):
        content = super().read(size)
        self.reads, self.size = self.reads + 1, self.size + len(content)
        self.scans += len(SCAN.findall(content))
        self.tags += len(content) * content.startswith((b"Exif\0", b"MPF\0"))
        many = self.reads > MOST_READS or self.scans > MOST_SCANS or self.tags > MOST_TAGS
        if many or self.size > self.most:
            raise ValueError("the file has too many parts")
        return content


def _read(path, size):
    with _File(path) as file, warnings.catch_warnings(action="ignore"):
        most = MOST_OF_WEBP if file.peek(12)[8:12] == b"WEBP" else MOST_PIXELS
        if os.path.getsize(path) > 4 * most:
            raise ValueError("the file is too large")
        with Image.open(file, formats=FORMATS) as picture:
            # A TIFF comes in tiles, and each may be larger than the picture.
            tiff = getattr(picture, "tag_v2", {})
            tile = tiff.get(TILE_WIDTH, 0) * tiff.get(TILE_LENGTH, 0)
            large = max(math.prod(picture.size), tile) > most or max(picture.size) > LONGEST_SIDE
            if large or len(picture.info.get("exif", b"")) > MOST_TAGS:
                raise ValueError("the picture is too large")
            return _square(picture, size)


def _square(picture, size):
    """Return the square in the middle; a large picture is made smaller strip by strip."""
    picture.draft(None, (4 * size, 4 * size))  # of a JPEG, so many pixels are enough
    shrink = max(1, min(picture.size) // (4 * size))
    side = min(picture.size) // shrink * shrink
    left, top = ((length - side) // 2 for length in picture.size)
    square = Image.new("RGB", (side // shrink, side // shrink))
    for row in range(0, side, 8 * shrink):
        end = min(row + 8 * shrink, side)
        strip = picture.crop((left, top + row, left + side, top + end))
        square.paste(_on_white(strip).reduce(shrink), (0, row // shrink))
    square.getexif()[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
    return np.asarray(ImageOps.exif_transpose(square).resize((size, size)))


def _on_white(picture):
    if picture.mode.startswith("I"):  # grey, in 16 bits
        picture = Image.fromarray((np.asarray(picture) / 257).astype(np.uint8))
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
