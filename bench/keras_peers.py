"""The contestants on Keras and TensorFlow; bench/peers.py starts them.

"article" is the network of the article "Diffusion Model from Scratch" (tree.rocks), written anew:
two convolutions a block, one of them multiplied by the time; max-pooling down, nearest up-sampling,
a dense middle. It draws the next picture itself.
"ddim" is the network of keras.io's example "Denoising Diffusion Implicit Models" by András Béres,
written anew, with its rule: pictures of mean 0 and variance 1, a noise level that moves along a
quarter circle, the noise as the answer, mean absolute error, AdamW, an average of the weights.
Its page keeps the weights with the best score on validation pictures; here the last ones draw.
"""

import math
from itertools import pairwise

import keras
import numpy as np
from keras import layers, ops
from process import SEED, Contestant, in_batches

import diffusion_core as core
from diffusion_core import sampling
from diffusion_core.runs.optimizer import AveragingMuon, averaged_weights

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


def ours(*, batch=64, size=32, widths=(32, 64, 128), xla=True) -> Contestant:
    """The project's own network and recipe; the rate falls with the share of the budget used."""
    keras.utils.set_random_seed(SEED)
    model = core.make_model((size, size, 3), tuple(widths))
    model.compile(AveragingMuon(4e-3), "mean_absolute_error", jit_compile=xla)
    model.optimizer.build(model.trainable_variables)

    def train(images, share_used):
        model.optimizer.learning_rate = 4e-3 * (1 - share_used)
        core.train_one(model, images, seed=SEED)

    def draw(noise):
        with averaged_weights(model):
            return {"averaged": core.predict(model, noise=noise)}

    return Contestant(batch, size, model.count_params(), multiply_adds(model), train, draw)


def make_article_model() -> keras.Model:
    """Return the article's network: `[image, step]` in, the next image out; 32×32×3."""
    image = keras.Input((32, 32, 3), name="image")
    step = keras.Input((1,), name="step")
    time = layers.ReLU()(layers.LayerNormalization()(layers.Dense(192)(step)))

    def block(x):
        scale = layers.Reshape((1, 1, 128))(layers.Dense(128, activation="relu")(time))
        scaled = layers.Conv2D(128, 3, padding="same", activation="relu")(x) * scale
        x = layers.Conv2D(128, 3, padding="same")(x) + scaled
        return layers.ReLU()(layers.LayerNormalization()(x))

    x = image
    skips = []
    for size in (32, 16, 8, 4):
        x = block(x)
        skips.append(x)
        if size > 4:
            x = layers.MaxPool2D()(x)
    x = layers.Concatenate()([layers.Flatten()(x), time])
    for width in (128, 512):
        x = layers.ReLU()(layers.LayerNormalization()(layers.Dense(width)(x)))
    x = layers.Reshape((4, 4, 32))(x)
    for size in (4, 8, 16, 32):
        x = block(layers.Concatenate()([x, skips.pop()]))
        if size < 32:
            x = layers.UpSampling2D()(x)
    return keras.Model([image, step], layers.Conv2D(3, 1)(x), name="article")


def draw_article(network: keras.Model, noise: np.ndarray) -> np.ndarray:
    """Ask for the next picture 16 times, beginning with `noise`."""
    images = noise
    for step in range(16):
        column = np.full((len(noise), 1), step, np.float32)
        images = network.predict([images, column], batch_size=100, verbose=0)
    return images


def article(*, xla=False) -> Contestant:
    """The article's network and rule: batches of 128, Adam at 8e-4, less by steps of a tenth."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    schedule = core.linear_schedule(STEPS)
    model = make_article_model()
    rate = keras.optimizers.schedules.ExponentialDecay(8e-4, 5000, 0.9, staircase=True)
    model.compile(keras.optimizers.Adam(rate), "mean_absolute_error", jit_compile=xla)

    def train(images, share_used):
        t = random.integers(STEPS, size=len(images))
        noise = random.standard_normal(images.shape, np.float32)
        question, answer = core.forward_noise(images, t, schedule, noise=noise)
        model.train_on_batch([question, t[:, None].astype(np.float32)], answer)

    counts = model.count_params(), multiply_adds(model)
    return Contestant(128, 32, *counts, train, lambda noise: {"plain": draw_article(model, noise)})


def ddim(mean=0.0, deviation=0.5) -> Contestant:
    """The network of keras.io's example with its rule; both its weights and their average draw.

    `mean` and `deviation` are those of the training pictures, one number or one for each colour.
    """
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    mean, deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
    model = make_ddim_model()
    average = keras.models.clone_model(model)
    average.set_weights(model.get_weights())
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    model.compile(optimizer, "mean_absolute_error", jit_compile=False)
    average.compile(jit_compile=False)

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

    return Contestant(64, 32, model.count_params(), multiply_adds(model), train, draw)


def make_ddim_model() -> keras.Model:
    """Build the residual U-Net of keras.io's example: `[image, noise variance]` in, the noise out.

    Four sizes with two residual blocks each; the noise variance enters once, as sines and cosines.
    """
    *widths, middle_width = (32, 64, 96, 128)
    image = keras.Input((32, 32, 3), name="image")
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
    x = layers.Concatenate()([x, layers.UpSampling2D(32)(waves)])
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


def training_cars() -> Contestant:
    """No network, but what the best one can reach: it draws the pictures to train on."""
    cars = core.normalize(core.load_cars())
    return Contestant(1, 32, 0, 0, None, lambda noise: {"none": cars[: len(noise)]})


def draw_by_predict(at_once=sampling.BATCH_SIZE):
    model = core.make_model()
    sampling.BATCH_SIZE = at_once
    return lambda pictures: core.predict(model, pictures)


def draw_by_model_predict():
    """The same network called as the article calls its own: `model.predict` for every step."""
    model = core.make_model()

    def draw(n):
        x = core.gaussian_noise(n)
        for levels in pairwise(core.linear_schedule(STEPS).noise):
            x = model.predict([x, *(np.full((n, 1), a, "f4") for a in levels)], verbose=0)
        return x

    return draw
