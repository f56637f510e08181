"""Stage 4, model: the residual step, what each input reaches, names, and sizes that do not fit."""

import re

import keras
import numpy as np
import pytest

from diffusion_core import make_model


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


def ask(network, images, level, next_level):
    """The network's next images at one pair of noise levels."""
    column = np.ones((len(images), 1), np.float32)
    answer = network([images, level * column, next_level * column])
    return keras.ops.convert_to_numpy(answer)


@pytest.mark.parametrize(
    ("image_shape", "widths", "blocks", "residual"),
    [
        ((8, 8, 3), (4,), 1, True),
        ((8, 8, 3), (4, 8, 8), 1, True),
        ((8, 16, 1), (4, 8), 1, True),
        ((4, 4, 3), (4, 8), 2, True),
        ((8, 8, 3), (4, 8), 1, False),
    ],
)
def test_the_answer_has_the_shape_of_the_image(image_shape, widths, blocks, residual):
    network = make_model(image_shape, widths, blocks, residual)
    answer = ask(network, np.zeros((2, *image_shape), np.float32), 1, 0.5)
    assert answer.shape == (2, *image_shape)
    assert answer.dtype == np.float32


def test_the_inputs_are_the_image_and_two_noise_levels():
    network = make_model()
    assert [value.name for value in network.inputs] == ["image", "noise_level", "next_noise_level"]
    assert network.input_shape == [(None, 32, 32, 3), (None, 1), (None, 1)]


def test_the_residual_step_equals_its_algebra(network, images):
    """next = image + (a - a_next) d: one step reveals d, the others must follow from it."""
    direction = (ask(network, images, 0.75, 0.25) - images) / 0.5
    for next_level in (0.7, 0.5, 0.0):
        expected = images + (0.75 - next_level) * direction
        np.testing.assert_allclose(
            ask(network, images, 0.75, next_level), expected, rtol=0, atol=1e-5
        )


def test_the_direction_is_the_output_of_the_layer_of_that_name(network, images):
    column = np.full((len(images), 1), 0.5, np.float32)
    reader = keras.Model(network.inputs, network.get_layer("direction").output)
    direction = keras.ops.convert_to_numpy(reader([images, column, 0 * column]))
    np.testing.assert_allclose(
        ask(network, images, 0.5, 0), images + 0.5 * direction, rtol=0, atol=1e-6
    )


def test_each_picture_takes_a_step_of_its_own_size(network, images):
    levels = np.linspace(1, 0.2, len(images), dtype=np.float32)[:, None]
    together = keras.ops.convert_to_numpy(network([images, levels, levels / 2]))
    for i in (0, 7, 15):
        alone = ask(network, images[i : i + 1], levels[i, 0], levels[i, 0] / 2)
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_a_step_of_size_zero_changes_nothing(network, images):
    np.testing.assert_array_equal(ask(network, images, 0.5, 0.5), images)


def test_the_direction_depends_on_the_noise_level(network, images):
    one = ask(network, images, 1.0, 0.5) - images
    other = ask(network, images, 0.5, 0.0) - images
    assert not np.allclose(one, other, atol=1e-4)


def test_the_naive_network_draws_the_next_image_itself(tiny, images):
    network = tiny(residual=False)
    assert not np.allclose(ask(network, images, 0.5, 0.5), images, atol=0.1)
    assert not np.allclose(ask(network, images, 0.5, 0.5), ask(network, images, 0.5, 0), atol=1e-4)


def test_every_pixel_of_the_answer_can_see_the_whole_small_image(tiny):
    """Down and up again, the skip connections and the middle join everything."""
    network = tiny(widths=(4, 8, 8))
    quiet = np.zeros((1, 8, 8, 3), np.float32)
    dot = quiet.copy()
    dot[0, 0, 0, 0] = 1
    change = np.abs(ask(network, dot, 1, 0) - ask(network, quiet, 1, 0))
    assert change[0, -1, -1].max() > 0


@pytest.mark.parametrize("residual", [True, False])
def test_gradients_reach_every_weight(tiny, images, residual):
    import tensorflow as tf

    network = tiny(residual=residual)
    level = np.random.default_rng(2).uniform(0.3, 1, (len(images), 1)).astype(np.float32)
    target = np.random.default_rng(3).standard_normal(images.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network([images, level, level / 2]) - target) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_every_weight_is_trainable(network):
    assert len(network.weights) == len(network.trainable_variables) > 0


def test_every_layer_that_learns_has_a_name_that_says_what_it_is():
    names = [layer.name for layer in make_model(blocks=2).layers if layer.weights]
    named = r"(halve|double|down|middle|up|time)_\w+|last_norm|direction"
    assert [name for name in names if not re.fullmatch(named, name)] == []
    for name in ("halve_image", "down_1_1_conv_1", "down_2_2_norm_1", "middle_4_time_scale"):
        assert name in names


def test_the_settings_build_the_same_network_again(tiny):
    network = tiny(blocks=2, residual=False)
    again = make_model(**network.settings)
    assert [v.path for v in again.weights] == [v.path for v in network.weights]
    assert [v.shape for v in again.weights] == [v.shape for v in network.weights]


def test_the_default_network_is_small_enough_for_a_browser():
    assert make_model().count_params() <= 2_000_000


def test_the_step_is_added_in_float32_even_in_half_precision(tiny):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = tiny()
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.get_layer("middle_1_conv_1").compute_dtype == "float16"
    # Half precision would round these to its own steps of 1/2048 and coarser.
    images = np.random.default_rng(0).uniform(0.5, 1, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(ask(network, images, 0.5, 0.5), images)
    step = ask(network, images, 0.5, 0.4999) - images
    assert np.abs(step).max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (30, 32, 3)}, "images of 30×32 cannot be halved 3 times; expected sides"),
        ({"image_shape": (32, 12, 3)}, "divisible by 8. Resize the images or give fewer widths"),
        ({"image_shape": (32, 32)}, r"image_shape is \(32, 32\); expected \(height, width"),
        ({"widths": ()}, "expected at least one width"),
        ({"widths": (2**13,)}, "at most 4096"),
    ],
)
def test_a_size_the_network_cannot_take_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)
