"""The world of guidance of chapter 8: Python's drawing and its numbers, and a reader's hand."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import opening, serve
from two_pixels import CURVE, World, clean_guess

from diffusion_core import gaussian_noise, linear_schedule

PAGE = "08-guidance.html"
DOTS = 300


@pytest.fixture
def world(open_page):
    page = open_page(PAGE)
    yield World(page)
    assert page.complaints == []


@pytest.fixture(scope="module")
def still(browser):
    """A world for tests that only ask its functions."""
    with serve() as server, opening(browser, server) as open_page:
        yield World(open_page(PAGE))


def python(w, n=DOTS):
    """Return all states of a drawing by Euler's rule, on the guided guess itself."""
    states = [gaussian_noise(n, (2,)).astype(np.float64)]
    for a, s in pairwise(linear_schedule().noise):
        x = states[-1]
        strong, weak = clean_guess(x, a, 0.1), clean_guess(x, a, 0.3)
        states.append(x + (a - s) / a * (weak + w * (strong - weak) - x))
    return np.stack(states)


@pytest.mark.parametrize("w", [0, 1, 2.5, 8])
def test_the_dots_go_pythons_way(still, w):
    expected = python(w)
    script = "({ drawGuided }, x, w) => drawGuided(Float64Array.from(x), w).map((x) => [...x])"
    states = still.call(script, expected[0].ravel().tolist(), w, module="guidance")
    np.testing.assert_allclose(np.reshape(states, expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("w", [0, 3, 5, 8])
def test_the_sentence_has_the_numbers_of_the_chapter(world, w):
    world.slide("Guidance w", w)
    away = np.linalg.norm(python(w)[-1][:, None] - CURVE, axis=-1)
    places = np.histogram(away.argmin(axis=1), bins=20, range=(0, 200))[0]
    assert world.number("lie") == pytest.approx(away.min(axis=1).mean(), abs=6e-4)
    assert world.number("holds") == pytest.approx(100 * places.max() / DOTS, abs=0.6)
    # The chapter prints the same, from its own cell.
    printed = "".join(world.page.locator(".cell_output pre").all_inner_texts())
    distance, fullest = world.number("lie"), world.number("holds")
    assert f"w = {w:<3}  distance {distance:.3f}, fullest {fullest:.0f}%" in printed


def test_the_dots_tighten_onto_the_curve_and_then_crowd(world):
    found = {}
    for w in (0, 1, 3, 8):
        world.slide("Guidance w", w)
        found[w] = world.number("lie"), world.number("holds")
    assert found[0][0] > found[1][0] > found[3][0]
    assert found[8][0] > found[3][0]
    assert found[8][1] > 3 * found[3][1]


def test_the_keyboard_changes_picture_and_sentence(world):
    for label in ("Guidance w", "first pixel", "second pixel"):
        picture, sentence = world.picture(), world.sentence()
        world.box.get_by_label(label).press("ArrowLeft" if "pixel" in label else "ArrowRight")
        assert world.picture() != picture
        assert world.sentence() != sentence


def test_a_drag_moves_the_readers_drawing_and_leaves_the_crowd(world):
    crowd, picture, sentence = world.number("lie"), world.picture(), world.sentence()
    world.page.requested.clear()
    world.drag((0.5, 0.5), (0.25, 0.75))
    assert world.picture() != picture
    assert world.sentence() != sentence
    assert world.number("lie") == crowd
    assert float(world.box.get_by_label("first pixel").input_value()) == pytest.approx(
        -0.8, abs=0.05
    )
    assert float(world.box.get_by_label("second pixel").input_value()) == pytest.approx(
        -0.6, abs=0.05
    )
    assert world.page.requested == []


def test_on_a_phone_a_finger_sets_the_start_and_the_dark_changes_the_colours(open_page):
    world = World(open_page(PAGE, viewport={"width": 360, "height": 740}, has_touch=True))
    sentence, place = world.sentence(), world.canvas.bounding_box()
    assert 250 < place["width"] <= 360 - place["x"]
    world.canvas.tap(position={"x": 30, "y": 200})
    assert world.sentence() != sentence
    light = world.picture()
    world.page.emulate_media(color_scheme="dark")
    world.page.locator("html[data-theme=dark]").wait_for()
    arg = [world.canvas.element_handle(), light]
    world.page.wait_for_function("([canvas, light]) => canvas.toDataURL() !== light", arg=arg)
    assert world.page.complaints == []
