"""Stage 6, sampling: start at pure noise and ask for the next cleaner picture, step by step."""

import math
from collections import deque
from itertools import pairwise

import keras
import numpy as np

from diffusion_core.checks import check_size, check_whole
from diffusion_core.devices import explain_full_memory
from diffusion_core.forward import check_noise, gaussian_noise
from diffusion_core.model import check_model
from diffusion_core.schedule import Schedule, check_linear

BATCH_SIZE = 100


def predict(
    model: keras.Model,
    n: int = 25,
    schedule: Schedule | None = None,
    seed: int = 0,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """Draw `n` pictures: the last state of `predict_step`, in batches, so that memory is bounded.

    Args, errors: as `predict_step`.

    Returns:
        float32 `(n, height, width, channels)`, around [-1, 1] but not clipped; see `denormalize`.
    """
    batches = _batches(model, n, schedule, seed, noise, every_state=False)
    # A queue of one lets go of every state as soon as the next one comes.
    return np.concatenate([deque(states, maxlen=1).pop() for states in batches])


def predict_step(
    model: keras.Model,
    n: int = 25,
    schedule: Schedule | None = None,
    seed: int = 0,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """Draw `n` pictures and return every state on the way, from pure noise to finished.

    Each step asks the network for the next image. With the residual network that is one Euler
    step of rectified flow (Liu et al. 2022, arXiv:2209.03003, algorithm 1), and the same as DDIM
    (Song et al. 2020, arXiv:2010.02502, equation 12) on these noise levels.

    Args:
        model: a network of `make_model`.
        n: how many pictures, at least 1.
        schedule: the 16 linear steps when None; `signal + noise = 1` is needed.
        seed: picture `i` starts from noise that depends on `(seed, i)` alone, whatever `n` is.
        noise: what to start from, numbers `(n, height, width, channels)` at the first noise level
            of the schedule; then `n` and `seed` are not used.

    Returns:
        float32 `(timesteps + 1, n, height, width, channels)`.

    Raises:
        TypeError, ValueError: a bad model, `n`, `seed` or schedule, no noise for a schedule that
            does not begin at 1, noise of another shape than the model's images or that is not
            finite, or pictures (for `predict`) or states that need more than 2²⁹ numbers.
    """
    batches = _batches(model, n, schedule, seed, noise, every_state=True)
    return np.concatenate([np.stack(list(states)) for states in batches], axis=1)


def _batches(model, n, schedule, seed, noise, every_state):
    """Yield one batch after another, each as a generator of its states from noise to finished.

    The caller keeps every state of every batch, or the last ones only.
    """
    image_shape = check_model(model).input_shape[0][1:]
    schedule = check_linear(schedule)
    if noise is None:
        n = check_whole("n", n)
    else:
        noise = check_noise(noise)
        n = len(noise) if noise.ndim else 0
        if n == 0 or noise.shape[1:] != image_shape:
            raise ValueError(
                f"noise has the shape {noise.shape}; expected finite numbers {('n', *image_shape)} "
                "with n of at least 1."
            )
    pictures = n * (1 + schedule.timesteps) if every_state else n
    asked = f"n is {n} and timesteps {schedule.timesteps}"
    check_size(asked, pictures * math.prod(image_shape))
    if noise is None and schedule.noise[0] != 1:
        raise ValueError(
            f"the schedule begins at noise level {schedule.noise[0]:g}, not at pure noise; give "
            "the noisy pictures to begin with as noise=, or a schedule that begins at 1."
        )
    size = min(n, BATCH_SIZE)
    for first in range(0, n, size):
        if noise is None:
            start = gaussian_noise(size, image_shape, seed, first)
        else:
            start = np.resize(noise[first : first + size], (size, *image_shape))
        # The last batch is drawn whole, so that one compiled shape serves all, and cut here.
        yield (state[: n - first] for state in _states(model, start, schedule))


def _states(model, state, schedule):
    """Yield a batch of noise, and what the network makes of it at every step."""
    yield state
    for level, next_level in pairwise(schedule.noise):
        levels = [np.full((len(state), 1), at, np.float32) for at in (level, next_level)]
        with explain_full_memory(
            f"the memory does not hold {len(state)} pictures at once; draw fewer in one call, such "
            f"as n={max(1, len(state) // 2)}."
        ):
            # Where devices share training, each of them draws the whole batch.
            state = np.asarray(model.predict_on_batch([state, *levels]))[: len(state)]
        yield state
