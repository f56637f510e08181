"""Pictures of one's own: every sort that people have, and what is no picture."""

import io
import os
import struct
import warnings

import numpy as np
import pytest
from helpers import peak_megabytes
from PIL import Image

from diffusion_core import load_folder
from diffusion_core.sources.folders import _File

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
    tags = struct.pack("<HHHII", 2, 0x0112, 3, 1, 3)  # upside down, and one that is cut short
    tags = b"II*\0\x08\0\0\0" + tags + struct.pack("<HHII", 0x9999, 1, 2**20, 0)
    with warnings.catch_warnings(action="error"):
        image = load_one(folder, striped(8, 8, RED, BLUE), "turned.png", exif=tags)
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
            UserWarning, match=r"^3 files are no pictures, or have .*: broken\.jpg, drawing\.eps, n"
        ):
            images = load_folder(folder)
        assert (images.dtype, images.shape) == (np.uint8, (3, 32, 32, 3))
        if names == "abc":
            before = images
    np.testing.assert_array_equal(images, before)


LOAD = """
import sys
from diffusion_core.sources.folders import load_folder
assert len(load_folder(sys.argv[1])) == int(sys.argv[2])
"""


def test_a_large_picture_is_read_in_little_memory(folder):
    """Four bytes a pixel are 137 MiB, and every copy is as much again."""
    Image.new("RGB", (6000, 6000), RED).save(folder / "large.png", compress_level=1)
    Image.new("RGB", (1, 1)).save(folder / "small.png")
    (folder / "deeper" / "small.png").write_bytes((folder / "small.png").read_bytes())
    both = peak_megabytes(LOAD, folder, 3)
    assert both - peak_megabytes(LOAD, folder / "deeper", 1) < 200


@pytest.mark.parametrize(
    ("size", "mode", "name", "options"),
    [
        ((8200, 8200), "1", "scan.png", {}),
        ((20_000, 20_000), "1", "bomb.png", {}),
        ((4100, 4100), "L", "scan.webp", {"quality": 1, "method": 0}),
        ((1, 70_000), "L", "long.png", {}),
        ((8, 8), "L", "tiles.tif", {"tiffinfo": {0xFDE8: 2**14, 0xFDE9: 2**14}}),
    ],
)
def test_a_picture_that_would_fill_the_memory_is_left_out_and_named(
    folder, monkeypatch, size, mode, name, options
):
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.new(mode, size).save(folder / name, **options)
    monkeypatch.undo()
    if name == "tiles.tif":  # Pillow writes none, so two tags of our own get other numbers
        content = (folder / name).read_bytes().replace(b"\xe8\xfd", b"\x42\x01")
        (folder / name).write_bytes(content.replace(b"\xe9\xfd", b"\x43\x01"))
    with warnings.catch_warnings(record=True, action="always") as warned:
        assert len(load_folder(folder)) == 1
    said = [str(warning.message) for warning in warned]
    ending = f"have more than 67,108,864 pixels (a WebP: 16,777,216): {name}."
    assert said == [f"1 files are no pictures, or {ending}"]


@pytest.mark.parametrize(("name", "size"), [("swollen.bmp", 2**40), ("swollen.webp", 2**27)])
def test_a_file_that_is_too_large_for_a_picture_is_not_read(folder, name, size):
    Image.new("RGB", (8, 8)).save(folder / name)
    os.truncate(folder / name, size)
    with pytest.warns(UserWarning, match="swollen"), pytest.raises(ValueError, match="no picture"):
        load_folder(folder)


def scans(jpeg):
    start, *scans = jpeg.split(b"\xff\xda")
    return b"\xff\xda".join([start, *2**8 * scans])


def tags(jpeg):
    content = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(content, "PNG", exif=b"II*\0\x08" + bytes(2**17))
    return content.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda jpeg: jpeg[:2] + 2**18 * b"\xff" + jpeg[2:],
        lambda jpeg: jpeg[:2] + 2**18 * b"\xff\xfe\0\3 " + jpeg[2:],
        lambda jpeg: jpeg[:2] + 2 * b"\xff\xe1\xff\xf0Exif".ljust(0xFFF2, b"\0") + jpeg[2:],
        tags,
        scans,
    ],
)
def test_what_would_be_read_for_hours_or_many_times_is_left_out_and_named(folder, change):
    """Of a picture that is read without it: padding, notes, tags, scans."""
    Image.new("RGB", (8, 8)).save(folder / "camera.jpg", progressive=True)
    (folder / "endless.jpg").write_bytes(change((folder / "camera.jpg").read_bytes()))
    with pytest.warns(UserWarning, match=r"^1 files are no pictures.*: endless\.jpg\.$"):
        assert len(load_folder(folder)) == 1


def test_a_file_is_not_read_over_and_over(folder):
    """As an older Pillow does where each tag of a TIFF asks for the whole file."""
    (folder / "tags.tif").write_bytes(bytes(2**20))
    with (
        _File(folder / "tags.tif") as file,
        pytest.raises(ValueError, match="too many parts"),
    ):
        [(file.seek(0), file.read()) for _ in range(4)]


def test_a_large_picture_keeps_its_parts(folder):
    """One that is made smaller in strips shows in every place what one of few pixels shows."""
    colours = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    small = Image.fromarray(colours)
    turned = Image.Exif()
    turned[0x0112] = 6
    few = load_one(folder, small.resize((16, 16), 0), "a.png", exif=turned)
    (folder / "a.png").unlink()
    many = small.resize((1000, 1000), 0)
    np.testing.assert_allclose(load_one(folder, many, "a.png", exif=turned), few, atol=5)


def test_a_folder_without_a_picture_is_refused(folder):
    with pytest.raises(ValueError, match="photos holds no picture; expected files of BMP, GIF"):
        load_folder(folder)
    with pytest.raises(NotADirectoryError, match="expected a folder of pictures"):
        load_folder(folder / "away")
