"""Chapter 4, told level and step length: the browser's network answers what Keras answers."""

import re

import keras
import numpy as np
import pytest
from conftest import ROOT, SITE
from PIL import Image

from diffusion_core import denormalize, gaussian_noise, load_pretrained, normalize

STRIP = np.array(Image.open(ROOT / "_build/live/recorded/cars.png"))
CARS = normalize(np.stack(np.split(STRIP[:, :192], 6, axis=1)))
NOISE = gaussian_noise(1, seed=1)[0]


@pytest.fixture(scope="module")
def direction_of():
    network = load_pretrained("small")
    layers = keras.Model(network.inputs[:2], network.get_layer("direction").output)

    def answer(noisy, told):
        return np.asarray(layers([noisy[None], np.full((1, 1), told, np.float32)]))[0]

    return answer


@pytest.fixture
def world(open_page):
    page = open_page("04-model.html?wasm")
    world = page.locator("[data-live-world=told-level]")
    world.get_by_text("Press the button").wait_for()
    yield world
    assert page.complaints == []


def picture(world, name):
    """What the canvas of one picture shows, as uint8 (32, 32, 3)."""
    values = world.locator(f"[data-of={name}] canvas").evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    return np.array(values, int).reshape(32, 32, 4)[..., :3]


def says(world, words):
    world.locator(".live-status", has_text=words).wait_for()


def test_nothing_large_comes_before_the_first_question_and_its_size_is_said(world):
    page = world.page
    page.wait_for_load_state("networkidle")
    assert [url for url in page.requested if url.endswith((".wasm", ".onnx"))] == []
    said = int(re.search(r"up to (\d+) MB", world.inner_text()).group(1))
    world.get_by_role("button", name="Ask the network").click()
    says(world, "Told 0.5 where 0.5 is true")
    page.locator("html[data-offline=ready]").wait_for(state="attached")
    names = {url.split("/live/")[-1] for url in page.requested if "/live/" in url}
    large = [SITE / "live" / n for n in names if n.startswith("ort/") or n.endswith(".onnx")]
    assert sum(file.stat().st_size for file in large) / 1e6 == pytest.approx(said, abs=1)


def test_the_network_in_the_browser_answers_the_told_level_as_keras_does(world, direction_of):
    noisy = (CARS[2] + NOISE) / 2
    for told in (0.25, 1.0):
        answer = world.page.evaluate(
            """async ([image, level]) => {
                const { openNetwork } = await import("./live/network.js");
                return new Promise((resolve) => {
                    const receive = ({ next }) => next && resolve([...next]);
                    const ask = openNetwork(document.body, receive);
                    ask({ image: new Float32Array(image), level, nextLevel: 0 });
                });
            }""",
            [noisy.ravel().tolist(), told],
        )
        found = (np.reshape(answer, noisy.shape) - noisy) / told
        np.testing.assert_allclose(found, direction_of(noisy, told), atol=1e-4)


def test_told_level_turns_the_direction_and_the_step_length_only_says_how_far(world, direction_of):
    true, length = 0.75, 0.25
    world.get_by_label("Picture").select_option("drawn car 4")
    world.get_by_label("True level").select_option(str(true))
    clean, noisy, truth = CARS[3], (1 - true) * CARS[3] + true * NOISE, CARS[3] - NOISE
    assert np.abs(picture(world, "noisy") - denormalize(noisy)).max() <= 1
    for told in (0.25, 0.75):
        world.get_by_label("Told level").fill(str(int(16 * told)))
        world.get_by_label("Step length").fill("1")
        says(world, f"Told {told} where {true} is true")
        world.get_by_label("Step length").fill(str(int(16 * length)))
        says(world, f"The step of {length}")
        direction = direction_of(noisy, told)
        shown = {
            "direction": (direction / 2, np.abs(direction - truth).mean()),
            "next": (noisy + length * direction, length * np.abs(direction - truth).mean()),
            "guess": (noisy + true * direction, np.abs(noisy + true * direction - clean).mean()),
        }
        for name, (numbers, error) in shown.items():
            assert np.abs(picture(world, name) - denormalize(numbers)).max() <= 1, name
            caption = world.locator(f"[data-of={name}] figcaption").inner_text()
            assert float(caption.split("error ")[1]) == pytest.approx(error, abs=6e-4)
            said = f"errs by {error:.3f}" if name == "direction" else f"({error:.3f})"
            assert said in world.locator(".live-status").inner_text()
    # As far as the true level, the step leads to the clean guess.
    world.get_by_label("Step length").press("End")
    says(world, f"The step of {true}")
    np.testing.assert_array_equal(picture(world, "next"), picture(world, "guess"))


def test_the_best_that_the_network_can_be_told_is_the_truth_or_next_to_it(direction_of):
    for true in (0.25, 0.5, 0.75):
        for clean in CARS:
            noisy, truth = (1 - true) * clean + true * NOISE, clean - NOISE
            told = np.arange(1, 17) / 16
            answers = [direction_of(noisy, level) for level in told]
            errors = [np.abs(answer - truth).mean() for answer in answers]
            assert abs(told[np.argmin(errors)] - true) <= 1 / 16
            # Told too little it is too loud, told too much too pale.
            low, right, high = (answers[int(16 * true) + way].std() for way in (-4, -1, 3))
            assert low > 1.1 * right > 1.2 * high


def test_a_question_whose_answer_is_late_makes_way_for_the_next(world):
    """And the keyboard is enough; every control has a name."""
    told = world.get_by_label("Told level")
    told.focus()
    for _ in range(5):
        world.page.keyboard.press("ArrowRight")
    says(world, "Told 0.8125 where 0.5 is true")
    assert told.get_attribute("aria-valuetext") == "0.8125"
    for control in world.locator("input, select, button").all():
        assert len(control.evaluate("e => (e.labels?.[0] ?? e).textContent")) > 2


def test_what_does_not_come_is_said(open_page, server):
    server.missing = ("cars.png",)
    world = open_page("04-model.html?wasm").locator("[data-live-world=told-level]")
    world.get_by_text("The drawn cars could not be loaded").wait_for()
    server.missing = ("strong.onnx",)
    world.page.reload()
    world.get_by_text("Press the button").wait_for()
    world.get_by_label("Told level").fill("4")
    world.get_by_text("missing on this site").wait_for()
    server.missing = ()
    world.get_by_role("button", name="Ask the network").click()
    says(world, "Told 0.25 where 0.5 is true")
    assert world.get_by_role("alert").inner_text() == ""
