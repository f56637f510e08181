"""Stage 12, editing: worlds of Gaussian pictures say what is exact, and the given pixels stay."""

from itertools import pairwise

import keras
import numpy as np
import pytest

from diffusion_core import (
    flow_edit,
    gaussian_noise,
    guided,
    inpainting,
    invert,
    linear_schedule,
    predict,
    predict_step,
    redraw,
)

HOLE = np.zeros((8, 8), bool)
HOLE[2:6, 3:] = True
FINE = linear_schedule(300)


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


# --- a world whose pixels are normal and independent, as a network ------------------------------


class ExactStep(keras.layers.Layer):
    """The step of a network that knows: each pixel comes from N(mean, spread²)."""

    def __init__(self, mean, spread):
        super().__init__()
        self.mean, self.spread = mean, spread

    def call(self, x, a, s):
        a, s = a[:, None, None], s[:, None, None]
        variance = ((1 - a) * self.spread) ** 2 + a**2
        direction = (a * self.mean + ((1 - a) * self.spread**2 - a) * x) / variance
        return x + (a - s) * direction


def exact(mean, spread):
    inputs = [keras.Input(shape) for shape in ((2, 2, 3), (1,), (1,))]
    return keras.Model(inputs, ExactStep(mean, spread)(*inputs))


def size(a, spread):
    return np.hypot((1 - a) * spread, a)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (4, 2, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("level", [0.3, 0.77, 1])
def test_redrawing_ends_where_the_path_of_the_noisy_picture_ends(pictures, level):
    mean, spread = 0.3, 0.4
    noisy = (1 - level) * pictures + level * gaussian_noise(4, (2, 2, 3), seed=5)
    # On the exact path a state keeps its place in the crowd.
    expected = mean + spread / size(level, spread) * (noisy - (1 - level) * mean)
    found = redraw(exact(mean, spread), pictures, level, FINE, seed=5)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_redrawing_walks_the_levels_below_the_first_and_no_others(network, images):
    found = redraw(network, images[:3], 0.6, linear_schedule(4), seed=2)
    x = 0.4 * images[:3] + np.float32(0.6) * gaussian_noise(3, (8, 8, 3), 2)
    for a, s in pairwise([0.6, 0.5, 0.25, 0]):
        x = network.predict_on_batch([x, *(np.full((3, 1), level, "f4") for level in (a, s))])
    np.testing.assert_allclose(found, x, atol=1e-5)


def test_the_way_back_leads_to_the_noise_and_its_error_halves_with_the_steps(pictures):
    world = exact(0.3, 0.4)
    noise = invert(world, pictures, FINE)
    np.testing.assert_allclose(noise, (pictures - 0.3) / 0.4, atol=0.1)
    errors = []
    for steps in (40, 80, 160):
        plan = linear_schedule(steps)
        again = predict(world, schedule=plan, noise=invert(world, pictures, plan))
        errors.append(np.abs(again - pictures).max())
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2, rel=0.15)


def test_the_way_back_asks_with_the_levels_swapped(network, images):
    clean, half, noisy = (np.full((16, 1), level, np.float32) for level in (0, 0.5, 1))
    x = network.predict_on_batch([images, clean, half])
    expected = network.predict_on_batch([x, half, noisy])
    np.testing.assert_array_equal(invert(network, images, linear_schedule(2)), expected)


@pytest.mark.parametrize("level", [0.5, 1])
def test_flow_edit_leads_from_one_world_to_the_other(pictures, level):
    """Two crowds of one spread: the exact end is a shift, of which a lower level does a part."""
    shift = 0.8 - -0.2
    expected = pictures + shift * (1 - (1 - level) * 0.4 / size(level, 0.4))
    found = flow_edit(exact(-0.2, 0.4), exact(0.8, 0.4), pictures, level, FINE)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_flow_edit_is_the_formula_of_its_paper(tiny, network, images):
    target, x0 = tiny(seed=1), images[:2]
    z, schedule = x0, linear_schedule(4)

    def direction(model, x, a):
        levels = (np.full((2, 1), level, np.float32) for level in (a, 0))
        return (model.predict_on_batch([x, *levels]) - x) / a

    for t, (a, s) in enumerate(pairwise(schedule.noise.tolist())):
        x = (1 - a) * x0 + a * gaussian_noise(2, (8, 8, 3), 3, step=t)
        z = z + (a - s) * (direction(target, z + x - x0, a) - direction(network, x, a))
    found = flow_edit(network, target, x0, schedule=schedule, seed=3)
    np.testing.assert_allclose(found, z, atol=1e-4)
    assert np.abs(found - x0).max() > 0.01
    same = flow_edit(network, network, x0, schedule=schedule)
    np.testing.assert_allclose(same, x0, atol=1e-5)


# --- a world of two pixels that go together; the second one is the hole -------------------------

MEAN, COVARIANCE = np.array([0.2, -0.1]), np.array([[0.36, 0.288], [0.288, 0.36]])
GIVEN = 1.0
RIGHT_MEAN = MEAN[1] + COVARIANCE[1, 0] / COVARIANCE[0, 0] * (GIVEN - MEAN[0])
RIGHT_SPREAD = np.sqrt(COVARIANCE[1, 1] - COVARIANCE[1, 0] ** 2 / COVARIANCE[0, 0])


def matrix_of_means(a):
    """What the exact clean guess makes of how far a state is from the middle of its crowd."""
    noisy = (1 - a) ** 2 * COVARIANCE + a**2 * np.eye(2)
    return (1 - a) * COVARIANCE @ np.linalg.inv(noisy)


def matrix_of_ends(a):
    """The same of the exact flow map: where the state's own way ends."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    return vectors * np.sqrt(values / ((1 - a) ** 2 * values + a**2)) @ vectors.T


def fill(matrix, steps, patience, n=20_000):
    """Return mean and spread of the second pixel, drawn by the rule."""
    random = np.random.default_rng(0)
    picture = np.array([GIVEN, -1], np.float32).reshape(1, 1, 2, 1)
    rule = inpainting(picture, np.array([[False, True]]), patience)

    def guess(x, a):
        away = x.reshape(-1, 2) - (1 - a) * MEAN
        return (MEAN + away @ matrix(a).T).reshape(x.shape)

    start = random.standard_normal((n, 1, 2, 1))
    levels = linear_schedule(steps).noise.tolist()
    *_, end = rule(guess, start, levels, lambda t: random.standard_normal(start.shape))
    assert (end[:, 0, 0] == GIVEN).all()
    return end[:, 0, 1].mean(), end[:, 0, 1].std()


def expected_fill(matrix, steps, patience):
    """The same without a single draw: one linear step after the other."""
    mean, variance = 0.0, 0.0
    for a in linear_schedule(steps).noise[:-1]:
        for _ in range(patience):
            outer, inner = matrix(a)[1]
            away = (1 - a) * (np.array([GIVEN, mean]) - MEAN)
            mean = MEAN[1] + outer * away[0] + inner * away[1]
            variance = inner**2 * ((1 - a) ** 2 * variance + a**2) + outer**2 * a**2
    return mean, np.sqrt(variance)


@pytest.mark.parametrize("matrix", [matrix_of_means, matrix_of_ends])
@pytest.mark.parametrize(("steps", "patience"), [(1, 1), (4, 1), (16, 1), (16, 4)])
def test_a_hole_is_filled_as_the_rule_says(matrix, steps, patience):
    found = fill(matrix, steps, patience)
    np.testing.assert_allclose(found, expected_fill(matrix, steps, patience), atol=0.01)


@pytest.mark.parametrize(
    ("matrix", "spread"),
    [(matrix_of_ends, RIGHT_SPREAD), (matrix_of_means, RIGHT_SPREAD / np.sqrt(2))],
)
def test_patience_fills_a_hole_with_the_right_mean_and_with_a_known_spread(matrix, spread):
    """Right for a network that knows the ends; of means the spread is too small, by the root of 2.

    A quick rule and few steps end too near to the middle of all pictures.
    """
    found = [expected_fill(matrix, *plan)[0] for plan in ((4, 1), (16, 1), (16, 4), (64, 30))]
    assert found == sorted(found)
    assert found[0] < RIGHT_MEAN - 0.3
    mean, deviation = fill(matrix, 64, 30, n=5000)
    assert mean == pytest.approx(RIGHT_MEAN, abs=0.02)
    assert deviation == pytest.approx(spread, abs=0.015)


# --- what is around a hole ----------------------------------------------------------------------


@pytest.mark.parametrize("given", [slice(0, 1), slice(0, 3)], ids=["one", "three"])
@pytest.mark.parametrize("patience", [1, 3])
def test_outside_the_hole_all_stays_to_the_last_bit(tiny, network, images, given, patience):
    rule = inpainting(images[given], HOLE, patience)
    for model in (network, guided(network, tiny(seed=1), 2.0)):
        drawn = predict(model, 3, linear_schedule(3), seed=4, sampler=rule)
        expected = np.broadcast_to(images[given], drawn.shape)
        np.testing.assert_array_equal(drawn[:, ~HOLE], expected[:, ~HOLE])
        assert np.abs(drawn - expected)[:, HOLE].mean() > 0.1
        assert np.abs(drawn[0] - drawn[1])[HOLE].mean() > 0.01


def test_before_the_end_all_is_as_noisy_as_its_level_says(network, images):
    rule = inpainting(images[:1], HOLE)
    states = predict_step(network, 200, linear_schedule(4), sampler=rule)
    for a, x in zip((0.75, 0.5, 0.25), states[1:4], strict=True):
        noise = (x - (1 - a) * images[0])[:, ~HOLE] / a
        assert noise.mean() == pytest.approx(0, abs=0.02)
        assert noise.std() == pytest.approx(1, abs=0.02)


def test_patience_asks_so_often_and_every_noise_is_new(images):
    asked, drawn = [], []

    def guess(x, a):
        asked.append(a)
        return x

    def fresh(t):
        drawn.append(t)
        return np.zeros_like(images[:1])

    list(inpainting(images[:1], HOLE, 3)(guess, images[:1], [1.0, 0.5, 0.0], fresh))
    assert asked == [1.0] * 3 + [0.5] * 3
    assert len(drawn) == len(set(drawn))
    assert min(drawn) == 1  # 0 is the start


def test_as_many_pictures_with_a_hole_as_are_drawn(network, images):
    with pytest.raises(ValueError, match=r"the hole is in pictures \(2, .* \(3, 8, 8, 3\) are"):
        predict(network, 3, sampler=inpainting(images[:2], HOLE))


def test_a_hole_for_other_pictures_is_refused(images):
    with pytest.raises(ValueError, match=r"hole has the shape \(4, 8\) and images have \(16, 8"):
        inpainting(images, HOLE[:4])


@pytest.mark.parametrize("edit", [redraw, invert])
def test_a_network_for_other_pictures_is_refused(network, pictures, edit):
    with pytest.raises(ValueError, match=r"images are \(2, 2, 3\) and the model takes \(8, 8, 3"):
        edit(network, pictures)
    with pytest.raises(ValueError, match=r"images are \(2, 2, 3\) and the model takes \(8, 8, 3"):
        flow_edit(exact(0, 1), network, pictures)
