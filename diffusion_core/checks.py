"""Checks at the doors of the package: bad input ends in one sentence, before any work is done."""

import os
import reprlib
from pathlib import Path

import numpy as np

# 2 GiB as float32; a typing error that asks for more would fill the memory before it fails.
MOST_NUMBERS = 2**29


def brief(value: object) -> str:
    """Return what `value` looks like, in one line of at most 80 characters."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits.
        text = "a whole number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:79]}…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer of Python or NumPy, and neither a boolean nor a time."""
    # NumPy counts a timedelta64 among its integers.
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def check_whole(name: str, value: int, least: int = 1, most: int = 2**32 - 1) -> int:
    """Return `value` as an `int` if it is a whole number in [least, most].

    Raises `TypeError` or `ValueError` that call it `name`.
    """
    if not is_whole(value):
        raise TypeError(f"{name} is {brief(value)}; expected a whole number.")
    # A small integer of NumPy would overflow in later arithmetic.
    value = int(value)
    if not least <= value <= most:
        raise ValueError(
            f"{name} is {brief(value)}; expected a whole number from {least} to {most}."
        )
    return value


def check_number(name: str, value: float, most: float) -> float:
    """Return `value` as a `float` if it is a number in [0, most]; raise as `check_whole` does."""
    if not is_whole(value) and not isinstance(value, (float, np.floating)):
        raise TypeError(f"{name} is {brief(value)}; expected a number from 0 to {most}.")
    # NaN fails both comparisons.
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {brief(value)}; expected a number from 0 to {most}.")
    return float(value)


def check_wholes(name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    """Return a tuple or list of whole numbers as a tuple of `int`; raise `TypeError` if it is none.

    The range of the numbers is not checked.
    """
    if not isinstance(values, (tuple, list)) or not all(map(is_whole, values)):
        raise TypeError(f"{name} is {brief(values)}; expected a tuple of whole numbers.")
    return tuple(map(int, values))


def as_array(name: str, value: object) -> np.ndarray:
    """Return `value` as an array of any dtype; raise `TypeError` if it is a ragged list."""
    try:
        return np.asarray(value)
    except Exception:  # whatever an object raises that is asked to become an array
        raise TypeError(f"{name} is {brief(value)}; expected an array of numbers.") from None


def check_numbers(name: str, value: object) -> np.ndarray:
    """Return `value` as an array of floats or integers.

    Raises `TypeError` for texts, booleans, complex numbers, objects and ragged lists.
    """
    array = as_array(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(
            f"{name} has the dtype {array.dtype}; expected an array of floats or integers."
        )
    return array


def check_images(images: np.ndarray) -> np.ndarray:
    """Return `images` if they are float32 `(n, height, width, channels)` in [-1, 1]; raise if not.

    Raises `TypeError` for another dtype, `ValueError` for another shape, no images at all, NaN, or
    values outside [-1, 1].
    """
    images = as_array("images", images)
    if images.dtype != np.float32:
        raise TypeError(
            f"images are {images.dtype}; expected float32; call normalize on them first."
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images have the shape {images.shape}; expected (n, height, width, channels) "
            "with at least one image."
        )
    # NaN fails both comparisons, so it is caught here too.
    if not (images.min() >= -1 and images.max() <= 1):
        raise ValueError(
            f"images reach from {images.min():g} to {images.max():g}; expected values in [-1, 1]. "
            "Call normalize on uint8 images first."
        )
    return images


def check_size(asked: str, numbers: int) -> None:
    """Raise `ValueError`, which begins with what was `asked`, above `MOST_NUMBERS` numbers."""
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"{asked}, which makes {brief(numbers)} numbers; expected at most {MOST_NUMBERS}. Ask "
            "for fewer at a time."
        )


def check_path(name: str, value: str | Path) -> Path:
    """Return `value` as a `Path`; raise `TypeError` or `ValueError` if it names no path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {brief(value)}; expected a path as text.")
    if not str(value) or "\0" in str(value):
        raise ValueError(f"{name} is {brief(str(value))}; expected a path as text.")
    return Path(value)
