"""Guidance: the line between two answers, and that nothing else needs to know of it."""

import keras
import numpy as np
import pytest

from diffusion_core import gaussian_noise, guided, linear_schedule, make_model, predict


def a_network(seed, shape=(8, 8, 3)):
    keras.utils.set_random_seed(seed)
    return make_model(shape, (4,))


def a_network_that_goes(way):
    """A network whose direction is the same everywhere."""
    network = a_network(0)
    last = network.get_layer("direction")
    last.kernel.assign(keras.ops.zeros_like(last.kernel))
    last.bias.assign(way)
    return network


def test_a_guided_answer_lies_on_the_line_through_both_answers():
    strong, weak = a_network(0), a_network(1)
    noise = gaussian_noise(3, (8, 8, 3))
    question = [noise, *(np.full((3, 1), level, np.float32) for level in (0.75, 0.5))]
    answer, worse = (model.predict_on_batch(question) for model in (strong, weak))
    found = guided(strong, weak, 2.5).predict_on_batch(question)
    np.testing.assert_allclose(found, 2.5 * answer - 1.5 * worse, atol=1e-5)
    # Both networks stay as they are.
    assert np.array_equal(strong.predict_on_batch(question), answer)


@pytest.mark.parametrize("timesteps", [1, 5])
def test_straight_ways_end_where_the_formula_says(timesteps):
    network = guided(a_network_that_goes([1, 0, 2]), a_network_that_goes([0, 0, -1]), 3)
    noise = gaussian_noise(2, (8, 8, 3))
    drawn = predict(network, schedule=linear_schedule(timesteps), noise=noise)
    np.testing.assert_allclose(drawn, noise + np.float32([3, 0, 8]), atol=1e-5)


def test_guidance_of_one_is_no_guidance_to_the_last_bit():
    strong, weak = a_network(0), a_network(1)
    assert np.array_equal(predict(guided(strong, weak, 1), 3), predict(strong, 3))


def test_a_guided_network_can_be_guided_again():
    strong, weak = a_network(0), a_network(1)
    twice = guided(guided(strong, weak, 2), weak, 2)
    np.testing.assert_allclose(predict(twice, 2), predict(guided(strong, weak, 4), 2), atol=1e-4)


def test_a_weak_network_for_other_pictures_is_refused():
    with pytest.raises(ValueError, match=r"weak draws pictures \(16, 16, 3\) and the model \(8, 8"):
        guided(a_network(0), a_network(1, (16, 16, 3)))
