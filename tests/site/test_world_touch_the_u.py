"""Chapter 4, touch the U: its fields are those of the network, and its pictures those of Keras."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from keras import ops
from PIL import Image

from diffusion_core import denormalize, gaussian_noise, load_pretrained, make_model, normalize

RECORDED = ROOT / "_build" / "live" / "recorded"
BLOCKS = ("down_1_1", "down_2_1", "middle_1", "middle_2", "up_2_1", "up_1_1")
LAYERS = {name: f"{name}_sum" for name in BLOCKS} | {"direction": "direction"}


@pytest.fixture
def world(open_page):
    page = open_page("04-model.html", viewport={"width": 1280, "height": 1000})
    world = page.locator("[data-live-world=touch-the-u]")
    world.get_by_text("With all skip connections").wait_for()
    yield world
    assert page.complaints == []


@pytest.fixture
def fields(world):
    """What `sees` and `changes` return for every row of every floor."""
    return world.page.evaluate(
        """async () => {
            const { FLOORS, sees, changes } = await import("./live/fields.js");
            const all = (of) => Object.fromEntries(FLOORS.map(({ name, side }) =>
                [name, Array.from({ length: side }, (_, at) => of(name, at))]));
            return { sees: all(sees), changes: all(changes) };
        }"""
    )


def test_a_cell_sees_what_its_gradient_reaches_and_nothing_else(fields):
    network = make_model(widths=(4, 8, 16))
    ends = [network.get_layer(layer).output for layer in LAYERS.values()]
    floors = keras.Model(network.inputs[:2], ends)
    image, level = tf.constant(gaussian_noise(1)), tf.fill((1, 1), 0.5)
    for number, name in enumerate(LAYERS):
        side = ends[number].shape[1]
        for row, column in ((0, side - 1), (side // 3, side // 2), (side - 1, side - 1)):
            with tf.GradientTape() as tape:
                tape.watch(image)
                outputs = floors([image, level])
                cell = tf.reduce_sum(outputs[number][0, row, column])
            before = dict(zip(["image", *LAYERS], [image, *outputs], strict=True))
            for other, gradient in tape.gradient(cell, before).items():
                expected = np.zeros(before[other].shape[1:3], bool)
                if other in fields["sees"][name][row]:
                    (top, bottom), (left, right) = (
                        fields["sees"][name][at][other] for at in (row, column)
                    )
                    expected[top : bottom + 1, left : right + 1] = True
                found = np.any(gradient[0], axis=-1) if gradient is not None else False
                np.testing.assert_array_equal(found | np.zeros_like(expected), expected)


def test_a_cell_can_change_exactly_those_that_see_it(fields):
    for name, rows in fields["changes"].items():
        for at, changed in enumerate(rows):
            for other, seen in fields["sees"].items():
                low, high = changed.get(other, (1, 0))
                expected = [low <= row <= high for row in range(len(seen))]
                sees = [name in s and s[name][0] <= at <= s[name][1] for s in seen]
                assert sees == expected, (name, at, other)


def test_a_tap_the_mouse_and_the_keyboard_choose_a_cell_and_the_sentence_tells_its_fields(world):
    assert "Row 7, column 7 of down_1_1 sees 10 × 10 pixels of the image" in world.inner_text()
    canvas = world.locator("canvas")
    # The second floor on the left: row 2 and column 3 of 16.
    canvas.click(position={"x": 3 + 128 * 3.5 / 16, "y": 24 + 128 + 24 + 128 * 2.5 / 16})
    words = "Row 2, column 3 of down_1_1 sees 10 × 10 pixels of the image (blue)"
    world.get_by_text(words).wait_for()
    assert words in canvas.get_attribute("aria-label")
    world.get_by_role("slider", name="Row").press("Home")
    world.get_by_text("Row 0, column 3 of down_1_1 sees 6 × 10 pixels").wait_for()
    world.get_by_role("combobox", name="Floor").select_option("image")
    world.get_by_text("Row 0, column 3 of image can change 32 × 32 pixels").wait_for()
    world.get_by_role("combobox", name="Floor").select_option("middle_1")
    assert world.get_by_role("slider", name="Column").get_attribute("max") == "3"
    for control in world.locator("input, select").all():
        assert len(control.evaluate("e => e.labels[0].textContent")) > 2


def test_the_skips_switch_to_what_keras_answers_without_them(world):
    network = load_pretrained("small")
    cars = np.split(np.array(Image.open(RECORDED / "cars.png"))[:, :64], 2, axis=1)
    clean, noise = normalize(np.stack(cars)), gaussian_noise(1, seed=1)
    noisy, truth = (clean + noise) / 2, clean - noise
    errors = json.loads((RECORDED / "skips.json").read_text())
    strip = np.array(Image.open(RECORDED / "skips.png")).reshape(2, 32, 5, 32, 3)
    assert np.abs(strip[:, :, 0].astype(int) - denormalize(noisy)).max() <= 1
    for off, skips in enumerate(((1, 1), (0, 1), (1, 0), (0, 0))):
        direction = by_hand(network, noisy, *skips)
        assert np.abs(strip[:, :, 1 + off].astype(int) - denormalize(direction / 2)).max() <= 1
        error = np.abs(direction - truth).mean((1, 2, 3))
        np.testing.assert_allclose([row[off] for row in errors], error, atol=1e-4)
        # What the chapter says of them.
        assert off == 0 or all(row[off] > row[0] and row[1] > 2 * row[2] for row in errors)
        for number, on in enumerate(skips, start=1):
            world.get_by_role("checkbox", name=f"skip_{number}").set_checked(bool(on))
        world.get_by_role("combobox", name="Picture").select_option("drawn car 2")
        world.get_by_text(f"the direction errs by {error[1]:.3f}.").wait_for()


def by_hand(network, image, skip_1, skip_2):
    """The direction at level 0.5: the wiring of the U, with a factor for each skip connection."""
    at = network.get_layer
    time = at("time_2")(at("time_1")(np.full((len(image), 1), 0.5, np.float32)))

    def block(x, name):
        h = at(f"{name}_conv_1")(ops.silu(at(f"{name}_norm_1")(x)))
        scale, shift = (at(f"{name}_time_{of}")(time)[:, None, None] for of in ("scale", "shift"))
        h = scale * at(f"{name}_norm_2")(h) + shift
        return x + at(f"{name}_conv_2")(ops.silu(h))

    down_1 = block(at("halve_image")(image), "down_1_1")
    down_2 = block(at("halve_1")(down_1), "down_2_1")
    middle = block(block(at("halve_2")(down_2), "middle_1"), "middle_2")
    up_2 = block(at("double_2")(middle) + skip_2 * down_2, "up_2_1")
    up_1 = block(at("double_1")(up_2) + skip_1 * down_1, "up_1_1")
    return np.asarray(at("direction")(ops.silu(at("last_norm")(up_1))))
