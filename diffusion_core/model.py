"""Stage 4, model: a small U-Net that sees a noisy picture and its noise level and takes one step.

A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) halves the picture several times, works on
every size, and doubles it back; skip connections add what each size knew on the way down.
"""

import keras
import numpy as np
from keras import layers

from diffusion_core.checks import brief, check_images, check_whole, check_wholes

# Wider or larger is a typing error: one such layer would fill the memory.
LARGEST = 4096


def make_model(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    widths: tuple[int, ...] = (32, 64, 128),
    blocks: int = 1,
    residual: bool = True,
) -> keras.Model:
    """Build the network: `[image, noise_level, next_noise_level]` in, the next image out.

    The first layer halves the picture; then every width is one size, each half of the last.

    Args:
        image_shape: height, width and channels; both sides divisible by `2 ** len(widths)`.
        widths: channels at each size, from large to small.
        blocks: residual blocks (up to 100) at each size on the way down and again on the way up;
            the smallest size, in the middle, has both in a row.
        residual: True: the layers compute the direction `d ≈ x0 - epsilon` from image and noise
            level alone, and the output is `image + (noise_level - next_noise_level) * d`. Then
            `next_noise_level = 0` asks for the clean picture at once. False: the article's naive
            answer, the layers draw the next image itself; only the trained steps make sense.

    Returns:
        A `keras.Model` that takes float32 `(n, *image_shape)` and twice float32 `(n, 1)` in [0, 1],
        and returns float32 `(n, *image_shape)`. Its attribute `settings` holds the arguments.

    Raises:
        TypeError: an argument of another type.
        ValueError: sides that the sizes do not divide, or numbers below 1 or above 4,096.
    """
    image_shape = check_wholes("image_shape", image_shape)
    widths = check_wholes("widths", widths)
    blocks = check_whole("blocks", blocks, most=100)
    if not isinstance(residual, (bool, np.bool_)):
        raise TypeError(f"residual is {brief(residual)}; expected True or False.")
    if len(image_shape) != 3:
        raise ValueError(
            f"image_shape is {brief(image_shape)}; expected (height, width, channels)."
        )
    height, width, channels = image_shape
    if not widths or min(*widths, channels) < 1 or max(*widths, *image_shape) > LARGEST:
        raise ValueError(
            f"widths are {brief(widths)} and image_shape is {brief(image_shape)}; expected at "
            f"least one width, and every number at least 1 and at most {LARGEST}."
        )
    divisor = 2 ** len(widths)
    if min(height, width) < 1 or height % divisor or width % divisor:
        raise ValueError(
            f"images of {height}×{width} cannot be halved {len(widths)} times; expected sides "
            f"divisible by {divisor}. Resize the images or give fewer widths."
        )

    image = keras.Input(image_shape, name="image")
    noise_level = keras.Input((1,), name="noise_level")
    next_noise_level = keras.Input((1,), name="next_noise_level")

    # The naive network must see the whole question, the residual one adds the step by itself.
    time = noise_level
    if not residual:
        time = layers.Concatenate(name="both_levels", dtype="float32")(
            [noise_level, next_noise_level]
        )
    # In float32 always: bfloat16 cannot tell noise levels apart that differ by less than 0.4 %.
    time = layers.Dense(128, activation="silu", name="time_1", dtype="float32")(time)
    time = layers.Dense(128, activation="silu", name="time_2", dtype="float32")(time)

    x = layers.Conv2D(widths[0], 2, strides=2, name="halve_image")(image)
    skips = []
    for level, channels_here in enumerate(widths[:-1], start=1):
        for number in range(1, blocks + 1):
            x = _block(x, time, channels_here, f"down_{level}_{number}")
        skips.append(x)
        x = layers.Conv2D(widths[level], 2, strides=2, name=f"halve_{level}")(x)
    for number in range(1, 2 * blocks + 1):
        x = _block(x, time, widths[-1], f"middle_{number}")
    for level, channels_here in reversed(list(enumerate(widths[:-1], start=1))):
        x = layers.Conv2DTranspose(channels_here, 2, strides=2, name=f"double_{level}")(x)
        x = layers.Add(name=f"skip_{level}")([x, skips.pop()])
        for number in range(1, blocks + 1):
            x = _block(x, time, channels_here, f"up_{level}_{number}")
    x = layers.Activation("silu", name="last_activation")(
        layers.RMSNormalization(name="last_norm")(x)
    )
    if residual:
        direction = layers.Conv2DTranspose(channels, 2, strides=2, name="direction")(x)
        answer = _take_step(image, noise_level, next_noise_level, direction)
    else:
        drawing = layers.Conv2DTranspose(channels, 2, strides=2, name="drawing", dtype="float32")
        answer = drawing(x)
    model = keras.Model([image, noise_level, next_noise_level], answer, name="simple_diffusion")
    model.settings = {
        "image_shape": image_shape,
        "widths": widths,
        "blocks": blocks,
        "residual": bool(residual),
    }
    return model


def check_model(model: keras.Model) -> keras.Model:
    """Return `model` if it takes an image and two noise levels; raise `TypeError` if not."""
    shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    if not isinstance(model, keras.Model) or [len(shape) for shape in shapes] != [4, 2, 2]:
        raise TypeError(
            f"model is {brief(model)}; expected a network of make_model or load_pretrained."
        )
    return model


def check_images_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return images in [-1, 1] if the network takes their shape; raise `ValueError` if not."""
    images, shape = check_images(images), model.input_shape[0][1:]
    if images.shape[1:] != shape:
        raise ValueError(
            f"images are {images.shape[1:]} and the model takes {shape}; "
            "build it with make_model(image_shape=images.shape[1:])."
        )
    return images


def _block(x, time, width, name):
    """Add to `x` what two convolutions make of it; the noise level scales and shifts in between."""
    shortcut = x
    x = layers.RMSNormalization(name=f"{name}_norm_1")(x)
    x = layers.Activation("silu", name=f"{name}_activation_1")(x)
    x = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv_1")(x)
    x = layers.RMSNormalization(name=f"{name}_norm_2")(x)
    scale = layers.Dense(width, bias_initializer="ones", name=f"{name}_time_scale")(time)
    shift = layers.Dense(width, name=f"{name}_time_shift")(time)
    scale = layers.Reshape((1, 1, width), name=f"{name}_scale")(scale)
    shift = layers.Reshape((1, 1, width), name=f"{name}_shift")(shift)
    x = layers.Multiply(name=f"{name}_scaled")([x, scale])
    x = layers.Add(name=f"{name}_shifted")([x, shift])
    x = layers.Activation("silu", name=f"{name}_activation_2")(x)
    x = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv_2")(x)
    return layers.Add(name=f"{name}_sum")([shortcut, x])


def _take_step(image, noise_level, next_noise_level, direction):
    """Return `image + (noise_level - next_noise_level) * direction`, in float32 even where the
    layers compute in half precision: rounding the picture would lose a part of every small step.
    """
    size = layers.Subtract(name="step_size", dtype="float32")([noise_level, next_noise_level])
    size = layers.Reshape((1, 1, 1), name="step_size_per_image", dtype="float32")(size)
    step = layers.Multiply(name="step", dtype="float32")([size, direction])
    return layers.Add(name="next_image", dtype="float32")([image, step])
