"""Chapter 4, model: a small U-Net that sees a noisy picture and its noise level and takes one step.

A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) halves the picture several times, works on
every size, and doubles it back; skip connections add what each size knew on the way down.
"""

from pathlib import Path

import keras
from keras import layers, ops

from diffusion_core.checks import BOOL, CLASSES, SHAPE, check_network_sizes, checked, whole
from diffusion_core.runs import states
from diffusion_core.sources import pretrained

ARGUMENTS = dict(image_shape=SHAPE, widths=SHAPE, blocks=whole(1, 100))
ARGUMENTS |= dict(residual=BOOL, jumps=BOOL, classes=CLASSES)


@checked(check_network_sizes, **ARGUMENTS)
def make_model(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    widths: tuple[int, ...] = (32, 64, 128),
    blocks: int = 1,
    residual: bool = True,
    jumps: bool = False,
    classes: int | None = None,
) -> keras.Model:
    """Build the network: `[image, noise_level, next_noise_level]` in, the next image out.

    The first layer halves the picture; then every width is one size, each half of the last.

    Args:
        image_shape: height, width and channels; both sides divisible by `2 ** len(widths)`.
        widths: channels at each size, from large to small; up to 4,096, like the sides.
        blocks: residual blocks (up to 100) at each size on the way down and again on the way up;
            the smallest size, in the middle, has both in a row.
        residual: True: the layers compute the direction `d ≈ x0 - epsilon` from image and noise
            level alone, and `take_step` follows it; `next_noise_level = 0` asks for the clean
            picture. False: the article's naive answer, the layers draw the next image themselves.
        jumps: True: the layers of the residual network also see the level at which the step ends,
            so that a long one need not be straight (chapter 10).
        classes: how many there are to ask for, up to 1,000; the network then has a fourth input,
            `classes + 1` shares of them and of "any class" (chapter 11).

    Returns:
        A `keras.Model` that takes float32 `(n, *image_shape)` and twice float32 `(n, 1)` in [0, 1],
        and returns float32 `(n, *image_shape)`. Its attribute `settings` holds the arguments.
    """
    image = keras.Input(image_shape, name="image")
    noise_level = keras.Input((1,), name="noise_level")
    next_noise_level = keras.Input((1,), name="next_noise_level")

    # The naive network must see the whole question, the residual one adds the step by itself.
    both = layers.Concatenate(name="both_levels", dtype="float32")
    time = both([noise_level, next_noise_level]) if jumps or not residual else noise_level
    # In float32 always: bfloat16 cannot tell noise levels apart that differ by less than 0.4 %.
    time = layers.Dense(128, activation="silu", name="time_1", dtype="float32")(time)
    inputs = [image, noise_level, next_noise_level]
    if classes:
        inputs.append(keras.Input((classes + 1,), name="class_shares"))
        # Zeros at first: a network that learned one class goes on from what it knows.
        shares = dict(use_bias=False, kernel_initializer="zeros", name="class", dtype="float32")
        time = layers.Add(name="time_and_class")([time, layers.Dense(128, **shares)(inputs[3])])
    time = layers.Dense(128, activation="silu", name="time_2", dtype="float32")(time)

    x = layers.Conv2D(widths[0], 2, strides=2, name="halve_image")(image)
    skips = []
    for size, width in enumerate(widths[:-1], start=1):
        for number in range(1, blocks + 1):
            x = _block(x, time, width, f"down_{size}_{number}")
        skips.append(x)
        x = layers.Conv2D(widths[size], 2, strides=2, name=f"halve_{size}")(x)
    for number in range(1, 2 * blocks + 1):
        x = _block(x, time, widths[-1], f"middle_{number}")
    for size, width in reversed(list(enumerate(widths[:-1], start=1))):
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"double_{size}")(x)
        x = layers.Add(name=f"skip_{size}")([x, skips.pop()])
        for number in range(1, blocks + 1):
            x = _block(x, time, width, f"up_{size}_{number}")
    x = layers.RMSNormalization(name="last_norm")(x)
    x = layers.Activation("silu", name="last_activation")(x)

    name, dtype = ("direction", None) if residual else ("drawing", "float32")
    x = layers.Conv2DTranspose(image_shape[2], 2, strides=2, name=name, dtype=dtype)(x)
    answer = take_step(image, noise_level, next_noise_level, direction=x) if residual else x
    model = keras.Model(inputs, answer, name="simple_diffusion")
    model.settings = dict(image_shape=image_shape, widths=widths, blocks=blocks)
    model.settings |= dict(residual=residual, jumps=jumps, classes=classes)
    return model


def take_step(image, noise_level, next_noise_level, direction):
    """Return the next image, of a network's inputs and its direction `d`: the residual step.

    The images and `d` are `(n, height, width, channels)`, the levels `(n, 1)`. In float32, even
    where `d` is in half precision: rounding the picture would lose a part of every small step.
    """
    step_size = ops.reshape(noise_level - next_noise_level, (-1, 1, 1, 1))
    return image + step_size * direction


def _block(x, time, width, name):
    """Add to `x` what two convolutions make of it; the noise level scales and shifts in between."""
    change = layers.RMSNormalization(name=f"{name}_norm_1")(x)
    change = layers.Activation("silu", name=f"{name}_activation_1")(change)
    change = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv_1")(change)
    scale = layers.Dense(width, bias_initializer="ones", name=f"{name}_time_scale")(time)
    shift = layers.Dense(width, name=f"{name}_time_shift")(time)
    scale, shift = (layers.Reshape((1, 1, width))(at_level) for at_level in (scale, shift))
    change = scale * layers.RMSNormalization(name=f"{name}_norm_2")(change) + shift
    change = layers.Activation("silu", name=f"{name}_activation_2")(change)
    change = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv_2")(change)
    return layers.Add(name=f"{name}_sum")([x, change])


def load_pretrained(name: str | Path = "small") -> keras.Model:
    """Return a network by its name, such as "small" or "small-epoch-005", or else by a path.

    That is the path of a file that `train` wrote, or of the folder of a run, whose newest whole
    state counts; the weights are its averaged ones. For other Keras programs,
    `load_pretrained(folder).save_weights("cars.weights.h5")` writes these weights alone, and
    `make_model(...).load_weights("cars.weights.h5")` reads them.

    Raises:
        ValueError: there is neither such a network nor such a path.
        FileNotFoundError: the folder holds no state.
    """
    path = pretrained.find_network(name)
    found = states.find_newest(path) if path.is_dir() else (path, *states.read(path))
    if found is None:
        raise FileNotFoundError(f"{path} holds no saved state; train into it first.")
    path, tensors, about = found
    model = states.load_averages(states.build(make_model, path, tensors, about), tensors, path)
    model.configuration = about.get("configuration", {})  # of the run, where the file knows it
    return model
