"""Stage 3, forward noise: the closed form, the shared noise, and the numbered random pictures."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from diffusion_core import (
    cosine_schedule,
    ddpm_schedule,
    forward,
    forward_noise,
    gaussian_noise,
    linear_schedule,
)

SEEDS = st.integers(0, 2**32 - 1)
INTEGERS = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.uint64, int])


@given(n=st.integers(1, 4), data=st.data(), seed=SEEDS, steps=st.integers(1, 300))
def test_both_pictures_follow_the_closed_form_with_the_same_noise(data, n, seed, steps):
    kind = data.draw(INTEGERS)
    most = steps - 1 if kind is int else min(steps - 1, np.iinfo(kind).max)
    t = data.draw(st.integers(0, most) | st.lists(st.integers(0, most), min_size=n, max_size=n))
    make = data.draw(st.sampled_from([linear_schedule, cosine_schedule, ddpm_schedule]))
    schedule = make(steps)
    images = np.random.default_rng(seed).uniform(-1, 1, (n, 2, 3, 1)).astype(np.float32)
    before = images.copy()
    epsilon = gaussian_noise(n, (2, 3, 1), seed).astype(np.float64)
    for options in ({"seed": np.uint32(seed)}, {"noise": epsilon}):
        pair = forward_noise(images, np.array(t, kind), schedule, **options)
        for x, step in zip(pair, (np.array(t), np.array(t) + 1), strict=True):
            assert x.dtype == np.float32
            at = np.broadcast_to(step, n)[:, None, None, None]
            expected = schedule.signal[at] * images + schedule.noise[at] * epsilon
            np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(images, before)


def test_the_articles_schedule_leads_from_the_noise_itself_to_the_image_itself(images):
    noise = gaussian_noise(16, (8, 8, 3), seed=1)
    np.testing.assert_array_equal(forward_noise(images, 0, noise=noise)[0], noise)
    np.testing.assert_array_equal(forward_noise(images, 15, noise=noise)[1], images)


@given(t=st.lists(st.floats(0, 16, exclude_max=True), min_size=2, max_size=2))
def test_between_two_steps_the_next_picture_is_a_step_nearer_or_clean(t):
    t = np.array(t)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 3, 1)).astype(np.float32)
    epsilon = gaussian_noise(2, (2, 3, 1))
    levels = 1 - t / 16, np.maximum(1 - (t + 1) / 16, 0)
    for x, level in zip(forward_noise(images, t, noise=epsilon), levels, strict=True):
        a = level[:, None, None, None]
        np.testing.assert_allclose(x, (1 - a) * images + a * epsilon, atol=2e-6)


@pytest.mark.parametrize("t", [np.int8(127), np.uint8(255)])
def test_the_next_step_is_counted_beyond_eight_bits(images, t):
    schedule = linear_schedule(300)
    expected = forward_noise(images, int(t), schedule)
    np.testing.assert_array_equal(forward_noise(images, t, schedule), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": 16}, "t reaches from 16 to 16; expected steps from 0 to below 16"),
        ({"t": np.arange(3)}, r"t has the shape \(3,\); expected one step, or one for each"),
        ({"t": 0, "noise": np.zeros((8, 8, 3))}, r"noise .* \(8, 8, 3\); .* \(16, 8, 8, 3\)"),
    ],
)
def test_steps_and_noise_that_do_not_fit_are_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        forward_noise(images, **options)


# --- gaussian_noise -----------------------------------------------------------------------------


def _pcg3d(x, y, z):
    """Hash three 32-bit integers, written out with Python's own integers."""
    wrap = 2**32
    x, y, z = ((part * 1664525 + 1013904223) % wrap for part in (x, y, z))
    x = (x + y * z) % wrap
    y = (y + z * x) % wrap
    z = (z + x * y) % wrap
    x, y, z = x ^ (x >> 16), y ^ (y >> 16), z ^ (z >> 16)
    x = (x + y * z) % wrap
    y = (y + z * x) % wrap
    return x, y


@pytest.mark.parametrize(
    ("seed", "picture"), [(0, 0), (0, 1), (1, 0), (42, 7), (2**32 - 1, 2**32 - 1)]
)
def test_the_noise_equals_the_hash_and_box_muller_written_in_plain_python(seed, picture):
    expected = []
    for pair in range(6):
        first, second = _pcg3d(seed, picture, pair)
        radius = math.sqrt(-2 * math.log((first + 1) / 2**32))
        angle = 2 * math.pi * second / 2**32
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    noise = gaussian_noise(1, (2, 2, 3), seed, first=picture)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.ravel(), expected, rtol=1e-6)


def test_the_first_numbers_never_change():
    """A browser draws the same pictures, and the book shows them: these are a promise."""
    noise = gaussian_noise(1, (1, 1, 3), seed=0)
    np.testing.assert_allclose(noise.ravel(), [-0.53546134, -0.8413931, -0.99639035], rtol=1e-6)


@given(
    n=st.integers(2, 9),
    first=st.integers(0, 2**32 - 10),
    seed=SEEDS,
    shape=st.lists(st.integers(1, 4), max_size=4).map(tuple),
    kind=INTEGERS,
)
def test_noise_depends_on_seed_and_number_alone(n, first, seed, shape, kind):
    noise = gaussian_noise(kind(n), shape, np.int64(seed), first)
    assert noise.dtype == np.float32
    assert noise.shape == (n, *shape)
    assert np.isfinite(noise).all()
    last = gaussian_noise(1, list(shape), seed, np.int64(first + n - 1))
    np.testing.assert_array_equal(noise[-1:], last)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_the_noise_is_standard_normal_and_neighbours_are_independent(seed):
    noise = gaussian_noise(100, seed=seed).astype(np.float64)
    values, n = noise.ravel(), noise.size
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(scipy.stats.skew(values)) < 4 * math.sqrt(6 / n)
    assert abs(scipy.stats.kurtosis(values)) < 4 * math.sqrt(24 / n)
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3
    pairs = [(np.delete(noise, -1, axis), np.delete(noise, 0, axis)) for axis in range(4)]
    for a, b in [*pairs, (noise, gaussian_noise(100, seed=seed ^ 1))]:
        for power in (1, 2):  # squares too: Box and Muller's pairs share a radius
            correlation = np.corrcoef(a.ravel() ** power, b.ravel() ** power)[0, 1]
            assert abs(correlation) < 4 / math.sqrt(a.size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 2**20}, r"n is 1048576 and image_shape \(32, 32, 3\), which makes .* at most 5368"),
        ({"n": 2, "first": 2**32 - 1}, "first is 4294967295; .* from 0 to 4294967294"),
    ],
)
def test_more_than_there_is_of_a_seed_or_of_memory_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_noise(**arguments)


def test_no_hash_makes_infinite_noise(monkeypatch):
    monkeypatch.setattr(forward, "_pcg3d", lambda seed, *rest: (np.zeros((1, 6)),) * 2)
    assert np.isfinite(gaussian_noise(1, (2, 2, 3))).all()


def test_noise_needs_hardly_more_memory_than_its_numbers(most_memory):
    result = gaussian_noise(4000, (16, 16, 3), seed=3, first=5)
    assert most_memory(lambda: gaussian_noise(4000, (16, 16, 3))) < 2.2 * result.nbytes
    assert most_memory(lambda: gaussian_noise(1, (4000, 16, 16, 3))) < 2.2 * result.nbytes
    for i in (0, 1, 777, 3999):
        np.testing.assert_array_equal(result[i], gaussian_noise(1, (16, 16, 3), 3, 5 + i)[0])
