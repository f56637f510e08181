"""Draw the whole book in one picture, for its first page and the README.

    python tools/whole_book.py book/_static/whole.png

First row: a noise becomes a car, in ten of the seventeen states of chapter 6. Second row: one noise
as each of the ten classes of chapter 11. Third row: strokes, and nine cars that chapter 12 makes of
them. Nothing is picked.
"""

import sys
from pathlib import Path

import numpy as np

import diffusion_core as core
from diffusion_core.page.figures import image_grid, png_bytes
from diffusion_core.sources.cifar10 import LABELS
from diffusion_core.sources.pretrained import GUIDE


def strokes() -> np.ndarray:
    """Return a red box with a window and two wheels, on a road before a wall."""
    picture = np.full((32, 32, 3), 0.6, np.float32)
    picture[20:] = 0
    picture[13:23, 3:29] = picture[8:13, 9:23] = 0.6, -0.8, -0.8
    picture[9:13, 11:21] = -0.8
    picture[20:26, 6:11] = picture[20:26, 21:26] = -1
    return picture


def main(path: Path) -> None:
    """Draw the three rows and write them."""
    cars = core.guided(core.load_pretrained("small"), core.load_pretrained(GUIDE))
    way = core.predict_step(cars, 1, seed=0)[[0, 6, 8, 9, 10, 11, 12, 13, 14, 16], 0]
    ten, noise = core.load_pretrained("ten"), core.gaussian_noise(1, seed=0)
    asked = [core.guided(core.of_class(ten, name), core.of_class(ten, None)) for name in LABELS]
    kinds = [core.predict(network, noise=noise)[0] for network in asked]
    drawing = strokes()
    answers = core.redraw(cars, np.stack([drawing] * 9), level=0.75)
    path.write_bytes(
        png_bytes(image_grid(np.stack([*way, *kinds, drawing, *answers]), 10, scale=2))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
