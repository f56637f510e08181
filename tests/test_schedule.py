"""Stage 2, schedule: formulas, an independent library, and arrays that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffusion_core import Schedule, cosine_schedule, ddpm_schedule, linear_schedule
from diffusion_core.schedule import ARTICLE, LINEAR, SCHEDULE

REFERENCE = json.loads((Path(__file__).parent / "reference" / "diffusers.json").read_text())
ALL = [linear_schedule, cosine_schedule, ddpm_schedule]


@pytest.mark.parametrize("timesteps", [1, 4, 16, 1000])
def test_the_linear_noise_level_is_one_minus_t_over_the_number_of_steps(timesteps):
    schedule = linear_schedule(timesteps)
    expected = [1 - t / timesteps for t in range(timesteps + 1)]
    np.testing.assert_allclose(schedule.noise, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(schedule.signal, 1 - schedule.noise, rtol=0, atol=1e-15)


def test_the_article_uses_sixteen_steps_and_so_do_the_defaults():
    assert [make().timesteps for make in ALL] == [16, 16, 16]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("timesteps", [1, 16, 1000])
def test_every_schedule_has_one_level_more_than_steps(make, timesteps):
    schedule = make(timesteps)
    assert schedule.timesteps == timesteps
    assert schedule.signal.shape == schedule.noise.shape == (timesteps + 1,)


@pytest.mark.parametrize("make", ALL)
def test_every_schedule_runs_from_noise_to_clean(make):
    schedule = make(16)
    assert (np.diff(schedule.noise) < 0).all()
    assert (np.diff(schedule.signal) > 0).all()
    assert (schedule.signal[-1], schedule.noise[-1]) == (1, 0)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_step_zero_is_exactly_pure_noise(make):
    schedule = make(16)
    assert (schedule.signal[0], schedule.noise[0]) == (0, 1)


def test_the_first_step_of_ddpm_still_holds_a_little_signal():
    assert 0.006 < ddpm_schedule(16).signal[0] < 0.0064


@pytest.mark.parametrize("make", [cosine_schedule, ddpm_schedule])
def test_the_other_schedules_keep_the_sum_of_squares_at_one(make):
    schedule = make(50)
    np.testing.assert_allclose(schedule.signal**2 + schedule.noise**2, 1, rtol=0, atol=1e-12)


def test_the_cosine_schedule_equals_an_independent_library():
    power = cosine_schedule(1000).signal[::-1] ** 2
    for noising_steps, expected in REFERENCE["cosine_signal_power"].items():
        assert power[int(noising_steps)] == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_the_ddpm_schedule_equals_an_independent_library():
    power = ddpm_schedule(1000).signal[::-1] ** 2
    for noising_steps, expected in REFERENCE["ddpm_signal_power"].items():
        assert power[int(noising_steps)] == pytest.approx(expected, rel=1e-4)


def test_fewer_ddpm_steps_read_the_same_curve_at_even_distances():
    np.testing.assert_array_equal(ddpm_schedule(10).noise, ddpm_schedule(1000).noise[::100])


def test_the_signal_to_noise_ratio_is_the_squared_quotient():
    schedule = linear_schedule(4)
    np.testing.assert_allclose(schedule.signal_to_noise, [0, 1 / 9, 1, 9, np.inf])


def test_a_schedule_cannot_be_changed_afterwards():
    schedule = linear_schedule(4)
    with pytest.raises(ValueError, match="read-only"):
        schedule.noise[0] = 0.5


def test_a_schedule_does_not_follow_the_array_it_was_made_from():
    noise = np.array([1.0, 0.0])
    schedule = Schedule(signal=1 - noise, noise=noise)
    noise[0] = 0.5
    assert schedule.noise[0] == 1


@pytest.mark.parametrize(
    ("signal", "noise", "message"),
    [
        ([0, 1], [1, 0.5, 0], "same length"),
        ([[0, 1]], [[1, 0]], "same length"),
        ([1], [0], "at least 2"),
        ([0, 1.5], [1, 0], r"lie in \[0, 1\]"),
        ([0, 1], [1, -0.1], r"lie in \[0, 1\]"),
        ([0, 1], [np.nan, 0], r"lie in \[0, 1\]"),
        ([1, 0], [0, 1], "reverse the arrays"),
        ([0, 0.5, 1], [1, 1, 0], "noise must fall at every step"),
        ([0.5, 0], [1, 0], "signal must not"),
    ],
)
def test_arrays_that_are_no_schedule_are_refused(signal, noise, message):
    with pytest.raises(ValueError, match=message):
        Schedule(signal=signal, noise=noise)


def test_a_schedule_whose_levels_sum_to_one_is_linear():
    schedule = Schedule(signal=[0, 0.75, 1], noise=[1, 0.25, 0])
    assert LINEAR("schedule", schedule) is schedule


def test_no_schedule_means_the_articles():
    assert LINEAR("schedule", None) is SCHEDULE("schedule", None) is ARTICLE


@pytest.mark.parametrize("make", [cosine_schedule, ddpm_schedule])
def test_the_kind_says_why_the_other_schedules_do_not_fit_the_step(make):
    with pytest.raises(ValueError, match=r"does not keep signal \+ noise = 1"):
        LINEAR("schedule", make(16))
