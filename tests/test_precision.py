"""Half precision: the same losses and pictures as float32, and nothing lost in a saved state."""

import keras
import numpy as np
import pytest
from helpers import assert_same, precision, values

from diffusion_core import compile_model, draw_batch, linear_schedule, predict, train, train_one
from diffusion_core.runs import devices, states
from diffusion_core.runs.optimizer import averages

STEPS = 200
pytestmark = pytest.mark.usefixtures("without_xla")
HALF = ("mixed_float16", "mixed_bfloat16")

policies = pytest.mark.parametrize("policy", HALF)


@pytest.fixture(scope="module")
def make(tiny):
    """Make a tiny network under a policy, and leave float32 behind."""

    def make(policy, **settings):
        with precision(policy):
            return tiny(widths=(4,), **settings)

    return make


@pytest.fixture(scope="module")
def runs(make, images, no_xla):
    """The losses and the trained network of every policy, from the same weights."""
    found = {}
    with no_xla():
        for policy in ("float32", *HALF):
            network = make(policy)
            compile_model(network, STEPS)
            losses = [train_one(network, images, seed=3) for _ in range(STEPS)]
            found[policy] = np.array(losses), network
    return found


@policies
def test_half_precision_computes_the_layers_of_a_network_and_of_its_copy(make, policy):
    network = make(policy)
    for one in (network, devices.spread(network, 1)):
        assert one.dtype_policy.name == policy
        assert one.get_layer("middle_1_conv_1").compute_dtype == policy.removeprefix("mixed_")
        assert one.get_layer("time_1").compute_dtype == "float32"
        assert {str(weight.dtype) for weight in one.weights} == {"float32"}


@policies
def test_the_loss_curve_is_that_of_float32(runs, policy):
    losses, exact = runs[policy][0], runs["float32"][0]
    assert np.isfinite(losses).all()
    assert not np.array_equal(losses, exact)
    np.testing.assert_allclose(losses, exact, rtol=3e-3)


@pytest.mark.parametrize(("policy", "tolerance"), zip(HALF, (4e-3, 3e-2), strict=True))
def test_drawings_are_those_of_float32(runs, make, policy, tolerance):
    network, exact = runs[policy][1], make("float32")
    exact.set_weights(values(network.weights))
    with precision(policy):
        drawn = predict(network, 4)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, predict(exact, 4), rtol=0, atol=tolerance)


@policies
def test_a_step_of_no_size_changes_no_bit(make, images, policy):
    level = np.full((len(images), 1), 0.3, np.float32)
    answer = values([make(policy)([images, level, level])])[0]
    np.testing.assert_array_equal(answer, images)


@policies
def test_noise_levels_are_told_apart_as_in_float32(make, policy):
    levels = np.linspace(0, 1, 1001, dtype=np.float32)[:, None]

    def seen(network):
        time = keras.Model(network.inputs[1], network.get_layer("time_2").output)
        return values([time(levels)])[0]

    np.testing.assert_array_equal(seen(make(policy)), seen(make("float32")))


def test_the_naive_network_answers_in_float32_too(make, images):
    question, _ = draw_batch(images, linear_schedule(), 0, 0)
    assert make("mixed_float16", residual=False)(question).dtype == "float32"


def test_a_saved_state_holds_the_loss_scale(make, images, tmp_path):
    network = make("mixed_float16")
    compile_model(network, 10)
    train_one(network, images)
    network.optimizer.dynamic_scale.assign(8.0)
    tensors, about = states.snapshot(network, {"history": {"epoch": []}})
    path = states.write(tmp_path, tensors, about)
    fresh = make("mixed_float16")
    compile_model(fresh, 10)
    states.restore(states.variables(fresh), states.read(path)[0], path)
    assert float(fresh.optimizer.dynamic_scale) == 8.0
    assert train_one(fresh, images) == train_one(network, images)
    assert_same(averages(fresh), averages(network))


def test_a_run_goes_on_in_its_own_precision_only(make, images, tmp_path):
    train(make("mixed_bfloat16"), images, epochs=1, batch_size=8, weights_dir=tmp_path)
    with pytest.raises(ValueError, match="precision is 'float32' and was 'mixed_bfloat16'"):
        train(make("float32"), images, epochs=2, batch_size=8, weights_dir=tmp_path)
