"""The doors of training: what may be trained, for how long, by which rule."""

import keras
import numpy as np

from diffusion_core.checks import (
    CALLBACK,
    COUNT,
    PATH,
    SEED,
    YEAR,
    brief,
    check_images_of,
    number,
    whole,
)
from diffusion_core.runs.averaging import AveragingAdam, optimizer, steps_done
from diffusion_core.runs.devices import check_shares

STEPS = whole(1, 2**31 - 1)  # Keras counts steps in 32 bits


def RATE(name, value):
    """The kind of learning rates: a number from 0 to 1,000, or a rule of Keras."""
    rule = isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
    return value if rule else number(1000)(name, value)


def LOSS(name, value):
    """The kind of losses that Keras knows, by name, as functions or as objects."""
    try:
        known = keras.losses.get(value)
    except Exception:  # Keras raises several kinds, some for texts that it takes for code
        known = None
    if known is None:
        raise ValueError(
            f'{name} is {brief(value)}; expected a loss of Keras, such as "mean_absolute_error".'
        )
    return known


PLAN = {"total_steps": STEPS, "learning_rate": RATE, "loss": LOSS}
RUN = {"epochs": STEPS, "batch_size": COUNT, "learning_rate": RATE, "loss": LOSS, "seed": SEED}
RUN |= {"weights_dir": PATH, "save_minutes": number(YEAR)}
RUN |= {"callback": CALLBACK, "callback_every": COUNT}


def check_precision(model, **_):
    """Raise `ValueError` where Adam's small numbers would be rounded away."""
    policy = model.dtype_policy.name
    if policy in ("float16", "bfloat16"):
        raise ValueError(
            f"the model computes in {policy} alone, in which it would learn nothing; build it "
            'under keras.config.set_dtype_policy("mixed_float16") or "mixed_bfloat16".'
        )


def check_batch(model, images, **_):
    """Raise `ValueError` unless a compiled model can take a step with this batch."""
    if not isinstance(optimizer(model), AveragingAdam):
        raise ValueError(
            "the model has no optimizer; call compile_model(model, total_steps) first."
        )
    check_images_of(model, images)
    check_shares(model, len(images))
    if float(model.optimizer.learning_rate) == 0:
        raise ValueError(
            f"after {steps_done(model)} steps the learning rate is 0, and nothing more is learned; "
            "call compile_model with more total_steps."
        )


def check_run(model, images, epochs, batch_size, **_):
    """Raise unless `train` can begin with these images."""
    if not hasattr(model, "settings"):
        raise TypeError(
            "model has no settings, with which a saved state is read again; build it with "
            "make_model, and copy the weights with set_weights."
        )
    check_precision(model)
    check_images_of(model, images)
    if batch_size > len(images):
        raise ValueError(
            f"batch_size is {batch_size}, but there are only {len(images)} images; give at most "
            "that many."
        )
    check_shares(model, batch_size)
    whole(1, (2**31 - 1) // (len(images) // batch_size))("epochs", epochs)


def as_json(choice):
    """Describe a number, numbers, a function, or a rule or loss object of Keras, as JSON."""
    if isinstance(choice, (int, float, str)):
        return choice
    if isinstance(choice, np.ndarray):
        return choice.tolist()
    serialized = keras.saving.serialize_keras_object(choice)
    name, config = serialized["class_name"], serialized["config"]
    return config if name == "function" else {name: config}


def tried(loss, rate, images):
    """Try a loss and a rule, to three digits: two of them may have one name."""
    guess = np.linspace(-1, 1, images[0].size, dtype=np.float32).reshape(images[:1].shape)
    error = keras.ops.convert_to_numpy(keras.losses.get(loss)(guess, guess / 2)).mean()
    rates = [f"{float(rate(step)):.3g}" for step in (1, 10**3, 10**6)] if callable(rate) else []
    return {"loss_tried": f"{error:.3g}", "learning_rate_tried": rates}
