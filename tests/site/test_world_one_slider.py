"""Chapters 2 and 3, one noise slider: three readings against NumPy and SciPy, and a free hand."""

import re

import numpy as np
import pytest
from conftest import opening, serve
from scipy.stats import norm
from worlds import World, assert_all_different, call

from diffusion_core import cosine_schedule, ddpm_schedule, linear_schedule

PAGE = "03-forward-noise.html"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
EDGES = np.linspace(-3.55, 3.55, 72)
FINE = {
    "linear": linear_schedule(1000),
    "cosine": cosine_schedule(10_000),
    "DDPM": ddpm_schedule(1000),
}


@pytest.fixture(scope="module")
def page(browser):
    """The page of the world, for tests that only compute on it."""
    with serve() as server, opening(browser, server) as open_page:
        yield open_page(PAGE)


@pytest.fixture
def world(open_page):
    world = World(open_page(PAGE, viewport=DESKTOP, has_touch=True), "one-slider")
    yield world
    assert world.page.complaints == []


@pytest.fixture
def numbers():
    """The values of a picture, many of them equal, as pixels are."""
    pixels = np.random.default_rng(0).choice([0, 30, 31, 90, 200, 255], 300)
    return pixels / 127.5 - 1


def shares_of_package(name, t):
    """Signal and noise of a schedule of the package at the share `t` of the way."""
    schedule = FINE[name]
    levels = np.linspace(0, 1, schedule.timesteps + 1)
    return [np.interp(t, levels, shares) for shares in (schedule.signal, schedule.noise)]


@pytest.mark.parametrize("name", FINE)
def test_signal_and_noise_are_those_of_the_package(page, name):
    times = np.linspace(0, 1, 41)
    found = call(page, "schedules", "v[1].map((t) => m.SCHEDULES[v[0]](t))", name, times.tolist())
    # Near the clean end the cosine bends too much for a straight line between two stops.
    np.testing.assert_allclose(np.transpose(found), shares_of_package(name, times), atol=1e-5)


@pytest.mark.parametrize("name", FINE)
def test_at_its_place_a_schedule_has_our_signal_to_noise_ratio(page, name):
    for a in (0.02, 0.3, 0.5, 0.9, 0.99):
        signal, noise = shares_of_package(name, call(page, "schedules", "m.place(...v)", name, a))
        np.testing.assert_allclose(signal / (signal + noise), 1 - a, atol=1e-5)


def test_the_ends_have_their_places_and_ddpm_never_begins_as_noisy(page):
    places = "['linear', 'cosine', 'DDPM'].map((name) => m.place(name, v[0]))"
    assert call(page, "schedules", places, 0) == pytest.approx([1, 1, 1], abs=1e-5)
    linear, cosine, ddpm = call(page, "schedules", places, 1)
    assert (linear, cosine) == pytest.approx((0, 0), abs=1e-5)
    trace = ddpm_schedule().signal[0]
    assert ddpm is None
    assert call(page, "schedules", places, 1 - trace / 2)[2] is None
    assert call(page, "schedules", places, 1 - trace * 2)[2] > 0


def test_the_histogram_counts_as_numpy_does(page, numbers):
    found = call(page, "statistics", "m.histogram(...v)", numbers.tolist(), EDGES.tolist())
    np.testing.assert_allclose(found, np.histogram(numbers, EDGES)[0] / 300, atol=1e-5)


@pytest.mark.parametrize("a", [0, 0.05, 0.4, 1])
def test_the_blurred_histogram_is_a_mixture_of_bells(page, numbers, a):
    values = numbers.tolist(), 1 - a, a, EDGES.tolist()
    found = call(page, "statistics", "m.blurredHistogram(...v)", *values)
    bells = norm.cdf(EDGES[:, None], (1 - a) * numbers, a or 1e-12).mean(axis=1)
    np.testing.assert_allclose(found, np.diff(bells), atol=1e-5)


def test_mean_and_deviation_are_those_of_numpy(page, numbers):
    found = call(page, "statistics", "m.moments(...v)", numbers.tolist())
    np.testing.assert_allclose(found, [numbers.mean(), numbers.std()], atol=1e-5)


def test_keyboard_and_list_change_all_canvases_and_the_sentence(world):
    level, picture = world.box.locator("input, select").all()
    before = [world.seen(number) for number in range(3)]
    level.press("ArrowRight")
    moved = [world.seen(number) for number in range(3)]
    level.press("End")
    for states in zip(before, moved, (world.seen(number) for number in range(3)), strict=True):
        assert_all_different(*states)
    assert "DDPM never" in world.seen()[0]
    level.press("Home")
    assert "without end: linear t = 16.0, cosine t = 16.0, DDPM t = 16.0" in world.seen()[0]
    first = world.seen()
    picture.select_option("drawn car 3")
    assert world.seen()[0] != first[0]
    assert world.seen()[2] != first[2]


def test_the_picture_has_the_mean_and_the_deviation_of_the_rule(world):
    level = world.box.locator("input")
    for value in ("0.2", "0.5", "0.9"):
        level.fill(value)
        numbers = re.findall(r"[+-]?\d+\.\d+", world.seen()[0].replace("−", "-"))
        *_, mean, deviation, counted_mean, counted_deviation = map(float, numbers)
        # Of 3,072 numbers the mean wobbles by 1/55 of the deviation.
        assert (counted_mean, counted_deviation) == pytest.approx((mean, deviation), abs=0.05)


def test_a_schedule_that_is_dragged_stays_under_the_finger_and_the_others_follow(world):
    level = world.box.locator("input")
    world.drag(2, (0.5, 0.8), (0.5, 0.2))
    # Half of DDPM's way, although the finger slipped to another row.
    signal, noise = shares_of_package("DDPM", 0.5)
    assert float(level.input_value()) == pytest.approx(noise / (signal + noise), abs=0.01)
    assert "DDPM t = 8." in world.seen()[0] or "DDPM t = 7.9" in world.seen()[0]


def test_on_a_phone_its_parts_stand_below_each_other_as_wide_as_the_box(world):
    world.page.set_viewport_size(PHONE)
    world.page.wait_for_timeout(300)
    edges = [world.canvas(number).bounding_box() for number in range(3)]
    assert edges[0]["x"] == edges[1]["x"] == edges[2]["x"]
    assert all(250 < edge["width"] <= PHONE["width"] for edge in edges)


def test_a_picture_that_does_not_come_is_said(open_page, server):
    server.missing = ("cars.png",)
    world = World(open_page(PAGE), "one-slider")
    assert "could not be loaded" in world.sentence.inner_text()
