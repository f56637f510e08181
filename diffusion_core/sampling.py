"""Chapter 6, sampling: start at pure noise and ask for the next cleaner picture, step by step."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import keras
import numpy as np

from diffusion_core.checks import COUNT, NETWORK, NOISE, SEED, check_size, checked
from diffusion_core.forward import gaussian_noise
from diffusion_core.runs.devices import predict_on_batch
from diffusion_core.samplers import SAMPLER, euler
from diffusion_core.schedule import ARTICLE, LINEAR, Schedule

BATCH_SIZE, MOST_IN_BATCH = 100, 2**24  # pictures, and numbers in them


def _check_start(model, n, schedule, noise, **_):
    image_shape = model.input_shape[0][1:]
    if noise is not None and (noise.shape[1:] != image_shape or not len(noise)):
        raise ValueError(
            f"noise has the shape {noise.shape}; expected finite numbers {('n', *image_shape)} "
            "with n of at least 1."
        )
    if noise is None and schedule.noise[0] != 1:
        raise ValueError(
            f"the schedule begins at noise level {schedule.noise[0]:g}, not at pure noise; give "
            "the noisy pictures to begin with as noise=, or a schedule that begins at 1."
        )
    check_size(f"n is {n}", (n if noise is None else len(noise)) * math.prod(image_shape))


def _check_states(model, n, schedule, noise, **_):
    _check_start(model, n, schedule, noise)
    states = (1 + schedule.timesteps) * (n if noise is None else len(noise))
    check_size(
        f"n is {n} and timesteps {schedule.timesteps}", states * math.prod(model.input_shape[0][1:])
    )


ARGUMENTS = dict(model=NETWORK, n=COUNT, schedule=LINEAR, seed=SEED, noise=NOISE, sampler=SAMPLER)


@checked(_check_start, **ARGUMENTS)
def predict(
    model: keras.Model,
    n: int = 25,
    schedule: Schedule = ARTICLE,
    seed: int = 0,
    noise: np.ndarray | None = None,
    sampler: str | Callable = "euler",
) -> np.ndarray:
    """Draw `n` pictures: the last state of `predict_step`, whose arguments these are.

    Returns:
        float32 `(n, height, width, channels)`, around [-1, 1] but not clipped; see `denormalize`.
    """
    drawn = []
    for x, fresh in _starts(model, n, seed, noise):
        for x in _steps(model, x, schedule, sampler, fresh):  # noqa: B007, B020
            pass
        drawn.append(x)
    return np.concatenate(drawn)[: n if noise is None else len(noise)]


@checked(_check_states, **ARGUMENTS)
def predict_step(
    model: keras.Model,
    n: int = 25,
    schedule: Schedule = ARTICLE,
    seed: int = 0,
    noise: np.ndarray | None = None,
    sampler: str | Callable = "euler",
) -> np.ndarray:
    """Draw `n` pictures and return every state on the way, from pure noise to finished.

    Each step asks the network for the next image. With the residual network that is one Euler
    step of rectified flow (Liu et al. 2022, arXiv:2209.03003, algorithm 1), and the same as DDIM
    (Song et al. 2020, arXiv:2010.02502, equation 12) on these noise levels.

    Args:
        model: a network of `make_model`.
        n: how many pictures, at least 1.
        schedule: `signal + noise = 1` is needed.
        seed: picture `i` starts from noise that depends on `(seed, i)` alone, whatever `n` is.
        noise: what to start from, numbers `(n, height, width, channels)` at the first noise level
            of the schedule; then `n` is not used, and `seed` for what a rule adds on the way alone.
        sampler: the rule, one of `samplers.SAMPLERS` by its name, or a function of that signature.

    Returns:
        float32 `(timesteps + 1, n, height, width, channels)`, at most 2²⁹ numbers.
    """
    drawn = [
        np.stack([start, *_steps(model, start, schedule, sampler, fresh)])
        for start, fresh in _starts(model, n, seed, noise)
    ]
    return np.concatenate(drawn, axis=1)[:, : n if noise is None else len(noise)]


def _steps(model, x, schedule, sampler, fresh):
    """Yield each state after `x`: the network answers `x + (a_t - a_{t+1}) * d(x, a_t)`."""
    if sampler is not euler:  # that step the network takes by itself
        yield from sampler(partial(ask, model, a_next=0), x, schedule.noise.tolist(), fresh)
        return
    for a_t, a_next in pairwise(schedule.noise.astype(np.float32)):
        x = ask(model, x, a_t, a_next)
        yield x


def ask(model, x, a_t, a_next):
    """Return the network's answer to states at level `a_t`: those at `a_next`, in one batch."""
    levels = (np.full((len(x), 1), level, np.float32) for level in (a_t, a_next))
    return predict_on_batch(model, [x, *levels])


def _starts(model, n, seed, noise):
    """Yield what to start from and what draws fresh noise for it, in whole batches.

    So the network is compiled for one shape.
    """
    image_shape = model.input_shape[0][1:]
    n = n if noise is None else len(noise)
    size = max(1, min(n, BATCH_SIZE, MOST_IN_BATCH // math.prod(image_shape)))
    for first in range(0, n, size):
        fresh = partial(gaussian_noise, size, image_shape, seed, first)
        if noise is None:
            yield fresh(0), fresh
        else:
            yield np.resize(noise[first : first + size], (size, *image_shape)), fresh
