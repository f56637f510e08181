"""The doors: one exact message for each kind, and arguments that are checked once."""

import math
import re
import warnings
from itertools import product

import keras
import numpy as np
import pytest

from diffusion_core import checks, data, denormalize, forward_noise, make_model, normalize
from diffusion_core.checks import checked, outside, whole
from diffusion_core.sources import cifar10

FEW = whole(1, 9)
ONE = np.ones((1, 8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (FEW, True, "it is True; expected a whole number from 1 to 9."),
        (FEW, 10, "it is 10; expected a whole number from 1 to 9."),
        (checks.SEED, -1, "it is -1; expected a whole number from 0 to 4294967295."),
        (checks.number(5), "1", "it is '1'; expected a number from 0 to 5."),
        (checks.number(5), math.nan, "it is nan; expected a number from 0 to 5."),
        (checks.SHAPE, 3, "it is 3; expected a tuple of whole numbers."),
        (checks.SHAPE, (8, 0), "it is 0; expected a whole number from 1 to 4294967295."),
        (checks.ARRAY, [1, [2]], "it is [1, [2]]; expected an array of numbers."),
        (checks.NUMBERS, [True], "it has the dtype bool; expected floats or integers."),
        (
            checks.IMAGES,
            -2 * ONE,
            "images are float32 from -2 to -2; expected float32 in [-1, 1]; try it / 2.0.",
        ),
        (
            checks.IMAGES,
            ONE.astype(int),
            "images are int64 from 1 to 1; expected float32 in [-1, 1]; try normalize(it).",
        ),
        (checks.NOISE, np.inf * ONE, "it holds NaN or infinite values; expected finite numbers."),
        (checks.CALLBACK, 5, "it is 5; expected a function, or None."),
        (checks.PATH, "", "it is ''; expected a path as text."),
        (checks.NETWORK, 5, "it is 5; expected a network of make_model or load_pretrained."),
        (
            data.LABEL,
            10,
            f"it is 10; expected a number from 0 to 9 or one of {', '.join(cifar10.LABELS)}.",
        ),
        (data.SPLIT, "tset", "it is 'tset'; expected one of train, test."),
        (
            data.PIXELS,
            np.float32([2]),
            "it are float32; expected uint8 pixels in [0, 255]; try normalize(np.array(images)"
            '.astype("uint8")).',
        ),
        (
            data.FLOATS,
            np.inf,
            "denormalize got NaN or infinite values; expected floats around [-1, 1].",
        ),
    ],
)
def test_each_kind_says_what_came_and_what_was_expected(kind, bad, message):
    with pytest.raises((TypeError, ValueError)) as raised:
        kind("it", bad)
    assert str(raised.value) == message


def test_what_came_is_shown_in_one_short_line():
    assert len(checks.short_repr("a" * 1000)) <= 80
    assert "\n" not in checks.short_repr("a\nb")
    assert checks.short_repr(10**5000) == "a whole number of thousands of digits"


def test_doors_are_opened_once_and_outside_they_are_shut_again(monkeypatch):
    monkeypatch.setattr(checks, "DOORS", {})

    @checked(n=FEW)
    def inner(n):
        return n

    @checked(lambda n, run: None, n=FEW)
    def outer(n, run=inner):
        return run(n + 9)

    def reader(n):
        with outside():
            return inner(n)

    assert outer(1) == 10  # what the package hands on to itself is trusted
    for run in (lambda: outer(1, reader), lambda: inner(10), lambda: outer(0)):
        with pytest.raises(ValueError, match=r"n is .*; expected a whole number from 1 to 9"):
            run()
    assert [kinds for _, kinds in checks.DOORS.values()] == [{"n": FEW}] * 2


# --- advice -------------------------------------------------------------------------------------

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 32, 24, 3), dtype=np.uint8)
PICTURES[0, 0, 0] = [0, 255, 0]
SCALES = {
    "uint8": lambda x: x,
    "int64": lambda x: x.astype(int),
    "float32 pixels": lambda x: x.astype(np.float32),
    "from 0 to 1": lambda x: x / 255,
    "float64": lambda x: x / 127.5 - 1,
    "16 bits": lambda x: x.astype(np.uint16) * 257,
    "around 0": lambda x: (x / 127.5 - 1) * 2.5,
}
LABELS = np.arange(6)


def data_set(x, *labels):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, *labels) if labels else x).batch(4)


FORMS = {
    "as it is": lambda x: x,
    "channels first": lambda x: x.transpose(0, 3, 1, 2),
    "with labels": lambda x: (x, LABELS),
    "train and test": lambda x: ((x, LABELS), (x[:2], LABELS[:2])),
    "list of batches": lambda x: [x[:4], x[4:]],
    "list of equal batches": lambda x: [x[:3], x[3:]],
    "generator": lambda x: (picture for picture in x),
    "generator of batches": lambda x: ((x[n : n + 4], LABELS[n : n + 4]) for n in (0, 4)),
    "tf.data": data_set,
    "tf.data with labels": lambda x: data_set(x, LABELS),
}


def heed(images):
    """Do what each sentence says until the images are taken, and return them."""
    for _ in range(8):
        try:
            with warnings.catch_warnings(action="error"):
                forward_noise(images, 0)
            return images
        except (TypeError, ValueError, UserWarning) as error:
            (advice,) = re.findall(r"; try (.+)\.$", str(error))
            images = eval(advice, {"images": images, "np": np, "normalize": normalize})
    raise AssertionError("the sentences lead in a circle")


def with_hole(x):
    x = x.copy()
    x[2, 3, 4] = np.nan
    return x


GREY, FOUR = PICTURES[..., :1], np.concatenate([PICTURES, PICTURES[..., :1]], -1)
# What is handed in, and which pictures must come of it.
KINDS = {
    "in colour": (PICTURES, lambda x: x, PICTURES),
    "grey": (GREY, lambda x: x, GREY),
    "grey, without an axis": (GREY, lambda x: x[..., 0], GREY),
    "four channels": (FOUR, lambda x: x, FOUR),
    "with NaN": (PICTURES, with_hole, PICTURES[[0, 1, 3, 4, 5]]),
}
# Of integers none is NaN; without an axis, three pictures may be the three channels of one.
NONE = {("with NaN", scale, form) for scale in ("uint8", "int64", "16 bits") for form in FORMS}
NONE |= {("grey, without an axis", scale, "channels first") for scale in SCALES}
NONE |= {("grey, without an axis", scale, "list of equal batches") for scale in SCALES}


@pytest.mark.parametrize(
    ("kind", "scale", "form"),
    [case for case in product(KINDS, SCALES, FORMS) if case not in NONE],
)
def test_the_advice_of_a_sentence_works_on_what_caused_it(kind, scale, form):
    pictures, change, expected = KINDS[kind]
    images = heed(FORMS[form](change(SCALES[scale](pictures))))
    assert np.shape(images) == expected.shape
    if scale != "around 0":
        np.testing.assert_array_equal(denormalize(np.array(images)), expected)


def test_a_single_picture_is_advised_to_be_one_of_many():
    np.testing.assert_array_equal(heed(PICTURES[0]), normalize(PICTURES[:1]))


def test_pictures_of_several_sizes_are_not_taken_for_batches():
    sizes = [np.zeros((32, 24, 3)), np.zeros((28, 24, 3))]
    with pytest.raises(TypeError, match=r"expected an array of numbers\.$"):
        forward_noise(sizes, 0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 46, 3), (30, 32, 4), (64, 64, 3), (3, 40, 40)])
def test_the_network_that_is_advised_takes_the_images(tiny, shape):
    images, model = np.zeros((1, *shape), np.float32), tiny()
    for _ in range(4):
        try:
            checks.check_images_of(model, checks.IMAGES("images", images))
            return
        except ValueError as error:
            (advice,) = re.findall(r"; try (.+)\.$", str(error))
            found = eval(advice, {"images": images, "make_model": make_model})
            images, model = (images, found) if isinstance(found, keras.Model) else (found, model)
    pytest.fail("the sentences lead in a circle")


def test_a_network_for_channels_first_is_refused_with_the_one_that_is_meant():
    with pytest.raises(ValueError, match=r"channels last; try make_model\(\(32, 32, 3\)\)\.$"):
        make_model((3, 32, 32))
