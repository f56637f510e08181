"""The doors of the package: bad input ends in one sentence, before any work is done.

`@checked(n=COUNT, seed=SEED)` above a public function names the kind of each argument. A kind is a
function of the argument's name and value: it returns the value, put in order, or raises `TypeError`
or `ValueError` with what came, what was expected and what to do. Arguments are checked once, where
the package is entered; its functions trust each other.
"""

import functools
import inspect
import os
import reprlib
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

# 2 GiB as float32; a typing error that asks for more would fill the memory before it fails.
MOST_NUMBERS = 2**29
YEAR = 366 * 24 * 60  # in minutes
DOORS = {}  # for the tests: every checked function by its name, with its kinds
_entered = ContextVar("entered", default=False)


def checked(together=None, **kinds):
    """Check a function's arguments, each by its kind, then by `together(**arguments)`."""

    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def door(*args, **kwargs):
            if _entered.get():
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            for name, kind in kinds.items():
                given.arguments[name] = kind(name, given.arguments[name])
            if together:
                together(**given.arguments)
            with _in_package(True):
                return function(*given.args, **given.kwargs)

        DOORS[f"{function.__module__}.{function.__name__}"] = door, kinds
        return door

    return decorate


@contextmanager
def _in_package(entered):
    token = _entered.set(entered)
    try:
        yield
    finally:
        _entered.reset(token)


def outside():
    """Make a `with` block in which the reader's own code runs: what it calls is checked again."""
    return _in_package(False)


def brief(value: object) -> str:
    """Return what `value` looks like, in one line of at most 80 characters."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits.
        text = "a whole number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:79]}…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def whole(least=1, most=2**32 - 1):
    """Make the kind of the whole numbers from `least` to `most`, of Python or NumPy, as `int`."""

    def kind(name, value):
        # NumPy counts a timedelta64 among its integers.
        if not isinstance(value, (int, np.integer)) or isinstance(value, (bool, np.timedelta64)):
            raise TypeError(f"{name} is {brief(value)}; expected a whole number.")
        # A small integer of NumPy would overflow in later arithmetic.
        if not least <= int(value) <= most:
            raise ValueError(
                f"{name} is {brief(value)}; expected a whole number from {least} to {most}."
            )
        return int(value)

    return kind


COUNT, SEED = whole(1), whole(0)


def number(most):
    """Make the kind of the numbers from 0 to `most`, as `float`."""

    def kind(name, value):
        if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(
            value, (bool, np.timedelta64)
        ):
            raise TypeError(f"{name} is {brief(value)}; expected a number from 0 to {most}.")
        if not 0 <= value <= most:  # NaN fails too
            raise ValueError(f"{name} is {brief(value)}; expected a number from 0 to {most}.")
        return float(value)

    return kind


def SHAPE(name, value):
    """Whole numbers of at least 1, in a tuple or list, as a tuple of `int`."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is {brief(value)}; expected a tuple of whole numbers.")
    return tuple(COUNT(name, side) for side in value)


def ARRAY(name, value):
    """Anything that NumPy takes for an array, of any dtype."""
    try:
        return np.asarray(value)
    except Exception:  # whatever an object raises that is asked to become an array
        raise TypeError(f"{name} is {brief(value)}; expected an array of numbers.") from None


def NUMBERS(name, value):
    """An array of floats or integers, not of texts, booleans, complex numbers or objects."""
    array = ARRAY(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(
            f"{name} has the dtype {array.dtype}; expected an array of floats or integers."
        )
    return array


def IMAGES(name, value):
    """Images of the network: float32 `(n, height, width, channels)` in [-1, 1], at least one."""
    images = ARRAY(name, value)
    if images.dtype != np.float32:
        raise TypeError(
            f"images are {images.dtype}; expected float32; call normalize on them first."
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images have the shape {images.shape}; expected (n, height, width, channels) "
            "with at least one image."
        )
    if not (images.min() >= -1 and images.max() <= 1):  # NaN fails too
        raise ValueError(
            f"images reach from {images.min():g} to {images.max():g}; expected values in [-1, 1]. "
            "Call normalize on uint8 images first."
        )
    return images


def NOISE(name, value):
    """Finite numbers `(n, height, width, channels)`, as float32; or None."""
    if value is None:
        return None
    noise = NUMBERS(name, value)
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        noise = noise.astype(np.float32)
    if not np.isfinite(noise).all():
        raise ValueError(
            f"{name} of the shape {noise.shape} holds NaN or infinite values; expected finite "
            "numbers, as gaussian_noise draws them."
        )
    return noise


def NETWORK(name, value):
    """A model that takes an image and two noise levels."""
    import keras

    inputs = getattr(value, "inputs", None) if isinstance(value, keras.Model) else None
    if [len(tensor.shape) for tensor in inputs or ()] != [4, 2, 2]:
        raise TypeError(
            f"{name} is {brief(value)}; expected a network of make_model or load_pretrained."
        )
    return value


def PATH(name, value):
    """A path as text or as a path of any kind; or None."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {brief(value)}; expected a path as text.")
    if not str(value) or "\0" in str(value):
        raise ValueError(f"{name} is {brief(str(value))}; expected a path as text.")
    return Path(value)


def CALLBACK(name, value):
    """A function; or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} is {brief(value)}; expected a function, or None.")
    return value


def check_size(asked: str, numbers: int) -> None:
    """Raise `ValueError`, which begins with what was `asked`, above `MOST_NUMBERS` numbers."""
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"{asked}, which makes {brief(numbers)} numbers; expected at most {MOST_NUMBERS}. Ask "
            "for fewer at a time."
        )


def check_images_of(model, images: np.ndarray) -> None:
    """Raise `ValueError` unless the network takes images of this shape."""
    if images.shape[1:] != model.input_shape[0][1:]:
        raise ValueError(
            f"images are {images.shape[1:]} and the model takes {model.input_shape[0][1:]}; "
            "build it with make_model(image_shape=images.shape[1:])."
        )
