"""Chapter 3, which picture could this be: weights and answers against SciPy, under every hand."""

import re

import numpy as np
import pytest
from conftest import SITE, opening, serve
from PIL import Image
from scipy.special import softmax
from scipy.stats import norm
from worlds import World, assert_all_different, call

from diffusion_core import gaussian_noise

PAGE, MODULE, NAME = "03-forward-noise.html", "worlds/which-picture", "which-picture"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


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


@pytest.fixture(scope="module")
def cars():
    """The known cars, (24, 3072), as they lie side by side in the sheet."""
    sheet = np.asarray(Image.open(SITE / "live" / "recorded" / "cars.png")) / 127.5 - 1
    return np.stack(np.split(sheet, 24, axis=1)).reshape(24, -1)


def question(cars, car, level, seed=1):
    noise = gaussian_noise(1, (3072,), seed=seed)[0].astype(np.float64)
    return (1 - level) * cars[car] + level * noise


def weights(x, cars, level):
    """Return how probable each car is, by the normal density of every pixel."""
    return softmax(norm.logpdf(x, (1 - level) * cars, level).sum(axis=1))


@pytest.mark.parametrize("level", [1, 0.97, 0.93, 0.85, 0.3])
def test_weights_average_and_best_answers_are_those_of_bayes_rule(page, cars, level):
    x = question(cars, 7, level)
    shares = weights(x, cars, level)
    clean = shares @ cars
    # Each car has one noise that makes x of it; the best answer averages over these pairs.
    noises = (x - (1 - level) * cars) / level
    following = level / 2
    answers = (1 - following) * cars + following * noises
    found = call(page, MODULE, "m.weights(...v)", x.tolist(), cars.tolist(), level)
    np.testing.assert_allclose(found, shares, **TOLERANCE)
    found = call(page, MODULE, "m.average(...v)", cars.tolist(), shares.tolist())
    np.testing.assert_allclose(found, clean, **TOLERANCE)
    values = [x.tolist(), clean.tolist(), level, following]
    for shared, expected in ((True, shares @ answers), (False, (1 - following) * clean)):
        found = call(page, MODULE, "Array.from(m.bestAnswer(...v))", *values, shared)
        np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_without_noise_the_nearest_picture_takes_all(page, cars):
    near = (cars[4] + 0.01).tolist()
    found = call(page, MODULE, "m.weights(...v)", near, cars.tolist(), 0)
    assert found == [0.0] * 4 + [1.0] + [0.0] * 19


def test_at_level_085_most_questions_are_decided_and_pure_noise_decides_nothing(page, cars):
    own = [
        call(page, MODULE, "m.weights(...v)", question(cars, i, 0.85).tolist(), cars.tolist(), 0.85)
        for i in range(24)
    ]
    assert np.median(np.diag(own)) > 0.9
    pure = call(page, MODULE, "m.weights(...v)", question(cars, 0, 1).tolist(), cars.tolist(), 1)
    np.testing.assert_allclose(pure, 1 / 24)


def told(world):
    """Return the level, and number and weight of the likeliest car and of that under the noise."""
    words = world.sentence.inner_text()
    level = float(re.search(r"Noise level ([\d.]+):", words).group(1))
    cars = re.findall(r"car (\d+), ([\d.]+) %", words)
    return level, [(int(number) - 1, float(percent)) for number, percent in cars]


def test_the_keyboard_moves_the_noise_and_the_sentence_is_true(world, cars):
    before = world.seen()
    for key in ("ArrowRight", "ArrowRight", "PageDown"):
        world.box.locator("[name=place]").press(key)
        after = world.seen()
        assert_all_different(before, after)
        place = int(world.box.locator("[name=place]").input_value())
        level, said = told(world)
        exact = 1 - (1 - place / 100) ** 2
        assert level == pytest.approx(exact, abs=5e-4)
        shares = 100 * weights(question(cars, 0, exact), cars, exact)
        (likeliest, most), (under, own) = said
        assert (likeliest, under) == (shares.argmax(), 0)
        assert [most, own] == pytest.approx([shares.max(), shares[0]], abs=0.06)
        assert f"{(shares >= 1).sum()} of 24 cars" in world.sentence.inner_text()
        before = after


def test_dragging_sets_the_noise_above_and_the_car_below(world):
    before = world.seen()
    world.drag(0, (0.9, 0.2), (0.4, 0.2))
    above = world.seen()
    assert world.box.locator("[name=place]").input_value() == "40"
    world.drag(0, (0.1, 0.95), (0.2, 0.95))
    assert world.box.locator("[name=car]").input_value() == "17"
    assert_all_different(before, above, world.seen())


def draw(world, seed, noise):
    """Ask from pure noise until no noise is left; returns the car that stands there."""
    world.box.locator("[name=seed]").fill(str(seed))
    world.box.locator("[name=noise]").select_option(noise)
    place, ask = world.box.locator("[name=place]"), world.box.locator("[name=ask]")
    place.press("Home")
    place.press("End")
    for _ in range(16):
        ask.click()
    assert "Answer 16. Noise level 0.000: 1 of 24 cars" in world.sentence.inner_text()
    assert ask.is_disabled()
    ((car, percent),) = told(world)[1]
    assert percent == 100
    return car


def test_seeds_lead_to_several_cars_with_shared_noise_and_to_one_with_independent(world):
    assert len({draw(world, seed, "shared") for seed in range(1, 5)}) > 1
    assert len({draw(world, seed, "independent") for seed in range(1, 5)}) == 1


def test_on_a_phone_a_finger_chooses_a_car_and_pictures_are_large(open_page):
    world = World(open_page(PAGE, viewport=PHONE, has_touch=True), NAME)
    world.box.scroll_into_view_if_needed()
    canvas = world.canvas()
    box = canvas.bounding_box()
    # Along a row through the question: how far until nothing is drawn.
    alphas = canvas.evaluate(
        """canvas => Array.from(canvas.getContext("2d").getImageData(0, 60, canvas.width, 1).data)
            .filter((_, i) => i % 4 === 3)"""
    )
    assert alphas.index(0) >= 96
    assert world.box.evaluate("e => e.scrollWidth <= e.clientWidth")
    before = world.seen()
    canvas.tap(position={"x": box["width"] - 10, "y": box["height"] - 30})
    assert world.box.locator("[name=car]").input_value() == "23"
    assert_all_different(before, world.seen())
    assert not any(url.endswith((".onnx", ".wasm")) for url in world.page.requested)
    assert world.page.complaints == []


def test_without_the_cars_a_sentence_says_so(open_page, server):
    server.missing = ("cars.png",)
    world = World(open_page(PAGE), NAME)
    assert "could not be loaded" in world.sentence.inner_text()
