"""Chapter 3, forward noise: a picture at step `t`, and the same picture one step cleaner."""

import math
from itertools import product

import numpy as np

from diffusion_core.checks import COUNT, IMAGES, NOISE, NUMBERS, SEED, SHAPE, check_size, checked
from diffusion_core.schedule import ARTICLE, SCHEDULE, Schedule


def _check_fit(images, t, schedule, noise, **_):
    if t.shape not in ((), (len(images),)):
        raise ValueError(f"t has the shape {t.shape}; expected one step, or one for each image.")
    if not (t.min() >= 0 and t.max() < schedule.timesteps):  # NaN fails too
        raise ValueError(
            f"t reaches from {t.min():g} to {t.max():g}; expected steps from 0 to below "
            f"{schedule.timesteps}, where the picture is clean and nothing comes next."
        )
    if noise is not None and noise.shape != images.shape:
        raise ValueError(
            f"noise has the shape {noise.shape}; expected finite numbers {images.shape}."
        )


@checked(_check_fit, images=IMAGES, t=NUMBERS, schedule=SCHEDULE, seed=SEED, noise=NOISE)
def forward_noise(
    images: np.ndarray,
    t: float | np.ndarray,
    schedule: Schedule = ARTICLE,
    *,
    seed: int = 0,
    noise: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return each image at step `t` and at step `t + 1`, both made from the **same** noise.

    With independent noise for the two, the best answer to "what comes next?" would lose its noise
    at once, and sampling breaks.

    Args:
        images: float32 `(n, height, width, channels)` in [-1, 1], the clean `x0`.
        t: the step of each image, numbers `(n,)` in `[0, timesteps)`, or one for all. It may lie
            between two steps, as `Schedule.at` says; what is left of the last one is short.
        schedule: the signal and the noise of each step.
        seed: image `i` gets noise that depends on `(seed, i)` alone; see `gaussian_noise`.
        noise: standard normal noise of the shape of `images`, instead of drawing it.

    Returns:
        `(x_t, x_{t+1})`, both float32 of the shape of `images`.
    """
    x0 = images
    epsilon = gaussian_noise(len(x0), x0.shape[1:], seed) if noise is None else noise
    t = np.asarray(t, np.float64)[..., None, None, None]  # in eight bits, 127 + 1 would be -128
    (signal_t, noise_t), (signal_next, noise_next) = schedule.at(t), schedule.at(t + 1)
    x_t = signal_t * x0 + noise_t * epsilon
    x_next = signal_next * x0 + noise_next * epsilon
    return x_t, x_next


def _check_noise_size(n, image_shape, first, step, **_):
    size = math.prod(image_shape)
    check_size(f"n is {n} and image_shape {image_shape}", n * size)
    if first + n > 2**32:
        raise ValueError(f"first is {first}; expected a whole number from 0 to {2**32 - n}.")
    if (most := 2**32 // -(-size // 2) - 1) < step:
        raise ValueError(f"step is {step}; expected a whole number from 0 to {most}.")


@checked(_check_noise_size, n=COUNT, image_shape=SHAPE, seed=SEED, first=SEED, step=SEED)
def gaussian_noise(
    n: int,
    image_shape: tuple[int, ...] = (32, 32, 3),
    seed: int = 0,
    first: int = 0,
    step: int = 0,
) -> np.ndarray:
    """Return the standard normal noise of pictures `first` to `first + n - 1` of a seed.

    Each picture has an endless row of numbers, of which `step` takes the next piece: 0 is what a
    drawing starts from, and rules that add noise on the way take the later ones.

    Picture `i` depends on `(seed, i, step)` alone, not on `n` or a library's generator: the hash
    `pcg3d` (Jarzynski and Olano 2020, JCGT 9(3)) of the three 32-bit counters (seed, i, pair)
    gives two uniform numbers, and Box and Muller's transform turns them into two normal ones, in
    float64. A browser can compute the same.

    Returns:
        float32 `(n, *image_shape)`, at most 2²⁹ numbers.
    """
    size = math.prod(image_shape)
    noise = np.empty((n, size), np.float32)
    # In blocks, since the hashes and float64 need several times the room of the result.
    rows, columns = max(1, 2**16 // size), 2**16
    for row, column in product(range(0, n, rows), range(0, size, columns)):
        block = noise[row : row + rows, column : column + columns]
        pictures = first + row + np.arange(block.shape[0])[:, None]
        pairs = step * -(-size // 2) + (column + np.arange(0, block.shape[1], 2)) // 2
        u, v = _pcg3d(seed, pictures, pairs)
        radius = np.sqrt(-2 * np.log((u + 1.0) / 2**32))  # one more, since log(0) is infinite
        angle = 2 * np.pi * v / 2**32
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        block[:] = normal.reshape(len(pictures), -1)[:, : block.shape[1]]
    return noise.reshape(n, *image_shape)


def _pcg3d(*counters):
    """Return two of the three hashed 32-bit integers; all arithmetic wraps at 2³²."""
    x, y, z = np.broadcast_arrays(*(np.asarray(counter, np.uint32) for counter in counters))
    x, y, z = (a * np.uint32(1664525) + np.uint32(1013904223) for a in (x, y, z))
    for shift in (True, False):
        x = x + y * z
        y = y + z * x
        z = z + x * y
        if shift:
            x, y, z = (a ^ (a >> np.uint32(16)) for a in (x, y, z))
    return x, y
