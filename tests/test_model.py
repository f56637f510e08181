"""Stage 4, model: the residual step, what each input reaches, names, and sizes that do not fit."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_core import make_model


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


def ask(network, images, level, next_level):
    """The network's next images at one pair of noise levels, or at a pair for each image."""
    levels = [np.full((len(images), 1), a, np.float32) for a in (level, next_level)]
    return keras.ops.convert_to_numpy(network([images, *levels]))


@given(
    sizes=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    width=st.integers(1, 5),
    blocks=st.integers(1, 2),
    residual=st.booleans(),
    kind=st.sampled_from([np.int8, np.uint64, int]),
)
def test_the_answer_has_the_shape_of_the_image(sizes, sides, width, blocks, residual, kind):
    shape, widths = (sides[0] * 2**sizes, sides[1] * 2**sizes, sides[2]), (width,) * sizes
    network = make_model(tuple(map(kind, shape)), [*map(kind, widths)], kind(blocks), residual)
    answer = ask(network, np.zeros((2, *shape), np.float32), 1, 0.5)
    assert answer.shape == (2, *shape)
    assert answer.dtype == np.float32
    settings = {"image_shape": shape, "widths": widths, "blocks": blocks, "residual": residual}
    assert network.settings == settings | {"jumps": False, "classes": None}


def test_the_step_of_each_picture_is_its_own_size_along_the_layer_named_direction(network, images):
    """next = image + (a - a_next) d, and nothing changes where the step has the size zero."""
    levels = np.linspace(1, 0.2, 16, dtype=np.float32)[:, None]
    reader = keras.Model(network.inputs, network.get_layer("direction").output)
    for share in (1, 0.9, 0.5, 0):
        direction = ask(reader, images, levels, share * levels)
        expected = images + ((1 - share) * levels)[..., None, None] * direction
        answer = ask(network, images, levels, share * levels)
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(direction, ask(reader, images, levels, 0))


def test_the_naive_network_draws_the_next_image_itself(tiny, images):
    network = tiny(residual=False)
    assert not np.allclose(ask(network, images, 0.5, 0.5), images, atol=0.1)
    assert not np.allclose(ask(network, images, 0.5, 0.5), ask(network, images, 0.5, 0), atol=1e-4)


@pytest.mark.parametrize("residual", [True, False])
def test_gradients_reach_every_weight(tiny, images, residual):
    import tensorflow as tf

    network = tiny(residual=residual)
    level = np.random.default_rng(2).uniform(0.3, 1, (len(images), 1)).astype(np.float32)
    target = np.random.default_rng(3).standard_normal(images.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network([images, level, level / 2]) - target) ** 2)
    gradients = tape.gradient(loss, network.weights)
    for variable, gradient in zip(network.weights, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_a_pixel_of_the_answer_sees_the_whole_picture():
    import tensorflow as tf

    network, level = make_model(), tf.constant([[0.5]])
    image = tf.Variable(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), dtype="float32")
    with tf.GradientTape() as tape:
        pixel = tf.reduce_sum(network([image, level, level / 2])[0, 16, 16])
    seen = np.abs(tape.gradient(pixel, image)[0]).max(axis=-1)
    assert seen[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 0


def test_inputs_and_layers_are_what_their_names_say():
    network = make_model(blocks=2)
    assert [value.name for value in network.inputs] == ["image", "noise_level", "next_noise_level"]
    assert network.input_shape == [(None, 32, 32, 3), (None, 1), (None, 1)]
    names = [layer.name for layer in network.layers if layer.weights]
    named = r"(halve|double|down|middle|up|time)_\w+|last_norm|direction"
    assert [name for name in names if not re.fullmatch(named, name)] == []
    norms = [layer for layer in network.layers if "norm" in layer.name]
    assert max(layer.epsilon for layer in norms) < 1e-3
    assert {"halve_image", "down_1_1_conv_1", "down_2_2_norm_1", "middle_4_time_scale"} <= {*names}


def test_the_default_network_is_small_enough_for_a_browser():
    assert make_model().count_params() <= 2_000_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (30, 32, 3)}, "images of 30×32 cannot be halved 3 times; expected sides"),
        (
            {"image_shape": (32, 12, 3)},
            r"try make_model\(\(32, 12, 3\), \(32, 64\)\)",
        ),
        ({"image_shape": (32, 32)}, r"image_shape is \(32, 32\); expected \(height, width"),
        ({"widths": ()}, "expected at least one width"),
        ({"widths": (2**13,)}, "at most 4096"),
    ],
)
def test_a_size_the_network_cannot_take_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)
