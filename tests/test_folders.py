"""Pictures of one's own: every sort that people have, and what is no picture."""

import os

import numpy as np
import pytest
from PIL import Image

from diffusion_core import load_folder

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    return folder


def load_one(folder, picture, name, **options):
    """Save a picture, and return it as it is read, in 4×4 pixels."""
    picture.save(folder / name, **options)
    (image,) = load_folder(folder, 4)
    return image


def striped(width, height, *colours):
    """Vertical stripes of equal width."""
    places = np.arange(width) * len(colours) // width
    return Image.fromarray(np.broadcast_to(np.uint8(colours)[places], (height, width, 3)).copy())


def test_the_middle_square_is_taken(folder):
    image = load_one(folder, striped(30, 10, RED, GREEN, BLUE), "wide.png")
    np.testing.assert_array_equal(image[:, 1:3], np.full((4, 2, 3), GREEN))
    assert image[..., 1].min() > 200  # at the edges, resizing mixes a little of the other stripes


def test_a_picture_is_turned_as_its_camera_says(folder):
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    image = load_one(folder, striped(8, 8, RED, BLUE), "turned.png", exif=turned)
    assert [tuple(image[0, 0]), tuple(image[0, 3])] == [BLUE, RED]


@pytest.mark.parametrize(
    ("picture", "name", "expected"),
    [
        (Image.new("L", (8, 8), 90), "grey.png", (90, 90, 90)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "logo.png", (204, 204, 204)),
        (Image.new("LA", (8, 8), (0, 51)), "grey-logo.png", (204, 204, 204)),
        (Image.new("RGB", (8, 8), RED).quantize(4), "palette.png", RED),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.tif", (255, 0, 0)),
        (Image.new("1", (8, 8), 1), "fax.tif", (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 257 * 90, np.uint16)), "scan.png", (90, 90, 90)),
    ],
)
def test_every_sort_of_colour_becomes_red_green_blue(folder, picture, name, expected):
    assert load_one(folder, picture, name)[1, 1].tolist() == list(expected)


def test_of_a_moving_picture_the_first_frame_counts(folder):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    image = load_one(folder, first, "moving.gif", save_all=True, append_images=[second])
    assert image[0, 0].tolist() == list(RED)


def test_names_and_places_do_not_matter_and_what_is_no_picture_is_named(folder):
    (folder / "notes.txt").write_text("taken in may")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    (folder / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(folder / "pipe.png")
    colours = [RED, GREEN, BLUE]
    for names in ("abc", "cab"):
        for name, colour in zip(names, colours, strict=True):
            Image.new("RGB", (9, 9), colour).save(folder / "deeper" / f"{name}.PNG")
        with pytest.warns(
            UserWarning, match=r"^3 files are no pictures: broken\.jpg, drawing\.eps, n"
        ):
            images = load_folder(folder)
        assert (images.dtype, images.shape) == (np.uint8, (3, 32, 32, 3))
        if names == "abc":
            before = images
    np.testing.assert_array_equal(images, before)


def test_a_folder_without_a_picture_is_refused(folder):
    with pytest.raises(ValueError, match="photos holds no picture; expected files of BMP, GIF"):
        load_folder(folder)
    with pytest.raises(NotADirectoryError, match="expected a folder of pictures"):
        load_folder(folder / "away")
