"""The doors: one exact message for each kind, and arguments that are checked once."""

import math

import numpy as np
import pytest

from diffusion_core import checks
from diffusion_core.checks import checked, outside, whole

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
        (checks.ARRAY, [1, [2]], "it is [1, [2]]; expected an array of numbers."),
        (checks.NUMBERS, [True], "it has the dtype bool; expected floats or integers."),
        (checks.IMAGES, 5, "images are int64; expected float32; call normalize on them first."),
        (checks.IMAGES, 2 * ONE, "images go from 2 to 2; expected [-1, 1]: call normalize."),
        (checks.NOISE, np.inf * ONE, "it holds NaN or infinite values; expected finite numbers."),
        (checks.CALLBACK, 5, "it is 5; expected a function, or None."),
        (checks.PATH, "", "it is ''; expected a path as text."),
        (checks.NETWORK, 5, "it is 5; expected a network of make_model or load_pretrained."),
    ],
)
def test_each_kind_says_what_came_and_what_was_expected(kind, bad, message):
    with pytest.raises((TypeError, ValueError)) as raised:
        kind("it", bad)
    assert str(raised.value) == message


def test_what_came_is_shown_in_one_short_line():
    assert len(checks.brief("a" * 1000)) <= 80
    assert "\n" not in checks.brief("a\nb")
    assert checks.brief(10**5000) == "a whole number of thousands of digits"


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
