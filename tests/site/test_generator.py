"""The live boxes in a real browser: the generator draws what Python draws, and survives readers."""

from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
from conftest import PREFIX, opening, serve
from PIL import Image

from diffusion_core import (
    denormalize,
    gaussian_noise,
    guided,
    linear_schedule,
    load_pretrained,
    predict_step,
)
from diffusion_core.page import figures
from diffusion_core.sources.pretrained import GUIDE

PAGE = "06-sampling.html?wasm"
DOWNLOADS = (".wasm", ".onnx")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# Its calls leave the worker free to hear, as those on a graphics card do, and bear no company.
FAKE_RUNTIME = """
let calls = 0;
let busy = false;
export const env = { wasm: {} };
export class Tensor { constructor(data) { this.data = data; } }
export const InferenceSession = {
  create: async () => ({
    inputNames: [],
    run: async ({ image }) => {
      if (busy) throw new Error("two calls at once");
      if (calls++ === %d) throw new Error("the graphics card is gone");
      busy = true;
      await new Promise((resume) => setTimeout(resume, 100));
      busy = false;
      return { next_image: image };
    },
  }),
};
"""
FAKE_CARD = """
WebAssembly.Suspending ??= class {};
Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({ info: {} }) } });
"""


@pytest.fixture(scope="module")
def python(no_xla):
    """Draw with Keras: `predict` is the last of these states."""
    strong, weak = load_pretrained("small"), load_pretrained(GUIDE)

    def draw(n, steps=16, guidance=3, **start):
        with no_xla():
            return predict_step(guided(strong, weak, guidance), n, linear_schedule(steps), **start)

    return draw


class Generator:
    def __init__(self, page):
        self.page = page
        self.box = page.locator("[data-live-generator]")
        self.button = self.box.get_by_role("button", name="Draw", exact=True)
        self.slider = self.box.locator("[name=step]")

    def fill(self, **values):
        for name, value in values.items():
            self.box.locator(f"[name={name}]").fill(str(value))

    def unfold(self, name):
        self.box.locator("details", has_text=name).evaluate("fold => { fold.open = true; }")

    def reaches(self, state):
        self.page.locator(f"[data-live-generator][data-state={state}]").wait_for()

    def draw(self, **values):
        self.fill(**values)
        self.button.click()
        self.reaches("done")

    def fails(self):
        """Press the button, and return what the box says of its failure."""
        self.button.click()
        self.reaches("error")
        return self.box.get_by_role("alert").inner_text()

    def status(self):
        return self.box.locator(".live-status").inner_text()

    def says(self, words):
        self.box.locator(".live-status", has_text=words).wait_for()

    def press(self, name):
        self.box.get_by_role("button", name=name).click()

    def follow(self, link):
        self.page.evaluate("link => { location.hash = link; }", link)

    def step(self, step):
        self.slider.fill(str(step))
        return self.pixels()

    def pixels(self):
        return pixels_in(self.box)


def pixels_in(box):
    """The picture on the first canvas of a box as uint8 (height, width, 4)."""
    height, width, values = box.locator("canvas").first.evaluate(
        """canvas => [canvas.height, canvas.width, Array.from(
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)]"""
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


@contextmanager
def new_picture(box):
    """Wait until the canvas of a box shows another picture than before."""
    canvas = box.locator("canvas").first.element_handle()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    yield
    box.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas, before]
    )


def fake_runtime(page, failing_call=-1, script="ort.wasm.min.mjs"):
    """Give the worker a runtime that returns what it gets; call 0 is the one that warms up."""
    body = FAKE_RUNTIME % failing_call
    answer = {"body": body, "content_type": "text/javascript"}
    page.context.route(f"**/{script}", lambda route: route.fulfill(**answer))


@pytest.fixture
def generator(open_page):
    """A generator that has not loaded anything yet."""
    generator = Generator(open_page(PAGE))
    yield generator
    assert generator.page.complaints == []


@pytest.fixture(scope="module")
def live(browser):
    """A generator that has drawn before, for tests that leave it whole."""
    with serve() as server, opening(browser, server) as open_page:
        generator = Generator(open_page(PAGE))
        generator.draw(cars=1, steps=1)
        yield generator
        assert generator.page.complaints == []


def assert_same_picture(drawn, images):
    """Every pixel of the page within 2 of 255 of Python's; the gaps between pictures are clear."""
    expected = figures.image_grid(images)
    assert drawn.shape[:2] == expected.shape[:2]
    inside = drawn[..., 3] == 255
    assert inside.sum() == 32 * 32 * len(images)
    difference = np.abs(drawn[..., :3].astype(int) - expected)[inside]
    assert difference.max() <= 2


def test_noise_is_the_noise_of_python(live):
    for seed, first in product((0, 1, 42, 2**32 - 1), (0, 7)):
        noise = live.page.evaluate(
            """async ([seed, first]) => {
                const { gaussianNoise } = await import("./live/noise.js");
                return Array.from(gaussianNoise(3, 3072, seed, first));
            }""",
            [seed, first],
        )
        expected = gaussian_noise(3, seed=seed, first=first).ravel()
        # Logarithms are rounded in more than one way, so the last bit of float32 may differ.
        np.testing.assert_array_max_ulp(np.array(noise, np.float32), expected, maxulp=1)


def test_the_browser_draws_pythons_cars_at_every_step(live, python):
    live.draw(seed=3, cars=5, steps=16)
    states = python(5, seed=3)
    for step in (0, 1, 8, 15, 16):
        assert_same_picture(live.step(step), states[step])


def test_a_link_draws_the_walk_of_chapter_6_and_a_link_without_one_ends_it(live, python):
    share = np.float32(0.35)
    mix = np.cos(share * np.pi / 2) * gaussian_noise(2, seed=5)
    mix += np.sin(share * np.pi / 2) * gaussian_noise(2, seed=6)
    live.follow("#draw-seed-5-cars-2-steps-4-to-6-way-35")
    live.says("Done: 2 cars from seed 5, 35 % of the way to seed 6 in 4 steps,")
    assert_same_picture(live.pixels(), python(2, 4, guidance=1, noise=mix)[-1])
    live.follow("#draw-seed-3-cars-1-steps-1-guidance-3")
    live.says("Done: 1 car from seed 3 in 1 step, guidance 3,")
    assert live.box.locator("[name=way]").input_value() == "0"


def test_guidance_is_drawn_as_the_slider_says(live, python):
    live.unfold("More")
    live.draw(seed=4, cars=2, steps=3, guidance=2.5)
    assert_same_picture(live.pixels(), python(2, 3, guidance=2.5, seed=4)[-1])
    live.fill(guidance=1)
    live.says("Done: 2 cars from seed 4 in 3 steps, guidance 1,")
    assert_same_picture(live.pixels(), python(2, 3, guidance=1, seed=4)[-1])
    live.fill(guidance=3)


def test_the_start_page_draws_in_four_jumps_and_fetches_the_other_network_when_asked(
    open_page, no_xla, python
):
    with no_xla():
        jumps = load_pretrained("jumps")
        recorded, states = (
            predict_step(jumps, n, linear_schedule(4), seed=seed) for n, seed in ((9, 0), (2, 4))
        )
    page = open_page("index.html?wasm")
    start = Generator(page)
    for step in (0, 2, 4):
        with new_picture(start.box):
            start.slider.fill(str(step))
        difference = start.pixels()[..., :3].astype(int) - figures.image_grid(recorded[step])
        assert np.abs(difference).max() <= 2
    start.draw(seed=4, cars=2)
    assert "Done: 2 cars from seed 4 in 4 steps, by the network that jumps," in start.status()
    for step in (0, 1, 4):
        assert_same_picture(start.step(step), states[step])
    fetched = {url.rsplit("/", 1)[1] for url in page.requested if url.endswith(".onnx")}
    assert fetched == {"jumps.onnx"}
    start.unfold("More")
    start.box.get_by_label("By the network of chapter 10").uncheck()
    start.says("Done: 2 cars from seed 4 in 16 steps, guidance 3,")
    assert_same_picture(start.pixels(), python(2, seed=4)[-1])
    start.box.get_by_label("By the network of chapter 10").check()
    start.says("Done: 2 cars from seed 4 in 4 steps, by the network that jumps,")
    start.draw(seed=5)
    start.follow("#draw-seed-4-cars-2-steps-4-jumps")
    start.says("Done: 2 cars from seed 4 in 4 steps, by the network that jumps,")
    assert_same_picture(start.pixels(), states[4])
    start.follow("#draw-seed-4-cars-1-steps-1-guidance-3")
    start.says("Done: 1 car from seed 4 in 1 step, guidance 3,")
    assert page.complaints == []


def test_another_seed_after_a_walk_draws_another_picture(live):
    live.box.get_by_text("Walk to a second seed").click()
    live.draw(seed=1, cars=1, steps=1, way=100)
    before = live.pixels()
    live.press("Another seed")
    live.reaches("done")
    assert live.box.locator("[name=way]").input_value() == "0"
    assert not np.array_equal(live.pixels(), before)
    live.box.get_by_text("Walk to a second seed").click()


def test_under_each_state_stands_its_clean_guess(live, python):
    live.unfold("More")
    guesses = live.box.get_by_label("Under each state its clean guess")
    guesses.check()
    live.draw(seed=2, cars=2, steps=4)
    states = python(2, 4, seed=2)
    guess = live.box.locator(".live-now .live-stage").nth(1)
    for step, way in ((0, 4), (1, 3), (4, 0)):  # the steps that are left
        live.step(step)
        expected = states[step] + way * (states[min(step + 1, 4)] - states[step])
        assert_same_picture(pixels_in(guess), expected)
    guesses.uncheck()
    assert not guess.is_visible()


def test_a_kept_run_stands_beside_the_next_at_the_same_noise_level(live, python):
    kept = live.box.locator(".live-kept")
    live.draw(seed=3, cars=2, steps=4)
    live.press("Keep beside the next")
    live.draw(steps=2)
    live.step(1)
    assert_same_picture(live.pixels(), python(2, 2, seed=3)[1])
    assert_same_picture(pixels_in(kept), python(2, 4, seed=3)[2])
    assert "in 4 steps" in kept.inner_text()
    live.press("Let the kept run go")
    assert not kept.is_visible()


def test_a_straight_walk_mixes_the_noises_straight(live, python):
    live.follow("#draw-seed-5-cars-2-steps-4-to-6-way-50-straight")
    live.says("Done: 2 cars from seed 5, 50 % of the straight way to seed 6 in 4 steps,")
    mix = (gaussian_noise(2, seed=5) + gaussian_noise(2, seed=6)) / 2
    assert_same_picture(live.pixels(), python(2, 4, guidance=1, noise=mix)[-1])
    live.follow("#draw-seed-5-cars-2-steps-1-guidance-3")
    live.says("Done: 2 cars from seed 5 in 1 step")


def test_a_tap_gives_a_picture_its_own_address_under_which_it_is_drawn_alone(live, python):
    live.draw(seed=3, cars=5, steps=2)
    canvas = live.box.locator("canvas").first
    width = canvas.bounding_box()["width"]
    canvas.click(position={"x": width / 2, "y": width / 2})  # in the second row of three
    link = live.box.get_by_role("link", name="seed 3, number 4")
    link.click()
    live.says("Done: 1 car from seed 3, number 4 in 2 steps")
    assert_same_picture(live.pixels(), python(5, 2, seed=3)[-1][4:])
    live.follow("#draw-seed-3-cars-1-steps-1-guidance-3")
    live.says("Done: 1 car from seed 3 in 1 step")


def test_a_double_click_draws_once_and_a_change_of_mind_ends_the_run(live, python):
    live.page.evaluate(
        """() => {
            window.asked = window.told = 0;
            const post = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (request) {
                asked++;
                if (request.steps === 64) this.addEventListener("message", ({ data }) => {
                    if (data.run === request.run) told++;
                });
                post.call(this, request);
            };
        }"""
    )
    live.fill(seed=1, cars=2, steps=8)
    live.button.dblclick()
    live.says("Done: 2 cars from seed 1 in 8 steps")
    assert live.page.evaluate("asked") == 1
    live.fill(cars=25, steps=64)
    live.button.click()
    live.reaches("drawing")
    live.draw(seed=9, cars=1, steps=2)
    live.says("Done: 1 car from seed 9 in 2 steps")
    live.page.wait_for_timeout(1000)  # nothing of the first run comes after it
    assert_same_picture(live.pixels(), python(1, 2, seed=9)[-1])
    assert live.slider.get_attribute("max") == "2"
    # The worker dropped the first run, which would share the processor with the second.
    assert live.page.evaluate("told") < 64


def test_the_keyboard_is_enough_and_every_control_has_a_name(live):
    keyboard = live.page.keyboard
    live.fill(seed=1, cars=1, steps=4)
    live.box.locator("[name=seed]").focus()
    keyboard.press("ArrowUp")
    keyboard.press("Enter")
    live.says("Done: 1 car from seed 2")
    live.slider.focus()
    keyboard.press("ArrowLeft")
    canvas = live.box.locator("canvas").first
    assert "3 of 4: noise level 0.25" in live.slider.get_attribute("aria-valuetext")
    assert "step 3 of 4: noise level 0.25" in canvas.get_attribute("aria-label")
    for control in live.box.locator("input, button").all():
        assert len(control.evaluate("e => (e.labels?.[0] ?? e).textContent")) > 2


def test_a_drawing_can_be_downloaded_as_it_is_shown_and_shared_as_a_link(live):
    live.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    live.draw(seed=8, cars=2, steps=3)
    shown = live.pixels()
    with live.page.expect_download() as download:
        live.press("Download PNG")
    assert download.value.suggested_filename == "cars-seed-8-cars-2-steps-3-guidance-3-step-3.png"
    saved = np.array(Image.open(download.value.path()).convert("RGBA"))
    large = shown.repeat(8, axis=0).repeat(8, axis=1)
    np.testing.assert_array_equal(saved, np.where(large[..., 3:] == 0, 255, large))
    live.press("Copy link")
    live.says("The link is copied")
    link = live.page.evaluate("navigator.clipboard.readText()")
    assert link.endswith("#draw-seed-8-cars-2-steps-3-guidance-3")
    live.draw(seed=1)
    live.follow("#" + link.split("#")[1])
    live.says("Done: 2 cars from seed 8 in 3 steps")
    np.testing.assert_array_equal(live.pixels(), shown)


def test_a_number_out_of_range_or_missing_draws_nothing_and_is_shown(live):
    live.draw(seed=1, cars=1, steps=1)
    walk = live.box.get_by_text("Walk to a second seed")
    for values, allowed in (({"cars": 26}, {"cars": 1}), ({"to": ""}, {"to": 2})):
        walk.click()
        live.fill(**values)
        walk.click()
        live.button.click()
        assert live.box.get_attribute("data-state") == "done"
        (name,) = values
        assert live.box.locator(f"[name={name}]").is_visible()
        assert live.page.evaluate("document.activeElement.name") == name
        live.fill(**allowed)


def test_before_anything_is_drawn_there_is_a_recorded_run_and_nothing_large_is_loaded(
    generator, server, python
):
    requested = generator.page.requested
    generator.page.wait_for_load_state("networkidle")
    states = python(9, seed=0)
    for step in (0, 9, 16):  # the last step is there first
        with new_picture(generator.box):
            generator.slider.fill(str(step))
        recorded = generator.pixels()[..., :3].astype(int)
        assert np.abs(recorded - figures.image_grid(states[step])).max() <= 2
    generator.says("The first time, it fetches up to")
    # A walk that was chosen before anything was drawn belongs to its link, here copied by hand.
    generator.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    generator.box.get_by_text("Walk to a second seed").click()
    generator.fill(way=35)
    generator.press("Copy link")
    link = generator.box.get_by_label("Link to this drawing").input_value()
    assert link.endswith("#draw-seed-0-cars-9-steps-16-guidance-3-to-2-way-35")
    assert [url for url in requested if url.endswith(DOWNLOADS)] == []
    for seed in (1, 2, 3):  # a change of mind while it loads
        generator.fill(seed=seed, cars=1, steps=1, way=0)
        generator.button.click()
    generator.says("Done: 1 car from seed 3")
    generator.page.locator("html[data-offline=ready]").wait_for(state="attached")
    assert [url for url in requested if url.endswith(DOWNLOADS)]
    assert [url for url in requested if not url.startswith(server.url)] == []


def test_one_call_of_the_network_ends_before_another_begins(generator):
    fake_runtime(generator.page)
    generator.fill(cars=1, steps=64)
    generator.button.click()
    generator.reaches("drawing")
    generator.draw(seed=9, steps=2)
    generator.says("Done: 1 car from seed 9 in 2 steps")


def test_a_run_that_fails_half_way_says_what_stays(generator):
    fake_runtime(generator.page, failing_call=6)  # two at loading, then two a step
    generator.fill(cars=1, steps=4)
    assert "Its steps so far stay here." in generator.fails()
    assert generator.slider.get_attribute("max") == "1"


def test_when_a_graphics_card_gives_up_half_way_the_processor_draws(open_page):
    page = open_page("06-sampling.html")
    fake_runtime(page, failing_call=6, script="ort.jspi.min.mjs")

    def add_card(route):
        worker = route.fetch().text()
        route.fulfill(body=FAKE_CARD + worker, content_type="text/javascript")

    # The copy that is kept for offline use comes later, and may outlive the page.
    page.context.route("**/worker.js", add_card, times=1)
    generator = Generator(page)
    with page.context.expect_event("request", lambda request: "ort.jspi" in request.url):
        generator.draw(seed=3, cars=1, steps=4)
    assert "on your processor" in generator.status()
    assert generator.slider.get_attribute("max") == "4"


def test_a_file_that_does_not_come_is_said_until_it_is_there(open_page, server):
    generator = Generator(open_page(PAGE))
    for name in ("worker.js", "strong.onnx", "weak.onnx", *RUNTIME):
        server.missing = (name,)
        assert "missing on this site" in generator.fails(), name
    server.missing = ()
    for name in ("files.json", "strong.onnx", "weak.onnx", *RUNTIME):
        server.cut = (name,)
        assert "Are you online?" in generator.fails(), name
    server.cut = ()
    server.down = True
    assert "Are you online?" in generator.fails()
    assert generator.slider.get_attribute("max") == "16"  # the recorded run stays
    server.down = False
    generator.draw(cars=1, steps=1)
    assert generator.box.get_by_role("alert").inner_text() == ""


def test_a_page_that_was_used_works_offline(open_page, server):
    generator = Generator(open_page(PAGE))
    generator.draw(cars=1, steps=2)
    before = generator.pixels()
    generator.page.locator("html[data-offline=ready]").wait_for(state="attached")
    server.down = True
    generator.page.reload()
    generator.draw(cars=1, steps=2)
    np.testing.assert_array_equal(generator.pixels(), before)
    # So do the frames of a slider that nobody has moved yet.
    stepper = generator.page.locator(".stepper").first
    stepper.locator("input").press("End")
    assert stepper.locator("img").evaluate("image => image.decode().then(() => image.src)")
    # Of a file it brings the version that is asked for, and where that is not there, another.
    fetched = generator.page.evaluate(
        """async () => {
            const cache = await caches.open((await caches.keys())[0]);
            for (const v of [1, 2]) await cache.put(`a.css?v=${v}`, new Response(`version ${v}`));
            return Promise.all([2, 3].map(async (v) => (await fetch(`a.css?v=${v}`)).text()));
        }"""
    )
    assert fetched == ["version 2", "version 1"]


def test_the_worker_takes_away_old_editions_of_this_book_and_nothing_else(generator):
    old, *others = [f"simple-diffusion {PREFIX} old", "simple-diffusion /other/ old", "other"]
    generator.page.evaluate(
        "names => Promise.all(names.map((n) => caches.open(n)))", [old, *others]
    )
    generator.draw(cars=1, steps=1)
    generator.page.locator("html[data-offline=ready]").wait_for(state="attached")
    left = generator.page.evaluate(
        """async (old) => {
            for (let look = 0; look < 100 && (await caches.has(old)); look++)
                await new Promise((resume) => setTimeout(resume, 50));
            return caches.keys();
        }""",
        old,
    )
    assert set(others) < set(left)
    assert old not in left


def test_offline_nothing_comes_from_what_another_site_of_the_origin_has_kept(open_page, server):
    generator = Generator(open_page(PAGE))
    generator.draw(cars=1, steps=1)
    generator.page.locator("html[data-offline=ready]").wait_for(state="attached")
    server.down = True
    generator.page.reload()
    found = generator.page.evaluate(
        """async () => {
            const other = await caches.open("other");
            await other.put("glossary.html", new Response("planted"));
            return fetch("glossary.html").then((answer) => answer.text(), () => "nothing");
        }"""
    )
    assert found == "nothing"


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("seed-1-cars-1-steps-1-to-2-way-3", "way"),
        ("seed-1-cars-1-steps-1-to-2-way-101", "way"),
        ("seed-1-cars-1-steps-1-guidance-99", "guidance"),
        ("seed-1-cars-26-steps-1", "cars"),
        ("seed-1-cars-1-steps-1-to-4294967296-way-5", "to"),
    ],
)
def test_a_link_to_what_cannot_be_drawn_says_so(generator, link, name):
    generator.follow(f"#draw-{link}")
    alert = generator.box.get_by_role("alert")
    alert.get_by_text(f"This link asks for another {name} than there is; expected ").wait_for()
    assert generator.box.get_attribute("data-state") == "idle"


def test_a_browser_without_webassembly_is_told(open_page):
    page = open_page(PAGE)
    page.evaluate("delete window.WebAssembly")
    assert "lacks WebAssembly" in Generator(page).fails()


def test_without_javascript_the_recorded_run_scrolls(open_page):
    page = open_page(PAGE, java_script_enabled=False)
    strip = page.locator(".live-strip")
    assert strip.locator("img").count() == 17
    assert strip.get_attribute("tabindex") == "0"
    page.get_by_text("needs JavaScript").wait_for()


def test_less_motion_shows_the_first_and_the_last_step_only(open_page):
    generator = Generator(open_page(PAGE, reduced_motion="reduce"))
    generator.box.evaluate(
        """box => {
            window.seen = new Set();
            const look = () => box.dataset.state !== "waiting" && window.seen.add(box.dataset.step);
            new MutationObserver(look).observe(box, { attributes: true });
        }"""
    )
    generator.draw(cars=1, steps=5)
    assert generator.page.evaluate("[...window.seen]") == ["0", "5"]
    assert generator.slider.get_attribute("max") == "5"


# Chapter 3.
PHOTO = (200, 100, 50)


@pytest.fixture
def forward(open_page):
    page = open_page("03-forward-noise.html")
    box = page.locator("[data-live-forward]")
    box.get_by_text("You see 1.00 × picture").wait_for()
    page.box = box
    yield page
    assert page.complaints == []


def test_the_noise_level_goes_from_the_car_to_the_noise_of_python(forward):
    car = pixels_in(forward.box)[..., :3].astype(np.float32) / 127.5 - 1
    noise = gaussian_noise(1, seed=4)[0]
    forward.box.get_by_label("Seed of the noise").fill("4")
    for level in (0.25, 1):
        forward.box.get_by_label("Noise level").fill(str(round(100 * level)))
        expected = denormalize((1 - level) * car + level * noise)
        assert np.abs(pixels_in(forward.box)[..., :3].astype(int) - expected).max() <= 1


@pytest.fixture
def photo(tmp_path):
    """A picture of one colour in its middle square."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = PHOTO
    Image.fromarray(picture).save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


def test_a_picture_of_the_reader_stays_in_the_browser_and_makes_way_for_a_car(
    forward, photo, tmp_path
):
    car = pixels_in(forward.box)
    forward.requested.clear()
    with new_picture(forward.box):
        forward.box.get_by_label("Or a picture of yours").set_input_files(photo)
    assert np.abs(pixels_in(forward.box)[..., :3].astype(int) - PHOTO).max() <= 1
    assert [url for url in forward.requested if not url.startswith("blob:")] == []
    assert forward.box.locator("[name=picture]").input_value() == ""
    with new_picture(forward.box):
        forward.box.locator("[name=picture]").select_option("drawn car 1")
    np.testing.assert_array_equal(pixels_in(forward.box), car)
    assert forward.box.locator("[name=file]").input_value() == ""
    (tmp_path / "text.png").write_text("no picture")
    forward.box.get_by_label("Or a picture of yours").set_input_files(tmp_path / "text.png")
    forward.get_by_text("not a picture").wait_for()


def test_a_slow_picture_does_not_take_the_place_of_a_car_chosen_later(forward, photo):
    forward.evaluate(
        """() => {
            const read = createImageBitmap;
            window.createImageBitmap = async (file) => {
                await new Promise((go) => { window.go = go; });
                return read(file);
            };
        }"""
    )
    forward.box.get_by_label("Or a picture of yours").set_input_files(photo)
    with new_picture(forward.box):
        forward.box.locator("[name=picture]").select_option("drawn car 2")
    car = pixels_in(forward.box)
    forward.evaluate(
        """() => new Promise((resolve) => {
            // A photo is let go once it is shrunk.
            const close = ImageBitmap.prototype.close;
            ImageBitmap.prototype.close = function () { close.call(this); setTimeout(resolve); };
            window.go();
        })"""
    )
    np.testing.assert_array_equal(pixels_in(forward.box), car)
    assert forward.box.locator("[name=picture]").input_value() == "1"


def test_drawn_cars_that_are_missing_are_said(open_page, server, photo):
    server.missing = ("cars.png",)
    box = open_page("03-forward-noise.html").locator("[data-live-forward]")
    box.get_by_text("The drawn cars could not be loaded").wait_for()
    box.get_by_label("Or a picture of yours").set_input_files(photo)
    box.get_by_text("You see 1.00 × picture").wait_for()
    assert box.get_by_role("alert").inner_text() == ""
