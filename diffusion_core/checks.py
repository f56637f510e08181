"""The doors of the package: bad input ends in one sentence, before any work is done.

`@checked(n=COUNT, seed=SEED)` names the kind of each argument of a public function. A kind takes an
argument's name and value; it returns the value, put in order, or raises an error that says what
came and what was expected. Arguments are checked where the package is entered, and never again.
"""

import functools
import inspect
import os
import reprlib
import textwrap
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

MOST_NUMBERS = 2**29  # 2 GiB as float32; a typing error that asks for more fills the memory
YEAR = 366 * 24 * 60  # in minutes
DOORS = {}  # for the tests: every checked function by its name, with its kinds
_entered = ContextVar("entered", default=False)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def checked(together=lambda **_: None, **kinds):
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


# Makes a `with` block in which the reader's own code runs: what it calls is checked again.
outside = functools.partial(_in_package, False)


def brief(value: object) -> str:
    """Return what `value` looks like, in one line of at most 80 characters."""
    try:
        return textwrap.shorten(_short.repr(value), 80, placeholder="…")
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits.
        return "a whole number of thousands of digits"


def _sentence(name, value, expected):
    return f"{name} is {brief(value)}; expected {expected}."


def number(most, least=0, result=float):
    """Make the kind of the numbers from `least` to `most`, of Python or NumPy, as `result`."""
    types = (int, np.integer) if result is int else (int, float, np.integer, np.floating)
    expected = f"a {'whole ' if result is int else ''}number from {least} to {most}"

    def kind(name, value):
        # NumPy counts a timedelta64 among its integers.
        is_number = isinstance(value, types) and not isinstance(value, (bool, np.timedelta64))
        if not (is_number and least <= value <= most):  # NaN fails too
            raise (ValueError if is_number else TypeError)(_sentence(name, value, expected))
        return result(value)  # a small integer of NumPy would overflow in later arithmetic

    return kind


def whole(least=1, most=2**32 - 1):
    """Make the kind of the whole numbers from `least` to `most`, as `int`."""
    return number(most, least, int)


COUNT, SEED = whole(1), whole(0)


def one_of(*known):
    """Make the kind of the texts that are `known`."""

    def kind(name, value):
        if not isinstance(value, str) or value not in known:
            raise ValueError(_sentence(name, value, f"one of {', '.join(known)}"))
        return value

    return kind


def SHAPE(name, value):
    """Whole numbers of at least 1, in a tuple or list, as a tuple of `int`."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(_sentence(name, value, "a tuple of whole numbers"))
    return tuple(COUNT(name, side) for side in value)


def ARRAY(name, value):
    """Anything that NumPy takes for an array, of any dtype."""
    try:
        return np.asarray(value)
    except Exception:  # whatever an object raises that is asked to become an array
        raise TypeError(_sentence(name, value, "an array of numbers")) from None


def NUMBERS(name, value):
    """An array of floats or integers, not of texts, booleans, complex numbers or objects."""
    array = ARRAY(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} has the dtype {array.dtype}; expected floats or integers.")
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
    low, high = images.min(), images.max()
    if not (low >= -1 and high <= 1):  # NaN fails too
        raise ValueError(f"images go from {low:g} to {high:g}; expected [-1, 1]: call normalize.")
    return images


def NOISE(name, value):
    """Finite numbers `(n, height, width, channels)`, as float32; or None."""
    if value is None:
        return None
    noise = NUMBERS(name, value)
    if not (np.abs(noise) <= np.finfo(np.float32).max).all():  # NaN fails too
        raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers.")
    return noise.astype(np.float32)


def NETWORK(name, value):
    """A model that takes an image and two noise levels."""
    import keras

    inputs = getattr(value, "inputs", None) if isinstance(value, keras.Model) else None
    if [len(tensor.shape) for tensor in inputs or ()] != [4, 2, 2]:
        raise TypeError(_sentence(name, value, "a network of make_model or load_pretrained"))
    return value


def PATH(name, value):
    """A path as text or as a path of any kind; or None."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise ValueError(_sentence(name, value, "a path as text"))
    return Path(value)


def CALLBACK(name, value):
    """A function; or None."""
    if value is not None and not callable(value):
        raise TypeError(_sentence(name, value, "a function, or None"))
    return value


def check_size(asked: str, numbers: int) -> None:
    """Raise `ValueError`, which begins with what was `asked`, above `MOST_NUMBERS` numbers."""
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"{asked}, which makes {brief(numbers)} numbers; expected at most {MOST_NUMBERS}."
        )


def check_images_of(model, images: np.ndarray) -> None:
    """Raise `ValueError` unless the network takes images of this shape."""
    if images.shape[1:] != model.input_shape[0][1:]:
        raise ValueError(
            f"images are {images.shape[1:]} and the model takes {model.input_shape[0][1:]}; "
            "build it with make_model(image_shape=images.shape[1:])."
        )
