"""The contestants on Keras and TensorFlow; bench/peers.py and bench/growth.py start them.

    python bench/keras_peers.py train ours '{"images": 1280}'

"ddim" is the network of keras.io's example "Denoising Diffusion Implicit Models" by András Béres,
written anew, with its rule: pictures of mean 0 and variance 1, a noise level that moves along a
quarter circle, the noise as the answer, mean absolute error, AdamW, an average of the weights.
Its page keeps the weights with the best score on validation pictures; here the last ones draw.
"""

import math
from functools import partial
from itertools import pairwise

import keras
import numpy as np
from article import draw_article, make_article_model
from keras import layers, ops
from process import Contestant, child_main, in_batches

from diffusion_core import (
    forward_noise,
    gaussian_noise,
    linear_schedule,
    make_model,
    predict,
    sampling,
    train_one,
)
from diffusion_core.runs.averaging import AveragingAdam, averaged_weights

STEPS = 16


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of convolutions and dense layers for one image."""
    # TensorFlow's own profiler counts what is done to single numbers too.
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose | layers.Dense):
            # A transposed convolution applies its kernel once for every pixel that comes in.
            transposed = isinstance(layer, layers.Conv2DTranspose)
            places = (layer.input if transposed else layer.output).shape[1:-1]
            total += math.prod(layer.kernel.shape) * math.prod(places)
    return total


def ours(*, batch=64, size=32, widths=(32, 64, 128), xla=True, seed=0) -> Contestant:
    """The project's own network and recipe; the rate falls with the share of the budget used."""
    keras.utils.set_random_seed(seed)
    model = make_model((size, size, 3), tuple(widths))
    model.compile(AveragingAdam(4e-3), "mean_absolute_error", jit_compile=xla)
    model.optimizer.build(model.trainable_variables)

    def train(images, share_used):
        model.optimizer.learning_rate = 4e-3 * (1 - share_used)
        train_one(model, images, seed=seed)

    def draw(noise):
        with averaged_weights(model):
            return {"averaged": predict(model, noise=noise)}

    return Contestant(batch, size, model.count_params(), multiply_adds(model), train, draw)


def article(*, xla=False, seed=0) -> Contestant:
    """The network of article.py, which draws the next picture itself, with the article's rule.

    Batches of 128, Adam at 8e-4, a tenth less after every 5,000 batches.
    """
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    schedule = linear_schedule(STEPS)
    model = make_article_model()
    rate = keras.optimizers.schedules.ExponentialDecay(8e-4, 5000, 0.9, staircase=True)
    model.compile(keras.optimizers.Adam(rate), "mean_absolute_error", jit_compile=xla)

    def train(images, share_used):
        t = random.integers(STEPS, size=len(images))
        noise = random.standard_normal(images.shape, np.float32)
        question, answer = forward_noise(images, t, schedule, noise=noise)
        model.train_on_batch([question, t[:, None].astype(np.float32)], answer)

    def draw(noise):
        return {"plain": draw_article(model, noise)}

    return Contestant(128, 32, model.count_params(), multiply_adds(model), train, draw)


def ddim(*, size=32, xla=False, seed=0, mean=0.0, deviation=0.5) -> Contestant:
    """The network of keras.io's example with its rule; both its weights and their average draw.

    `mean` and `deviation` are those of the training pictures, one number or one for each colour.
    """
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    mean, deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
    model = make_ddim_model(size)
    average = keras.models.clone_model(model)
    average.set_weights(model.get_weights())
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    model.compile(optimizer, "mean_absolute_error", jit_compile=xla)
    average.compile(jit_compile=xla)

    # Keras' `use_ema` leaves out the statistics of batch normalization, and the page does not.
    @tf.function
    def follow():
        for kept, weight in zip(average.weights, model.weights, strict=True):
            kept.assign(0.999 * kept.value + 0.001 * weight.value)

    def train(images, share_used):
        noise = random.standard_normal(images.shape, np.float32)
        noise_rate, signal_rate = ddim_rates(random.random((len(images), 1, 1, 1), np.float32))
        noisy = signal_rate * (images - mean) / deviation + noise_rate * noise
        model.train_on_batch([noisy, noise_rate**2], noise)
        follow()

    def draw(noise):
        return {
            name: draw_ddim(network.predict_on_batch, noise) * deviation + mean
            for name, network in {"averaged": average, "plain": model}.items()
        }

    return Contestant(64, size, model.count_params(), multiply_adds(model), train, draw)


def make_ddim_model(image_size: int) -> keras.Model:
    """Build the residual U-Net of keras.io's example: `[image, noise variance]` in, the noise out.

    Four sizes with two residual blocks each; the noise variance enters once, as sines and cosines.
    """
    *widths, middle_width = (32, 64, 96, 128)
    image = keras.Input((image_size, image_size, 3), name="image")
    variance = keras.Input((1, 1, 1), name="noise_variance")
    angles = variance * (2 * math.pi * np.geomspace(1, 1000, 16, dtype=np.float32))
    waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def block(x, width):
        shortcut = x if x.shape[-1] == width else layers.Conv2D(width, 1)(x)
        # Scale and centre are left to the convolution that follows.
        x = layers.BatchNormalization(center=False, scale=False)(x)
        x = layers.Conv2D(width, 3, padding="same", activation="silu")(x)
        return layers.Conv2D(width, 3, padding="same")(x) + shortcut

    x = layers.Conv2D(widths[0], 1)(image)
    x = layers.Concatenate()([x, layers.UpSampling2D(image_size)(waves)])
    skips = []
    for width in widths:
        for _ in range(2):
            x = block(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(2):
        x = block(x, middle_width)
    for width in reversed(widths):
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        for _ in range(2):
            x = block(layers.Concatenate()([x, skips.pop()]), width)
    noise = layers.Conv2D(3, 1, kernel_initializer="zeros", name="noise")(x)
    return keras.Model([image, variance], noise, name="ddim")


def ddim_rates(time):
    """Return the shares of noise and of signal: an angle between signals of 0.95 and of 0.02.

    `time` runs from 0, nearly clean, to 1, nearly noise. The squares of the shares add up to 1.
    """
    first, last = math.acos(0.95), math.acos(0.02)
    angle = first + np.asarray(time, np.float32) * np.float32(last - first)
    return np.sin(angle), np.cos(angle)


def draw_ddim(network, noise):
    """Split the picture into noise and signal, mix them again one step cleaner, 16 times."""

    def draw(x):
        for time in np.linspace(1, 0, STEPS, endpoint=False):
            noise_rate, signal_rate = ddim_rates(time)
            variances = np.full((len(x), 1, 1, 1), noise_rate**2, np.float32)
            guessed_noise = np.asarray(network([x, variances]))
            guessed_image = (x - noise_rate * guessed_noise) / signal_rate
            next_noise_rate, next_signal_rate = ddim_rates(time - 1 / STEPS)
            x = next_signal_rate * guessed_image + next_noise_rate * guessed_noise
        return guessed_image

    return in_batches(draw, noise)


def draw_by_predict(at_once=sampling.BATCH_SIZE):
    model = make_model()
    sampling.BATCH_SIZE = at_once
    return lambda pictures: predict(model, pictures)


def draw_by_model_predict():
    """The same network called as the article calls its own: `model.predict` for every step."""
    model = make_model()
    levels = linear_schedule(STEPS).noise

    def draw(pictures):
        images = gaussian_noise(pictures)
        for level, next_level in pairwise(levels):
            both = [np.full((pictures, 1), a, np.float32) for a in (level, next_level)]
            images = model.predict([images, *both], verbose=0)
        return images

    return draw


TRAINERS = {
    "ours": ours,
    "ours-no-xla": partial(ours, xla=False),
    "article": article,
    "article-xla": partial(article, xla=True),
    "ddim": ddim,
    "ddim-xla": partial(ddim, xla=True),
    "ddim-64": partial(ddim, size=64),
}
DRAWERS = {"predict": draw_by_predict, "model-predict": draw_by_model_predict}

if __name__ == "__main__":
    child_main(TRAINERS, DRAWERS)
