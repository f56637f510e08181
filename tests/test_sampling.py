"""Stage 6, sampling: the loop against plain Python and an independent library, seeds, batches."""

import gc
import json
import weakref
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from diffusion_core import (
    Schedule,
    gaussian_noise,
    linear_schedule,
    predict,
    predict_step,
    sampling,
)
from diffusion_core.model import take_step

REFERENCE = json.loads((Path(__file__).parent / "reference" / "diffusers.json").read_text())


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


@pytest.fixture(scope="module")
def states(network):
    """Three pictures of seed 5, all states: compiled once for this file."""
    return predict_step(network, 3, seed=5)


@pytest.fixture
def asked(monkeypatch):
    """What the network is asked: how many pictures, at which two levels."""
    questions, answer = [], sampling.predict_on_batch

    def spy(model, question):
        x, level, next_level = question
        questions.append((len(x), np.unique(level).item(), np.unique(next_level).item()))
        return answer(model, question)

    monkeypatch.setattr(sampling, "predict_on_batch", spy)
    return questions


def plain_loop(network, noise):
    """The sampler as one would write it first."""
    states = [noise]
    column = np.ones((len(noise), 1), np.float32)
    for level, next_level in pairwise(linear_schedule().noise.astype(np.float32)):
        following = network([states[-1], level * column, next_level * column])
        states.append(keras.ops.convert_to_numpy(following))
    return np.stack(states)


def network_with_direction(image_shape, direction):
    """A network whose direction is written down instead of learned."""
    image = keras.Input(image_shape)
    level, next_level = keras.Input((1,)), keras.Input((1,))
    following = take_step(image, level, next_level, direction(image, level))
    return keras.Model([image, level, next_level], following)


def test_the_compiled_network_equals_a_plain_python_loop(network, states):
    assert states.shape == (17, 3, 8, 8, 3)
    assert states.dtype == np.float32
    noise = gaussian_noise(3, (8, 8, 3), seed=5)
    np.testing.assert_array_equal(states[0], noise)
    np.testing.assert_allclose(states, plain_loop(network, noise), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(predict(network, 3, seed=5), states[-1])


@pytest.mark.parametrize("draw", [predict, predict_step])
def test_the_default_is_twenty_five_pictures_in_sixteen_linear_steps(network, asked, draw):
    assert draw(network).shape[-4:] == (25, 8, 8, 3)
    levels = pairwise(linear_schedule(16).noise.astype(np.float32))
    assert asked == [(25, level, next_level) for level, next_level in levels]


def test_no_step_count_compiles_anything_anew(network, states):
    compiled = network.predict_function
    before = compiled.experimental_get_tracing_count()
    for steps in (1, 5, 40):
        assert predict(network, 3, linear_schedule(steps), seed=5).shape == (3, 8, 8, 3)
    assert network.predict_function is compiled
    assert compiled.experimental_get_tracing_count() == before


@example(n=7, size=3, seed=5)
@given(n=st.integers(1, 7), size=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_the_same_pictures_whatever_the_batch_size(network, n, size, seed):
    half = linear_schedule(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BATCH_SIZE", size)
        pictures = predict(network, np.uint8(n), half, np.uint32(seed))
        noise = gaussian_noise(n, (8, 8, 3), seed)
        states = predict_step(network, 99, half, noise=noise.astype(np.float64))
    assert states.shape == (3, n, 8, 8, 3)
    np.testing.assert_allclose(states[-1], pictures, rtol=0, atol=1e-5)
    for i in (0, n - 1):
        alone = predict(network, schedule=half, seed=99, noise=noise[i : i + 1])
        np.testing.assert_allclose(pictures[i : i + 1], alone, rtol=0, atol=1e-5)


def test_the_last_batch_is_as_large_as_the_others(network, asked, monkeypatch):
    """The network is compiled for each size anew."""
    monkeypatch.setattr(sampling, "BATCH_SIZE", 3)
    assert predict(network, 7, linear_schedule(2)).shape == (7, 8, 8, 3)
    assert [question[0] for question in asked] == [3] * 6
    monkeypatch.setattr(sampling, "MOST_IN_BATCH", 2 * 8 * 8 * 3)  # large pictures are few
    predict(network, 2, linear_schedule(1))
    predict(network, 9, linear_schedule(1))
    assert [question[0] for question in asked[6:]] == [2] * 6


def test_predict_keeps_the_last_states_only(network, monkeypatch):
    alive = []

    def answer(model, question):
        state = question[0] + 1
        alive.append(weakref.ref(state))
        # The finished ones are kept, and of the others the state asked about and the new one.
        assert sum(reference() is not None for reference in alive) <= len(alive) // 16 + 2
        return state

    monkeypatch.setattr(sampling, "BATCH_SIZE", 3)
    monkeypatch.setattr(sampling, "predict_on_batch", answer)
    assert predict(network, 12).shape == (12, 8, 8, 3)
    assert len(alive) == 4 * 16


def test_a_schedule_that_begins_halfway_needs_the_pictures_to_begin_with(network):
    halfway = Schedule(signal=[0.5, 1], noise=[0.5, 0])
    with pytest.raises(ValueError, match=r"begins at noise level 0\.5.*as noise="):
        predict(network, schedule=halfway)
    given = np.zeros((2, 8, 8, 3), np.float32)
    assert predict(network, schedule=halfway, noise=given).shape == given.shape


def test_the_result_is_not_clipped(network):
    far = np.full((3, 8, 8, 3), 5, np.float32)
    assert predict(network, noise=far).max() > 1


def test_drawing_follows_the_weights_when_they_change(tiny):
    network = tiny(seed=3)
    predict(network, 3)
    for variable in network.weights:
        variable.assign(0.5 * variable)
    expected = plain_loop(network, gaussian_noise(3, (8, 8, 3)))
    np.testing.assert_allclose(predict(network, 3), expected[-1], rtol=0, atol=1e-4)


UNEVEN = Schedule(signal=[0, 0.1, 0.75, 1], noise=[1, 0.9, 0.25, 0])


@pytest.mark.parametrize("schedule", [linear_schedule(16), linear_schedule(1), UNEVEN])
def test_a_constant_direction_samples_to_the_exact_answer(schedule):
    """However the way is divided, the steps add up to one whole direction."""
    constant = np.array([0.5, -0.25, 0.125], np.float32)
    network = network_with_direction((8, 8, 3), lambda image, level: 0 * image + constant)
    noise = gaussian_noise(3, (8, 8, 3), seed=1)
    pictures = predict_step(network, schedule=schedule, noise=noise)
    way = (1 - schedule.noise).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    np.testing.assert_allclose(pictures, noise + way * constant, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_the_states_equal_ddim_and_flow_matching_of_an_independent_library(scheduler):
    """On these noise levels DDIM and the Euler step of flow matching are one and the same."""
    expected = np.array(REFERENCE["traces"][scheduler]["states"])

    def toy(x, a):  # of tests/reference/write.py, once more
        a, neighbour = a[:, None, None], keras.ops.roll(x, 1, axis=2)
        clean = (1 - 0.3 * a) * keras.ops.tanh((1.5 - a) * x + 0.5 * neighbour - 0.2)
        return (clean - x) / a

    network = network_with_direction((1, expected.shape[1], 1), toy)
    noise = expected[0].reshape(1, 1, -1, 1)
    states = predict_step(network, noise=noise).reshape(expected.shape)
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": np.zeros((2, 4, 4, 3))}, r"\(2, 4, 4, 3\); .* \('n', 8, 8, 3\) with n of at"),
        ({"n": 2**23}, "n is 8388608.*, which makes .* numbers; expected at most 536870912"),
    ],
)
@pytest.mark.parametrize("draw", [predict, predict_step])
def test_wrong_arguments_are_refused(network, draw, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(network, **arguments)


def test_only_what_predict_returns_is_limited():
    """A network without weights, whose states over 440 steps are too many to keep."""
    image, levels = keras.Input((64, 64, 3)), [keras.Input((1,)), keras.Input((1,))]
    moved = keras.layers.Add()([image, *(keras.layers.Reshape((1, 1, 1))(a) for a in levels)])
    wide, many = keras.Model([image, *levels], moved), linear_schedule(440)
    with pytest.raises(ValueError, match="n is 100 and timesteps 440"):
        predict_step(wide, 100, many)
    assert predict(wide, 100, many).shape == (100, 64, 64, 3)


def test_a_network_that_was_drawn_with_can_go(tiny):
    network = tiny(widths=(4,))
    predict(network, 2)
    alive = weakref.ref(network)
    del network
    gc.collect()
    assert alive() is None
