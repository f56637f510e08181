"""The easel of chapter 12 under a reader's hand: what it draws is what Python draws."""

import struct
from functools import cache

import numpy as np
import pytest
from conftest import opening, serve
from PIL import Image
from worlds import World

from diffusion_core import (
    denormalize,
    gaussian_noise,
    guided,
    inpainting,
    load_pretrained,
    normalize,
    of_class,
    predict,
    redraw,
)
from diffusion_core.classes import class_shares
from diffusion_core.schedule import Schedule

PAGE = "12-editing.html?wasm"
ASK = """([request, picture, hole]) => new Promise((resolve, reject) => {
    const worker = (window.worker ??= new Worker("live/worker.js", { type: "module" }));
    worker.onmessage = ({ data }) => {
        if (data.type === "done") resolve(Array.from(data.drawn));
        if (data.type === "error") reject(new Error(data.text));
    };
    picture = Float32Array.from(picture);
    worker.postMessage({ ...request, picture, hole: hole && Uint8Array.from(hole) });
})"""
MIX = {"ship": 0.75, "truck": 0.25}


@pytest.fixture(scope="module")
def still(browser):
    """A page for tests that only ask its worker."""
    with serve() as server, opening(browser, server) as open_page:
        yield open_page(PAGE)


def picture():
    """A picture with something everywhere."""
    return np.tanh(gaussian_noise(1, (32, 32, 3), seed=7))


def schedule(level, steps):
    """The levels of the easel: `level` is walked in equal steps."""
    noise = level * (1 - np.arange(steps + 1) / steps)
    return Schedule(signal=1 - noise, noise=noise)


def draw_on(page, image, hole=None, label="mix", name="ten", **settings):
    """Return what the page's worker draws, as float32 (4, 32, 32, 3)."""
    request = {"run": 1, "wasm": True, "networks": [f"{name}.onnx"], "n": 4} | settings
    request["shares"] = class_shares(MIX if label == "mix" else label).tolist()
    hole = None if hole is None else hole.ravel().astype(int).tolist()
    found = page.evaluate(ASK, [request, image.ravel().tolist(), hole])
    return np.reshape(np.array(found, np.float32), (4, 32, 32, 3))


@cache
def network(label, w):
    if w == "learned":
        return of_class(load_pretrained("ten-guided"), label)
    ten = load_pretrained("ten")
    label = MIX if label == "mix" else label
    return guided(of_class(ten, label), of_class(ten, None), w)


@pytest.mark.parametrize(
    ("level", "steps", "label", "w"), [(0.6, 4, "mix", 2), (1, 3, None, 3), (0.35, 2, "cat", 1)]
)
def test_the_page_redraws_a_picture_as_python_does(still, level, steps, label, w):
    settings = {"level": level, "steps": steps, "seed": 5, "guidance": w}
    found = draw_on(still, picture(), label=label, **settings)
    four = np.repeat(picture(), 4, axis=0)
    expected = redraw(network(label, w), four, level, schedule(level, steps), seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_network_that_learned_guidance_redraws_as_python_does(still):
    settings = {"level": 0.6, "steps": 4, "seed": 5, "guidance": 1}
    found = draw_on(still, picture(), label="ship", name="ten-guided", **settings)
    four = np.repeat(picture(), 4, axis=0)
    expected = redraw(network("ship", "learned"), four, 0.6, schedule(0.6, 4), seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("level", [1, 0.7])
def test_the_page_fills_a_hole_as_python_does_and_keeps_the_rest_to_the_last_bit(still, level):
    image, hole = picture(), np.zeros((32, 32), bool)
    hole[5:20, 9:28] = True
    found = draw_on(still, image, hole, level=level, steps=4, seed=3, guidance=2)
    start = (1 - level) * image + level * gaussian_noise(4, (32, 32, 3), seed=3)
    rule = inpainting(image, hole)
    plan = {"schedule": schedule(level, 4), "sampler": rule, "seed": 3}
    expected = predict(network("mix", 2), noise=start.astype(np.float32), **plan)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(found[:, ~hole], np.repeat(image[:, ~hole], 4, axis=0))


# --- under the hand ---------------------------------------------------------------------------

PHONE = {"width": 360, "height": 740}
RED, BLACK, WHITE = (198, 40, 40), (24, 24, 24), (255, 255, 255)


class Easel(World):
    def __init__(self, page):
        super().__init__(page, "easel")
        self.page.set_default_timeout(60_000)

    def press(self, name):
        self.box.get_by_role("button", name=name, exact=True).click()

    def field(self, name):
        return self.box.locator(f"[name={name}]")

    def choose(self, tool):
        self.box.get_by_role("radio", name=tool, exact=True).check()

    def draw(self, *pixels):
        """Drag over the middles of these pixels [column, row]."""
        self.drag(0, *(((x + 0.5) / 32, (y + 0.5) / 32) for x, y in pixels))

    def rests(self):
        """Wait until the sharper answers to what was done last have come."""
        self.page.wait_for_function(
            "box => box.dataset.steps === '16' && Number(box.dataset.drawn) > (window.drawn ?? 0)"
            " && (window.drawn = Number(box.dataset.drawn))",
            arg=self.box.element_handle(),
        )

    def saved(self, name="Save the sheet"):
        """What a button saves, as uint8 (32, 32, 3)."""
        with self.page.expect_download() as download:
            self.press(name)
        large = np.array(Image.open(download.value.path()).convert("RGB"))
        np.testing.assert_array_equal(large, large[::8, ::8].repeat(8, axis=0).repeat(8, axis=1))
        return large[::8, ::8]

    def answers(self):
        values = self.box.locator(".easel-answers canvas").evaluate_all(
            """all => all.map((canvas) =>
                Array.from(canvas.getContext("2d").getImageData(0, 0, 32, 32).data))"""
        )
        return np.array(values, np.uint8).reshape(4, 32, 32, 4)[..., :3]

    def load(self, path):
        self.field("file").set_input_files(path)


@pytest.fixture
def easel(open_page):
    page = open_page(PAGE)
    yield Easel(page)
    assert page.complaints == []
    assert [url for url in page.requested if not url.startswith(page.url.split("12-")[0])] == []


def test_while_a_hand_draws_answers_come_and_when_it_rests_those_to_what_it_drew(easel):
    easel.draw((5, 28), (25, 28))
    easel.rests()
    before = int(easel.box.get_attribute("data-drawn"))
    moves = [(3 + i % 26, 2 + i // 26) for i in range(104)]
    easel.draw(*moves)
    easel.rests()
    assert 2 <= int(easel.box.get_attribute("data-drawn")) - before < len(moves)
    sheet = normalize(easel.saved()[None])
    four = np.repeat(sheet, 4, axis=0)
    expected = redraw(network("automobile", "learned"), four, 0.6, schedule(0.6, 16))
    found = easel.answers().astype(int)
    assert np.abs(found - denormalize(expected)).max() <= 1
    np.testing.assert_array_equal(easel.saved("Save answer 3 as PNG"), found[2])


def test_what_changed_while_an_answer_was_at_work_is_answered_next_and_once(easel):
    easel.draw((3, 3))
    easel.rests()
    before = int(easel.box.get_attribute("data-drawn"))
    easel.box.evaluate(
        """box => {
            window.setTimeout = () => 0; // the hand never rests
            const seed = box.querySelector("[name=seed]");
            for (let i = 0; i < 5; i++) seed.dispatchEvent(new Event("input"));
        }"""
    )
    arg = [easel.box.element_handle(), before + 2]
    drawn = "([box, n]) => box.dataset.steps === '4' && Number(box.dataset.drawn) === n"
    easel.page.wait_for_function(drawn, arg=arg, timeout=20_000)
    easel.page.wait_for_timeout(500)
    assert easel.page.evaluate(drawn, arg)


def test_brush_fill_and_eraser_change_what_they_should_and_each_can_be_undone(easel):
    sheets = [easel.saved()]
    easel.box.get_by_role("button", name="black").click()
    easel.field("size").select_option("1")
    easel.draw((4, 2), (8, 6))
    sheets.append(sheets[-1].copy())
    for i in range(5):
        sheets[-1][2 + i, 4 + i] = BLACK
    np.testing.assert_array_equal(easel.saved(), sheets[-1])
    easel.choose("Fill")
    easel.draw((5, 17))  # the car's body
    sheets.append(sheets[-1].copy())
    sheets[-1][(sheets[-2] == RED).all(axis=-1)] = BLACK
    np.testing.assert_array_equal(easel.saved(), sheets[-1])
    easel.choose("Eraser")
    easel.field("size").select_option("4")
    easel.draw((30, 30))
    sheets.append(sheets[-1].copy())
    sheets[-1][29:, 29:] = WHITE
    np.testing.assert_array_equal(easel.saved(), sheets[-1])
    easel.press("Clear")
    assert (easel.saved() == 255).all()
    for sheet in reversed(sheets):
        easel.press("Undo")
        np.testing.assert_array_equal(easel.saved(), sheet)


def test_a_hole_is_filled_and_all_around_it_stays_as_it_is_until_it_is_closed(easel):
    easel.choose("Hole")
    easel.field("size").select_option("4")
    easel.draw((10, 10), (20, 10))
    easel.rests()
    assert "Four ways to fill the hole: automobile" in easel.sentence.inner_text()
    sheet, changed = easel.saved(), np.zeros((32, 32), bool)
    changed[9:13, 9:23] = True
    for answer in easel.answers():
        np.testing.assert_array_equal(answer[~changed], sheet[~changed])
        assert (answer[changed] != sheet[changed]).any()
    easel.choose("Close hole")
    easel.draw((10, 10), (20, 10))
    easel.rests()
    assert "Four answers to the sheet" in easel.sentence.inner_text()


def test_an_answer_is_taken_onto_the_sheet_and_can_be_given_back(easel):
    sheet = easel.saved()
    easel.field("second").select_option("ship")
    easel.field("mix").fill("40")
    easel.rests()
    assert (
        "automobile and 40 % ship, strength 0.60, guidance learned" in easel.sentence.inner_text()
    )
    second = easel.answers()[1]
    easel.press("Go on from answer 2")
    np.testing.assert_array_equal(easel.saved(), second)
    easel.press("Undo")
    np.testing.assert_array_equal(easel.saved(), sheet)


def test_the_keyboard_is_enough(easel):
    sheet, canvas, keyboard = easel.saved(), easel.canvas(), easel.page.keyboard
    easel.field("size").select_option("1")
    easel.box.get_by_role("button", name="black").click()
    canvas.focus()
    keyboard.press("ArrowLeft")
    assert easel.sentence.inner_text() == "Column 16, row 17 of the sheet."
    keyboard.down(" ")
    keyboard.press("ArrowDown")
    keyboard.up(" ")
    keyboard.press("ArrowDown")
    after = sheet.copy()
    after[16:18, 15] = BLACK
    np.testing.assert_array_equal(easel.saved(), after)
    canvas.press("Control+z")
    np.testing.assert_array_equal(easel.saved(), sheet)
    for control in easel.box.locator("input, select, button").all():
        name = "e => e.ariaLabel ?? (e.labels?.[0] ?? e).textContent.trim()"
        assert len(control.evaluate(name)) > 2


# --- files ------------------------------------------------------------------------------------


def test_a_photo_is_turned_as_the_camera_was_held_and_its_middle_is_taken(easel, tmp_path):
    photo = np.zeros((400, 600, 3), np.uint8)
    photo[:, 100:300], photo[:, 300:500] = (250, 0, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera stood on its left side
    Image.fromarray(photo).save(tmp_path / "mine.jpg", exif=exif, quality=95)
    easel.page.requested.clear()
    easel.load(tmp_path / "mine.jpg")
    easel.box.locator("progress:visible, .live-status:has-text('in 16 steps')").first.wait_for()
    sheet = easel.saved().astype(int)
    assert np.abs(sheet[1:15] - (250, 0, 0)).max() < 8
    assert np.abs(sheet[17:31] - (0, 0, 250)).max() < 8
    easel.press("Undo")
    assert (easel.saved()[0, 0] == (159, 197, 232)).all()
    assert all(url.startswith(easel.page.url.split("12-")[0]) for url in easel.page.requested)


def test_pictures_of_other_kinds_are_read_too(easel, tmp_path):
    colours = {"animated.gif": (200, 60, 60), "moving.webp": (60, 160, 60)}
    colours |= {"print.jpg": (40, 60, 200), "grey.png": (120, 120, 120)}
    for name, colour in colours.items():
        first, then = (Image.new("RGB", (50, 40), c) for c in (colour, (0, 0, 0)))
        moving = {"save_all": True, "append_images": [then], "lossless": True}
        kind = {"print.jpg": "CMYK", "grey.png": "L"}.get(name, "RGB")
        first.convert(kind).save(tmp_path / name, **(moving if kind == "RGB" else {}))
        before = easel.seen()[2]
        easel.load(tmp_path / name)
        arg = [easel.canvas().element_handle(), before]
        easel.page.wait_for_function("([c, before]) => c.toDataURL() !== before", arg=arg)
        assert np.abs(easel.saved().astype(int) - colour).max() <= 12, name


def png(width, height):
    """The beginning of a PNG of this size, and no end."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + bytes(40)


HOSTILE = {
    b"": "This file is empty.",
    b"no picture": "not a picture in PNG, JPEG, GIF or WebP",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": "not a picture in PNG",
    b"\xff\xd8\xff\xe0": "not a picture in PNG",
    png(20, 20): "not a picture that the browser can read",
    png(60000, 60000): "This picture has 60000 × 60000 pixels; expected at most 64 million",
    png(8, 8) + bytes(31_000_000): "This file has 32 MB; expected at most 30 MB.",
}


def test_a_hostile_file_ends_in_one_sentence_and_changes_nothing(easel, tmp_path):
    sheet = easel.saved()
    for content, sentence in HOSTILE.items():
        (tmp_path / "picture.png").write_bytes(content)
        easel.load(tmp_path / "picture.png")
        easel.box.get_by_role("alert").get_by_text(sentence).wait_for()
    np.testing.assert_array_equal(easel.saved(), sheet)


def test_a_picture_can_be_dropped(easel):
    easel.box.evaluate(
        """async box => {
            const blue = new OffscreenCanvas(8, 8);
            const context = blue.getContext("2d");
            context.fillStyle = "#0000ff";
            context.fillRect(0, 0, 8, 8);
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([await blue.convertToBlob()], "blue.png"));
            const options = { dataTransfer, bubbles: true, cancelable: true };
            box.dispatchEvent(new DragEvent("drop", options));
        }"""
    )
    easel.rests()
    assert (easel.saved() == (0, 0, 255)).all()


# --- links, networks, and other places ----------------------------------------------------------


def test_a_link_holds_the_settings_and_one_that_asks_for_too_much_says_so(easel):
    easel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, value in (("strength", "35"), ("seed", "7")):
        easel.field(name).fill(value)
    for name, value in (("class", "frog"), ("guidance", "1.5")):
        easel.field(name).select_option(value)
    easel.press("Copy link")
    easel.sentence.get_by_text("The link is copied.").wait_for()
    link = easel.page.evaluate("navigator.clipboard.readText()")
    words = "easel-class-frog-second-truck-mix-0-strength-35-guidance-1.5-seed-7"
    assert link.endswith("#" + words)
    easel.page.goto("about:blank")
    easel.page.goto(link)
    assert easel.field("class").input_value() == "frog"
    assert easel.field("strength").input_value() == "35"
    for wrong in ("class-teapot", "strength-36", "seed--1", "guidance-9"):
        easel.page.evaluate("link => { location.hash = link; }", f"easel-{wrong}")
        easel.box.get_by_text(f"asks for another {wrong.split('-')[0]} than there is").wait_for()
    assert easel.field("class").input_value() == "frog"


def test_nothing_large_comes_before_the_first_touch_and_then_one_network_alone(easel):
    easel.page.wait_for_load_state("networkidle")
    assert "The first time, it fetches up to" in easel.sentence.inner_text()
    large = (".wasm", ".onnx")
    assert [url for url in easel.page.requested if url.endswith(large)] == []
    easel.draw((3, 3))
    easel.rests()

    def networks():
        urls = easel.page.requested
        return {url.rsplit("/", 1)[1] for url in urls if url.endswith(".onnx")}

    assert networks() == {"ten-guided.onnx"}
    easel.field("guidance").select_option("2")
    easel.rests()
    assert networks() == {"ten-guided.onnx", "ten.onnx"}


def test_a_page_that_was_used_works_offline(easel, server):
    easel.draw((3, 3))
    easel.rests()
    before = easel.answers()
    easel.page.locator("html[data-offline=ready]").wait_for(state="attached")
    server.down = True
    easel.page.reload()
    easel = Easel(easel.page)
    easel.draw((3, 3))
    easel.rests()
    np.testing.assert_array_equal(easel.answers(), before)


def test_without_a_network_it_is_said_and_the_sheet_stays(easel, server):
    server.down = True
    easel.draw((3, 3))
    assert easel.box.get_by_role("alert").filter(has_text="Are you online?").inner_text()
    assert (easel.saved()[3, 3] == RED).all()
    server.down = False
    easel.draw((5, 3))
    easel.rests()
    assert easel.box.get_by_role("alert").inner_text() == ""
    easel.page.complaints.clear()


def test_on_a_phone_a_finger_draws_and_the_dark_is_dark(open_page):
    page = open_page(PAGE, viewport=PHONE, has_touch=True, color_scheme="dark")
    easel = Easel(page)
    easel.canvas().tap(position={"x": 20, "y": 20})
    easel.rests()
    assert (easel.saved() == RED).all(axis=-1)[:4, :4].any()
    assert easel.box.evaluate("e => e.scrollWidth <= e.clientWidth")
    styles = "all => all.map((e) => getComputedStyle(e).touchAction)"
    assert easel.box.locator("canvas").evaluate_all(styles) == ["none", *4 * ["auto"]]
    # The answers are in sight while a finger is on the sheet.
    easel.canvas().scroll_into_view_if_needed()
    boxes = [easel.canvas(i).bounding_box() for i in (0, 4)]
    assert boxes[1]["y"] + boxes[1]["height"] - boxes[0]["y"] < PHONE["height"]
    assert page.complaints == []
