"""Stage 2, schedule: formulas, an independent library, and arrays that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_core import Schedule, cosine_schedule, ddpm_schedule, linear_schedule
from diffusion_core.schedule import ARTICLE, LINEAR, SCHEDULE

REFERENCE = json.loads((Path(__file__).parent / "reference" / "diffusers.json").read_text())


@given(steps=st.integers(1, 1000), kind=st.sampled_from([int, np.int16, np.uint64]))
def test_schedules_run_from_noise_to_clean(steps, kind):
    for power, make in ((1, linear_schedule), (2, cosine_schedule), (2, ddpm_schedule)):
        made = make(kind(steps))
        assert made.timesteps == steps
        assert made.signal.dtype == made.noise.dtype == np.float64
        assert made.signal.shape == made.noise.shape == made.signal_to_noise.shape == (steps + 1,)
        assert (np.diff(made.noise) < 0).all()
        assert (np.diff(made.signal) > 0).all()
        np.testing.assert_allclose(made.signal**power + made.noise**power, 1, atol=1e-12)
        assert (made.signal[-1], made.noise[-1]) == (1, 0)
        assert make is ddpm_schedule or (made.signal[0], made.noise[0]) == (0, 1)


@given(
    noise=st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True),
    signal=st.lists(st.floats(0, 1), min_size=9, max_size=9),
)
def test_every_falling_noise_with_a_rising_signal_is_a_schedule(noise, signal):
    noise, signal = sorted(noise, reverse=True), sorted(signal[: len(noise)])
    made = Schedule(signal, noise)
    assert made.signal_to_noise.shape == (len(noise),)
    np.testing.assert_array_equal([made.signal, made.noise], [signal, noise])


def test_the_linear_noise_level_is_one_minus_t_over_the_number_of_steps():
    np.testing.assert_array_equal(linear_schedule(4).noise, [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(linear_schedule(4).signal_to_noise, [0, 1 / 9, 1, 9, np.inf])


def test_the_article_uses_sixteen_steps_and_so_do_the_defaults():
    assert {make().timesteps for make in (linear_schedule, cosine_schedule, ddpm_schedule)} == {16}
    assert LINEAR("schedule", None) is SCHEDULE("schedule", None) is ARTICLE
    np.testing.assert_array_equal(ARTICLE.noise, linear_schedule(16).noise)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule, ddpm_schedule])
def test_between_two_steps_the_levels_lie_on_the_straight_line(make):
    made = make(5)
    for found, levels in zip(made.at(np.arange(6)), (made.signal, made.noise), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, levels.astype(np.float32))
    for found, levels in zip(made.at([[2.25], [4.5]]), (made.signal, made.noise), strict=True):
        expected = [[0.75 * levels[2] + 0.25 * levels[3]], [(levels[4] + levels[5]) / 2]]
        np.testing.assert_allclose(found, expected, atol=1e-7)
    assert made.at(5.5) == (1, 0), "after the last step the picture stays clean"


@pytest.mark.parametrize(
    ("make", "tolerance"), [(cosine_schedule, 1e-3), (ddpm_schedule, 1e-4)], ids=["cosine", "ddpm"]
)
def test_the_other_schedules_equal_an_independent_library(make, tolerance):
    power = make(1000).signal[::-1] ** 2
    known = REFERENCE[make.__name__.replace("schedule", "signal_power")]
    for noising_steps, expected in known.items():
        assert power[int(noising_steps)] == pytest.approx(expected, rel=tolerance, abs=1e-7)


def test_fewer_ddpm_steps_read_the_same_curve_and_begin_with_a_little_signal():
    np.testing.assert_array_equal(ddpm_schedule(10).noise, ddpm_schedule(1000).noise[::100])
    assert 0.006 < ddpm_schedule(16).signal[0] < 0.0064
    with pytest.raises(ValueError, match=r"timesteps is 1001; .* from 1 to 1000"):
        ddpm_schedule(1001)


def test_a_schedule_cannot_be_changed_afterwards():
    noise = np.array([1.0, 0.0])
    schedule = Schedule(signal=1 - noise, noise=noise)
    noise[0] = 0.5
    assert schedule.noise[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        schedule.noise[0] = 0.5


@pytest.mark.parametrize(
    ("signal", "noise", "message"),
    [
        ([0, 1], [1, 0.5, 0], "same length"),
        ([[0, 1]], [[1, 0]], "same length"),
        ([1], [0], "at least 2"),
        ([0, 1.5], [1, 0], r"lie in \[0, 1\]"),
        ([0, 1], [np.nan, 0], r"lie in \[0, 1\]"),
        ([1, 0], [0, 1], "reverse the arrays"),
        ([0, 0.5, 1], [1, 1, 0], "noise must fall at every step"),
        ([0.5, 0], [1, 0], "signal must not"),
    ],
)
def test_arrays_that_are_no_schedule_are_refused(signal, noise, message):
    with pytest.raises(ValueError, match=message):
        Schedule(signal=signal, noise=noise)


def test_the_kind_says_why_the_other_schedules_do_not_fit_the_step():
    uneven = Schedule(signal=[0, 0.75, 1], noise=[1, 0.25, 0])
    assert LINEAR("schedule", uneven) is uneven
    for make in (cosine_schedule, ddpm_schedule):
        with pytest.raises(ValueError, match=r"does not keep signal \+ noise = 1"):
            LINEAR("schedule", make())
