"""Chapter 2, the bending path: its numbers against closed forms, its canvas under every hand."""

import numpy as np
import pytest
from conftest import opening, serve
from scipy.integrate import solve_ivp
from scipy.special import expit
from scipy.stats import norm
from worlds import World, assert_all_different, call

from diffusion_core import linear_schedule
from diffusion_core.samplers import euler

PAGE, MODULE = "02-schedule.html", "worlds/bending-path"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def page(browser):
    """The page of the world, for tests that only compute on it."""
    with serve() as server, opening(browser, server) as open_page:
        yield open_page(PAGE)


@pytest.fixture
def world(open_page):
    world = World(open_page(PAGE, viewport=DESKTOP, has_touch=True), "bending-path")
    yield world
    assert world.page.complaints == []


def average(of, x, a):
    """Average `of(clean pixel)` over black and white, each weighed by its bell at `x`."""
    white = expit(norm.logpdf(x, 1 - a, a) - norm.logpdf(x, a - 1, a))
    return white * of(1) + (1 - white) * of(-1)


def test_guess_and_direction_are_the_averages_over_all_pairs(page):
    x, a = (grid.ravel() for grid in np.meshgrid(np.linspace(-2.4, 2.4, 13), [1, 0.75, 0.4, 0.2]))
    pairs = np.stack([x, a], axis=1).tolist()
    guesses = call(page, MODULE, "v[0].map((pair) => m.guess(...pair))", pairs)
    directions = call(page, MODULE, "v[0].map((pair) => m.direction(...pair))", pairs)
    np.testing.assert_allclose(guesses, average(lambda x0: x0, x, a), atol=1e-5)
    # The noise of a pair is what is left when its clean pixel is taken away.
    expected = average(lambda x0: x0 - (x - (1 - a) * x0) / a, x, a)
    np.testing.assert_allclose(directions, expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4, 16, 64])
def test_a_walk_is_that_of_the_package(page, steps):
    starts = np.linspace(-2.5, 2.5, 11)
    walks = call(page, MODULE, "v[0].map((start) => m.walk(start, v[1]))", starts.tolist(), steps)
    levels = linear_schedule(steps).noise.tolist()
    states = list(euler(lambda x, a: average(lambda x0: x0, x, a), starts, levels, None))
    np.testing.assert_allclose(walks, np.stack([starts, *states], axis=1), atol=1e-5)


def test_one_step_ends_grey_and_two_end_at_the_tangent(page):
    starts = np.linspace(-2.5, 2.5, 11)
    for steps, ends in ((1, np.zeros(11)), (2, np.tanh(starts))):
        found = call(
            page, MODULE, "v[0].map((s) => m.walk(s, v[1]).at(-1))", starts.tolist(), steps
        )
        np.testing.assert_allclose(found, ends, atol=1e-5)


@pytest.mark.parametrize("start", [-1.7, 0.1, 0.8])
def test_the_exact_path_follows_the_average_direction(page, start):
    levels = [0.9, 0.6, 0.4, 0.2, 0.1]

    def slope(a, x):
        return -average(lambda x0: x0 - (x - (1 - a) * x0) / a, x, a)

    solved = solve_ivp(slope, (1, 0.1), [start], "DOP853", levels, rtol=1e-10, atol=1e-10)
    found = call(page, MODULE, "v[1].map((a) => m.exactPath(v[0], a))", start, levels)
    np.testing.assert_allclose(found, solved.y[0], atol=1e-5)


@pytest.mark.parametrize(("steps", "shift"), [(1, 0), (2, 0), (4, 0.5), (16, 0.5), (64, -1)])
def test_the_share_of_white_ends_is_counted_under_the_bell(page, steps, shift):
    starts, width = np.linspace(-9, 9, 1_800_001, retstep=True)
    levels = linear_schedule(steps).noise.tolist()
    *_, ends = euler(lambda x, a: np.tanh((1 - a) * x / a**2), starts, levels, None)
    expected = (norm.pdf(starts, shift) * (ends > 0.9)).sum() * width
    found = call(page, MODULE, "m.whiteShare(...v)", steps, shift)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_keyboard_and_finger_change_canvas_and_sentence_alike(world):
    start, steps, shift = world.box.locator("input").all()
    before = world.seen()
    assert before[0].startswith("One step leads from +0.8 to +0.00: grey. Of all starts, 0.0 %")
    start.press("ArrowLeft")
    moved = world.seen()
    steps.press("End")
    many = world.seen()
    assert_all_different(before, moved, many)
    assert many[0].startswith("64 steps lead from +0.7 to +1.00: white. Of all starts, 50.0 %")
    start.press("Home")
    assert "black" in world.seen()[1]
    shift.tap(position={"x": shift.bounding_box()["width"] - 3, "y": 10})
    assert "84.1 % end white and none grey" in world.seen()[0]
    assert shift.get_attribute("aria-valuetext") == "+1.0"


def test_dragging_the_start_sets_its_slider(world):
    world.drag(0, (0.1, 0.5), (0.2, 0.4))
    up = world.seen()
    world.drag(0, (0.1, 0.5), (0.2, 1.0))
    assert_all_different(up, world.seen())
    assert world.box.locator("[name=start]").input_value() == "-2.5"


def test_in_the_dark_on_a_phone_it_is_drawn_anew_as_wide_as_its_box(world):
    bright = world.seen()
    world.page.set_viewport_size(PHONE)
    world.page.wait_for_timeout(300)
    narrow = world.seen()
    room = world.box.evaluate("box => box.clientWidth")
    assert 250 < world.canvas().bounding_box()["width"] <= room
    world.page.emulate_media(color_scheme="dark")
    world.page.locator("html[data-theme=dark]").wait_for()
    assert len({picture for _, _, picture in (bright, narrow, world.seen())}) == 3
