"""The world of three classes of chapter 11: Python's drawing, its numbers, and a reader's hand."""

import re
from itertools import pairwise

import numpy as np
import pytest
from two_pixels import clean_guess
from worlds import World, assert_all_different, call

from diffusion_core import gaussian_noise, linear_schedule

PAGE = "11-classes.html"
WIDTH = 0.12
MIDDLES = np.array([(-0.3, 0.3), (-0.9, -0.3), (-0.3, 0), (0.2, -0.8), (-0.3, 0.6), (0.9, 0.7)])
CLASSES = MIDDLES.reshape(3, 2, 2)
each = pytest.mark.parametrize(
    "settings", [(0, 1, 0, 1), (1, 4, 0, 0.4), (2, 3, 0.25, 0.5), (0, 3, 1, 0)]
)
LABELS = ("Guidance w", "Guided above level", "and up to level")


@pytest.fixture
def world(open_page):
    page = open_page(PAGE)
    yield World(page, "classes")
    assert page.complaints == []


def python(k, w, low, high):
    """Return all states of a drawing of class `k`, guided at levels in `(low, high]`."""
    states = [gaussian_noise(300, (2,)).astype(np.float64)]
    for a, s in pairwise(linear_schedule().noise):
        x = states[-1]
        told, free = (clean_guess(x, a, WIDTH, m) for m in (CLASSES[k], MIDDLES))
        clean = free + (w if low < a <= high else 1) * (told - free)
        states.append(x + (a - s) / a * (clean - x))
    return np.stack(states)


def said(world):
    """Return how many dots are of their class, their spread in percent, and their distance."""
    words = r"Of 300 dots, (\d+) .+? is (\d+)% .+? lie ([\d.]+) on"
    return [float(number) for number in re.search(words, world.sentence.inner_text()).groups()]


def set_to(world, k, *values):
    world.box.get_by_role("combobox", name="Class").select_option(str(k))
    for label, value in zip(LABELS, values, strict=True):
        world.box.get_by_label(label).fill(str(value))


@each
def test_the_dots_go_pythons_way(world, settings):
    expected = python(*settings)
    script = "m.drawClass(Float64Array.from(v[0]), ...v.slice(1)).map((x) => [...x])"
    states = call(world.page, "worlds/classes", script, expected[0].ravel().tolist(), *settings)
    np.testing.assert_allclose(np.reshape(states, expected.shape), expected, atol=1e-5)


@each
def test_the_sentence_has_the_numbers_of_python(world, settings):
    set_to(world, *settings)
    k, ends = settings[0], python(*settings)[-1]
    away = np.linalg.norm(ends[:, None, None] - CLASSES, axis=-1)
    true = 2 * WIDTH**2 + CLASSES[k].var(axis=0).sum()
    own, spread, distance = said(world)
    assert own == (away.min(axis=2).argmin(axis=1) == k).sum()
    assert spread == pytest.approx(100 * np.sqrt(ends.var(axis=0).sum() / true), abs=0.6)
    assert distance == pytest.approx(away[:, k].min(axis=1).mean(), abs=6e-4)


def test_guidance_leaves_the_neighbours_for_variety_and_low_levels_keep_it(world):
    for k in range(3):
        found = []
        for settings in [(1, 0, 1), (2, 0, 1), (4, 0, 1), (4, 0, 0.4)]:
            set_to(world, k, *settings)
            found.append(said(world)[:2])
        (plain, wide), (more, less), (most, narrow), (low, kept) = found
        assert plain < 295 <= more <= most == low == 300
        assert wide > less > narrow < kept / 1.5


def test_the_keyboard_changes_the_sentence_and_the_picture(world):
    world.box.get_by_label("Guidance w").fill("3")
    states = [world.seen()]
    for label in (*LABELS, "first pixel", "second pixel"):
        world.box.get_by_label(label).press("PageUp" if "above" in label else "PageDown")
        states.append(world.seen())
    world.box.get_by_role("combobox", name="Class").press("ArrowDown")
    states.append(world.seen())
    assert_all_different(*states)


def test_a_drag_moves_the_readers_drawing_and_leaves_the_crowd(world):
    before, crowd = world.seen(), said(world)
    world.page.requested.clear()
    world.drag(0, (0.5, 0.5), (0.3, 0.25))
    assert_all_different(before, world.seen())
    assert said(world) == crowd
    assert "Yours, from (-0.70, 0.70), ends" in world.sentence.inner_text()
    assert world.page.requested == []


def test_on_a_phone_a_finger_sets_the_start_and_the_dark_changes_the_colours(open_page):
    page = open_page(PAGE, viewport={"width": 360, "height": 740}, has_touch=True)
    world = World(page, "classes")
    before, place = world.seen(), world.canvas().bounding_box()
    assert 250 < place["width"] <= 360 - place["x"]
    world.canvas().tap(position={"x": 30, "y": 100})
    light = world.seen()
    assert_all_different(before, light)
    page.emulate_media(color_scheme="dark")
    canvas = "document.querySelector('[data-live-world=classes] canvas')"
    page.wait_for_function(f"light => {canvas}.toDataURL() !== light", arg=light[2])
    assert page.complaints == []
