"""A small classifier of the ten CIFAR-10 classes, whose features measure pictures in `evaluation`.

A residual network (He et al. 2015, arXiv:1512.03385) of our own training; `tools/classifier.py`
made the shipped weights. It never sees a generated picture while it learns.
"""

import keras
from keras import layers

WIDTHS = (64, 128, 192)


def make_classifier() -> keras.Model:
    """Build the classifier: float32 `(n, 32, 32, 3)` in [-1, 1] in, two outputs out.

    Returns:
        A `keras.Model` whose outputs are the features, float32 `(n, 192)`, not negative (the
        average over the 4×4 places of the last layer), and the ten logits in the order of
        `data.LABELS`, float32 `(n, 10)`.
    """
    image = keras.Input((32, 32, 3), name="image")
    x = _convolve(image, 32, "stem")
    for width in WIDTHS:
        x = _convolve(x, width, f"halve_{width}", strides=2)
        shortcut = x
        x = _convolve(x, width, f"block_{width}_1")
        x = _convolve(x, width, f"block_{width}_2")
        x = layers.Add(name=f"block_{width}")([shortcut, x])
    features = layers.GlobalAveragePooling2D(name="features")(x)
    logits = layers.Dense(10, name="logits")(features)
    return keras.Model(image, [features, logits], name="classifier")


def _convolve(x, width, name, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
