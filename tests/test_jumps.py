"""Stage 10, jumps: what is asked, what the layers see, and that they learn the teacher's map."""

import keras
import numpy as np
import pytest
from helpers import assert_same

from diffusion_core import compile_model, gaussian_noise, guided, jumps, linear_schedule, predict
from diffusion_core.jumps import draw_jumps, jumper, train_jumps, walk
from diffusion_core.model import take_step
from diffusion_core.runs.devices import train_on_batch

LEVELS = linear_schedule().noise.astype(np.float32)


@pytest.fixture
def straight():
    """Ways that are straight, from pure noise to pictures, and the direction of each."""
    noise, x0 = gaussian_noise(5, (8, 8, 3)), gaussian_noise(5, (8, 8, 3), seed=1)
    a = LEVELS[:, None, None, None, None]
    return (1 - a) * x0 + a * noise, x0 - noise


def test_at_first_a_jumper_answers_as_its_network_wherever_the_step_ends(tiny):
    network, x = tiny(), gaussian_noise(4, (8, 8, 3))
    levels = [np.float32([[1], [1], [0.75], [0.1]]), np.float32([[0], [0.9], [0.5], [0]])]
    copy = jumper(network)
    assert np.array_equal(*(model.predict_on_batch([x, *levels]) for model in (network, copy)))
    # And the layers can tell the ends apart.
    kernel = copy.get_layer("time_1").kernel
    kernel.assign(keras.ops.ones_like(kernel))
    assert not np.array_equal(
        copy.predict_on_batch([x, *levels]), network.predict_on_batch([x, *levels])
    )


def test_a_way_is_every_state_of_a_drawing(tiny):
    network = tiny()
    found = walk(network, 3, seed=7, first=2)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found[-1], predict(network, 5, seed=7)[2:], atol=4e-3)
    np.testing.assert_allclose(found[0], gaussian_noise(5, (8, 8, 3), 7)[2:], atol=2e-3)


def test_both_ends_of_a_jump_lie_on_one_way_and_the_weight_makes_a_direction_of_them(straight):
    ways, directions = straight
    (x_a, a, s), x_s, weight = draw_jumps(ways, 200, seed=0, step=3)
    np.testing.assert_allclose(weight, 1 / (a - s)[..., None], rtol=1e-6)
    found = (x_s - x_a) * weight[..., None]
    way = np.abs(found[:, None] - directions).mean((2, 3, 4)).argmin(1)
    assert set(way) == set(range(5))
    np.testing.assert_allclose(found, directions[way], atol=1e-4)
    where = ways[np.rint(16 * (1 - a[:, 0])).astype(int), way]
    np.testing.assert_allclose(x_a, where, atol=1e-6)


def test_jumps_of_all_lengths_are_asked_often_and_many_from_pure_noise(straight):
    (_, a, s), *_ = draw_jumps(straight[0], 20_000, seed=0, step=0)
    start, length = (np.rint(16 * levels[:, 0]).astype(int) for levels in (1 - a, a - s))
    shares = [(length == k).mean() for k in jumps.LENGTHS]
    assert shares == pytest.approx(jumps.SHARES, abs=0.02)
    assert (start % length == 0).all()
    assert (start + length).max() == 16
    for k in (1, 2, 4, 8):
        starts, counts = np.unique(start[length == k], return_counts=True)
        assert len(starts) == 16 // k
        assert counts[0] / counts.sum() == pytest.approx(1 / 4 + 3 / 4 * k / 16, abs=0.05)


def test_jumps_depend_on_seed_and_step_alone(straight):
    def draw(seed, step):
        return draw_jumps(straight[0], 8, seed, step)[1]

    assert np.array_equal(draw(1, 2), draw(1, 2))
    assert not np.array_equal(draw(1, 2), draw(1, 3))
    assert not np.array_equal(draw(1, 2), draw(2, 2))


def test_the_loss_is_the_error_of_the_direction(tiny, straight, without_xla):
    network = jumper(tiny())
    (x_a, a, s), x_s, weight = draw_jumps(straight[0], 8, seed=0, step=0)
    answer = network.predict_on_batch([x_a, a, s])
    step = (a - s)[..., None, None]
    expected = np.abs((answer - x_a) / step - (x_s - x_a) / step).mean()
    compile_model(network, 10, loss="mean_absolute_error")
    assert train_on_batch(network, [x_a, a, s], x_s, weight) == pytest.approx(expected, rel=1e-4)


def test_one_step_of_the_pupil_is_nearer_to_the_end_of_the_way_than_one_of_its_teacher(tiny):
    image, a, s = question = tiny().inputs
    direction = 3 * keras.layers.Reshape((1, 1, 1))(a) - image  # its ways bend
    teacher = keras.Model(question, take_step(image, a, s, direction))
    pupil = jumper(tiny())
    train_jumps(pupil, teacher, epochs=2, ways=100, batch_size=16, learning_rate=1e-2)
    noise = gaussian_noise(50, (8, 8, 3), seed=99)
    end = predict(teacher, noise=noise)
    errors = [
        np.abs(predict(model, noise=noise, schedule=linear_schedule(1)) - end).mean()
        for model in (teacher, pupil)
    ]
    assert errors[1] < errors[0] / 2


def test_a_run_that_was_cut_short_within_an_epoch_ends_with_the_same_bits(
    tiny, tmp_path, monkeypatch, without_xla
):
    def learn(weights_dir=None):
        pupil = jumper(tiny(0))
        options = {"epochs": 2, "ways": 4, "batch_size": 32, "weights_dir": weights_dir}
        return pupil, train_jumps(pupil, tiny(1), save_minutes=0, **options)

    def cut(model, *batch):
        if model.optimizer.iterations == 8:  # of 2 epochs of 6
            raise KeyboardInterrupt
        return train_on_batch(model, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(jumps, "train_on_batch", cut)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path)
    (resumed, history), (whole, expected) = learn(tmp_path), learn()
    assert history["loss"] == expected["loss"]
    assert_same(resumed.weights, whole.weights)


def test_every_epoch_has_new_ways_and_asks_new_jumps(tiny, monkeypatch, without_xla):
    walked, asked = [], []

    def spy(name, calls):
        function = getattr(jumps, name)
        keep = lambda *args, **more: calls.append(function(*args, **more)) or calls[-1]  # noqa: E731
        monkeypatch.setattr(jumps, name, keep)

    spy("walk", walked)
    spy("draw_jumps", asked)
    train_jumps(jumper(tiny(0)), tiny(1), epochs=2, ways=1, batch_size=24)
    assert len(walked) == 2
    assert not np.array_equal(*walked)
    assert len({levels.tobytes() for (_, levels, _), *_ in asked}) == 4


def test_a_run_goes_on_with_its_own_teacher_alone(tiny, tmp_path, without_xla):
    def learn(teacher):
        options = {"epochs": 1, "ways": 1, "batch_size": 48, "weights_dir": tmp_path}
        train_jumps(jumper(tiny(0)), teacher, **options)

    learn(guided(tiny(1), tiny(2), 3))
    with pytest.raises(ValueError, match="belongs to another run: teacher is"):
        learn(guided(tiny(1), tiny(3), 3))
    with pytest.raises(ValueError, match="belongs to another run: guidance is 2"):
        learn(guided(tiny(1), tiny(2), 2))


def test_networks_that_cannot_learn_jumps_are_refused(tiny):
    network, other = tiny(), tiny(image_shape=(16, 16, 3))
    with pytest.raises(ValueError, match="does not take a step by itself"):
        jumper(tiny(residual=False))
    with pytest.raises(ValueError, match="does not take a step by itself"):
        jumper(guided(network, tiny(1)))
    with pytest.raises(ValueError, match=r"sees no jumps; give jumper\(model\)"):
        train_jumps(network, network, epochs=1)
    with pytest.raises(ValueError, match=r"the teacher takes .*16, 16, 3.* and the model"):
        train_jumps(jumper(network), other, epochs=1)
    with pytest.raises(ValueError, match="batch_size is 64, but only 48 jumps are asked"):
        train_jumps(jumper(network), network, epochs=1, ways=1)
