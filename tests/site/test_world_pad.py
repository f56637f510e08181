"""The pad of chapter 10: nine cars by the network that jumps, as Python draws them."""

import math

import numpy as np
import pytest

from diffusion_core import denormalize, gaussian_noise, linear_schedule, load_pretrained, predict

PHONE = {"width": 360, "height": 740}


@pytest.fixture
def world(open_page):
    page = open_page("10-jumps.html?wasm")
    world = page.locator("[data-live-world=pad]")
    world.get_by_text("Press Begin").wait_for()
    yield world
    assert page.complaints == []


def cars(world):
    """The nine pictures of the grid, as uint8 (9, 32, 32, 3)."""
    side, values = world.locator("canvas").first.evaluate(
        "c => [c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
    )
    grid = np.array(values, int).reshape(side, side, 4)[..., :3]
    corners = [33 * i for i in range(3)]
    return np.stack([grid[y : y + 32, x : x + 32] for y in corners for x in corners])


def mix(one, other, share):
    angle = share * math.pi / 2
    return math.cos(angle) * one + math.sin(angle) * other


def begin(world):
    world.get_by_role("button", name="Begin").click()
    world.get_by_text("50 % to the right, 50 % down, in 4 steps").wait_for()


def test_a_place_on_the_pad_draws_the_cars_that_python_draws_from_its_noise(world):
    begin(world)
    world.locator("[name=right]").fill("30")
    world.locator("[name=down]").fill("80")
    world.get_by_text("30 % to the right, 80 % down, in 4 steps").wait_for()
    noises = [gaussian_noise(9, seed=seed) for seed in (1, 2, 3, 4)]
    above, below = (mix(*pair, 0.3) for pair in (noises[:2], noises[2:]))
    plan = {"noise": mix(above, below, 0.8), "schedule": linear_schedule(4)}
    expected = denormalize(predict(load_pretrained("jumps"), **plan))
    assert np.abs(cars(world) - expected).max() <= 1


def test_while_the_hand_moves_two_steps_are_drawn_and_old_work_is_dropped(world):
    begin(world)
    before = int(world.get_attribute("data-drawn"))
    world.locator("canvas").nth(1).scroll_into_view_if_needed()
    pad = world.locator("canvas").nth(1).bounding_box()
    mouse = world.page.mouse
    mouse.move(pad["x"] + 5, pad["y"] + 5)
    mouse.down()
    # Faster than any machine draws.
    world.locator("canvas").nth(1).evaluate(
        """canvas => {
            const { left, top, width } = canvas.getBoundingClientRect();
            for (let i = 0; i < 200; i++) {
                const place = { clientX: left + (width * i) / 200, clientY: top + 5 };
                canvas.dispatchEvent(new PointerEvent("pointermove", { ...place, buttons: 1 }));
            }
        }"""
    )
    world.get_by_text("in 2 steps").wait_for()
    mouse.up()
    world.get_by_text("in 4 steps").wait_for()
    right = int(world.locator("[name=right]").input_value())
    assert right > 90
    assert f"{right} % to the right" in world.locator(".live-status").inner_text()
    assert int(world.get_attribute("data-drawn")) - before < 10


def test_the_keyboard_is_enough_and_a_phone_shows_all_of_it(world):
    world.page.set_viewport_size(PHONE)
    world.get_by_role("button", name="Begin").press("Enter")
    world.get_by_text("in 4 steps").wait_for()
    world.locator("[name=down]").press("End")
    world.get_by_text("100 % down, in 4 steps").wait_for()
    world.get_by_label("Steps at rest").select_option("1")
    world.get_by_text("in 1 step:").wait_for()
    assert "100 % down" in world.locator("canvas").first.get_attribute("aria-label")
    assert world.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_nothing_large_comes_before_it_is_asked_for_and_then_one_network_alone(world):
    page = world.page
    page.wait_for_load_state("networkidle")
    large = [url for url in page.requested if url.endswith((".wasm", ".onnx"))]
    assert large == []
    begin(world)
    names = {url.rsplit("/", 1)[1] for url in page.requested if url.endswith(".onnx")}
    assert names == {"jumps.onnx"}
