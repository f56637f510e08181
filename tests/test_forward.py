"""Stage 3, forward noise: the closed form, the shared noise, and the numbered random pictures."""

import math

import numpy as np
import pytest
import scipy.stats

from diffusion_core import cosine_schedule, forward, forward_noise, gaussian_noise, linear_schedule


@pytest.fixture(scope="module")
def noise(images):
    return np.random.default_rng(1).standard_normal(images.shape, dtype=np.float32)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
@pytest.mark.parametrize("t", [0, 3, 15])
def test_both_pictures_follow_the_closed_form(images, noise, make, t):
    schedule = make(16)
    x_t, x_next = forward_noise(images, t, schedule, noise=noise)
    for picture, step in ((x_t, t), (x_next, t + 1)):
        expected = schedule.signal[step] * images + schedule.noise[step] * noise
        np.testing.assert_allclose(picture, expected, rtol=0, atol=1e-6)


def test_each_image_is_taken_at_its_own_step(images, noise):
    t = np.arange(16)
    x_t, x_next = forward_noise(images, t, noise=noise)
    for i in range(16):
        one_t, one_next = forward_noise(images[i : i + 1], i, noise=noise[i : i + 1])
        np.testing.assert_array_equal(x_t[i : i + 1], one_t)
        np.testing.assert_array_equal(x_next[i : i + 1], one_next)


def test_step_zero_is_the_noise_itself(images, noise):
    np.testing.assert_array_equal(forward_noise(images, 0, noise=noise)[0], noise)


def test_the_last_step_ends_at_the_clean_image_itself(images, noise):
    np.testing.assert_array_equal(forward_noise(images, 15, noise=noise)[1], images)


def test_the_pair_shares_its_noise(images):
    """With independent noise the difference would hold noise of its own, not only this step."""
    x_t, x_next = forward_noise(images, 7, seed=3)
    epsilon = gaussian_noise(16, (8, 8, 3), seed=3)
    np.testing.assert_allclose(x_next - x_t, (images - epsilon) / 16, rtol=0, atol=1e-6)


@pytest.mark.parametrize("t", [0, 5, 12])
def test_mean_and_variance_follow_the_schedule(t):
    images = np.full((64, 16, 16, 3), 0.5, np.float32)
    level = linear_schedule().noise[t]
    x_t, _ = forward_noise(images, t)
    standard_error = level / math.sqrt(x_t.size)
    assert x_t.mean() == pytest.approx(0.5 * (1 - level), abs=4 * standard_error)
    assert x_t.var() == pytest.approx(level**2, rel=4 * math.sqrt(2 / x_t.size))


def test_the_schedule_is_the_articles_when_none_is_given(images, noise):
    ours = forward_noise(images, 5, noise=noise)
    np.testing.assert_array_equal(ours, forward_noise(images, 5, linear_schedule(16), noise=noise))


def test_the_answer_is_float32_even_for_float64_noise(images, noise):
    x_t, x_next = forward_noise(images, 5, noise=noise.astype(np.float64))
    assert x_t.dtype == x_next.dtype == np.float32


@pytest.mark.parametrize("t", [np.int8(127), np.uint8(255)])
def test_the_next_step_is_counted_beyond_eight_bits(images, noise, t):
    schedule = linear_schedule(300)
    expected = forward_noise(images, int(t), schedule, noise=noise)
    np.testing.assert_array_equal(forward_noise(images, t, schedule, noise=noise), expected)


def test_the_noise_of_an_image_does_not_depend_on_the_others(images):
    np.testing.assert_array_equal(
        forward_noise(images[:2], 4, seed=9)[0], forward_noise(images, 4, seed=9)[0][:2]
    )


def test_another_seed_gives_other_noise(images):
    assert not np.allclose(forward_noise(images, 4, seed=1)[0], forward_noise(images, 4)[0])


def test_the_images_given_are_left_as_they_were(images, noise):
    before = images.copy()
    forward_noise(images, 4, noise=noise)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (16, "t reaches from 16 to 16; expected steps from 0 to 15"),
        (np.arange(3), r"t has the shape \(3,\); expected one step, or one for each"),
    ],
)
def test_steps_that_do_not_fit_are_refused(images, t, message):
    with pytest.raises(ValueError, match=message):
        forward_noise(images, t)


def test_noise_of_another_shape_is_refused(images):
    with pytest.raises(ValueError, match=r"noise has the shape \(8, 8, 3\); .* \(16, 8, 8, 3\)"):
        forward_noise(images, 0, noise=np.zeros((8, 8, 3)))


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


def test_fewer_pictures_are_a_part_of_more():
    ten = gaussian_noise(10, seed=5)
    np.testing.assert_array_equal(gaussian_noise(3, seed=5), ten[:3])
    np.testing.assert_array_equal(gaussian_noise(4, seed=5, first=6), ten[6:])


def test_noise_is_always_finite():
    assert np.isfinite(gaussian_noise(300, seed=1)).all()


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_the_noise_is_standard_normal(seed):
    values = gaussian_noise(100, seed=seed).ravel().astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(scipy.stats.skew(values)) < 4 * math.sqrt(6 / n)
    assert abs(scipy.stats.kurtosis(values)) < 4 * math.sqrt(24 / n)
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3


def _correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_neighbouring_pictures_are_independent():
    noise = gaussian_noise(101, seed=3)
    assert abs(_correlation(noise[:-1], noise[1:])) < 4 / math.sqrt(noise[1:].size)


def test_neighbouring_seeds_are_independent():
    a, b = gaussian_noise(100, seed=3), gaussian_noise(100, seed=4)
    assert abs(_correlation(a, b)) < 4 / math.sqrt(a.size)


def test_seed_and_picture_number_do_not_stand_for_each_other():
    assert not np.array_equal(
        gaussian_noise(1, seed=1, first=0), gaussian_noise(1, seed=0, first=1)
    )


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_neighbouring_values_of_one_picture_are_independent(axis):
    noise = gaussian_noise(100, seed=8)
    size = noise.shape[axis]
    a, b = noise.take(range(size - 1), axis), noise.take(range(1, size), axis)
    # Squares too: Box and Muller's pairs share a radius.
    assert abs(_correlation(a, b)) < 4 / math.sqrt(a.size)
    assert abs(_correlation(a**2, b**2)) < 4 / math.sqrt(a.size)


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
