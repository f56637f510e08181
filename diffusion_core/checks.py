"""The doors of the package: bad input ends in one sentence, before any work is done.

`@checked(n=COUNT, seed=SEED)` names the kind of each argument of a public function. A kind takes an
argument's name and value; it returns the value, put in order, or raises an error that says what
came and what was expected, and where one line of Python mends it, gives that: "; try …." Arguments
are checked where the package is entered, and never again.
"""

import functools
import inspect
import os
import reprlib
import textwrap
import warnings
from contextlib import contextmanager, suppress
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


def short_repr(value: object) -> str:
    """Return what `value` looks like, in one line of at most 80 characters."""
    try:
        return textwrap.shorten(_short.repr(value), 80, placeholder="…")
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits.
        return "a whole number of thousands of digits"


def one_line(text: object, most: int = 300) -> str:
    """Return what a file or another program says, in one short line that a terminal can show."""
    line = " ".join(str(text)[: most + 1].split())
    line = "".join(sign if sign.isprintable() else "?" for sign in line)
    return line if len(line) <= most else f"{line[:most]}…"


def _sentence(name, value, expected):
    return f"{name} is {short_repr(value)}; expected {expected}."


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


COUNT, SEED, SIDE = whole(1), whole(0), whole(1, 4096)


def CLASSES(name, value):
    """How many classes a network knows; or None."""
    return None if value is None else whole(1, 1000)(name, value)


def one_of(*known):
    """Make the kind of the texts that are `known`."""

    def kind(name, value):
        if not isinstance(value, str) or value not in known:
            raise ValueError(_sentence(name, value, f"one of {', '.join(known)}"))
        return value

    return kind


def BOOL(name, value):
    """The kind of the two truth values."""
    if type(value).__name__ not in ("bool", "bool_"):  # of Python or NumPy
        raise TypeError(_sentence(name, value, "True or False"))
    return bool(value)


def SHAPE(name, value):
    """Whole numbers of at least 1, in a tuple or list, as a tuple of `int`."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(_sentence(name, value, "a tuple of whole numbers"))
    return tuple(COUNT(name, side) for side in value)


def ARRAY(name, value):
    """Anything that NumPy takes for an array, of any dtype but objects."""
    with suppress(Exception):  # whatever an object raises that is asked to become an array
        array = np.asarray(value)
        if array.dtype != object:
            return array
    raise TypeError(_sentence(name, value, f"an array of numbers{_as_array(name, value)}"))


def _as_array(name, value):
    """Return a step towards an array: from a data set, batches, or pictures with labels."""
    if isinstance(value, list) and value:
        if all(isinstance(part, tuple) for part in value):
            return f"; try [pictures for pictures, *_ in {name}]"
        if _are_batches([tuple(getattr(part, "shape", ())) for part in value]):
            return f"; try np.concatenate({name})"
    if isinstance(value, tuple) and len(value) == 2 and not np.isscalar(value[0]):
        return f"; try {name}[0]"
    if hasattr(value, "__next__") or hasattr(value, "element_spec"):  # of tf.data
        return f"; try list({name})"
    return ""


def _are_batches(shapes):
    """Return whether these are batches of pictures, and not pictures of several sizes."""
    if {len(shape) for shape in shapes} == {3}:  # grey, without an axis for that
        return len({shape[1:] for shape in shapes}) == 1 and shapes[0][2] not in (1, 3, 4)
    return {len(shape) for shape in shapes} == {4}


def NUMBERS(name, value):
    """An array of floats or integers, not of texts, booleans, complex numbers or objects."""
    array = ARRAY(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} has the dtype {array.dtype}; expected floats or integers.")
    return array


def IMAGES(name, value):
    """Images of the network: floats `(n, height, width, channels)` in [-1, 1], as float32."""
    images = NUMBERS(name, value)
    this = name if isinstance(value, np.ndarray) else f"np.array({name})"  # in the advice
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images have the shape {images.shape}; expected (n, height, width, channels) "
            f"with at least one image{_as_four_axes(images.shape, this)}."
        )
    if _is_channels_first(images.shape[1:]):
        raise ValueError(
            f"images have the shape {images.shape}; expected the channels last; "
            f"try {this}.transpose(0, 2, 3, 1)."
        )
    low, high = images.min(), images.max()
    if images.dtype.kind != "f" or not (low >= -1 and high <= 1):  # NaN fails too
        raise ValueError(
            f"images are {images.dtype} from {low:g} to {high:g}; expected float32 in [-1, 1]"
            f"{_as_scale(images, low, high, this)}."
        )
    if low >= 0 and high > 0:
        warnings.warn(
            f"images go from {low:g} to {high:g}, with no negative number; expected black at -1 "
            f'and white at 1; try normalize((255 * {this}).round().astype("uint8")).',
            stacklevel=3,
        )
    return images.astype(np.float32, copy=False)


def _as_four_axes(shape, this):
    if len(shape) == 3 and 0 not in shape:
        return f"; try {this}[{'None' if shape[2] in (1, 3, 4) else '..., None'}]"
    return "; try np.concatenate(images)" if len(shape) == 5 and 0 not in shape else ""


def _as_scale(images, low, high, this):
    """Return what brings finite numbers to [-1, 1]."""
    if not np.isfinite(images).all():
        whole = np.isfinite(images).all((1, 2, 3))
        return f"; try {this}[np.isfinite({this}).all((1, 2, 3))]" if whole.any() else ""
    if low < 0:
        return f"; try {this} / {max(-float(low), float(high))}"
    if high > 255:
        return f"; try {this} / {float(high) / 2} - 1"
    to_pixels = "" if images.dtype.kind in "iu" else '.astype("uint8")'
    return f"; try normalize({this}{to_pixels})"


def NOISE(name, value):
    """Finite numbers `(n, height, width, channels)`, as float32; or None."""
    if value is None:
        return None
    noise = NUMBERS(name, value)
    if not (np.abs(noise) <= np.finfo(np.float32).max).all():  # NaN fails too
        raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers.")
    return noise.astype(np.float32)


def LEARNER(name, value):
    """A model that takes an image, two noise levels, and perhaps the shares of classes."""
    import keras

    inputs = getattr(value, "inputs", None) if isinstance(value, keras.Model) else None
    if [len(tensor.shape) for tensor in inputs or ()] not in ([4, 2, 2], [4, 2, 2, 2]):
        raise TypeError(_sentence(name, value, "a network of make_model or load_pretrained"))
    return value


def NETWORK(name, value):
    """A model that takes an image and two noise levels."""
    if len(LEARNER(name, value).inputs) == 4:
        raise TypeError(
            f"{name} wants to know which class to draw; try of_class({name}, None), or one of its "
            "classes in place of None."
        )
    return value


def PATH(name, value):
    """A path as text or as a path of any kind; or None."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise ValueError(_sentence(name, value, "a path as text"))
    with suppress(RuntimeError):  # in a container, a user may have no home
        return Path(value).expanduser()
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
            f"{asked}, which makes {short_repr(numbers)} numbers; expected at most {MOST_NUMBERS}."
        )


def check_images_of(model, images: np.ndarray) -> None:
    """Raise `ValueError` unless the network takes images of this shape."""
    shape = images.shape[1:]
    if shape != model.input_shape[0][1:]:
        raise ValueError(
            f"images are {shape} and the model takes {model.input_shape[0][1:]}; build it with "
            f"another image_shape{_as_network(shape)}."
        )


def HOLE(name, value):
    """The kind of what is drawn anew: booleans `(height, width)`, True there."""
    hole = ARRAY(name, value)
    if hole.dtype != bool or hole.ndim != 2:
        raise ValueError(
            f"{name} is {hole.dtype} of the shape {hole.shape}; expected booleans (height, width), "
            "True where is to be drawn."
        )
    return hole


def check_hole(images, hole, **_) -> None:
    """Raise `ValueError` unless a hole is as large as the pictures that it is in."""
    if hole.shape != images.shape[1:3]:
        raise ValueError(
            f"hole has the shape {hole.shape} and images have {images.shape}; expected booleans "
            f"{images.shape[1:3]}."
        )


LARGEST = 4096  # wider or larger is a typing error: one such layer would fill the memory


def check_network_sizes(image_shape, widths, blocks, **_) -> None:
    """Raise `ValueError` unless `make_model` can build a network of these sizes."""
    if len(image_shape) != 3:
        raise ValueError(f"image_shape is {image_shape}; expected (height, width, channels).")
    if not widths or max(*widths, *image_shape) > LARGEST:
        raise ValueError(
            f"widths are {short_repr(widths)} and image_shape is {image_shape}; expected at least "
            f"one width, and every number at most {LARGEST}."
        )
    check_image_shape(image_shape, len(widths))
    kernels = 36 * blocks * sum(width**2 for width in widths)
    # While it learns, weights, averages and two slots of the optimizer are kept.
    check_size(f"widths are {short_repr(widths)} and blocks {blocks}", 4 * kernels)


def check_image_shape(image_shape, halvings: int) -> None:
    """Raise `ValueError` unless a network can halve such images so often."""
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "Keras' image_data_format is channels_first, and the networks of this package have "
            'their channels last; try keras.config.set_image_data_format("channels_last").'
        )
    if _is_channels_first(image_shape):
        last = (*image_shape[1:], image_shape[0])
        raise ValueError(
            f"image_shape is {image_shape}; expected the channels last; try make_model({last})."
        )
    (height, width, _), divisor = image_shape, 2**halvings
    if height % divisor or width % divisor:
        raise ValueError(
            f"images of {height}×{width} cannot be halved {halvings} times; expected sides "
            f"divisible by {divisor}{_as_network(image_shape)}."
        )


def _is_channels_first(image_shape):
    """Return whether these look like the axes of PyTorch: (channels, height, width)."""
    return image_shape[0] in (1, 3, 4) and min(image_shape[1:]) > 4


def _as_network(image_shape):
    """Return the network for such images, or how to crop them where there is none."""
    height, width, _ = image_shape
    for widths in ((32, 64, 128), (32, 64), (32,)):
        if height % 2 ** len(widths) == width % 2 ** len(widths) == 0:
            return f"; try make_model({image_shape}, {widths})"
    crop = f"; try images[:, :{height // 8 * 8}, :{width // 8 * 8}]"
    return crop if min(height, width) > 7 else ""
