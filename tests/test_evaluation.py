"""Stage 7, evaluation: distances against closed forms and other libraries, planted copies."""

import hashlib
import importlib.util
import json
import sys
import warnings

import keras
import numpy as np
import pytest
from helpers import ROOT, precision
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from diffusion_core import data, evaluation, guided, load_pretrained, make_model, train
from diffusion_core.evaluation import evaluate, frechet_distance
from diffusion_core.page.tables import as_table
from diffusion_core.runs import guards, states
from diffusion_core.sources import features
from diffusion_core.sources.cifar10 import LABELS
from diffusion_core.sources.copies import copying, groups
from diffusion_core.sources.features import classifier_features, load_classifier
from diffusion_core.sources.measures import (
    kernel_distance,
    paired_difference,
    precision_recall,
)
from diffusion_core.sources.pretrained import PRETRAINED

sys.path.insert(0, str(ROOT / "bench"))

from copies import ALTERATIONS, whole

RANDOM = np.random.default_rng(0)
CLOUD = RANDOM.normal(size=(300, 6)) @ RANDOM.normal(size=(6, 6))
OTHER = RANDOM.normal(size=(200, 6)) + 0.3


@pytest.mark.parametrize("columns", [6, 1])
def test_the_frechet_distance_is_the_formula_with_a_matrix_root(columns):
    one, other = CLOUD[:, :columns], OTHER[:, :columns]
    covariances = [np.atleast_2d(np.cov(cloud, rowvar=False)) for cloud in (one, other)]
    means = one.mean(0) - other.mean(0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = means @ means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(frechet_distance(one[:3], other)), "fewer rows than features"


def test_the_kernel_distance_agrees_with_another_library():
    distance, low, high = kernel_distance(CLOUD, OTHER, seed=3)
    pairs = (CLOUD, CLOUD), (OTHER, OTHER), (CLOUD, OTHER)
    *within, across = (polynomial_kernel(*pair, degree=3, coef0=1) for pair in pairs)
    within = [kernel[~np.eye(len(kernel), dtype=bool)].mean() for kernel in within]
    assert distance == pytest.approx(sum(within) - 2 * across.mean(), rel=1e-9)
    assert low < distance < high
    assert kernel_distance(CLOUD, OTHER, seed=3) == (distance, low, high)
    assert kernel_distance(CLOUD, OTHER, seed=4) != (distance, low, high)
    rows = np.random.default_rng(1).normal(size=(600, 4))
    distance, low, high = kernel_distance(rows[:300], rows[300:])
    assert low < 0 < high, "one distribution"


def test_the_bootstrap_has_no_bias_and_the_width_of_fresh_samples():
    def sample(seed):
        random = np.random.default_rng(seed)
        return random.normal(size=(100, 3)), random.normal(size=(100, 3)) + 0.5

    fresh = [kernel_distance(*sample(seed), draws=1)[0] for seed in range(400)]
    ends = np.mean([kernel_distance(*sample(seed))[1:] for seed in range(40)], axis=0)
    spread = np.percentile(fresh, [2.5, 97.5])
    assert ends.mean() == pytest.approx(spread.mean(), rel=0.02)
    assert np.ptp(ends) == pytest.approx(np.ptp(spread), rel=0.1)


def test_a_paired_interval_is_narrower_than_one_of_strangers_and_holds_the_truth():
    noise = np.random.default_rng(0).normal(size=(400, 3))
    reference = np.random.default_rng(1).normal(size=(400, 3))
    one, other = noise + 0.5, noise + 0.4
    paired = paired_difference(frechet_distance, one, other, reference)
    strangers = paired_difference(frechet_distance, one, other[::-1], reference)
    assert paired[0] == frechet_distance(one, reference) - frechet_distance(other, reference)
    assert np.ptp(paired[1:]) < 0.6 * np.ptp(strangers[1:])
    # The means are 3 * (0.5² - 0.4²) apart, and the covariances are the same.
    assert paired[1] < 0.27 < paired[2]
    assert paired_difference(frechet_distance, one, one, reference) == (0, 0, 0)


def test_precision_and_recall_of_clouds_whose_answer_is_plain():
    same = precision_recall(CLOUD, CLOUD)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    assert set(precision_recall(CLOUD + 1000, CLOUD).values()) == {0}
    # Pictures of one half of the real ones: all of them good, much of the real ones missing.
    half = precision_recall(CLOUD[CLOUD[:, 0] > 0], CLOUD)
    assert half["precision"] == 1
    assert half["recall"] < 0.9


@pytest.mark.parametrize(
    ("measure", "rows", "columns", "complaint"),
    [
        (frechet_distance, 2, 3, r"shapes \(2, 6\) and \(200, 3\); expected as many columns"),
        (frechet_distance, 1, 6, "1 and 200 rows; expected at least 2 and 2"),
        (kernel_distance, 1, 6, "1 and 200 rows; expected at least 2 and 2"),
        (precision_recall, 6, 6, "6 and 200 rows; expected at least 7 and 7"),
    ],
)
def test_clouds_that_cannot_be_compared_are_refused(measure, rows, columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        measure(CLOUD[:rows], OTHER[:, :columns])


# --- copies -------------------------------------------------------------------------------------


# Turned by five degrees, a car is found a third of the time.
@pytest.mark.parametrize("kind", [kind for kind in ALTERATIONS if "turned" not in kind])
def test_copies_are_found_even_if_they_are_altered(cars, kind):
    training, random = cars[:200], np.random.default_rng(0)
    altered = [whole(ALTERATIONS[kind](car, random)) for car in training[20:60]]
    found = copying(np.stack(altered), training)
    assert (found["nearest"] == np.arange(20, 60)).mean() > 0.95
    assert found["copied"].mean() >= 0.95


def test_other_cars_trucks_and_noise_are_no_copies(cars):
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    flat = np.full((1, 32, 32, 3), 99, np.uint8)
    found = copying(np.concatenate([cars[300:340], noise, flat]), cars[:200])
    assert found["copied"][:40].mean() < 0.1, "CIFAR-10 holds some cars twice"
    assert not found["copied"][40:].any()
    assert np.abs(found["resemblance"][-1]) < 1e-6, "a picture without contours"


def test_cars_that_are_copies_of_each_other_are_one_group(cars):
    training = np.concatenate([cars[:50], cars[10:13, :, ::-1], cars[10:11]])
    numbers = groups(training)
    assert [len(set(numbers[same])) for same in ([10, 50, 53], [11, 51], [12, 52])] == [1, 1, 1]
    assert len(set(numbers)) == 50


def test_the_loss_by_noise_level_of_a_network_that_changes_nothing():
    unchanged = keras.Input((8, 8, 3)), keras.Input((1,)), keras.Input((1,))
    network = keras.Model(unchanged, keras.layers.Identity()(unchanged[0]))
    losses = evaluation.loss_by_noise_level(network, np.zeros((64, 8, 8, 3), np.float32))
    # A grey picture is zero, so its direction is minus the noise: E|epsilon| = sqrt(2/pi).
    np.testing.assert_allclose(losses, [np.sqrt(2 / np.pi)] * 16, rtol=0.02)


def test_the_controls_are_what_their_names_say(cars):
    cars = cars[:100]
    sets = features.controls(cars, cars[::-1])
    assert all(images.shape == cars.shape and images.dtype == np.uint8 for images in sets.values())
    np.testing.assert_array_equal(sets[features.FLOOR], cars)
    np.testing.assert_array_equal(sets["real trucks"], cars[::-1])
    known = {image.tobytes() for image in cars}
    assert all(image.tobytes() in known for image in sets["copies of 100 training cars"])
    error = {name: np.abs(images - cars.astype(float)).mean() for name, images in sets.items()}
    # Rounded noise of 4 levels: E|noise| = 4 sqrt(2/pi).
    assert error["cars with noise of 4 grey levels"] == pytest.approx(3.19, rel=0.05)
    assert 0 < error["cars as JPEG, quality 75"] < error["blurred cars"] < error["pure noise"]


def test_the_shipped_classifier_is_the_one_that_was_measured():
    about = json.loads((PRETRAINED / "classifier" / "about.json").read_text())
    content = (PRETRAINED / "classifier" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == about["sha256"]
    assert len(content) <= 3_000_000
    assert about["accuracy on the 10,000 test images"] >= 0.88


def test_the_shipped_classifier_knows_the_ten_classes(real_folder):
    images = [data.load_images(label, "test", real_folder)[:100] for label in LABELS]
    pixels = np.concatenate(images).astype(np.float32) / 127.5 - 1
    logits = load_classifier().predict(pixels, verbose=0)[1]
    assert (logits.argmax(1) == np.repeat(np.arange(10), 100)).mean() > 0.86


def test_features_do_not_depend_on_the_batch(cars):
    features = classifier_features(cars[:3])
    assert features.shape == (3, 192)
    assert features.dtype == np.float32
    np.testing.assert_allclose(classifier_features(cars[1:2])[0], features[1], atol=1e-5)


def test_inception_features_are_those_of_the_enlarged_pictures(cars, monkeypatch):
    image = keras.Input((299, 299, 3))
    stand_in = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    monkeypatch.setattr(features, "_inception", lambda: stand_in)
    found = features.inception_features(cars[:60])
    np.testing.assert_allclose(found, (cars[:60] / 127.5 - 1).mean((1, 2)), atol=1e-2)


def test_evaluate_measures_generated_cars_and_every_control(cars, monkeypatch):
    for module in (evaluation, features):
        monkeypatch.setattr(module, "COMPARED", 60)
    splits = {"train": cars[:100], "test": cars[-60:]}
    monkeypatch.setattr(evaluation, "load_cars", lambda split="train": splits[split])
    monkeypatch.setattr(evaluation, "load_images", lambda label, split: cars[200:260])
    network = make_model(widths=(4, 8))
    found = evaluate.__wrapped__(network, n=70)
    found = json.loads(json.dumps(found))  # it can be written down
    names = ["generated", "generated, the first 50", features.FLOOR]
    assert list(found["quality"])[:3] == names
    assert [found["quality"][name]["pictures"] for name in names] == [70, 50, 50]
    assert found["copying"]["copies of 100 training cars"] == 1
    assert {len(loss) for loss in found["loss"].values()} == {16}
    resemblances = [pair["resemblance"] for pair in found["closest"]]
    assert resemblances == sorted(resemblances, reverse=True)
    assert all(0 <= pair["car"] < 100 and 0 <= pair["picture"] < 70 for pair in found["closest"])
    table = as_table(found).splitlines()
    floor = next(line for line in table if line.startswith(f"| {features.FLOOR} "))
    assert floor.split("|")[4].strip() == "1.0"
    # Whoever chooses never sees the held-out cars.
    del splits["test"]
    choosing = evaluate.__wrapped__(network, n=70, against="train")
    assert [list(choosing[part]) for part in ("quality", "loss")] == [
        list(found["quality"]),
        ["training cars"],
    ]
    assert list(choosing["copying"]) == ["generated", features.COPIES]
    assert len(table) == 3 * 2 + 2 * len(found["quality"]) + len(found["copying"]) + 2


def test_evaluate_compares_with_pictures_of_ones_own(cars, monkeypatch):
    for name in ("load_cars", "load_images"):
        monkeypatch.setattr(evaluation, name, lambda *_: pytest.fail("cars were asked for"))
    own, network = cars[:200, ::-1], make_model(widths=(4, 8))
    monkeypatch.setattr(evaluation, "predict", lambda *_, **__: data.normalize(own[:70]))
    network.configuration = guards.trained_on(data.normalize(own))
    with warnings.catch_warnings(action="error"):
        found = json.loads(json.dumps(evaluate(network, 1000, against=own)))
    # One half is compared with the other, and copies are sought in both.
    assert [name for name in found["quality"] if "car" in name] == []
    floor = found["quality"]["real training pictures"]
    expected = evaluation.compare(own[:100], own[100:])
    assert floor["frechet distance"] == pytest.approx(expected["frechet distance"], rel=1e-6)
    assert found["copying"] == {"generated": 1, "copies of 100 training pictures": 1}
    assert [pair["car"] for pair in found["closest"]] != []
    assert list(found["loss"]) == ["training pictures"]
    assert "| real training pictures | 100 |" in as_table(found)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (np.zeros((199, 32, 32, 3), np.uint8), "against holds 199 pictures; expected at least 200"),
        (np.zeros((200, 28, 28, 1), np.uint8), r"against are uint8 \(200, 28, 28, 1\); expected"),
        ("photos", "against is 'photos'; expected one of train, held-out"),
    ],
)
def test_references_that_cannot_be_compared_with_are_refused(own, message):
    with pytest.raises(ValueError, match=message):
        evaluate(make_model(widths=(4, 8)), against=own)


# --- which pictures a network has seen ----------------------------------------------------------


def warning_of(network, images, own=False):
    with warnings.catch_warnings(record=True, action="always") as said:
        guards.warn_of_other_pictures(network, images, own)
    return "".join(str(one.message) for one in said)


def test_a_network_is_known_by_the_pictures_it_saw_however_it_came(
    tiny, images, tmp_path, without_xla
):
    network, others = tiny(), images[:, ::-1]
    assert warning_of(network, others) == "", "it is not known what it saw"
    train(network, images[:8], epochs=1, batch_size=8)
    train(tiny(), images[:8], epochs=1, batch_size=8, weights_dir=tmp_path)
    states.export(network, tmp_path / "epoch-001.safetensors")
    paths = (tmp_path, tmp_path / "epoch-001.safetensors")
    networks = [network, *map(load_pretrained, paths), guided(network, tiny(1))]
    for known in networks:
        assert warning_of(known, images) == warning_of(known, images, own=True) == ""
        said = warning_of(known, others)
        assert said.startswith("the network was trained on other pictures; it is compared with the")
        assert said.endswith("give that: evaluate(model, against=load_folder(...)), or --data.")


def test_a_shipped_network_saw_no_pictures_of_ones_own(cars):
    images = data.normalize(cars[:9])
    assert warning_of(load_pretrained("small-epoch-005"), images) == ""
    said = warning_of(load_pretrained("small-epoch-005"), images, own=True)
    assert "is compared with these pictures of your own all the same" in said


def test_what_a_network_never_saw_is_said_before_it_draws(cars, monkeypatch):
    def draw(*_, **__):
        raise InterruptedError("it draws")

    monkeypatch.setattr(evaluation, "predict", draw)
    with (
        pytest.warns(UserWarning, match="trained on other pictures"),
        pytest.raises(InterruptedError),
    ):
        evaluate(make_model(widths=(4, 8)), against=cars[:200])


def test_compare_uses_the_first_thousand_for_precision_and_recall(cars, monkeypatch):
    monkeypatch.setattr(evaluation, "COMPARED", 40)
    row = evaluation.compare(cars[:80], cars[100:160])
    expected = precision_recall(classifier_features(cars[:40]), classifier_features(cars[100:160]))
    assert row["pictures"] == 80
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-3)


def test_a_network_of_other_pictures_is_refused_before_drawing(tiny, monkeypatch):
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda *_: pytest.fail("it drew"))
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(32, 32, 3\)"):
        evaluate(tiny(), 1000)


def test_kernel_distance_keeps_no_square_of_the_pictures(most_memory):
    rows = np.random.default_rng(0).normal(size=(4000, 4))
    assert most_memory(lambda: kernel_distance(rows, rows, draws=10)) < 60e6


def test_the_measure_does_not_follow_the_precision():
    with precision("mixed_float16"):
        assert {output.dtype for output in load_classifier().outputs} == {"float32"}
        assert classifier_features(np.zeros((3, 32, 32, 3), np.uint8)).dtype == np.float32


def test_the_rate_of_the_classifier_ends_at_zero(monkeypatch):
    spec = importlib.util.spec_from_file_location("classifier", ROOT / "tools" / "classifier.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "load_all", lambda split: (np.zeros((12_800, 1, 1, 1)), [0] * 12_800))
    found = []
    monkeypatch.setattr(keras.optimizers, "SGD", lambda rule, *_, **__: found.append(rule) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tool.main()
    rates = [float(found[0](step)) for step in (0, 200, 999, 1000)]
    assert rates == pytest.approx([0.01, 0.1, 0, 0], abs=1e-6)
