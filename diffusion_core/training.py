"""Stage 5, training: show the network noisy cars, ask for the next step, correct it, repeat."""

import hashlib
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm.auto import tqdm

from diffusion_core import checkpoints, devices
from diffusion_core.checks import brief, check_images, check_number, check_path, check_whole
from diffusion_core.forward import forward_noise
from diffusion_core.model import check_images_of, check_model
from diffusion_core.saver import Saver
from diffusion_core.schedule import Schedule, check_linear, check_schedule

# Keras counts steps in 32 bits.
MOST_STEPS = 2**31 - 1
YEAR_MINUTES = 366 * 24 * 60
HISTORY_COLUMNS = ("epoch", "step", "loss", "learning_rate", "images_per_second", "seconds")


class AveragingAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980) that also keeps a running average of the weights.

    After step `k` the average is `m * average + (1 - m) * weights` with `m = (1 - 1/k) ** 10`: it
    always remembers about the last tenth of the run, however long the run is, so nobody has to
    choose a memory length (the power-function average of Karras et al. 2023, arXiv:2312.02696,
    with their exponent gamma at 9).
    """

    def build(self, variables):
        """Create the slots of Adam and one average for each variable."""
        if not self.built:
            super().build(variables)
            self.averages = self.add_optimizer_variables(variables, "average")

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable, then its average."""
        super().update_step(gradient, variable, learning_rate)
        average = self.averages[self._get_variable_index(variable)]
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(average, (1 - (1 - 1 / step) ** 10) * (variable - average))


def compile_model(
    model: keras.Model,
    total_steps: int,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 4e-3,
    loss: str = "mean_absolute_error",
) -> None:
    """Give a model of `make_model` its optimizer, loss and compiled step.

    Args:
        model: the network.
        total_steps: after so many steps the learning rate is zero.
        learning_rate: where it starts, before it falls in a straight line; or a rule of Keras,
            such as the article's `ExponentialDecay(8e-4, 5000, 0.9, staircase=True)`.
        loss: "mean_absolute_error" (the article's) or any other loss of Keras.

    Raises:
        TypeError, ValueError: no network, `total_steps` below 1, a `learning_rate` that is neither
            a number from 0 to 1,000 nor a rule, or a loss that Keras does not know.
    """
    check_model(model)
    total_steps = check_whole("total_steps", total_steps, most=MOST_STEPS)
    learning_rate, loss = _check_rate(learning_rate), _check_loss(loss)
    if isinstance(learning_rate, float):
        learning_rate = keras.optimizers.schedules.PolynomialDecay(
            learning_rate, total_steps, end_learning_rate=0.0
        )
    # Keras leaves XLA off on CPUs, where this network trains faster with it (bench/results).
    xla = keras.backend.backend() == "jax" or not devices.is_spread(model)
    with devices.home(model):
        model.compile(optimizer=AveragingAdam(learning_rate), loss=loss, jit_compile=xla)
        model.optimizer.build(model.trainable_variables)


def _check_rate(learning_rate):
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return learning_rate
    return check_number("learning_rate", learning_rate, most=1000)


def _check_loss(loss):
    try:
        known = keras.losses.get(loss)
    except Exception:  # Keras raises several kinds, some for texts that it takes for code
        known = None
    if known is None:
        raise ValueError(
            f'loss is {brief(loss)}; expected a loss of Keras, such as "mean_absolute_error".'
        )
    return loss


def draw_batch(
    images: np.ndarray, schedule: Schedule, seed: int, step: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Turn clean images into one training question and its answer.

    Each image is flipped left to right or not, gets a step `t` and its own noise; all these draws
    depend on `(seed, step)` alone. Steps in the middle come more often, and pure noise hardly ever:
    `t / timesteps` is the logistic of a normal number (Esser et al. 2024, arXiv:2403.03206,
    equation 19), moved to the nearest step that has an answer.

    Returns:
        `([x_t, noise_level, next_noise_level], x_{t+1})`, all float32: the two images have the
        shape of `images`, the two levels `(n, 1)`.

    Raises:
        TypeError, ValueError: images as in `forward_noise`, no schedule, or a `seed` or `step`
            that is not a whole number in [0, 2³²).
    """
    images = check_images(images)
    schedule = check_schedule(schedule)
    seed = check_whole("seed", seed, least=0)
    step = check_whole("step", step, least=0)
    random = np.random.default_rng([seed, 1, step])
    flip = random.random(len(images)) < 0.5
    images = np.where(flip[:, None, None, None], images[:, :, ::-1], images)
    share_of_the_way = 1 / (1 + np.exp(-random.standard_normal(len(images))))
    t = np.rint(schedule.timesteps * share_of_the_way).astype(int)
    t = np.minimum(t, schedule.timesteps - 1)
    noise = random.standard_normal(images.shape, dtype=np.float32)
    x_t, x_next = forward_noise(images, t, schedule, noise=noise)
    levels = schedule.noise.astype(np.float32)[:, None]
    return [x_t, levels[t], levels[t + 1]], x_next


def train_one(
    model: keras.Model, images: np.ndarray, schedule: Schedule | None = None, seed: int = 0
) -> float:
    """Take one optimizer step on one batch and return its loss.

    Args:
        model: a network of `make_model`, compiled by `compile_model`.
        images: the batch, float32 `(n, height, width, channels)` in [-1, 1].
        schedule: the 16 linear steps when None; `signal + noise = 1` is needed.
        seed: the draws of the optimizer's `k`-th step depend on `(seed, k)` alone.

    Raises:
        TypeError: a model, images, schedule or seed of another type.
        ValueError: a model that is not compiled, images of another shape than the model's or not
            to be shared out equally by its devices, a schedule without `signal + noise = 1`, or a
            loss that is NaN or infinite.
        MemoryError: the step does not fit; the text names a smaller batch to try.
    """
    check_model(model)
    optimizer = getattr(model, "optimizer", None)
    # In float16 Keras wraps the optimizer in one that scales the loss.
    if not isinstance(getattr(optimizer, "inner_optimizer", optimizer), AveragingAdam):
        raise ValueError(
            "the model has no optimizer; call compile_model(model, total_steps) first."
        )
    images = check_images_of(model, images)
    seed = check_whole("seed", seed, least=0)
    schedule = check_linear(schedule)
    devices.check_shares(model, len(images))
    step, rate = checkpoints.steps_done(model), float(model.optimizer.learning_rate)
    question, answer = draw_batch(images, schedule, seed, step)
    fewer = devices.smaller_batch(model, len(images))
    with devices.explain_full_memory(
        f"the memory does not hold a training step of {len(images)} images; "
        + (f"try batch_size={fewer}, with" if fewer else "make a network of smaller widths, for")
        + " another weights_dir."
    ):
        loss = devices.train_on_batch(model, question, answer)
    if not np.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} at step {step}, where the learning rate was {rate:g}; train anew "
            "with a smaller one, into another weights_dir. States saved before are untouched."
        )
    return loss


def train(
    model: keras.Model,
    images: np.ndarray,
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 4e-3,
    loss: str = "mean_absolute_error",
    schedule: Schedule | None = None,
    seed: int = 0,
    weights_dir: str | Path | None = None,
    save_minutes: float = 10,
    callback: Callable[[int, keras.Model, dict], None] | None = None,
    callback_every: int = 5,
) -> dict[str, list[float]]:
    """Train until `epochs` epochs are done, going on from the newest state in `weights_dir`.

    Every epoch visits the images in a new order that depends on `(seed, epoch)` alone; what is
    left over after whole batches waits for the next epoch. When `train` returns, the model holds
    the **averaged** weights, ready for `predict`; the plain ones are in the saved state.

    A run that was interrupted anywhere, in the middle of an epoch too, and goes on ends with the
    same bits as one that was not: weights, averages, losses. That is promised on a CPU, with the
    same number of threads and the same versions, if the first weights were the same
    (`keras.utils.set_random_seed` before `make_model`). Only the history's `images_per_second` and
    `seconds` differ. Ctrl-C, a notebook's stop button and SIGTERM save first, and say where;
    another end of the process loses what was done since the last state.

    Args:
        model: a network of `make_model`, or of `devices.spread` to train on several devices; its
            optimizer is made anew. In half precision if `keras.config.set_dtype_policy` asked for
            "mixed_float16" or "mixed_bfloat16" when it was made.
        images: float32 `(n, height, width, channels)` in [-1, 1], at least `batch_size`.
        epochs: how many epochs the whole run has, those before an interruption included. It may
            be raised later. The learning rate falls to zero at its end, so the rate then jumps up
            to where it would be in the longer run, and the run ends elsewhere than one that had
            the larger number from the start.
        batch_size: images a step.
        learning_rate, loss: as in `compile_model`.
        schedule: the 16 linear steps when None; `signal + noise = 1` is needed.
        seed: decides every draw of the run.
        weights_dir: where a state is saved after every epoch; None saves nothing. A save that
            fails gives a warning, and training goes on.
        save_minutes: a state is also saved when the last one is so many minutes old, up to a year.
        callback: called as `callback(epoch, model, history)` with the averaged weights in the
            model, after every `callback_every`-th epoch and the last one. If the process was
            killed meanwhile, it is called again for the same epoch; if it raised an error, the
            epoch counts as done, and it is not.

    Returns:
        The history, a dict of lists with one entry an epoch; `HISTORY_COLUMNS` names them.

    Raises:
        TypeError, ValueError: a bad model, images, schedule, number, path or callback; a state of
            another network or another configuration, and then the model is unchanged; a loss that
            is NaN or infinite, and then the saved states are from before.
        OSError: the folder cannot be used, another process trains into it, or the last state could
            not be saved. In the last case the model holds the averaged weights all the same.
        MemoryError: as in `train_one`; the saved states are from before.
        KeyboardInterrupt, SystemExit: after a signal, once the state is saved.

    In several processes (see `examples/several_machines.py`) all give the same arguments and all
    call the callback; the first one alone writes states, and notices signals.
    """
    check_model(model)
    if not hasattr(model, "settings"):
        raise TypeError(
            "model has no settings, with which a saved state is read again; build it with "
            "make_model, and copy the weights with set_weights."
        )
    images = check_images_of(model, images)
    epochs = check_whole("epochs", epochs)
    batch_size = check_whole("batch_size", batch_size)
    callback_every = check_whole("callback_every", callback_every)
    seed = check_whole("seed", seed, least=0)
    schedule = check_linear(schedule)
    learning_rate, loss = _check_rate(learning_rate), _check_loss(loss)
    save_minutes = check_number("save_minutes", save_minutes, most=YEAR_MINUTES)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {brief(callback)}; expected a function, or None.")
    if weights_dir is not None:
        weights_dir = check_path("weights_dir", weights_dir)
    if batch_size > len(images):
        raise ValueError(
            f"batch_size is {batch_size}, but there are only {len(images)} images; give at most "
            "that many."
        )
    devices.check_shares(model, batch_size)
    steps_per_epoch = len(images) // batch_size
    check_whole("epochs", epochs, most=MOST_STEPS // steps_per_epoch)
    saves = weights_dir is not None and devices.is_first()
    with Saver(weights_dir, save_minutes) if saves else nullcontext() as saver:
        progress = {
            "history": {column: [] for column in HISTORY_COLUMNS},
            "losses": [],
            "seconds": 0.0,
        }
        latest = None
        if weights_dir is not None:
            configuration = {
                **model.settings,
                "precision": model.dtype_policy.name,
                "batch_size": batch_size,
                "learning_rate": _as_json(learning_rate),
                "loss": _as_json(keras.losses.get(loss)),
                "noise_levels": schedule.noise.tolist(),
                "seed": seed,
                "images": len(images),
                "images_sha256": hashlib.sha256(np.ascontiguousarray(images)).hexdigest(),
            }
            latest = checkpoints.find_latest(weights_dir)
            devices.check_same(latest.name if latest else "none")
        if latest:
            checkpoints.check_configuration(latest, configuration)
        compile_model(model, epochs * steps_per_epoch, learning_rate, loss)
        if latest:
            about = checkpoints.restore(model, latest)
            if saver:
                checkpoints.set_aside(latest)
            progress = {name: about[name] for name in progress}
        if saver:
            progress |= {"configuration": configuration, "epochs": epochs}
        # These two lists grow in place, so `progress` is always up to date.
        history, losses = progress["history"], progress["losses"]
        done = len(history["epoch"])

        with tqdm(
            total=epochs * steps_per_epoch,
            initial=done * steps_per_epoch + len(losses),
            unit="step",
        ) as bar:
            for epoch in range(done + 1, epochs + 1):
                start = time.perf_counter() - progress["seconds"]
                order = np.random.default_rng([seed, 0, epoch]).permutation(len(images))
                for place in range(len(losses), steps_per_epoch):
                    if saver:
                        saver.offer(model, progress)
                    batch = images[order[place * batch_size : (place + 1) * batch_size]]
                    losses.append(train_one(model, batch, schedule, seed))
                    progress["seconds"] = time.perf_counter() - start
                    speed = len(losses) * batch_size / progress["seconds"]
                    bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
                    bar.set_postfix_str(
                        f"loss {losses[-1]:.4f}, {speed:.0f} images/s", refresh=False
                    )
                    bar.update()
                row = (
                    epoch,
                    checkpoints.steps_done(model),
                    float(np.mean(losses)),
                    float(model.optimizer.learning_rate),
                    speed,
                    progress["seconds"],
                )
                for column, value in zip(HISTORY_COLUMNS, row, strict=True):
                    history[column].append(value)
                losses.clear()
                progress["seconds"] = 0.0
                if callback and (epoch % callback_every == 0 or epoch == epochs):
                    try:
                        with averaged_weights(model):
                            callback(epoch, model, history)
                    except BaseException:
                        if saver:
                            saver.stop(model, progress)
                        raise
                # After the callback: if that is killed, it is called again.
                if saver:
                    saver.offer(model, progress, now=True)
        try:
            if saver and done < epochs:
                saver.save(model, progress)
        finally:
            _assign_averages(model)
    return history


def _as_json(choice):
    """Describe a number, a function, or a rule or loss object of Keras."""
    if isinstance(choice, (int, float)):
        return float(choice)
    serialized = keras.saving.serialize_keras_object(choice)
    name, config = serialized["class_name"], serialized["config"]
    return config if name == "function" else {name: config}


@contextmanager
def averaged_weights(model: keras.Model):
    """Put the averaged weights into a training model for the length of a `with` block."""
    plain = [ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]
    _assign_averages(model)
    try:
        yield model
    finally:
        for variable, value in zip(model.trainable_variables, plain, strict=True):
            variable.assign(value)


def _assign_averages(model):
    for variable, average in zip(
        model.trainable_variables, checkpoints.averages(model), strict=True
    ):
        # A copy, since JAX steps overwrite the memory of what they are given.
        variable.assign(ops.copy(average))
