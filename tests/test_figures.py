import base64
import html.parser
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from diffusion_core import cosine_schedule, linear_schedule
from diffusion_core.page import figures

RED, BLUE = (np.full((4, 6, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))


def tags(shown, name):
    found = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == name:
                found.append(dict(attributes))

    Parser().feed(shown.data)
    return found


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_a_grid_lays_pictures_out_row_by_row_with_white_gaps():
    grid = figures.image_grid(np.stack([RED, BLUE, RED]), columns=2)
    assert grid.shape == (9, 13, 3)
    assert (grid[:4, :6] == RED).all()
    assert (grid[:4, 7:] == BLUE).all()
    assert (grid[5:, :6] == RED).all()
    assert (grid[4] == 255).all()
    assert (grid[:, 6] == 255).all()
    assert (grid[5:, 7:] == 255).all(), "the place of the missing fourth picture is white"


def test_a_grid_is_scaled_pixel_by_pixel_and_takes_floats_and_clips_them():
    assert figures.image_grid(RED[None], scale=3).shape == (12, 18, 3)
    grid = figures.image_grid(np.array([[[[-2.0, 0.0, 2.0]]]], np.float32))
    assert grid.tolist() == [[[0, 128, 255]]]


def test_shown_images_keep_their_columns_together_and_carry_their_alt_text_escaped():
    alt = 'red "and" <blue>'
    first, second = tags(figures.show_images(np.stack([RED, BLUE, BLUE]), alt, columns=2), "img")
    assert (first["alt"], second["alt"]) == (f"{alt}: column 1", f"{alt}: column 2")
    # Red above blue, with a gap; beside it one blue picture.
    assert (picture(first["src"])[[0, 4, 5], 0] == [[255, 0, 0], [255] * 3, [0, 0, 255]]).all()
    assert (picture(second["src"]) == BLUE).all()
    assert len(tags(figures.show_images(np.stack([RED] * 5), alt), "img")) == 3
    with pytest.raises(ValueError, match=r"\(0, 4, 6, 3\); expected \(n, height, width"):
        figures.show_images(RED[None][:0], alt)


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(32, 32, 320), (98, 98, 392), (65, 98, 686), (197, 98, 294), (98, 690, 690)],
)
def test_a_slider_shows_pixels_three_to_ten_times_and_not_taller_than_it_can(height, width, shown):
    stepper = figures.stepper([np.zeros((height, width, 3))], ["a"], "b")
    assert f'class="stepper" style="max-width:{shown}px"' in stepper.data


def test_a_strip_labels_every_picture():
    shown = figures.strip(np.stack([RED, BLUE]), ["one", "two"], alt="colours")
    assert [image["alt"] for image in tags(shown, "img")] == ["colours: one", "colours: two"]
    assert "<figcaption" in shown.data


@pytest.mark.parametrize(("pictures", "width"), [(1, 160), (4, 160), (5, 128), (7, 96), (17, 96)])
def test_a_strip_is_never_too_small_to_see_and_few_pictures_fill_the_column(pictures, width):
    shown = figures.strip(np.stack([RED] * pictures), ["a"] * pictures, "colours")
    for tag in tags(shown, "img") + tags(shown, "figure"):
        assert f"width:{width}px" in tag["style"]


def test_a_chart_is_as_wide_as_the_column():
    figure, axes = figures.chart("step t", "level")
    assert figures.figure_pixels(figure).shape[1] == 688
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step t", "level")


def test_panels_stand_below_one_another_and_name_the_x_axis_once():
    figure, axes = figures.chart("step t", "level", panels=2, height=5)
    assert [panel.get_xlabel() for panel in axes] == ["", "step t"]
    assert [panel.get_ylabel() for panel in axes] == ["level", "level"]
    assert figures.figure_pixels(figure).shape[:2] == (661, 688)


def test_a_stepper_holds_every_frame_and_label():
    shown = figures.stepper([RED, BLUE], ["red", "blue"], alt="a colour")
    (slider,) = tags(shown, "input")
    assert (slider["min"], slider["max"], slider["aria-valuetext"]) == ("0", "1", "red")
    (image,) = tags(shown, "img")
    assert image["alt"] == "a colour: red"
    assert (picture(image["src"]) == RED).all()
    data = json.loads(re.search(r"const data = (.*);\n", shown.data).group(1))
    assert data["labels"] == ["red", "blue"]
    assert (picture(data["frames"][1]) == BLUE).all()


def test_a_stepper_cannot_be_ended_by_its_own_labels():
    shown = figures.stepper([RED], ["</script><b>"], alt="</script>")
    assert shown.data.count("</script>") == 1
    assert not tags(shown, "b")


def test_the_same_stepper_is_the_same_page():
    pages = []
    for _ in range(2):
        figures.begin_page()
        pages.append(figures.stepper([RED], ["a"], "b").data)
    assert pages[0] == pages[1]
    # On one page every stepper has a name of its own.
    assert figures.stepper([RED], ["a"], "b").data != pages[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.image_grid(RED[None], columns=0), "columns is 0; expected a whole number"),
        (lambda: figures.image_grid(RED[None], scale=0), "scale is 0; expected a whole number"),
        (lambda: figures.image_grid(RED[None][:0]), r"\(0, 4, 6, 3\); expected \(n, height, width"),
        (lambda: figures.image_grid(RED), r"\(4, 6, 3\); expected \(n, height, width, channels\)"),
        (lambda: figures.strip([RED, BLUE], ["one"], ""), "2 pictures and 1 labels"),
        (lambda: figures.stepper([], [], ""), "expected one: "),
        (lambda: figures.stepper([RED, RED[:2]], ["a", "b"], ""), "expected one: "),
        (
            lambda: figures.stepper([RED[..., 0]], ["a"], ""),
            r"expected one: \(height, width, channels\)",
        ),
        (lambda: figures.stepper([RED], ["a", "b"], ""), "1 pictures and 2 labels"),
    ],
)
def test_pictures_and_labels_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_figure_becomes_pixels_and_is_closed():
    figure, _ = plt.subplots(figsize=(2, 1), dpi=50)
    pixels = figures.figure_pixels(figure)
    assert pixels.shape == (50, 100, 3)
    assert pixels.dtype == np.uint8
    assert not plt.fignum_exists(figure.number)


def test_schedules_and_histories_are_drawn_as_they_are():
    figure = figures.plot_schedules({"linear": linear_schedule(4), "cosine": cosine_schedule(4)})
    noise, signal, *_ = figure.axes[0].lines
    np.testing.assert_allclose(noise.get_ydata(), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(signal.get_ydata(), [0, 0.25, 0.5, 0.75, 1])
    history = {"epoch": [1, 2], "loss": [0.5, 0.25]}
    figure = figures.plot_histories({"a run": history}, timesteps=16)
    # The error of the direction.
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [8, 4])
    plt.close("all")


def test_grey_pictures_and_those_with_alpha_are_shown_too():
    grey, alpha = np.full((1, 4, 6, 1), 7, np.uint8), np.zeros((1, 4, 6, 4), np.uint8)
    alpha[..., 3] = [0, 0, 0, 255, 255, 51]
    assert (figures.image_grid(grey) == 7).all()
    assert figures.image_grid(alpha)[0, :, 0].tolist() == [255, 255, 255, 0, 0, 204]
    assert picture(tags(figures.strip(grey, ["a"], "b"), "img")[0]["src"]).shape == (4, 6, 3)
    assert "stepper" in figures.stepper(alpha, ["a"], "b").data
    with pytest.raises(ValueError, match="with 1, 3 or 4 channels"):
        figures.image_grid(np.zeros((1, 4, 6, 2)))
