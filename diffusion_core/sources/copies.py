"""Chapter 7's search for copies: the training car that a picture resembles most, even if altered.

Pictures are compared by their contours: in grey, and between two degrees of blur, so that light and
colour do not count. A copy may be mirrored, shifted by 3 pixels or enlarged by a third.
"""

from itertools import product

import numpy as np

from diffusion_core.checks import checked
from diffusion_core.sources.features import PIXELS

# From so much correlation on, a picture counts as a copy; bench/copies.py says what that finds.
COPY = 0.93
WINDOW, SIDE = 24, 12  # of a picture that may be shifted or enlarged, its middle is sought
# Where a training car is searched: the side of the window, and the first row or column of it.
PLACES = {24: range(1, 8), 23: range(3, 7), 22: range(3, 8), 21: range(3, 9)}
PLACES |= {20: range(3, 10), 19: range(3, 11), 18: range(3, 12)}


@checked(images=PIXELS, training=PIXELS)
def resemblance(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return how much each picture resembles each training car: float32 `(n, m)` in [-1, 1].

    It is the largest correlation of the contours in the middle of the picture with those in any
    window of the car or of its mirror image. Both are uint8 `(n, 32, 32, 3)`.
    """
    rows, cars = _windows(_contours(images), WINDOW, 4, 4), _contours(training)
    best = np.full((len(images), len(training)), -1, np.float32)
    for contours in (cars, cars[:, :, ::-1]):
        for size, places in PLACES.items():
            for top, left in product(places, places):
                np.maximum(best, rows @ _windows(contours, size, top, left).T, out=best)
    return best


def copying(images: np.ndarray, training: np.ndarray) -> dict[str, np.ndarray]:
    """Look for pictures among training cars, both uint8 `(n, 32, 32, 3)`.

    Returns `nearest`, the number of the car that each resembles most; `resemblance`, how much; and
    `copied`, whether that is at least `COPY`. All have the shape `(n,)`.
    """
    found = resemblance(images, training)
    best = found.max(1)
    return {"nearest": found.argmax(1), "resemblance": best, "copied": best >= COPY}


def closest(nearest, resemblance, **_) -> list[dict]:
    """Return the ten pictures that resemble a training car most, of what `copying` found."""
    order = np.argsort(-resemblance, kind="stable")[:10]
    return [
        {"picture": int(i), "car": int(nearest[i]), "resemblance": float(resemblance[i])}
        for i in order
    ]


def groups(training: np.ndarray) -> np.ndarray:
    """Number training cars, uint8 `(n, 32, 32, 3)`: copies of each other share one of `(n,)`."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(resemblance(training, training) >= COPY, directed=False)[1]


def _contours(images):
    from scipy.ndimage import gaussian_filter

    grey = images.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    fine, coarse = (gaussian_filter(grey, (0, blur, blur)) for blur in (1, 3))
    return fine - coarse


def _windows(contours, size, top, left):
    """Return one window of each picture, in 12 × 12 points, with mean 0 and length 1."""
    points = (np.arange(SIDE) + 0.5) * size / SIDE - 0.5
    rows = _between(contours, top + points, axis=1)
    window = _between(rows, left + points, axis=2).reshape(len(contours), -1)
    window = window - window.mean(1, keepdims=True)
    return window / np.maximum(np.linalg.norm(window, axis=1, keepdims=True), 1e-3)


def _between(pictures, places, axis):
    """Read pictures between two of their rows or columns."""
    first = places.astype(int)
    share = (places - first).astype(np.float32)
    share = share[:, None] if axis == 1 else share
    before, after = (pictures.take(first + step, axis) for step in (0, 1))
    return before + share * (after - before)
