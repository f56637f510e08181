"""Chapter 12, editing: draw on from a picture, fill a hole in it, walk back to its noise.

No network is trained for any of this. What changes is where a drawing starts, and what is put into
the clean guess on the way. Pictures are float32 `(n, height, width, channels)` in [-1, 1]; those
that come back may leave it a little.
"""

from collections.abc import Callable
from itertools import count, pairwise

import keras
import numpy as np

from diffusion_core import checks
from diffusion_core.checks import IMAGES, NETWORK, SEED, checked, number, whole
from diffusion_core.forward import gaussian_noise
from diffusion_core.samplers import euler, renoise
from diffusion_core.sampling import ask, predict
from diffusion_core.schedule import ARTICLE, LINEAR, Schedule


def _check_images(images, model=None, source=None, target=None, **_):
    for network in filter(None, (model, source, target)):
        checks.check_images_of(network, images)


EDITED = dict(images=IMAGES, schedule=LINEAR)
FROM_LEVEL = EDITED | dict(level=number(1, 0.01), seed=SEED)


@checked(_check_images, model=NETWORK, **FROM_LEVEL)
def redraw(
    model: keras.Model,
    images: np.ndarray,
    level: float = 0.6,
    schedule: Schedule = ARTICLE,
    seed: int = 0,
) -> np.ndarray:
    """Make pictures noisy and draw on from there: SDEdit, Meng et al. 2021, arXiv:2108.01073.

    Args:
        model: a network of `make_model`, `load_pretrained` or `guided`.
        images: strokes, photographs, or one picture several times, for variations of it.
        level: the noise level to start from, 0.01 to 1; at 1 nothing of the pictures is left.
        schedule: the levels of the steps; those below `level` are walked.
        seed: picture `i` gets noise that depends on `(seed, i)` alone.
    """
    start = renoise(images, 0, level, gaussian_noise(len(images), images.shape[1:], seed))
    return predict(model, noise=start, schedule=_from_level(level, schedule), sampler=euler)


def _from_level(level, schedule):
    levels = np.append(level, schedule.noise[schedule.noise < level])
    return Schedule(signal=1 - levels, noise=levels)


@checked(checks.check_hole, images=IMAGES, hole=checks.HOLE, patience=whole(1, 1000))
def inpainting(images: np.ndarray, hole: np.ndarray, patience: int = 1) -> Callable:
    """Return a rule, for `predict(sampler=...)`, that draws in a hole and keeps what is around it.

    In every clean guess the given pixels replace the guessed ones, and fresh noise leads to the
    next level. Outside the hole the drawn pictures equal the given ones to the last bit. Inside
    they are less varied than they should be, since a clean guess is a mean of pictures.

    Args:
        images: one picture for all that are drawn, or one for each, at most 100.
        hole: bool `(height, width)`, True where is to be drawn.
        patience: how often each step is taken, with noise that leads back up in between, 1 to
            1,000 (RePaint: Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1).
    """
    hole = hole[..., None]

    def rule(guess, x, levels, fresh):
        if len(images) not in (1, len(x)) or images.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"the hole is in pictures {images.shape}, and pictures {x.shape} are drawn at "
                "once; expected one for all, or one for each of at most 100."
            )
        noise = map(fresh, count(1))
        for a, s in pairwise(levels):
            for turn in range(patience):
                if turn > 0:
                    x = renoise(x, s, a, next(noise))
                clean = np.where(hole, guess(x, a), images)
                x = renoise(clean, 0, s, next(noise))
            yield x

    return rule


@checked(_check_images, model=NETWORK, **EDITED)
def invert(model: keras.Model, images: np.ndarray, schedule: Schedule = ARTICLE) -> np.ndarray:
    """Walk from pictures back to the noise that would draw them, by Euler's steps backwards.

    The network is asked with its levels swapped, and answers with the direction at the cleaner end
    of each step, while drawing takes that at the noisier one. So drawing from the noise comes near
    to the pictures, nearer in more steps (Song et al. 2020, arXiv:2010.02502, section 5.4).
    """
    x = images
    for s, a in pairwise(schedule.noise[::-1].astype(np.float32)):
        x = ask(model, x, s, a)
    return x


@checked(_check_images, source=NETWORK, target=NETWORK, **FROM_LEVEL)
def flow_edit(
    source: keras.Model,
    target: keras.Model,
    images: np.ndarray,
    level: float = 1.0,
    schedule: Schedule = ARTICLE,
    seed: int = 0,
) -> np.ndarray:
    """Lead pictures of one kind to another: FlowEdit, Kulikov et al. 2024, arXiv:2412.08629.

    Each step asks the network of their kind, `source`, about the pictures with fresh noise, and
    `target` about what they have become with the same noise, and walks the difference of the two
    directions (algorithm 1, with one noise a step). The other arguments are those of `redraw`.
    """
    edited = images
    for t, (a, s) in enumerate(pairwise(_from_level(level, schedule).noise.astype(np.float32))):
        x = renoise(images, 0, a, gaussian_noise(len(images), images.shape[1:], seed, step=t))
        # Each answer is its question and a step; what the questions differ by is taken out again.
        edited = images + ask(target, x + edited - images, a, s) - ask(source, x, a, s)
    return edited
