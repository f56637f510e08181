"""Stage 3, forward noise: the picture at step `t`, the same picture one step cleaner, and noise.

`x_t = signal[t] * x0 + noise[t] * epsilon`: one formula jumps to any step at once.
"""

import math

import numpy as np

from diffusion_core.checks import (
    as_array,
    brief,
    check_images,
    check_numbers,
    check_size,
    check_whole,
    check_wholes,
)
from diffusion_core.schedule import Schedule, check_schedule


def forward_noise(
    images: np.ndarray,
    t: int | np.ndarray,
    schedule: Schedule | None = None,
    *,
    seed: int = 0,
    noise: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return each image at step `t` and at step `t + 1`, both made from the **same** noise.

    Args:
        images: float32 `(n, height, width, channels)` in [-1, 1], the clean `x0`.
        t: the step of each image, integers `(n,)` in `[0, timesteps)`, or one for all.
        schedule: the 16 linear steps when None.
        seed: image `i` gets noise that depends on `(seed, i)` alone; see `gaussian_noise`.
        noise: standard normal noise of the shape of `images`, instead of drawing it.

    Returns:
        `(x_t, x_{t+1})`, both float32 of the shape of `images`. With independent noise for the two
        the best answer to "what comes next?" would lose its noise at once, and sampling breaks.

    Raises:
        TypeError, ValueError: images as in `check_images`; steps that are not integers in range;
            noise of another shape, or that is not finite in float32.
    """
    images = check_images(images)
    schedule = check_schedule(schedule)
    t = as_array("t", t)
    if t.dtype.kind not in "iu":
        raise TypeError(f"t is {t.dtype}; expected integer steps.")
    if t.shape not in ((), (len(images),)):
        raise ValueError(f"t has the shape {t.shape}; expected one step, or one for each image.")
    if t.min() < 0 or t.max() >= schedule.timesteps:
        raise ValueError(
            f"t reaches from {t.min()} to {t.max()}; expected steps from 0 to "
            f"{schedule.timesteps - 1}, since x_{{t+1}} is returned too."
        )
    if noise is None:
        noise = gaussian_noise(len(images), images.shape[1:], seed)
    else:
        noise = check_noise(noise)
        if noise.shape != images.shape:
            raise ValueError(
                f"noise has the shape {noise.shape}; expected finite numbers {images.shape}."
            )
    # In eight bits, 127 + 1 would be -128.
    t = t.astype(np.int64)

    def at(step):
        signal_level = schedule.signal[step].astype(np.float32).reshape(-1, 1, 1, 1)
        noise_level = schedule.noise[step].astype(np.float32).reshape(-1, 1, 1, 1)
        return signal_level * images + noise_level * noise

    return at(t), at(t + 1)


def check_noise(noise: np.ndarray) -> np.ndarray:
    """Return `noise` as float32; raise `TypeError` or `ValueError` unless all of it is finite."""
    noise = check_numbers("noise", noise)
    # What is too large for float32 becomes infinite, and is refused with the rest.
    with np.errstate(over="ignore"):
        noise = noise.astype(np.float32)
    if not np.isfinite(noise).all():
        raise ValueError(
            f"noise of the shape {noise.shape} holds NaN or infinite values; expected finite "
            "numbers, as gaussian_noise draws them."
        )
    return noise


def gaussian_noise(
    n: int, image_shape: tuple[int, ...] = (32, 32, 3), seed: int = 0, first: int = 0
) -> np.ndarray:
    """Return the standard normal noise of pictures `first` to `first + n - 1` of a seed.

    Picture `i` depends on `(seed, i)` alone, not on `n` or on a library's generator: the hash
    `pcg3d` (Jarzynski and Olano 2020, JCGT 9(3)) of the three 32-bit counters (seed, i, pair)
    gives two uniform numbers, and Box and Muller's transform turns them into two normal ones, in
    float64. A browser can compute the same.

    Returns:
        float32 `(n, *image_shape)`.

    Raises:
        TypeError, ValueError: `n` or a side below 1, a seed or a picture's number that is not a
            whole number in [0, 2³²), or more than 2²⁹ numbers in all.
    """
    n = check_whole("n", n)
    seed = check_whole("seed", seed, least=0)
    first = check_whole("first", first, least=0, most=2**32 - n)
    image_shape = check_wholes("image_shape", image_shape)
    if min(image_shape, default=1) < 1:
        raise ValueError(f"image_shape is {brief(image_shape)}; expected sides of at least 1.")
    size = math.prod(image_shape)
    check_size(f"n is {n} and image_shape {brief(image_shape)}", n * size)
    noise = np.empty((n, size), np.float32)
    # In blocks, since the hashes and float64 take several times the room of the result.
    rows, columns = max(1, _BLOCK // size), min(size, _BLOCK)
    for row in range(0, n, rows):
        for column in range(0, size, columns):
            part = noise[row : row + rows, column : column + columns]
            pictures = np.arange(first + row, first + row + len(part), dtype=np.uint32)[:, None]
            pairs = np.arange(column // 2, (column + part.shape[1] + 1) // 2, dtype=np.uint32)
            radius, angle = _pcg3d(np.uint32(seed), pictures, pairs)
            # Adding one keeps the logarithm away from zero.
            radius = np.sqrt(-2 * np.log((radius + 1.0) / 2**32))
            angle = 2 * np.pi * angle / 2**32
            part[:, ::2] = radius * np.cos(angle)
            part[:, 1::2] = (radius * np.sin(angle))[:, : part.shape[1] // 2]
    return noise.reshape(n, *image_shape)


_BLOCK = 2**17  # numbers at a time; even, so that no pair is torn


def _pcg3d(*counters):
    """Return two of the three hashed 32-bit integers; all arithmetic wraps at 2³²."""
    x, y, z = np.broadcast_arrays(*counters)
    x, y, z = (a * np.uint32(1664525) + np.uint32(1013904223) for a in (x, y, z))
    for shift in (True, False):
        x = x + y * z
        y = y + z * x
        z = z + x * y
        if shift:
            x, y, z = (a ^ (a >> np.uint32(16)) for a in (x, y, z))
    return x, y
