"""The samplers' world of chapter 9: the rules of Python, exact answers, and a reader's hand."""

import numpy as np
import pytest
from conftest import opening, serve
from scipy.integrate import solve_ivp
from two_pixels import CURVE, World, clean_guess

from diffusion_core import gaussian_noise, linear_schedule
from diffusion_core.samplers import SAMPLERS

PAGE = "09-samplers.html"
WIDTH = 0.1
OWN = r"of yours, from \(.+?\),"
STARTS = 24
DRAW = """({ draw }, name, steps, seed, n) => draw(name, steps, seed, n).map((x) => [...x])"""


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


def python(rule, steps, seed=0, n=STARTS):
    """Return all states of a rule of the package on the exact guess."""

    def noise(t):
        return gaussian_noise(n, (2,), seed, step=t).astype(np.float64)

    levels = linear_schedule(steps).noise.tolist()
    later = SAMPLERS[rule](lambda x, a: clean_guess(x, a, WIDTH), noise(0), levels, noise)
    return np.stack([noise(0), *later])


@pytest.mark.parametrize("width", [0.1, 0.3])
@pytest.mark.parametrize("a", [0.2, 0.5, 0.9, 1])
def test_the_guess_is_the_mean_of_all_clean_pictures(still, a, width):
    points = np.array([[0, 0], [0.7, -0.4], [-1.5, 1.2]])
    script = "({ cleanGuess }, x, a, width) => [...cleanGuess(Float64Array.from(x), a, width)]"
    found = still.call(script, points.ravel().tolist(), a, width, module="mixture")
    # The two integrals of the mean, summed over a fine grid of clean pictures.
    axis = np.arange(-2.5, 2.5, 0.025)
    clean = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    density = np.exp(-np.square(clean - CURVE).sum(-1) / (2 * width**2)).sum(1)
    fits = np.exp(-np.square(points - (1 - a) * clean).sum(-1) / (2 * a**2)) * density[:, None]
    expected = (fits[..., None] * clean).sum(0) / fits.sum(0)[:, None]
    np.testing.assert_allclose(np.reshape(found, (-1, 2)), expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 64])
@pytest.mark.parametrize("rule", SAMPLERS)
def test_every_rule_goes_pythons_way(still, rule, steps):
    states = still.call(DRAW, rule, steps, 3, STARTS, module="samplers")
    expected = python(rule, steps, seed=3)
    np.testing.assert_allclose(np.reshape(states, expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("rule", SAMPLERS)
def test_a_rule_takes_as_many_steps_as_its_calls_allow(still, rule):
    budgets = range(1, 65)
    script = "({ stepsFor }, rule, budgets) => budgets.map((calls) => stepsFor(rule, calls))"
    found = still.call(script, rule, list(budgets), module="samplers")
    calls = []

    def count(x, a):
        calls.append(a)
        return x

    def asked(steps):
        calls.clear()
        list(SAMPLERS[rule](count, 0.0, linear_schedule(steps).noise.tolist(), lambda t: 0.0))
        return len(calls)

    assert [steps for steps, most in zip(found, budgets, strict=True) if asked(steps) > most] == []
    assert [
        steps for steps, most in zip(found, budgets, strict=True) if asked(steps + 1) <= most
    ] == []


def test_the_exact_ends_are_those_of_another_solver(still):
    script = "({ fine }) => fine(0).map((x) => [...x])"
    *_, ends = still.call(script, module="samplers")

    def direction(a, x):
        x = x.reshape(-1, 2)
        return ((x - clean_guess(x, a, WIDTH)) / a).ravel()

    starts = gaussian_noise(STARTS, (2,), 0).ravel().astype(np.float64)
    solved = solve_ivp(direction, (1, 1e-3), starts, rtol=1e-8, atol=1e-8)
    clean = clean_guess(solved.y[:, -1].reshape(-1, 2), 1e-3, WIDTH)
    assert np.linalg.norm(np.reshape(ends, (-1, 2)) - clean, axis=1).max() < 5e-3
    assert np.linalg.norm(np.reshape(ends, (-1, 2)) - clean, axis=1).mean() < 5e-4


@pytest.mark.parametrize(("rule", "name", "steps"), [("euler", "Euler", 8), ("heun", "Heun", 4)])
def test_the_sentence_has_pythons_error(world, rule, name, steps):
    world.box.get_by_label("Rule").select_option(name)
    world.slide("Calls, at most", 8)
    exact = python("heun", 500)[-1]
    error = np.linalg.norm(python(rule, steps)[-1] - exact, axis=1).mean()
    assert world.sentence().startswith(f"{name}. Calls: {8 if rule == 'euler' else 7}, ")
    assert world.number("Mean error of the ends") == pytest.approx(error, abs=1e-3)


def test_fresh_noise_is_no_error_and_euler_is_ddim(world):
    world.box.get_by_label("Rule").select_option("DDIM, η = 0")
    ddim, picture = world.sentence(), world.picture()
    world.box.get_by_label("Rule").select_option("Euler")
    assert world.sentence().removeprefix("Euler") == ddim.removeprefix("DDIM, η = 0")
    assert world.picture() == picture
    world.box.get_by_label("Rule").select_option("Ancestral")
    assert "Fresh noise leads elsewhere" in world.sentence()
    assert "error" not in world.sentence()
    assert world.picture() != picture


def test_other_noises_move_the_crowd_and_a_start_of_ones_own_only_under_fresh_noise(world):
    for rule, stays in (("Euler", True), ("Churn", False)):
        world.box.get_by_label("Rule").select_option(rule)
        own, curve = world.number(OWN), world.number("of the exact ends")
        world.box.get_by_role("button", name="Other noises").press("Enter")
        assert (world.number(OWN) == own) == stays
        assert world.number("of the exact ends") != curve


@pytest.mark.parametrize("label", ["Calls, at most", "first pixel", "second pixel"])
def test_the_keyboard_changes_picture_and_sentence(world, label):
    picture, sentence = world.picture(), world.sentence()
    world.box.get_by_label(label).press("ArrowRight")
    assert world.picture() != picture
    assert world.sentence() != sentence


def test_a_drag_sets_the_start_and_asks_nothing_of_the_network(world):
    world.page.requested.clear()
    picture, crowd = world.picture(), world.number("Mean error of the ends")
    world.drag((0.5, 0.5), (0.75, 0.75))
    assert world.picture() != picture
    assert world.number("Mean error of the ends") == crowd
    assert float(world.box.get_by_label("first pixel").input_value()) == pytest.approx(
        1.2, abs=0.05
    )
    assert float(world.box.get_by_label("second pixel").input_value()) == pytest.approx(
        -0.95, abs=0.05
    )
    assert world.page.requested == []


def test_on_a_phone_a_finger_sets_the_start_and_the_dark_changes_the_colours(open_page):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    world = World(open_page(PAGE, **phone))
    sentence, light = world.sentence(), world.picture()
    place = world.canvas.bounding_box()
    assert 250 < place["width"] <= 360 - place["x"]
    world.canvas.tap(position={"x": 30, "y": 200})
    assert world.sentence() != sentence
    light = world.picture()
    world.page.emulate_media(color_scheme="dark")
    world.page.locator("html[data-theme=dark]").wait_for()
    world.page.wait_for_function(
        "([c, p]) => c.toDataURL() !== p", arg=[world.canvas.element_handle(), light]
    )
    assert not [url for url in world.page.requested if url.endswith((".onnx", ".wasm"))]
    assert world.page.complaints == []
