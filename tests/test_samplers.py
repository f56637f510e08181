"""Stage 9, samplers: each rule against an independent library, exact answers, and its noise."""

import json
import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from diffusion_core import (
    Schedule,
    gaussian_noise,
    guided,
    linear_schedule,
    predict,
    predict_step,
    sampling,
)
from diffusion_core.samplers import (
    SAMPLERS,
    churn,
    ddim,
    dpm_solver,
    euler,
    heun,
    noise_level,
    noise_to_signal,
    renoise,
)

REFERENCE = json.loads((Path(__file__).parent / "reference" / "diffusers.json").read_text())
EVEN = linear_schedule().noise.tolist()
UNEVEN = Schedule(signal=[0, 0.1, 0.75, 1], noise=[1, 0.9, 0.25, 0])
rules = pytest.mark.parametrize("rule", SAMPLERS)


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


def toy_guess(x, a):
    """The toy network of tests/reference/write.py, once more."""
    return (1 - 0.3 * a) * np.tanh((1.5 - a) * x + 0.5 * np.roll(x, 1, -1) - 0.2)


def no_noise(t):
    raise AssertionError("this rule adds no noise")


# --- each rule is what its paper says -----------------------------------------------------------


@pytest.mark.parametrize("scheduler", REFERENCE["traces"])
def test_every_state_equals_that_of_an_independent_library(scheduler):
    trace, noises = REFERENCE["traces"][scheduler], np.array(REFERENCE["noises"])
    start, *expected = np.array(trace["states"])
    rule = SAMPLERS[trace["rule"]]
    if rule is ddim:
        rule = partial(ddim, eta=trace["eta"])
    states = list(rule(toy_guess, start, trace["levels"], lambda t: noises[t - 1]))
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-5)


def edm_sampler(denoise, x, times, noises, amount):
    """Karras et al. 2022: the noise of algorithm 2 and the step of algorithm 1, with S_noise = 1.

    Their scaling is s(t) = 1 - t here and their sigma(t) = t / (1 - t).
    """
    states = []

    def slope(x, t):  # line 3 of algorithm 1, with the derivatives written out
        s, sigma, s_slope, sigma_slope = 1 - t, t / (1 - t), -1, 1 / (1 - t) ** 2
        part = sigma_slope / sigma
        return (part + s_slope / s) * x - part * s * denoise(x / s, sigma)

    for t, following, noise in zip(times[:-1], times[1:], noises, strict=True):
        sigma = t / (1 - t)
        gamma = min(amount / (len(times) - 1), math.sqrt(2) - 1)
        raised = sigma + gamma * sigma
        y = x / (1 - t) + math.sqrt(raised**2 - sigma**2) * noise
        high = raised / (1 + raised)
        raised_x = (1 - high) * y
        before = slope(raised_x, high)
        x = raised_x + (following - high) * before
        if following != 0:
            x = raised_x + (following - high) * (before + slope(x, following)) / 2
        states.append(x)
    return states


@pytest.mark.parametrize("amount", [0, 3, 30])
def test_churn_is_the_algorithm_of_edm_in_other_variables(amount):
    levels = np.linspace(80 / 81, 0, 17)  # EDM begins at sigma = 80
    start, *noises = np.random.default_rng(0).standard_normal((17, 5))
    ours = churn(toy_guess, start, levels.tolist(), lambda t: noises[t - 1], amount=amount)

    def denoise(y, sigma):
        return toy_guess(y / (1 + sigma), sigma / (1 + sigma))

    theirs = edm_sampler(denoise, start, levels, noises, amount)
    np.testing.assert_allclose(list(ours), theirs, rtol=0, atol=1e-7)


def test_ddim_without_noise_is_euler_and_so_is_churn_without_noise_heun():
    start = np.linspace(-2, 2, 5)
    for quiet, plain in ((ddim, euler), (partial(churn, amount=0), heun)):
        found = list(quiet(toy_guess, start, EVEN, lambda t: np.full(5, 9.0)))
        np.testing.assert_allclose(found, list(plain(toy_guess, start, EVEN, no_noise)), atol=1e-6)


# --- a world of Gaussian pictures, whose exact answers are known --------------------------------

MEAN, SPREAD = 0.5, 0.3


def exact_guess(x, a):
    """The mean of all clean numbers of the world that may have become `x`."""
    return MEAN + (1 - a) * SPREAD**2 / size(a) ** 2 * (x - (1 - a) * MEAN)


def size(a):
    return np.hypot((1 - a) * SPREAD, a)


def exact_state(start, a, s):
    return (1 - s) * MEAN + size(s) / size(a) * (start - (1 - a) * MEAN)


@pytest.mark.parametrize(("rule", "factor"), [(euler, 2), (heun, 4), (dpm_solver, 4)])
def test_twice_the_steps_make_the_error_so_many_times_smaller(rule, factor):
    start, errors = np.linspace(-2, 2, 9), []
    for steps in (32, 64, 128):
        # Even on the scale of the logarithm, away from its infinite ends.
        levels = 1 / (1 + np.exp(np.linspace(-2.5, 2.5, steps + 1)))
        *_, end = rule(exact_guess, start, levels.tolist(), no_noise)
        errors.append(np.abs(end - exact_state(start, levels[0], levels[-1])).max())
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(factor, rel=0.1)


@rules
def test_every_rule_draws_the_world_as_it_is(rule):
    """From pure noise to clean, at whatever level: no state may be too loud or too quiet."""
    random = np.random.default_rng(0)
    start, levels = random.standard_normal(20_000), linear_schedule(128).noise
    states = SAMPLERS[rule](
        exact_guess, start, levels.tolist(), lambda t: random.standard_normal(20_000)
    )
    for a, x in zip(levels[1:], states, strict=True):
        assert x.mean() == pytest.approx((1 - a) * MEAN, abs=0.03)
        assert x.std() == pytest.approx(size(a), rel=0.06)


def test_renoise_leads_from_level_to_level():
    clean, old, new = np.random.default_rng(0).standard_normal((3, 100_000))
    x = renoise(0.8 * clean + 0.2 * old, 0.2, 0.5, new)
    assert np.cov(x, clean)[0, 1] == pytest.approx(0.5, abs=0.01)
    assert (x - 0.5 * clean).std() == pytest.approx(0.5, abs=0.01)
    assert renoise(x, 1, 1, new) is x
    for a in (0, 0.25, 1):
        assert noise_level(noise_to_signal(a)) == a


# --- and the package draws by it ----------------------------------------------------------------


@rules
@pytest.mark.parametrize("schedule", [linear_schedule(4), UNEVEN, linear_schedule(1)])
def test_predict_takes_a_rule_by_name_and_by_function(network, rule, schedule):
    states = predict_step(network, 2, schedule, seed=5, sampler=rule)
    assert states.shape == (schedule.timesteps + 1, 2, 8, 8, 3)
    assert states.dtype == np.float32
    assert np.isfinite(states).all()
    for sampler in (rule, SAMPLERS[rule]):
        drawn = predict(network, 2, schedule, 5, sampler=sampler)
        np.testing.assert_array_equal(drawn, states[-1])

    def guess(x, a):
        levels = (np.full((len(x), 1), level, np.float32) for level in (a, 0))
        return network.predict_on_batch([x, *levels])

    fresh = partial(gaussian_noise, 2, (8, 8, 3), 5, 0)
    by_hand = SAMPLERS[rule](guess, fresh(0), schedule.noise.tolist(), fresh)
    np.testing.assert_allclose(states[1:], list(by_hand), rtol=0, atol=1e-4)


def test_a_rule_of_the_readers_own_is_followed(network):
    def lazy(guess, x, levels, fresh):
        yield guess(x, levels[0])

    one_step = predict(network, 3, linear_schedule(1), seed=1)
    np.testing.assert_allclose(predict(network, 3, seed=1, sampler=lazy), one_step, atol=1e-6)


@pytest.mark.parametrize("rule", ["ancestral", "churn"])
def test_noise_on_the_way_depends_on_seed_picture_and_step_alone(network, monkeypatch, rule):
    half = linear_schedule(3)
    together = predict(network, 5, half, seed=7, sampler=rule)
    monkeypatch.setattr(sampling, "BATCH_SIZE", 2)
    np.testing.assert_allclose(predict(network, 5, half, 7, sampler=rule), together, atol=1e-4)
    noise = gaussian_noise(5, (8, 8, 3), seed=7)
    other = predict(network, 5, half, 8, noise, sampler=rule)
    assert np.abs(other - together).max() > 0.1
    given = predict(network, 5, half, 7, noise, sampler=rule)
    np.testing.assert_allclose(given, together, atol=1e-4)


def test_the_noise_of_every_step_is_new_and_goes_on_in_the_same_row():
    row = gaussian_noise(2, (3, 2, 2, 3), seed=4, first=9)
    for step in range(3):
        noise = gaussian_noise(2, (2, 2, 3), 4, 9, step)
        np.testing.assert_array_equal(noise, row[:, step])
    with pytest.raises(ValueError, match=r"step is 4294967295; .* from 0 to 715827881"):
        gaussian_noise(1, (2, 2, 3), step=2**32 - 1)


@rules
def test_every_rule_draws_with_a_guided_network(tiny, network, rule):
    pair = guided(network, tiny(seed=1), 2.0)
    alone, guided_pictures = (
        predict(n, 2, linear_schedule(3), sampler=rule) for n in (network, pair)
    )
    assert np.isfinite(guided_pictures).all()
    assert np.abs(guided_pictures - alone).max() > 1e-3


def test_heun_asks_twice_a_step_and_once_at_the_end():
    asked = []

    def guess(x, a):
        asked.append(a)
        return toy_guess(x, a)

    list(heun(guess, np.ones(3), [1.0, 0.5, 0.25, 0.0], no_noise))
    assert asked == [1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("draw", [predict, predict_step])
def test_an_unknown_rule_is_refused_in_a_sentence_that_names_all(network, draw):
    names = "euler, heun, dpm_solver, ddim, ancestral, churn"
    with pytest.raises(ValueError, match=rf"sampler is 'rk4'; expected one of {names}\."):
        draw(network, sampler="rk4")
