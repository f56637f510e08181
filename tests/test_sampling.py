"""Stage 6, sampling: the loop against plain Python and an independent library, seeds, batches."""

import json
import weakref
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from diffusion_core import (
    Schedule,
    cosine_schedule,
    gaussian_noise,
    linear_schedule,
    predict,
    predict_step,
    sampling,
)
from diffusion_core.model import _take_step

REFERENCE = json.loads((Path(__file__).parent / "reference" / "diffusers.json").read_text())


@pytest.fixture(scope="module")
def network(tiny):
    return tiny()


@pytest.fixture(scope="module")
def states(network):
    """Three pictures of seed 5, all states: compiled once for this file."""
    return predict_step(network, 3, seed=5)


def plain_loop(network, noise, levels):
    """The sampler as one would write it first."""
    states = [noise]
    column = np.ones((len(noise), 1), np.float32)
    for level, next_level in pairwise(levels):
        following = network([states[-1], level * column, next_level * column])
        states.append(keras.ops.convert_to_numpy(following))
    return np.stack(states)


def network_with_direction(image_shape, direction):
    """A network whose direction is written down instead of learned."""
    image = keras.Input(image_shape)
    level, next_level = keras.Input((1,)), keras.Input((1,))
    following = _take_step(image, level, next_level, direction(image))
    return keras.Model([image, level, next_level], following)


def test_the_states_run_from_the_noise_to_the_finished_picture(network, states):
    assert states.shape == (17, 3, 8, 8, 3)
    assert states.dtype == np.float32
    np.testing.assert_array_equal(states[0], gaussian_noise(3, (8, 8, 3), seed=5))


def test_the_last_state_is_what_predict_returns(network, states):
    np.testing.assert_array_equal(predict(network, 3, seed=5), states[-1])


def test_the_compiled_network_equals_a_plain_python_loop(network, states):
    expected = plain_loop(network, states[0], linear_schedule().noise.astype(np.float32))
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-4)


def test_the_default_is_twenty_five_pictures_in_sixteen_linear_steps(monkeypatch):
    asked = []

    def spy(model, n, schedule, seed, noise, every_state):
        asked.append((n, schedule, seed, noise))
        yield np.zeros((1, 1, 8, 8, 3), np.float32)

    monkeypatch.setattr(sampling, "_batches", spy)
    predict(None)
    predict_step(None)
    assert asked == [(25, None, 0, None)] * 2


def test_the_same_seed_gives_the_same_pictures(network, states):
    np.testing.assert_array_equal(predict(network, 3, seed=5), predict(network, 3, seed=5))


def test_another_seed_gives_other_pictures(network, states):
    assert not np.allclose(predict(network, 3, seed=6), states[-1], atol=0.1)


def test_pictures_do_not_depend_on_how_many_are_drawn(network, states):
    np.testing.assert_allclose(predict(network, 2, seed=5), states[-1, :2], rtol=0, atol=1e-4)


def test_pictures_do_not_depend_on_the_batch_size(network, states, monkeypatch):
    monkeypatch.setattr(sampling, "BATCH_SIZE", 3)
    seven = predict_step(network, 7, seed=5)
    assert seven.shape == (17, 7, 8, 8, 3)
    noise = gaussian_noise(7, (8, 8, 3), seed=5)
    expected = plain_loop(network, noise, linear_schedule().noise.astype(np.float32))
    np.testing.assert_allclose(seven, expected, rtol=0, atol=1e-4)


def test_given_noise_is_drawn_in_batches_too(network, states, monkeypatch):
    monkeypatch.setattr(sampling, "BATCH_SIZE", 3)
    noise = gaussian_noise(7, (8, 8, 3), seed=5)
    np.testing.assert_array_equal(predict(network, noise=noise), predict(network, 7, seed=5))


def test_predict_keeps_the_last_states_only(monkeypatch):
    alive = []

    def states():
        for _ in range(17):
            state = np.zeros((3, 8, 8, 3), np.float32)
            alive.append(weakref.ref(state))
            yield state

    def batches(*args, **options):
        for _ in range(4):
            yield states()
            # The finished ones are kept.
            assert sum(reference() is not None for reference in alive) == len(alive) // 17

    monkeypatch.setattr(sampling, "_batches", batches)
    assert predict(None).shape == (12, 8, 8, 3)


def test_a_schedule_that_begins_halfway_needs_the_pictures_to_begin_with(network):
    halfway = Schedule(signal=[0.5, 1], noise=[0.5, 0])
    with pytest.raises(ValueError, match=r"begins at noise level 0\.5.*as noise="):
        predict(network, schedule=halfway)
    given = np.zeros((2, 8, 8, 3), np.float32)
    assert predict(network, schedule=halfway, noise=given).shape == given.shape


def test_the_starting_noise_can_be_given(network, states):
    given = predict_step(network, noise=states[0])
    np.testing.assert_array_equal(given, states)


def test_given_noise_decides_alone_and_n_and_seed_do_not(network, states):
    given = predict(network, n=99, seed=99, noise=states[0].astype(np.float64))
    np.testing.assert_array_equal(given, states[-1])


def test_the_result_is_not_clipped(network):
    far = np.full((3, 8, 8, 3), 5, np.float32)
    assert predict(network, noise=far).max() > 1


def test_drawing_follows_the_weights_when_they_change(tiny):
    network = tiny(seed=3)
    before = predict(network, 3)
    for variable in network.weights:
        variable.assign(0.5 * variable)
    after = predict(network, 3)
    assert not np.allclose(before, after, atol=1e-3)
    expected = plain_loop(
        network, gaussian_noise(3, (8, 8, 3)), linear_schedule().noise.astype(np.float32)
    )
    np.testing.assert_allclose(after, expected[-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "schedule",
    [
        linear_schedule(16),
        linear_schedule(1),
        Schedule(signal=[0, 0.1, 0.75, 1], noise=[1, 0.9, 0.25, 0]),
    ],
    ids=["16 steps", "1 step", "3 uneven steps"],
)
def test_a_constant_direction_samples_to_the_exact_answer(tiny, schedule):
    """However the way is divided, the steps add up to one whole direction."""
    network = tiny(widths=(4,))
    for variable in network.weights:
        variable.assign(0 * variable)
    constant = np.array([0.5, -0.25, 0.125], np.float32)
    network.get_layer("direction").bias.assign(constant)
    noise = gaussian_noise(3, (8, 8, 3), seed=1)
    pictures = predict_step(network, schedule=schedule, noise=noise)
    np.testing.assert_allclose(pictures[-1], noise + constant, rtol=0, atol=1e-6)
    way = (1 - schedule.noise).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    np.testing.assert_allclose(pictures, noise + way * constant, rtol=0, atol=1e-6)


@pytest.mark.parametrize("trajectory", ["ddim_trajectory", "flow_match_trajectory"])
def test_the_states_equal_ddim_and_flow_matching_of_an_independent_library(trajectory):
    """On these noise levels DDIM and the Euler step of flow matching are one and the same."""
    expected = np.array(REFERENCE[trajectory])
    toy = network_with_direction((1, expected.shape[1], 1), keras.layers.Rescaling(-0.5, 0.1))
    noise = expected[0].reshape(1, 1, -1, 1)
    states = predict_step(toy, noise=noise).reshape(expected.shape)
    np.testing.assert_allclose(states, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 0}, ValueError, "n is 0; expected a whole number from 1"),
        ({"n": -1}, ValueError, "n is -1"),
        ({"n": 2.5}, TypeError, "n is 2.5; expected a whole number"),
        ({"n": True}, TypeError, "n is True"),
        ({"n": "25"}, TypeError, "n is '25'"),
        ({"seed": -1}, ValueError, "seed is -1; expected a whole number from 0"),
        ({"seed": 2**32}, ValueError, "seed is 4294967296"),
        ({"seed": 0.5}, TypeError, "seed is 0.5; expected a whole number"),
        ({"schedule": 16}, TypeError, "schedule is 16; expected a Schedule"),
        ({"schedule": cosine_schedule()}, ValueError, r"does not keep signal \+ noise = 1"),
        ({"noise": np.zeros((2, 4, 4, 3))}, ValueError, r"noise has the shape \(2, 4, 4, 3\)"),
        ({"noise": np.zeros((8, 8, 3))}, ValueError, r"expected finite numbers \('n', 8, 8, 3\)"),
        ({"noise": np.zeros((0, 8, 8, 3))}, ValueError, r"noise has the shape \(0, 8, 8, 3\)"),
        ({"noise": np.full((2, 8, 8, 3), np.nan)}, ValueError, "expected finite numbers"),
        ({"noise": np.full((2, 8, 8, 3), np.inf)}, ValueError, "expected finite numbers"),
    ],
)
@pytest.mark.parametrize("draw", [predict, predict_step])
def test_wrong_arguments_are_refused(network, draw, arguments, error, message):
    with pytest.raises(error, match=message):
        draw(network, **arguments)
