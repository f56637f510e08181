"""Chapter 11, classes: one network for ten kinds of pictures, which is told what to draw.

The network sees, beside the picture and the level, how much of each class is asked for: ten shares
and an eleventh, for any class. What it knows more when it is told is the direction to go on in
(chapter 8), here with itself as the weaker network, asked for any class.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from diffusion_core.checks import LEARNER, PATH, checked, number, short_repr, whole
from diffusion_core.data import SPLIT, load_images
from diffusion_core.sources.cifar10 import LABELS


@checked(split=SPLIT, source=PATH)
def load_classes(
    split: str = "train", source: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return all CIFAR-10 images of a split with their labels, the ten classes in turn.

    Args:
        split, source: as for `load_images`, which reads them; the stand-in holds cars alone.

    Returns:
        uint8 `(50000 or 10000, 32, 32, 3)` in [0, 255], and integers `(50000 or 10000,)` from 0
        to 9, the places of the names in `LABELS`.
    """
    images = np.stack([load_images(label, split, source) for label in range(10)], axis=1)
    return images.reshape(-1, *images.shape[2:]), np.tile(np.arange(10), len(images))


def _check_classes(model, label, **_):
    if len(model.inputs) < 4:
        raise ValueError(
            "the model knows no classes; give a network of make_model(classes=10), such as "
            'load_pretrained("ten").'
        )
    class_shares(label, model.input_shape[3][1] - 1)


@checked(_check_classes, model=LEARNER)
def of_class(model: keras.Model, label: str | int | dict | None) -> keras.Model:
    """Return a network that draws one class, or a mix of classes; `predict` draws with it.

    Args:
        model: a network that knows classes; it stays as it is.
        label: a name of `LABELS` or a number; or a dict of several with the share of each; or None
            for any class.

    Returns:
        A `keras.Model` with the same inputs and output as a network without classes.
    """
    *inputs, asked = model.inputs
    shares = class_shares(label, asked.shape[1] - 1)
    answer = model([*inputs, ops.ones_like(inputs[1]) * shares])
    network = keras.Model(inputs, answer, name="of_class")
    network.configuration = getattr(model, "configuration", {})  # of its run, for `evaluate`
    return network


def class_shares(label: str | int | dict | None, classes: int = 10) -> np.ndarray:
    """Return float32 `(classes + 1,)`: the share of each class, and at the end of any class.

    Raises `ValueError` for a label that is none, or for shares of a dict that do not add up to 1.
    """
    shares = label if isinstance(label, dict) else {label: 1}
    vector = np.zeros(classes + 1, np.float32)
    for name, share in shares.items():
        vector[_place(name, classes)] += number(1)(f"the share of {name!r}", share)
    if abs(vector.sum() - 1) > 1e-6:
        raise ValueError(f"the shares {short_repr(label)} do not add up to 1; expected that.")
    return vector


def _place(label, classes):
    if label is None:
        return classes
    if label in LABELS[:classes]:
        return LABELS.index(label)
    try:
        return whole(0, classes - 1)("label", label)
    except (TypeError, ValueError):
        names = f" or one of {', '.join(LABELS)}" if classes == len(LABELS) else ""
        raise ValueError(
            f"label is {short_repr(label)}; expected a number from 0 to {classes - 1}{names}, a "
            "dict of such with their shares, or None for any class."
        ) from None


@checked(w=number(100), low=number(1), high=number(1))
def within(w: float, low: float, high: float) -> Callable:
    """Return the strength of guidance that is `w` at noise levels in `(low, high]`, elsewhere 1.

    At high levels it takes the variety, and at low ones it has nothing left to decide (Kynkäänniemi
    et al. 2024, arXiv:2404.07724, equation 5).
    """
    return lambda a, s: ops.where(ops.logical_and(a > low, a <= high), w, 1.0)


@checked(strength=number(100))
def cfg_plus_plus(strength: float) -> Callable:
    """Return the strength of guidance by which Euler's step is one of CFG++.

    CFG++ (Chung et al. 2024, arXiv:2406.08070, algorithm 2) adds the noise of the answer for any
    class to the guided clean guess. With levels that add up to 1 that is `strength` times
    `a (1 - s) / (a - s)`: the guidance of a soft interval, weak at both ends, strong in between.
    """
    return lambda a, s: strength * a * (1 - s) / (a - s)
