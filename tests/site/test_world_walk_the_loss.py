"""Chapter 5, walk the loss: its walkers against Keras and closed forms, under every hand."""

import re

import keras
import numpy as np
import pytest
from conftest import opening, serve
from worlds import World, assert_all_different, call

from diffusion_core import gaussian_noise

PAGE, MODULE, NAME = "05-training.html", "descent", "walk-the-loss"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
START = np.array([-4.0, 1.5])
CURVATURE = np.array([2.0, 400.0])


@pytest.fixture(scope="module")
def page(browser):
    """The page of the world, for tests that only compute on it."""
    with serve() as server, opening(browser, server) as open_page:
        yield open_page(PAGE)


@pytest.fixture
def world(open_page):
    world = World(open_page(PAGE, viewport=DESKTOP), NAME)
    yield world
    assert world.page.complaints == []


def walk(page, rule, rate, batch=0, falling=False, n=100):
    values = [rule, START.tolist(), rate, n, batch, falling]
    walked = "m.walk(m.rules[v[0]], v[1], v[2], m.bottoms(v[3], v[4]), v[5])"
    return np.array(call(page, MODULE, walked, *values))


@pytest.mark.parametrize("falling", [False, True])
def test_gradient_descent_is_the_product_of_its_steps(page, falling):
    rates = np.full(100, 0.0048) * (1 - np.arange(100) / 100 if falling else 1)
    factors = np.cumprod(1 - rates[:, None] * CURVATURE, axis=0)
    path = walk(page, "gradient descent", 0.0048, falling=falling)
    np.testing.assert_allclose(path, [START, *(START * factors)], **TOLERANCE)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("batch", [0, 16, 1])
def test_adam_takes_the_steps_of_keras_on_the_same_gradients(page, batch, falling):
    path = walk(page, "Adam", 0.3, batch, falling)
    share = 1 / np.sqrt(batch) if batch else 0
    bottoms = share * np.array([2, 0.4]) * gaussian_noise(100, (2,), seed=0)
    rate = keras.optimizers.schedules.PolynomialDecay(0.3, 100, 0.0) if falling else 0.3
    # Plain floats would become float32 inside Keras, and 1 - 0.999 lose five digits.
    adam = keras.optimizers.Adam(rate, beta_1=np.float64(0.9), beta_2=np.float64(0.999))
    w = keras.Variable(START, dtype="float64")
    for here, bottom, following in zip(path, bottoms, path[1:], strict=False):
        adam.apply([keras.ops.convert_to_tensor(CURVATURE * (here - bottom))], [w])
        np.testing.assert_allclose(w.numpy(), following, **TOLERANCE)


def test_the_loss_is_that_of_the_valley(page):
    w = [[-4, 1.5], [0, 0], [3, -0.2]]
    np.testing.assert_allclose(call(page, MODULE, "v.map(m.loss)", *w), [466, 0, 17])


def test_the_average_weighs_every_step_as_its_formula_says(page):
    path = walk(page, "Adam", 0.3, batch=4)
    found = np.array(call(page, MODULE, "m.averaged(v[0])", path.tolist()))
    np.testing.assert_allclose(found[:2], path[:2])
    kept = (1 - 1 / np.arange(1, 101)) ** 10
    for k in (10, 50, 100):
        # What step j puts in is kept by all later steps.
        shares = [(1 - kept[j]) * np.prod(kept[j + 1 : k]) for j in range(k)]
        np.testing.assert_allclose(found[k], shares @ path[1 : k + 1], **TOLERANCE)


def test_below_0_005_descent_stays_in_the_valley_and_above_it_flies_out(page):
    ends = [abs(walk(page, "gradient descent", rate)[-1, 1]) for rate in (0.0049, 0.0051)]
    assert ends[0] < abs(START[1]) < ends[1]


def test_small_batches_tremble_and_a_falling_rate_and_the_average_calm_them(page):
    def loss(path):
        return (path[-20:] ** 2 @ CURVATURE).mean()

    for rule, rate in (("gradient descent", 0.0048), ("Adam", 0.3)):
        steady = walk(page, rule, rate, batch=16)
        average = np.array(call(page, MODULE, "m.averaged(v[0])", steady.tolist()))
        calm = walk(page, rule, rate, batch=16, falling=True)
        assert loss(steady) > 2 * loss(average)
        assert loss(steady) > 2 * loss(calm)
        assert loss(steady) > 2 * loss(walk(page, rule, rate))


def told(world):
    """Return the step, and the loss and the distance of both walkers."""
    words = world.sentence.inner_text()
    step = int(re.match(r"After (\d+) of 100 steps", words).group(1))
    return step, [float(number) for number in re.findall(r"[\d.]+(?:e[+-]\d+)?(?=[, ])", words)[2:]]


def test_the_keyboard_moves_rates_step_and_switches_and_the_sentence_is_true(world):
    seen = [world.seen()]
    for name in ("descent", "adam", "step", "w1", "w2"):
        control = world.box.locator(f"[name={name}]")
        control.press("ArrowLeft")
        control.press("ArrowLeft")
        assert control.get_attribute("aria-valuetext") in world.box.inner_text()
        seen.append(world.seen())
    for name, option in (("batch", "16"), ("falling", "yes"), ("average", "yes")):
        world.box.locator(f"[name={name}]").select_option(option)
        seen.append(world.seen())
    assert_all_different(*seen)
    for name, option in (("batch", "0"), ("falling", ""), ("average", "")):
        world.box.locator(f"[name={name}]").select_option(option)
    start = np.array([float(world.box.locator(f"[name={n}]").input_value()) for n in ("w1", "w2")])
    assert start.tolist() == [-4.1, 1.4]
    rate = 10 ** float(world.box.locator("[name=descent]").input_value())
    w = start * (1 - rate * CURVATURE) ** 38
    step, (loss, distance, *_) = told(world)
    assert step == 38
    assert [loss, distance] == pytest.approx([w**2 @ CURVATURE / 2, np.hypot(*w)], rel=5e-3)


def test_dragging_on_the_map_sets_the_start(world):
    before = world.seen()
    world.drag(0, (0.1, 0.1), (0.75, 0.6 * 0.4 / 0.65))
    assert world.box.locator("[name=w1]").input_value() == "2.5"
    assert float(world.box.locator("[name=w2]").input_value()) == pytest.approx(-0.4, abs=0.051)
    assert_all_different(before, world.seen())


def test_play_walks_to_the_end_and_reads_out_the_last_sentence_only(world):
    world.box.locator("[name=play]").click()
    assert world.sentence.get_attribute("aria-live") == "off"
    world.box.get_by_text("After 100 of 100 steps").wait_for()
    assert world.sentence.get_attribute("aria-live") == "polite"


def test_a_touch_stops_the_play(world):
    world.box.locator("[name=play]").click()
    world.box.locator("[name=step]").press("Home")
    world.page.wait_for_timeout(200)
    assert told(world)[0] == 0


def test_with_less_motion_play_is_at_the_end_at_once(open_page):
    world = World(open_page(PAGE, viewport=DESKTOP, reduced_motion="reduce"), NAME)
    world.box.locator("[name=play]").click()
    assert told(world)[0] == 100


def test_on_a_phone_a_finger_sets_the_start_and_nothing_is_too_wide(open_page):
    world = World(open_page(PAGE, viewport=PHONE, has_touch=True), NAME)
    before = world.seen()
    world.canvas().scroll_into_view_if_needed()
    world.canvas().tap(position={"x": 200, "y": 40})
    assert_all_different(before, world.seen())
    assert world.box.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert not any(url.endswith((".onnx", ".wasm")) for url in world.page.requested)
    assert world.page.complaints == []
