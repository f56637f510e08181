"""Faults that were found once, each with the behaviour that took its place."""

import gc
import importlib.util
import re
import tracemalloc
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest

from diffusion_core import (
    evaluation,
    gaussian_noise,
    linear_schedule,
    predict,
    predict_step,
)
from diffusion_core.__main__ import main
from diffusion_core.evaluation import evaluate, kernel_distance
from diffusion_core.page.figures import stepper
from diffusion_core.page.notebook import begin_chapter
from diffusion_core.sources.features import classifier_features, load_classifier

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.fixture
def policy():
    """Set a precision, and leave float32 behind."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def peak_of(call):
    """Return the most bytes that NumPy held during a call."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def fail():
    raise RuntimeError


# --- drawing ------------------------------------------------------------------------------------


@pytest.fixture
def wide():
    """A network without weights, whose states over 440 steps are too many to keep."""
    image, levels = keras.Input((64, 64, 3)), [keras.Input((1,)), keras.Input((1,))]
    moved = keras.layers.Add()([image, *(keras.layers.Reshape((1, 1, 1))(a) for a in levels)])
    return keras.Model([image, *levels], moved)


def test_only_what_predict_returns_is_limited(wide):
    many = linear_schedule(440)
    with pytest.raises(ValueError, match="n is 100 and timesteps 440"):
        predict_step(wide, 100, many)
    assert predict(wide, 100, many).shape == (100, 64, 64, 3)
    with pytest.raises(ValueError, match="n is 50000"):
        predict(wide, 50_000)


def test_a_network_that_was_drawn_with_can_go(tiny):
    network = tiny(widths=(4,))
    predict(network, 2)
    alive = weakref.ref(network)
    del network
    gc.collect()
    assert alive() is None


def test_noise_needs_hardly_more_memory_than_its_numbers():
    result = gaussian_noise(4000, (16, 16, 3), seed=3, first=5)
    assert peak_of(lambda: gaussian_noise(4000, (16, 16, 3))) < 2.2 * result.nbytes
    assert peak_of(lambda: gaussian_noise(1, (4000, 16, 16, 3))) < 2.2 * result.nbytes
    for i in (0, 1, 777, 3999):
        np.testing.assert_array_equal(result[i], gaussian_noise(1, (16, 16, 3), 3, 5 + i)[0])


# --- evaluation ---------------------------------------------------------------------------------


def test_a_network_of_other_pictures_is_refused_before_drawing(tiny, monkeypatch):
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda *_: pytest.fail("it drew"))
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(32, 32, 3\)"):
        evaluate(tiny(), 1000)


def test_evaluate_looks_at_every_picture_once(real_folder, monkeypatch):
    seen = []

    def extract(images):
        seen.append(len(images))
        return images[:, ::8, ::8].reshape(len(images), -1).astype(np.float32) / 255

    monkeypatch.setitem(evaluation.FEATURES, "classifier", extract)
    level = [keras.Input((32, 32, 3)), keras.Input((1,)), keras.Input((1,))]
    found = evaluate(keras.Model(level, keras.layers.Rescaling(0.9)(level[0])), 1000)
    # Drawn, seven controls, held out, and the training cars with their mirror images.
    assert sum(seen) == 1000 + 7000 + 1000 + 10_000
    assert len(found["quality"]) == 9


def test_kernel_distance_keeps_no_square_of_the_pictures():
    rows = np.random.default_rng(0).normal(size=(4000, 4))
    assert peak_of(lambda: kernel_distance(rows, rows, draws=10)) < 60e6
    with pytest.raises(ValueError, match="draws is 100000"):
        kernel_distance(rows, rows, draws=100_000)


def test_the_measure_does_not_follow_the_precision(policy):
    cars = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    policy("mixed_float16")
    assert {output.dtype for output in load_classifier().outputs} == {"float32"}
    assert classifier_features(cars).dtype == np.float32


# --- pages and the terminal --------------------------------------------------------------


def test_equal_steppers_have_ids_of_their_own(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    grey = np.zeros((2, 2, 3), np.uint8)
    ids = []
    for _ in range(2):
        begin_chapter()
        pages = [stepper([grey], ["grey"], "a square").data for _ in range(2)]
        assert re.findall(r'ById\("(.+?)"', "".join(pages)) == re.findall(
            r'div id="(.+?)"', "".join(pages)
        )
        ids.append(re.findall(r'div id="(.+?)"', "".join(pages)))
    assert len(set(ids[0])) == 2
    assert ids[0] == ids[1]


def test_more_cars_than_there_are_end_in_a_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *_: fail())
    line = ["train", "--epochs=1", "--images=9999", f"--weights-dir={tmp_path / 'run'}"]
    assert main(line) == 1
    assert "--images is 9999" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_rate_of_the_classifier_ends_at_zero(monkeypatch):
    path = Path(__file__).parent.parent / "tools" / "classifier.py"
    spec = importlib.util.spec_from_file_location("classifier_tool", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    pictures = np.zeros((12_800, 1, 1, 1)), np.zeros(12_800)
    monkeypatch.setattr(tool, "load_all", lambda split: pictures)
    found = []
    monkeypatch.setattr(keras.optimizers, "SGD", lambda rule, **_: found.append(rule) or fail())
    with pytest.raises(RuntimeError):
        tool.main()
    rates = [float(found[0](step)) for step in (0, 200, 999, 1000)]
    assert rates == pytest.approx([0.01, 0.1, 0, 0], abs=1e-6)
