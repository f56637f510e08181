"""Stage 6, sampling: start at pure noise and ask for the next cleaner picture, step by step."""

import math
from functools import lru_cache

import keras
import numpy as np
from keras import ops

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
    # A copy, since a view would keep every state of its batch in memory.
    return np.concatenate([states[-1].copy() for states in batches])


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
    return np.concatenate(list(_batches(model, n, schedule, seed, noise, every_state=True)), axis=1)


class _Sampler(keras.Model):
    """The loop over the steps as a model without weights of its own, so that Keras compiles it."""

    def __init__(self, network):
        # A sampler in half precision would round every state on the way.
        super().__init__(name="sampler", dtype="float32")
        self.network = network

    def call(self, inputs):
        state, levels = inputs

        def step(state, level_pair):
            level, next_level = (
                ops.broadcast_to(part, (ops.shape(state)[0], 1)) for part in ops.unstack(level_pair)
            )
            following = self.network([state, level, next_level], training=False)
            return following, following

        return ops.scan(step, state, levels)[1]


# A few networks are kept compiled, since compiling takes longer than drawing.
@lru_cache(maxsize=8)
def _sampler(model):
    sampler = _Sampler(model)
    # PyTorch's compiler takes longer than it saves here.
    sampler.compile(jit_compile=keras.backend.backend() != "torch")
    return sampler


def _batches(model, n, schedule, seed, noise, every_state):
    """Yield `(timesteps + 1, batch, height, width, channels)`, one batch after another.

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
    states = 1 + schedule.timesteps
    pictures = n * states if every_state else max(n, min(n, BATCH_SIZE) * states)
    asked = f"n is {n} and timesteps {schedule.timesteps}"
    check_size(asked, pictures * math.prod(image_shape))
    if noise is None and schedule.noise[0] != 1:
        raise ValueError(
            f"the schedule begins at noise level {schedule.noise[0]:g}, not at pure noise; give "
            "the noisy pictures to begin with as noise=, or a schedule that begins at 1."
        )
    levels = np.stack([schedule.noise[:-1], schedule.noise[1:]], axis=1).astype(np.float32)
    size = min(n, BATCH_SIZE)
    for first in range(0, n, size):
        if noise is None:
            start = gaussian_noise(size, image_shape, seed, first)
        else:
            start = np.resize(noise[first : first + size], (size, *image_shape))
        with explain_full_memory(
            f"the memory does not hold {size} pictures at once; draw fewer in one call, such as "
            f"n={max(1, size // 2)}."
        ):
            states = np.asarray(_sampler(model).predict_on_batch([start, levels]))
        # The last batch is drawn whole, so that one compiled shape serves all, and cut here.
        yield np.concatenate([start[None], states])[:, : n - first]
