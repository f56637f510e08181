"""Who looks at pictures in chapter 7: a small classifier of the ten classes, and Inception.

The classifier is a residual network (He et al. 2015, arXiv:1512.03385) of our own training;
`tools/classifier.py` made the shipped weights. It never saw a generated picture while it learned.
"""

import io
from functools import lru_cache

import keras
import numpy as np
from keras import layers
from PIL import Image, ImageFilter

from diffusion_core.checks import ARRAY, checked, one_of
from diffusion_core.runs import states
from diffusion_core.sources.pretrained import PRETRAINED

WIDTHS = (64, 128, 192)
FLOOR, COPIES = "real training cars", "copies of 100 training cars"
COMPARED = 1000  # as many as there are held-out cars
FEWEST = 200  # of one's own: one half is compared with the other


def make_classifier() -> keras.Model:
    """Build the classifier of float32 pictures `(n, 32, 32, 3)` in [-1, 1].

    Its outputs are the features, float32 `(n, 192)`, not negative (the average over the 4×4 places
    of the last layer), and the ten logits in the order of `LABELS`, float32 `(n, 10)`.
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


@lru_cache(maxsize=1)
def load_classifier() -> keras.Model:
    """Return the trained classifier, which measures in float32 whatever the networks compute in."""
    path, policy = PRETRAINED / "classifier" / "weights.safetensors", keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return states.load_averages(make_classifier(), states.read(path)[0], path)
    finally:
        keras.config.set_dtype_policy(policy)


def PIXELS(name, value):
    """The kind of the pictures to judge: uint8 `(n, 32, 32, 3)`, at least one."""
    images = ARRAY(name, value)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or not len(images):
        raise ValueError(
            f"{name} are {images.dtype} {images.shape}; expected uint8 (n, 32, 32, 3) with at "
            "least one image. Call denormalize on pictures of predict."
        )
    return images


def AGAINST(name, value):
    """The kind of what to compare with: the name of a set of cars, or pictures of one's own."""
    if isinstance(value, str):
        return one_of("train", "held-out")(name, value)
    pictures = PIXELS(name, value)
    if len(pictures) < FEWEST:
        raise ValueError(
            f"{name} holds {len(pictures)} pictures; expected at least {FEWEST}, since one half is "
            "compared with the other."
        )
    return pictures


def check_judged(model: keras.Model, **_) -> None:
    """Raise `ValueError` unless a model draws what the measures look at."""
    if model.input_shape[0][1:] != (32, 32, 3):
        raise ValueError(
            f"the model draws {model.input_shape[0][1:]}; expected (32, 32, 3), since the networks "
            "that measure look at no others."
        )


@checked(images=PIXELS)
def classifier_features(images: np.ndarray) -> np.ndarray:
    """Return the features of our own classifier: uint8 `(n, 32, 32, 3)` to float32 `(n, 192)`."""
    # Whole batches, so that the network is compiled for one shape.
    padded = np.resize(images, (-(-len(images) // 250) * 250, *images.shape[1:]))
    seen = padded / np.float32(127.5) - 1  # as `normalize` shows pictures to every network
    return load_classifier().predict(seen, batch_size=250, verbose=0)[0][: len(images)]


@checked(images=PIXELS)
def inception_features(images: np.ndarray) -> np.ndarray:
    """Return features of Inception v3 (Szegedy et al. 2015, arXiv:1512.00567): float32 `(n, 2048)`.

    These are the weights that Keras offers, downloaded at the first use. FID is defined on another
    copy of the network, so distances in these features are close to FID and still not FID.
    """
    parts = np.split(images / np.float32(127.5) - 1, range(50, len(images), 50))
    larger = (keras.ops.image.resize(part, (299, 299), antialias=True) for part in parts)
    return np.concatenate([_inception().predict_on_batch(part) for part in larger])


@lru_cache(maxsize=1)
def _inception():
    return keras.applications.InceptionV3(include_top=False, pooling="avg")


FEATURES = {"classifier": classifier_features, "inception": inception_features}


def controls(training: np.ndarray, trucks: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return sets of pictures whose worth is known, to read the table of quality by.

    They are made of the first 1,000 of uint8 `(n, 32, 32, 3)` real training cars, and of trucks;
    or, without trucks, of pictures of one's own, and are named so.
    """
    random = np.random.default_rng(0)
    cars, copied = training[:COMPARED], training[:100]
    noisy = np.clip(np.rint(cars + random.normal(0, 4, cars.shape)), 0, 255)
    others = {} if trucks is None else {"real trucks": trucks[:COMPARED]}
    sets = {
        FLOOR: cars,
        "cars with noise of 4 grey levels": noisy.astype(np.uint8),
        "cars as JPEG, quality 75": np.stack([_as_jpeg(car) for car in cars]),
        "blurred cars": np.stack([_blurred(car) for car in cars]),
        **others,
        "pure noise": random.integers(0, 256, cars.shape, dtype=np.uint8),
        COPIES: copied[random.integers(len(copied), size=len(cars))],
    }
    if others:
        return sets
    return {name.replace("cars", "pictures"): images for name, images in sets.items()}


def _as_jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def _blurred(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))
