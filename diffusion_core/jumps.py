"""Chapter 10, jumps: a network that crosses the whole way at once, taught by one that walks.

The question changes from the next step to any level `s` below `a`: the network learns the map
`X(x, a, s) = x + (a - s) * u(x, a, s)` from its teacher's own ways, long pieces and short ones.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from diffusion_core.checks import COUNT, NETWORK, NUMBERS, SEED, checked
from diffusion_core.forward import gaussian_noise
from diffusion_core.model import make_model
from diffusion_core.runs import guards, states
from diffusion_core.runs.devices import train_on_batch
from diffusion_core.runs.optimizer import steps_done
from diffusion_core.runs.run import Run
from diffusion_core.samplers import euler
from diffusion_core.sampling import predict_step
from diffusion_core.schedule import ARTICLE
from diffusion_core.training import Rate, compile_model

# In steps of the teacher; the whole way is hardest, and it is asked most.
LENGTHS, SHARES = (1, 2, 4, 8, 16), (0.15, 0.1, 0.2, 0.2, 0.35)
ASKED = 48  # jumps on each way, before it makes room for a new one


def _check_settings(model, **_):
    if not getattr(model, "settings", {}).get("residual"):
        raise ValueError(
            "the model does not take a step by itself; expected a network of make_model with "
            "residual=True, or of load_pretrained."
        )


@checked(_check_settings, model=NETWORK)
def jumper(model: keras.Model) -> keras.Model:
    """Return a copy of a residual network whose layers also see at which level the step ends.

    What is new are the weights of that number, a row of zeros: at first the copy answers as `model`
    does, to the last bit, wherever the step ends.
    """
    return states.adopt(make_model(**{**model.settings, "jumps": True}), model)


@checked(teacher=NETWORK, n=COUNT, seed=SEED, first=SEED)
def walk(teacher: keras.Model, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
    """Return every state on the teacher's ways from noise to picture, in 16 steps.

    Way `i` starts from the noise of picture `first + i` of the seed.

    Returns:
        float16 `(17, n, height, width, channels)`, which takes half the room.
    """
    noise = gaussian_noise(n, teacher.input_shape[0][1:], seed, first)
    return predict_step(teacher, noise=noise, sampler=euler).astype(np.float16)


def WAYS(name, value):
    """The kind of what `walk` returns."""
    ways, shape = NUMBERS(name, value), (ARTICLE.timesteps + 1, "n", "height", "width", "channels")
    if ways.ndim != 5 or len(ways) != shape[0] or not ways.size:
        raise ValueError(f"{name} have the shape {ways.shape}; expected those of walk, {shape}.")
    return ways


@checked(ways=WAYS, n=COUNT, seed=SEED, step=SEED)
def draw_jumps(
    ways: np.ndarray, n: int, seed: int, step: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Ask for `n` jumps on such ways, by `(seed, step)` alone.

    A jump of `k` steps starts at a multiple of `k`, one in four at pure noise instead, where every
    drawing starts.

    Returns:
        `([x_a, a, s], x_s, weight)`, all float32: the states at both ends of the jump, its two
        levels `(n, 1)`, and `1 / (a - s)` as `(n, 1, 1)`. With this weight the error of `x_s` is
        that of the direction `u = (x_s - x_a) / (a - s)`, so a short jump counts like a long one.
    """
    random = np.random.default_rng([seed, 1, step])
    length = random.choice(LENGTHS, n, p=SHARES)
    start = length * (random.random(n) * ARTICLE.timesteps // length).astype(int)
    start[random.random(n) < 0.25] = 0
    way = random.integers(ways.shape[1], size=n)
    (_, a), (_, s) = ARTICLE.at(start[:, None]), ARTICLE.at((start + length)[:, None])
    x_a, x_s = (ways[t, way].astype(np.float32) for t in (start, start + length))
    return [x_a, a, s], x_s, 1 / (a - s)[..., None]


def _check_run(model, teacher, epochs, ways, batch_size, **_):
    guards.check_precision(model)
    if not getattr(model, "settings", {}).get("jumps"):
        raise ValueError("the model sees no jumps; give jumper(model), or a network that jumps.")
    guards.check_pupil(model, teacher, epochs, ways * ASKED, batch_size)


@checked(_check_run, model=NETWORK, teacher=NETWORK, ways=COUNT, **guards.RUN)
def train_jumps(
    model: keras.Model,
    teacher: keras.Model,
    *,
    epochs: int,
    ways: int = 1500,
    batch_size: int = 64,
    learning_rate: Rate = 2e-3,
    loss: str = "mean_absolute_error",
    seed: int = 0,
    weights_dir: str | Path | None = None,
    save_minutes: float = 10,
    callback: Callable[[int, keras.Model, dict], None] | None = None,
    callback_every: int = 1,
) -> dict[str, list[float]]:
    """Teach a network of `jumper` the jumps of a frozen teacher; no picture of the data is seen.

    Each epoch the teacher walks so many new `ways`, and 48 jumps are asked on each. With a guided
    teacher (chapter 8) one call learns what takes its teacher two. All else is as in `train`, to
    which the other arguments belong: saving, resuming, the averaged weights, the history.

    Progressive distillation (Salimans and Ho 2022, arXiv:2202.00512) halves the steps again and
    again; here all lengths are learned at once, from ways that were walked beforehand (Luhman and
    Luhman 2021, arXiv:2101.02388, for the whole way).
    """
    plan = {"batch_size": batch_size, "learning_rate": learning_rate, "loss": loss, "seed": seed}
    plan |= {"noise_levels": ARTICLE.noise, "ways": ways, "teacher": teacher}
    steps = ways * ASKED // batch_size
    with Run(model, weights_dir, save_minutes, epochs, plan, callback, callback_every) as run:
        compile_model(model, epochs * steps, learning_rate, loss)
        for epoch, places in run.epochs(steps):
            walked = None
            for _ in places:
                if walked is None:  # here, so that the history counts its time
                    walked = walk(teacher, ways, seed, first=epoch * ways)
                jumps = draw_jumps(walked, batch_size, seed, steps_done(model))
                run.losses.append(train_on_batch(model, *jumps))
    return run.history
