"""Stage 11, classes: what is asked, that the network learns it, and each way to ask louder."""

from itertools import pairwise

import keras
import numpy as np
import pytest

from diffusion_core import (
    cfg_plus_plus,
    compile_model,
    draw_batch,
    gaussian_noise,
    guided,
    linear_schedule,
    load_classes,
    load_images,
    load_pretrained,
    make_model,
    of_class,
    predict,
    train,
    train_one,
    within,
)
from diffusion_core.classes import class_shares
from diffusion_core.runs import states

SCHEDULE = linear_schedule()


@pytest.fixture(scope="module")
def told(tiny):
    """A network that knows ten classes, each of which has a say."""
    network = tiny(classes=10)
    layer = network.get_layer("class")
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    return network


def question(n=3, a=0.75, s=0.5):
    levels = (np.full((n, 1), level, np.float32) for level in (a, s))
    return [gaussian_noise(n, (8, 8, 3)), *levels]


def test_a_network_that_learned_one_class_begins_with_what_it_knows(tiny):
    network = tiny()
    copy = states.adopt(tiny(seed=1, classes=10), network)
    for label in ("ship", None):
        answer = of_class(copy, label).predict_on_batch(question())
        assert np.array_equal(answer, network.predict_on_batch(question()))


def test_a_network_of_a_class_asks_the_whole_network_for_it(told):
    shares = np.tile(class_shares("ship"), (3, 1))
    expected = told.predict_on_batch([*question(), shares])
    np.testing.assert_array_equal(of_class(told, "ship").predict_on_batch(question()), expected)
    np.testing.assert_array_equal(of_class(told, 8).predict_on_batch(question()), expected)
    others = of_class(told, "truck").predict_on_batch(question())
    assert np.abs(others - expected).max() > 0.01


def test_shares_name_classes_mixes_and_any_class():
    assert class_shares("airplane").tolist() == [1, *[0] * 10]
    assert class_shares(None).tolist() == [*[0] * 10, 1]
    mix = class_shares({"cat": 0.25, 5: 0.5, None: 0.25})
    assert (mix[[3, 5, 10]].tolist(), mix.sum()) == ([0.25, 0.5, 0.25], 1)


def test_one_question_in_ten_is_for_any_class_and_nothing_else_changes(images):
    many = np.resize(images, (5000, 8, 8, 3))
    shares = np.eye(11, dtype=np.float32)[np.arange(5000) % 10]
    asked, answer = draw_batch(many, SCHEDULE, 0, 7, shares)
    plain, same = draw_batch(many, SCHEDULE, 0, 7)
    assert all(
        np.array_equal(*both) for both in zip([*asked[:3], answer], [*plain, same], strict=True)
    )
    anything = asked[3][:, 10] == 1
    assert 0.087 < anything.mean() < 0.113
    assert np.array_equal(asked[3][~anything], shares[~anything])


def test_training_learns_which_class_is_which(tiny, without_xla):
    labels = np.arange(64) % 2
    pictures = np.full((64, 8, 8, 3), -0.8, np.float32) + 1.6 * labels[:, None, None, None]
    network = tiny(widths=(8,), classes=2)
    train(network, pictures.astype("f4"), labels=labels, epochs=100, learning_rate=0.02)
    dark, light = (predict(of_class(network, label), 8).mean() for label in (0, 1))
    assert dark < -0.4 < 0.4 < light


def test_a_run_belongs_to_its_labels(tiny, images, tmp_path, without_xla):
    options = {"epochs": 1, "batch_size": 8, "weights_dir": tmp_path}
    train(tiny(classes=2), images, labels=np.arange(16) % 2, **options)
    with pytest.raises(ValueError, match="belongs to another run: labels_sha256 is"):
        train(tiny(classes=2), images, labels=np.arange(16) // 8, **options)


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (2, None, "knows 2 classes, and there are no labels; give labels="),
        (None, [0, 1] * 8, r"knows no classes; .*make_model\(classes=2\)"),
        (2, [0, 1], "there are 2 labels from 0 to 1; expected 16, from 0 to 1"),
        (2, [0, 2] * 8, "there are 16 labels from 0 to 2; expected 16, from 0 to 1"),
        (2, [0.5] * 16, "labels are float64 of the shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tiny, images, classes, labels, expected):
    with pytest.raises(ValueError, match=expected):
        train(tiny(classes=classes), images, labels=labels, epochs=1, batch_size=8)


def test_what_cannot_be_drawn_is_said_before(tiny, told):
    with pytest.raises(TypeError, match=r"which class to draw; try of_class\(model, None\)"):
        predict(told)
    with pytest.raises(ValueError, match="the model knows no classes"):
        of_class(tiny(), "ship")
    with pytest.raises(
        ValueError, match="label is 'boat'; expected a number from 0 to 9 or one of"
    ):
        of_class(told, "boat")
    with pytest.raises(ValueError, match="do not add up to 1"):
        of_class(told, {"ship": 0.5, "truck": 0.6})


def test_guidance_within_levels_is_none_outside(told):
    strong, weak = of_class(told, "ship"), of_class(told, None)
    partly = guided(strong, weak, within(3, 0.2, 0.75))
    for a, same in ((1.0, strong), (0.75, guided(strong, weak, 3)), (0.2, strong)):
        asked = question(a=a, s=a / 2)
        found, expected = (net.predict_on_batch(asked) for net in (partly, same))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_cfg_plus_plus_is_guidance_of_another_strength_at_each_level(told):
    strong, weak = of_class(told, "cat"), of_class(told, None)
    noise = gaussian_noise(2, (8, 8, 3))
    drawn = predict(guided(strong, weak, cfg_plus_plus(0.6)), noise=noise)
    x = noise.astype(np.float64)
    for a, s in pairwise(SCHEDULE.noise):  # the algorithm of the paper, on our levels
        asked = [x.astype("f4"), np.full((2, 1), a, "f4"), np.zeros((2, 1), "f4")]
        told_guess, any_guess = (net.predict_on_batch(asked) for net in (strong, weak))
        any_noise = (x - (1 - a) * any_guess) / a
        x = (1 - s) * (any_guess + 0.6 * (told_guess - any_guess)) + s * any_noise
    np.testing.assert_allclose(drawn, x, atol=1e-4)


def test_a_guided_network_may_still_be_asked_for_any_class(told):
    strength = within(3, 0.2, 0.75)
    anything = of_class(told, None)
    asked = of_class(guided(told, anything, strength), "ship")
    expected = guided(of_class(told, "ship"), anything, strength)
    answers = (network.predict_on_batch(question()) for network in (asked, expected))
    np.testing.assert_allclose(*answers, atol=1e-6)


def test_the_answers_of_a_teacher_are_learned_instead_of_the_true_ones(
    tiny, told, images, without_xla
):
    shares, pupil = np.eye(11, dtype=np.float32)[:10].repeat(2, 0)[:16], tiny(classes=10)
    teacher = guided(told, of_class(told, None), 3)
    asked, _ = draw_batch(images, SCHEDULE, 5, 0, shares)
    answer, guess = (network.predict_on_batch(asked) for network in (teacher, pupil))
    compile_model(pupil, 10)
    loss = train_one(pupil, images, SCHEDULE, 5, shares, teacher)
    assert loss == pytest.approx(np.abs(answer - guess).mean(), rel=1e-4)


def test_a_run_belongs_to_its_teacher(tiny, told, images, tmp_path, without_xla):
    def learn(guidance):
        teacher = guided(told, of_class(told, None), guidance)
        options = {"epochs": 1, "batch_size": 8, "weights_dir": tmp_path}
        train(tiny(classes=10), images, labels=[0] * 16, teacher=teacher, **options)

    learn(3)
    with pytest.raises(ValueError, match=r"another run: guidance is 2\.0 and was 3\.0"):
        learn(2)
    with pytest.raises(ValueError, match=r"the teacher takes .* and the model .*; expected th"):
        train(tiny(), images, teacher=told, epochs=1, batch_size=8)


def test_all_classes_come_in_turn(real_folder):
    images, labels = load_classes("test")
    assert images.shape == (10_000, 32, 32, 3)
    assert labels[:11].tolist() == [*range(10), 0]
    assert np.array_equal(images[labels == 8], load_images("ship", "test"))


def test_a_network_with_classes_is_saved_and_read_again(told, tmp_path):
    states.export(told, tmp_path / "ten.safetensors")
    again = load_pretrained(tmp_path / "ten.safetensors")
    drawn = [predict(of_class(network, "frog"), 2) for network in (told, again)]
    np.testing.assert_allclose(*drawn, atol=0.05)


def test_without_classes_the_network_is_the_one_of_before(tiny):
    paths = [weights.path for weights in make_model((8, 8, 3), (4, 8)).weights]
    assert not [path for path in paths if "class" in path]
    assert len(tiny().inputs) == 3
    assert keras.ops.shape(tiny(classes=3).inputs[3])[1] == 4
