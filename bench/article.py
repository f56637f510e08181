"""The network of the article "Diffusion Model from Scratch" (tree.rocks), written anew to compare.

Two convolutions a block, one of them multiplied by the time; max-pooling down, nearest
up-sampling, a dense middle; it draws the next picture itself.
"""

import keras
import numpy as np
from keras import layers


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
