"""The doors of training: what may be trained, for how long, and which state belongs to a run."""

import hashlib
import json
import math
import sys
import warnings

import keras
import numpy as np

from diffusion_core import checks
from diffusion_core.checks import number, one_line, short_repr, whole
from diffusion_core.runs import states
from diffusion_core.runs.devices import check_shares, device_names
from diffusion_core.runs.optimizer import AveragingMuon, optimizer, steps_done

# A state goes on only under its own rules: change this with `draw_batch`, or with the optimizer.
DRAW_RULE = "every noise level, the middle more often; Muon"

COLUMNS = ("epoch", "step", "loss", "learning_rate", "images_per_second", "seconds")
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
            f"{name} is {short_repr(value)}; expected a loss of Keras, such as "
            '"mean_absolute_error".'
        )
    return known


def LABELS(name, value):
    """The kind of labels, whole numbers `(n,)` from 0 on; or None."""
    labels = value if value is None else checks.ARRAY(name, value)
    if value is not None and (labels.dtype.kind not in "iu" or labels.ndim != 1):
        raise ValueError(
            f"{name} are {labels.dtype} of the shape {labels.shape}; expected whole numbers, one "
            "for each picture."
        )
    return labels


def TEACHER(name, value):
    """The kind of networks whose answers are learned; or None."""
    return None if value is None else checks.LEARNER(name, value)


PLAN = {"total_steps": STEPS, "learning_rate": RATE, "loss": LOSS}
RUN = {"epochs": STEPS, "batch_size": checks.COUNT, "learning_rate": RATE, "loss": LOSS}
RUN |= {"seed": checks.SEED, "weights_dir": checks.PATH, "save_minutes": number(checks.YEAR)}
RUN |= {"callback": checks.CALLBACK, "callback_every": checks.COUNT}
BATCH = {"model": checks.LEARNER, "images": checks.IMAGES, "seed": checks.SEED, "teacher": TEACHER}
TRAIN = RUN | BATCH | {"labels": LABELS}


def check_precision(model, **_):
    """Raise `ValueError` where Adam's small numbers would be rounded away."""
    policy = model.dtype_policy.name
    if policy in ("float16", "bfloat16"):
        raise ValueError(
            f"the model computes in {policy} alone, in which it would learn nothing; build it "
            'under keras.config.set_dtype_policy("mixed_float16") or "mixed_bfloat16".'
        )


def check_batch(model, images, shares, teacher, **_):
    """Raise `ValueError` unless a compiled model can take a step with this batch."""
    if not isinstance(optimizer(model), AveragingMuon):
        raise ValueError(
            "the model has no optimizer; call compile_model(model, total_steps) first."
        )
    checks.check_images_of(model, images)
    check_teacher(model, teacher)
    expected = (len(images), *model.input_shape[3][1:]) if len(model.inputs) == 4 else None
    if getattr(shares, "shape", None) != expected:
        raise ValueError(
            f"shares have the shape {getattr(shares, 'shape', None)}; expected {expected}, as many "
            "as the network has classes, and one more."
        )
    check_shares(model, len(images))
    if float(model.optimizer.learning_rate) == 0:
        raise ValueError(
            f"after {steps_done(model)} steps the learning rate is 0, and nothing more is learned; "
            "call compile_model with more total_steps."
        )


def check_run(model, images, labels, teacher, epochs, batch_size, **_):
    """Raise unless `train` can begin with these images."""
    if not hasattr(model, "settings"):
        raise TypeError(
            "model has no settings, with which a saved state is read again; build it with "
            "make_model, and copy the weights with set_weights."
        )
    check_precision(model)
    checks.check_images_of(model, images)
    if batch_size > len(images):
        raise ValueError(
            f"batch_size is {batch_size}, but there are only {len(images)} images; give at most "
            "that many."
        )
    check_labels(model, images, labels)
    check_teacher(model, teacher)
    check_shares(model, batch_size)
    whole(1, (2**31 - 1) // (len(images) // batch_size))("epochs", epochs)


def check_teacher(model, teacher):
    """Raise `ValueError` unless a teacher, where there is one, is asked what the model is asked."""
    if teacher is not None and teacher.input_shape != model.input_shape:
        raise ValueError(
            f"the teacher takes {teacher.input_shape} and the model {model.input_shape}; expected "
            "the same: give a teacher of pictures of the same size, and of the same classes."
        )


def check_labels(model, images, labels):
    """Raise `ValueError` unless there is a label of the network's for each image, or no classes."""
    classes = model.settings.get("classes")
    if labels is None and classes:
        raise ValueError(
            f"the model knows {classes} classes, and there are no labels; give labels=, one for "
            "each picture."
        )
    if labels is None:
        return
    if not classes:
        raise ValueError(
            "there are labels, and the model knows no classes; leave them out, or build it with "
            f"make_model(classes={labels.max(initial=0) + 1})."
        )
    if len(labels) != len(images) or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"there are {len(labels)} labels from {labels.min(initial=0)} to "
            f"{labels.max(initial=0)}; expected {len(images)}, from 0 to {classes - 1}."
        )


def one_hot(labels, model):
    """Return the shares `(n, classes + 1)` of labels, or None where there are none."""
    return labels if labels is None else np.eye(model.settings["classes"] + 1, dtype="f4")[labels]


def check_pupil(model, teacher, epochs, jumps, batch_size):
    """Raise `ValueError` unless a network can learn so many `jumps` an epoch from a teacher."""
    check_teacher(model, teacher)
    if batch_size > jumps:
        raise ValueError(
            f"batch_size is {batch_size}, but only {jumps} jumps are asked an epoch; give more "
            "ways, or at most that many."
        )
    check_shares(model, batch_size)
    whole(1, (2**31 - 1) // (jumps // batch_size))("epochs", epochs)


def describe(
    model, noise_levels, loss, learning_rate, images=None, labels=None, teacher=None, **others
):
    """Return, as JSON, what makes a run this one and no other."""
    # Two losses or rules may have one name, so both are tried, to three digits.
    shape = model.input_shape[0][1:]
    guess = np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(1, *shape)
    error = keras.ops.convert_to_numpy(loss(guess, guess / 2)).mean()
    rate, rates = learning_rate, []
    if callable(rate):
        rate, rates = _as_json(rate), [f"{float(rate(step)):.3g}" for step in (1, 10**3, 10**6)]
    if labels is not None:
        others["labels_sha256"] = _digest(labels)
    if teacher is not None:  # the strength of its guidance is in no weight
        others |= {
            "teacher": states.weights_digest(teacher),
            "guidance": getattr(teacher, "guidance", 1),
        }
    if images is not None:
        others |= {**trained_on(images), "draw_rule": DRAW_RULE}
    described = {
        **model.settings,
        "precision": model.dtype_policy.name,
        **others,
        "learning_rate": rate,
        "learning_rate_tried": rates,
        "loss": _as_json(loss),
        "loss_tried": f"{error:.3g}",
        "noise_levels": noise_levels.tolist(),
    }
    return json.loads(json.dumps(described))


def _digest(images):
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()


def trained_on(images=None, **_):
    """Return, as a part of a configuration, by what pictures are known again, if there are any."""
    return {} if images is None else {"images": len(images), "images_sha256": _digest(images)}


def warn_of_other_pictures(model, images, own=False):
    """Warn unless a network was trained on the first of these images, as far as it says.

    Those that come with the package do not say, and saw the cars: no pictures of one's own.
    """
    run = getattr(model, "configuration", {})
    seen = run.get("images_sha256")
    if (seen or own) and seen != _digest(images[: run.get("images")]):
        what = "pictures of your own" if own else "cars"
        warnings.warn(
            f"the network was trained on other pictures; it is compared with these {what} all the "
            "same, and copies are sought among them, which it never saw. To compare it with what "
            "it was trained on, give that: evaluate(model, against=load_folder(...)), or --data.",
            stacklevel=4,
        )


def _as_json(choice):
    serialized = keras.saving.serialize_keras_object(choice)
    name, config = serialized["class_name"], serialized["config"]
    return config if name == "function" else {name: config}


def check_state(path, about, wanted, epochs):
    """Raise `ValueError` unless a run of the configuration `wanted` may go on from a state.

    Another number of epochs, or other versions of the libraries, give a warning.
    """
    if (saved := about.get("configuration")) is None:
        raise ValueError(
            f"{path} does not say of which run it is; give another weights_dir to start anew."
        )
    # What older versions did not write down yet is taken for what it is now.
    differing = [
        f"{one_line(name)} is {short_repr(wanted.get(name))} and was {short_repr(saved.get(name))}"
        for name in {**saved, **wanted}
        if wanted.get(name) != saved.get(name, wanted.get(name))
    ]
    if differing:
        raise ValueError(
            f"{path} belongs to another run: {one_line('; '.join(differing), 1000)}. Give "
            "what it was to go on, or another weights_dir to start anew."
        )
    try:
        name, was = states.name_of(about), {**about["versions"]}
        columns = [about["history"][column] for column in COLUMNS]
        begun = len(columns[0]) + bool(about["losses"])
        lists = {type(part) for part in (*columns, about["losses"])} == {list}
        finite = np.isfinite(columns), np.isfinite([*about["losses"], about["seconds"]])
        flat = [part.ndim for part in finite] == [2, 1]
        if not (lists and flat and all(part.all() for part in finite)):
            raise ValueError("numbers that are none")
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} lacks what a run goes on with ({error!r}); give another weights_dir."
        ) from None
    if name != path.name:  # what is saved later would come before it
        raise ValueError(f"{path} is a state of another name; rename it to {name} to go on.")
    if begun > epochs:
        raise ValueError(
            f"epochs is {epochs}, and {path} is of epoch {begun}; give at least {begun}, or "
            "another weights_dir."
        )
    if about.get("epochs", epochs) != epochs:
        warnings.warn(
            f"the run was planned for {short_repr(about['epochs'])} epochs and has now {epochs}: "
            "the learning rate jumps to where it would be in a run of that length.",
            stacklevel=5,
        )
    changed = [
        f"{k} {v} (was {one_line(was.get(k))})" for k, v in versions().items() if v != was.get(k)
    ]
    if changed:
        warnings.warn(
            f"{path} was written with other versions: now {', '.join(changed)}. Training goes on, "
            "but may differ in the last digits from a run without the change.",
            stacklevel=5,
        )


def versions():
    """Return the versions, the backend and the devices on which the last bits of a run depend."""
    backend = keras.backend.backend()
    used = {"keras": keras, "numpy": np, backend: sys.modules[backend]}
    found = {name: module.__version__ for name, module in used.items()}
    return found | {"devices": ", ".join(device_names())}
