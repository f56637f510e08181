"""Stage 5, training: the step written by hand, the average, the draws, whole runs and resuming."""

from functools import partial

import keras
import numpy as np
import pytest
import scipy.stats
from helpers import assert_same, precision, values

from diffusion_core import (
    compile_model,
    cosine_schedule,
    draw_batch,
    linear_schedule,
    make_model,
    train,
    train_one,
)
from diffusion_core.runs.optimizer import averaged_weights, orthogonal
from diffusion_core.runs.run import COLUMNS

STEPS, LEARNING_RATE = 4, 1e-2


@pytest.fixture(scope="module")
def compiled_run(tiny, images):
    """Three real steps, compiled with XLA once: losses, and weights and averages after each."""
    network = tiny(widths=(4,))
    compile_model(network, STEPS, LEARNING_RATE)
    run = {"settings": network.settings, "losses": [], "rates": [], "averages": []}
    run["weights"] = [values(network.trainable_variables)]
    for _ in range(3):
        run["rates"].append(float(network.optimizer.learning_rate))
        run["losses"].append(train_one(network, images, seed=7))
        run["weights"].append(values(network.trainable_variables))
        run["averages"].append(values(network.optimizer.averages))
    run["network"] = network
    return run


@pytest.mark.parametrize("run", [train_one, partial(train, epochs=9)])
def test_only_schedules_that_add_up_to_one_are_trained_on(compiled_run, images, run):
    with pytest.raises(ValueError, match=r"this schedule does not keep signal \+ noise = 1"):
        run(compiled_run["network"], images, schedule=cosine_schedule())


# --- one step -----------------------------------------------------------------------------------


def muon(matrix):
    """Muon's step by its singular values: a polynomial brings each of them near 1."""
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    values /= np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (left * values) @ right


@pytest.mark.parametrize("shape", [(36, 4), (4, 36), (1152, 128)])
def test_muons_step_is_nearly_orthogonal(shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = keras.ops.convert_to_numpy(orthogonal(matrix))
    np.testing.assert_allclose(found, muon(matrix), atol=1e-4)
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.6 < values.min() < values.max() < 1.25
    assert not keras.ops.any(orthogonal(0 * matrix))


def test_train_one_equals_the_step_written_by_hand(compiled_run, images):
    import tensorflow as tf

    network = make_model(**compiled_run["settings"])
    network.set_weights(compiled_run["weights"][0])
    first_moments = [0 * w for w in compiled_run["weights"][0]]
    second_moments = [0 * w for w in compiled_run["weights"][0]]
    for step in range(2):
        question, answer = draw_batch(images, linear_schedule(), 7, step)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(network(question, training=True) - answer))
        assert float(loss) == pytest.approx(compiled_run["losses"][step], rel=1e-4)
        gradients = tape.gradient(loss, network.trainable_variables)
        rate = LEARNING_RATE * (1 - step / STEPS)
        for i, (variable, gradient) in enumerate(
            zip(network.trainable_variables, gradients, strict=True)
        ):
            if "_conv_" in variable.path and variable.path.endswith("kernel"):
                first_moments[i] = 0.95 * first_moments[i] + gradient
                ahead = np.reshape(gradient + 0.95 * first_moments[i], (-1, variable.shape[-1]))
                length = 0.2 * np.sqrt(max(ahead.shape))
                variable.assign_sub(rate * length * np.reshape(muon(ahead), variable.shape))
                continue
            first_moments[i] = 0.9 * first_moments[i] + 0.1 * gradient
            second_moments[i] = 0.999 * second_moments[i] + 0.001 * gradient**2
            # Adam's paper, end of section 2: both corrections in the rate, epsilon after them.
            corrected = rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            variable.assign_sub(corrected * first_moments[i] / (np.sqrt(second_moments[i]) + 1e-7))
        assert_same(network.trainable_variables, compiled_run["weights"][step + 1], 2e-4)
    for before, after in zip(*compiled_run["weights"][:2], strict=True):
        assert not np.array_equal(before, after)


def test_the_average_follows_its_formula(compiled_run):
    averages = [0 * w for w in compiled_run["weights"][0]]
    for step in (1, 2, 3):
        memory = (1 - 1 / step) ** 10
        averages = [
            memory * average + (1 - memory) * weight
            for average, weight in zip(averages, compiled_run["weights"][step], strict=True)
        ]
        assert_same(averages, compiled_run["averages"][step - 1], tolerance=1e-6)


def test_the_learning_rate_falls_in_a_straight_line_and_steps_are_compiled_with_xla(compiled_run):
    np.testing.assert_allclose(compiled_run["rates"], [1e-2, 0.75e-2, 0.5e-2], rtol=1e-5)
    assert compiled_run["network"].jit_compile is True


def test_the_articles_falling_rate_and_another_loss_can_be_given(tiny):
    network = tiny(widths=(4,))
    rule = keras.optimizers.schedules.ExponentialDecay(8e-4, 5000, 0.9, staircase=True)
    compile_model(network, 10, rule, loss="mean_squared_error")
    assert float(network.optimizer.learning_rate) == pytest.approx(8e-4)
    network.optimizer.iterations.assign(10_000)
    assert float(network.optimizer.learning_rate) == pytest.approx(8e-4 * 0.81)
    assert network.loss is keras.losses.mean_squared_error


# --- the draws ----------------------------------------------------------------------------------


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip([*one[0], one[1]], [*other[0], other[1]], strict=True)
    )


def test_draws_depend_on_seed_and_step_alone(images):
    first = draw_batch(images, linear_schedule(), 3, 11)
    np.random.default_rng().random()
    assert same(first, draw_batch(images, linear_schedule(), 3, 11))
    assert not same(first, draw_batch(images, linear_schedule(), 4, 11))
    assert not same(first, draw_batch(images, linear_schedule(), 3, 12))


def test_question_and_answer_are_one_step_apart_with_shared_noise_and_a_flip_or_none(images):
    many = np.concatenate([images] * 20)
    (x_t, level, next_level), x_next = draw_batch(many, linear_schedule(), 0, 0)
    assert x_t.dtype == level.dtype == next_level.dtype == x_next.dtype == np.float32
    assert level.shape == next_level.shape == (320, 1)
    np.testing.assert_allclose(next_level, np.maximum(level - 1 / 16, 0), atol=1e-7)
    # With x_{t+1} - x_t = (a_t - a_{t+1}) (x0 - epsilon), both ends follow from the pair.
    direction = (x_next - x_t) / (level - next_level)[:, :, None, None]
    clean = x_t + level[:, :, None, None] * direction
    as_is = np.isclose(clean, many, atol=1e-4).all(axis=(1, 2, 3))
    mirrored = np.isclose(clean, many[:, :, ::-1], atol=1e-4).all(axis=(1, 2, 3))
    assert (as_is ^ mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6
    noise = clean - direction
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.var() == pytest.approx(1, abs=0.02)


def test_every_level_is_drawn_and_the_middle_more_often_as_the_normal_distribution_says(images):
    many = np.resize(images[:, :1, :1], (100_000, 1, 1, 3))
    (_, level, _), _ = draw_batch(many, linear_schedule(), 0, 0)

    def share_below(a):
        return 0.8 * scipy.stats.norm.cdf(np.log(a / (1 - a))) + 0.2 * a

    assert scipy.stats.kstest(level[:, 0].astype(np.float64), share_below).pvalue > 0.01
    assert 0 < level.min() < level.max() <= 1


def test_in_a_single_step_the_answer_is_the_clean_picture(images):
    (_, level, next_level), x_next = draw_batch(images, linear_schedule(1), 0, 0)
    assert len(np.unique(level)) == 16
    np.testing.assert_array_equal(next_level, 0)
    for clean, image in zip(x_next, images, strict=True):
        assert np.array_equal(clean, image) or np.array_equal(clean, image[:, ::-1])


# --- a whole run --------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """Replace the training step by one that only counts and writes down the numbers of images."""
    seen = []

    def note(model, images, schedule, seed, *asked):
        seen.extend(round(float(image[0, 0, 0]) * 12) for image in images)
        model.optimizer.iterations.assign_add(1)
        return float(model.optimizer.iterations)

    monkeypatch.setattr("diffusion_core.training.train_one", note)
    return seen


def numbered(n):
    """n images that tell their number by their first pixel."""
    images = np.zeros((n, 8, 8, 3), np.float32)
    images[:, 0, 0, 0] = np.arange(n) / 12
    return images


def test_every_epoch_visits_every_image_once_in_a_new_order(one_layer, seen, capsys):
    history = train(one_layer((8, 8, 3)), numbered(12), epochs=2, batch_size=4)
    first, second = seen[:12], seen[12:]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert tuple(history) == COLUMNS
    assert (history["epoch"], history["step"], history["loss"]) == ([1, 2], [3, 6], [2, 5])
    np.testing.assert_allclose(history["learning_rate"], [2e-3, 0], atol=1e-9)
    assert min(history["seconds"] + history["images_per_second"]) > 0
    bar = capsys.readouterr().err.splitlines()[-1].split("\r")[-1]
    # tqdm writes the time so far and the time left.
    for part in ("epoch 2/2", "6/6", "loss 6.0000", "images/s", "[00:", "<00:00"):
        assert part in bar


def test_what_does_not_fill_a_batch_waits_for_another_epoch(one_layer, seen):
    train(one_layer((8, 8, 3)), numbered(11), epochs=1, batch_size=4)
    assert len(set(seen)) == 8


@pytest.mark.parametrize(
    ("epochs", "every", "expected"), [(7, 3, [3, 6, 7]), (4, 2, [2, 4]), (2, 5, [2])]
)
def test_the_callback_comes_every_few_epochs_and_at_the_end(
    one_layer, seen, epochs, every, expected
):
    called = []
    train(
        one_layer((8, 8, 3)),
        numbered(4),
        epochs=epochs,
        batch_size=4,
        callback=lambda epoch, model, history: called.append((epoch, len(history["epoch"]))),
        callback_every=every,
    )
    assert called == [(epoch, epoch) for epoch in expected]


def test_the_callback_and_the_trained_network_have_the_averaged_weights(tiny, images, without_xla):
    network, seen = tiny(widths=(4,)), []

    def callback(epoch, model, history):
        assert_same(model.trainable_variables, model.optimizer.averages)
        seen.append(values(model.trainable_variables))

    options = {"batch_size": 8, "seed": 5, "callback": callback, "callback_every": 1}
    history = train(network, images, epochs=2, **options)
    assert all(0 < loss < 0.2 for loss in history["loss"])
    assert not np.array_equal(seen[0][0], seen[1][0])
    assert_same(network.trainable_variables, seen[1])


def test_the_plain_weights_return_after_a_block_that_fails(compiled_run):
    network = compiled_run["network"]
    before = values(network.trainable_variables)
    with pytest.raises(RuntimeError), averaged_weights(network):  # noqa: PT012
        assert_same(network.trainable_variables, network.optimizer.averages)
        raise RuntimeError
    assert_same(network.trainable_variables, before)


# --- what is refused: other wrong types and numbers are in test_bad_input -----------------------


@pytest.fixture(scope="module")
def ready(tiny):
    network = tiny(widths=(4,))
    compile_model(network, 4)
    return network


def test_a_network_that_does_not_fit_is_refused_at_the_door(tiny, ready, images, tmp_path):
    other_size = np.zeros((16, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match=r"images are \(16, 16, 3\) and the model takes \(8, 8"):
        train(tiny(), other_size, epochs=1, batch_size=16, weights_dir=tmp_path / "new")
    with pytest.raises(ValueError, match=r"images are \(16, 16, 3\) and the model takes \(8, 8"):
        train_one(ready, other_size)
    copied = keras.models.clone_model(tiny())
    with pytest.raises(TypeError, match=r"no settings.*make_model.*set_weights"):
        train(copied, images, epochs=1, batch_size=16, weights_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_without_an_averaging_optimizer_is_refused(tiny, images, compiled):
    network = tiny(widths=(4,))
    if compiled:
        network.compile(optimizer="adam", loss="mean_absolute_error")
    with pytest.raises(ValueError, match=r"call compile_model\(model, total_steps\) first"):
        train_one(network, images)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_pure_half_precision_is_refused(tiny, images, tmp_path, name):
    with precision(name):
        network = tiny(widths=(4,))
    with pytest.raises(ValueError, match=f"{name}.*mixed_float16.*mixed_bfloat16"):
        compile_model(network, 5)
    with pytest.raises(ValueError, match=f"{name}.*mixed_float16.*mixed_bfloat16"):
        train(network, images, epochs=1, batch_size=8, weights_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_step_beyond_the_plan(tiny, images, without_xla):
    network = tiny(widths=(4,))
    compile_model(network, 2)
    train_one(network, images), train_one(network, images)
    with pytest.raises(ValueError, match=r"2 .*steps.*compile_model"):
        train_one(network, images)
    # A rule of Keras has no end.
    compile_model(network, 1, keras.optimizers.schedules.ExponentialDecay(1e-3, 5, 0.9))
    train_one(network, images), train_one(network, images)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_the_run(ready, monkeypatch, loss):
    monkeypatch.setattr(ready, "train_on_batch", lambda *batch: loss)
    message = rf"the loss is {loss} at step 0, where the learning rate was 0.004; train anew with"
    with pytest.raises(ValueError, match=message):
        train_one(ready, np.zeros((4, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        train(ready, np.zeros((4, 8, 8, 3), np.float32), epochs=1, batch_size=4)
