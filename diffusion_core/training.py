"""Chapter 5, training: show the network noisy cars, ask for the next step, correct it, repeat."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from diffusion_core.checks import IMAGES, LEARNER, SEED, checked
from diffusion_core.forward import forward_noise
from diffusion_core.runs import devices, guards
from diffusion_core.runs.optimizer import AveragingMuon, steps_done
from diffusion_core.runs.run import Run
from diffusion_core.schedule import ARTICLE, LINEAR, SCHEDULE, Schedule

Rate = float | keras.optimizers.schedules.LearningRateSchedule


@checked(guards.check_precision, model=LEARNER, **guards.PLAN)
def compile_model(
    model: keras.Model,
    total_steps: int,
    learning_rate: Rate = 4e-3,
    loss: str = "mean_absolute_error",
) -> None:
    """Give a model of `make_model` its optimizer, loss and compiled step.

    Args:
        total_steps: after so many steps the learning rate is zero.
        learning_rate: where it starts, before it falls in a straight line; or a rule of Keras,
            such as the article's `ExponentialDecay(8e-4, 5000, 0.9, staircase=True)`.
        loss: "mean_absolute_error" (the article's) or another of Keras.
    """
    if isinstance(rate := learning_rate, float):
        rate = keras.optimizers.schedules.PolynomialDecay(rate, total_steps, end_learning_rate=0.0)
    with devices.placement_scope(model):
        devices.compile_step(model, AveragingMuon(rate), loss)


@checked(images=IMAGES, schedule=SCHEDULE, seed=SEED, step=SEED)
def draw_batch(
    images: np.ndarray, schedule: Schedule, seed: int, step: int, shares: np.ndarray | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Turn clean images into one training question and its answer, by `(seed, step)` alone.

    Each image is flipped left to right or not, gets its own noise and a step `t`, perhaps between
    two steps. Four times of five, `t / timesteps` is the logistic of a normal number (Esser et al.
    2024, arXiv:2403.03206, equation 19), so the middle comes more often; else any `t` is as likely.

    Args:
        images: float32 `(n, height, width, channels)` in [-1, 1].
        schedule, seed, step: the levels, and whole numbers from 0 on.
        shares: float32 `(n, classes + 1)`; one image in ten, by lot, asks for any class, the last.

    Returns:
        `([x_t, noise_level, next_noise_level], x_{t+1})`, all float32: the two images have the
        shape of `images`, the two levels `(n, 1)`. Shares, where they are given, come fourth.
    """
    random = np.random.default_rng([seed, 1, step])
    flip = random.random(len(images)) < 0.5
    x0 = np.where(flip[:, None, None, None], images[:, :, ::-1], images)
    logistic = 1 / (1 + np.exp(-random.standard_normal(len(images))))
    evenly = random.random(len(images))
    t = schedule.timesteps * np.where(random.random(len(images)) < 0.2, evenly, logistic)
    epsilon = random.standard_normal(images.shape, dtype=np.float32)
    x_t, x_next = forward_noise(x0, t, schedule, noise=epsilon)
    (_, noise_level), (_, next_noise_level) = schedule.at(t[:, None]), schedule.at(t[:, None] + 1)
    question = [x_t, noise_level, next_noise_level]
    if shares is not None:
        any_class = np.eye(shares.shape[1], dtype=np.float32)[-1]
        question.append(np.where(random.random((len(images), 1)) < 0.1, any_class, shares))
    return question, x_next


@checked(guards.check_batch, schedule=LINEAR, **guards.BATCH)
def train_one(
    model: keras.Model,
    images: np.ndarray,
    schedule: Schedule = ARTICLE,
    seed: int = 0,
    shares: np.ndarray | None = None,
    teacher: keras.Model | None = None,
) -> float:
    """Take one optimizer step on one batch and return its loss.

    Args:
        model: a network of `make_model`, compiled by `compile_model`.
        images, schedule, seed, shares: as for `draw_batch`; `signal + noise = 1` is needed.
        teacher: a network of the same inputs, whose answers are learned instead of the true ones.

    Raises `ValueError` once the learning rate is 0 or a loss is no number, and `MemoryError`, which
    names a smaller batch, where the step does not fit.
    """
    question, answer = draw_batch(images, schedule, seed, steps_done(model), shares)
    if teacher is not None:
        answer = devices.predict_on_batch(teacher, question)
    return devices.train_on_batch(model, question, answer)  # |answer - model(question)|, and Muon


@checked(guards.check_run, schedule=LINEAR, **guards.TRAIN)
def train(
    model: keras.Model,
    images: np.ndarray,
    *,
    epochs: int,
    labels: np.ndarray | None = None,
    teacher: keras.Model | None = None,
    batch_size: int = 64,
    learning_rate: Rate = 4e-3,
    loss: str = "mean_absolute_error",
    schedule: Schedule = ARTICLE,
    seed: int = 0,
    weights_dir: str | Path | None = None,
    save_minutes: float = 10,
    callback: Callable[[int, keras.Model, dict], None] | None = None,
    callback_every: int = 5,
) -> dict[str, list[float]]:
    """Train until `epochs` epochs are done, going on from the newest state in `weights_dir`.

    Every epoch has an order of its own, by `(seed, epoch)` alone. At the end the model holds the
    **averaged** weights. What stops a run, and how it goes on to the same bits, says `runs.run`.

    Args:
        model: a network of `make_model`, or of `spread` for several devices; it is compiled anew.
        images: float32 `(n, height, width, channels)` in [-1, 1], at least `batch_size`.
        labels: whole numbers `(n,)`, if the network knows classes; teacher: as for `train_one`.
        epochs: how many the whole run has, those before an interruption included.
        schedule, seed: `signal + noise = 1` is needed; the seed decides every draw of the run.
        weights_dir, save_minutes: where states are saved (None: nowhere), and how old one may get.
        callback: `callback(epoch, averaged model, history)` every `callback_every` epochs and last.

    Returns the history, a dict of lists with one entry an epoch; `runs.run.COLUMNS` names them.

    Raises:
        ValueError: a state of another run, or fewer epochs than are done: the model is unchanged.
        OSError: the folder cannot be used, is in use, or the last state could not be saved.
        KeyboardInterrupt, SystemExit: after a signal, once the state is saved.
    """
    plan = {"batch_size": batch_size, "learning_rate": learning_rate, "loss": loss, "seed": seed}
    plan |= {"noise_levels": schedule.noise, "images": images, "labels": labels, "teacher": teacher}
    shares, steps = guards.one_hot(labels, model), len(images) // batch_size
    with Run(model, weights_dir, save_minutes, epochs, plan, callback, callback_every) as run:
        compile_model(model, epochs * steps, learning_rate, loss)
        for epoch, places in run.epochs(steps):
            order = np.random.default_rng([seed, 0, epoch]).permutation(len(images))
            for place in places:
                batch = order[place * batch_size : (place + 1) * batch_size]
                asked = None if shares is None else shares[batch]
                run.losses.append(train_one(model, images[batch], schedule, seed, asked, teacher))
    return run.history
