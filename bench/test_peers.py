"""The peers are what bench/peers.py says they are.

    PEER_PYTHON=PYTHON .venv/bin/pytest bench/test_peers.py

PYTHON is the interpreter of an environment with bench/requirements.txt. `make test` leaves this
file out, since that environment is not among the project's pins.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import growth
import keras_peers
import numpy as np
import peers
import process
import pytest
from article import make_article_model

from diffusion_core import make_model, predict

PEER_PYTHON = os.environ.get("PEER_PYTHON", sys.executable)
BENCH = Path(__file__).parent


@pytest.fixture(scope="module")
def ours():
    """Our network with random weights of a trained network's size, norms and biases included."""
    model = make_model()
    random = np.random.default_rng(0)
    for variable in model.weights:
        spread = random.normal(0, 0.1, variable.shape)
        variable.assign(variable + spread)
    return model


@pytest.fixture(scope="module")
def twin(ours, tmp_path_factory):
    """What the twin in PyTorch makes of our weights, beside what ours makes of them."""
    folder = tmp_path_factory.mktemp("twin")
    random = np.random.default_rng(1)
    question = {
        "image": random.standard_normal((4, 32, 32, 3), np.float32),
        "level": random.random((4, 1), np.float32),
        "next_level": random.random((4, 1), np.float32),
    }
    weights = {variable.path: np.asarray(variable) for variable in ours.weights}
    np.savez(folder / "in.npz", **question, **weights)
    peer("torch_peers.py", "outputs", folder / "in.npz", folder / "out.npz")
    with np.load(folder / "out.npz") as arrays:
        return {**arrays, "expected": ours.predict(list(question.values()), verbose=0)}


def peer(*command):
    child = subprocess.run(
        [PEER_PYTHON, *map(str, command)], capture_output=True, text=True, cwd=BENCH
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return child.stdout


def test_twin_computes_what_our_network_computes(twin):
    assert np.ptp(twin["expected"]) > 1
    np.testing.assert_allclose(twin["answer"], twin["expected"], atol=1e-4)


def test_twin_has_our_parameters_and_operations(twin, ours):
    assert twin["parameters"] == ours.count_params()
    assert twin["forward"] == 2 * keras_peers.multiply_adds(ours)


def test_a_training_step_is_three_passes(twin):
    """The first layer asks for no gradient of the picture, so it is a little less."""
    passes = twin["forward_and_back"] / twin["forward"]
    assert passes == pytest.approx(peers.OPERATIONS_A_STEP, rel=0.02)


def test_diffusers_costs_about_our_operations(ours):
    code = "import torch_peers as t; print(t.diffusers().multiply_adds)"
    theirs = int(peer("-c", code))
    assert theirs == pytest.approx(keras_peers.multiply_adds(ours), rel=0.15)


def test_pytorch_side_imports_no_tensorflow():
    code = (
        "import sys, torch_peers; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    assert peer("-c", code).strip() == "[]"


def test_diffusers_draws_the_picture_that_the_noise_points_from(tmp_path):
    """A network that knows the answer: `noise = (x - signal x0) / sqrt(1 - signal²)`."""
    random = np.random.default_rng(0)
    clean = random.uniform(-1, 1, (3, 4, 4, 3)).astype(np.float32)
    noise = random.standard_normal(clean.shape, np.float32)
    np.savez(tmp_path / "in.npz", clean=clean, noise=noise)
    code = f"""
import numpy as np, torch, torch_peers as t
arrays = np.load({str(tmp_path / "in.npz")!r})
clean = t.to_torch(arrays["clean"])
power = t.DDPMScheduler().alphas_cumprod
asked = []
def network(x, step):
    asked.append(int(step))
    return (x - power[step].sqrt() * clean) / (1 - power[step]).sqrt()
drawn = t.draw_diffusers(network, arrays["noise"])
np.savez({str(tmp_path / "out.npz")!r}, drawn=drawn, asked=asked)
"""
    peer("-c", code)
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_allclose(arrays["drawn"], clean, atol=1e-4)
        assert len(arrays["asked"]) == 16
        assert arrays["asked"][0] == 999


def test_ddim_is_as_large_as_the_network_of_its_page():
    """The number was counted on the page's own code; the page's picture size does not change it."""
    assert keras_peers.make_ddim_model(32).count_params() == 1_953_507
    assert keras_peers.make_ddim_model(64).count_params() == 1_953_507


def test_ddim_starts_at_no_noise_at_all():
    answer = keras_peers.make_ddim_model(32).predict(
        [np.ones((1, 32, 32, 3)), np.ones((1, 1, 1, 1))], verbose=0
    )
    assert not answer.any()


def test_ddim_rates():
    noise_rate, signal_rate = keras_peers.ddim_rates(np.linspace(0, 1, 9))
    np.testing.assert_allclose(noise_rate**2 + signal_rate**2, 1, atol=1e-6)
    assert signal_rate[[0, -1]] == pytest.approx([0.95, 0.02], abs=1e-6)
    assert (np.diff(noise_rate) > 0).all()


def test_ddim_draws_the_picture_that_the_noise_points_from():
    random = np.random.default_rng(0)
    clean = random.normal(0, 1, (2, 4, 4, 3)).astype(np.float32)
    noise = random.standard_normal(clean.shape, np.float32)
    asked = []

    def network(question):
        x, variance = question
        asked.append(float(variance[0, 0, 0, 0]))
        return (x - np.sqrt(1 - variance) * clean) / np.sqrt(variance)

    np.testing.assert_allclose(keras_peers.draw_ddim(network, noise), clean, atol=1e-3)
    assert len(asked) == 16
    assert asked[0] == pytest.approx(1 - 0.02**2, abs=1e-5)


def test_article_asks_for_steps_0_to_15():
    class Network:
        asked: list = []  # noqa: RUF012

        def predict(self, question, **_):
            self.asked.append(float(question[1][0, 0]))
            return question[0] + 1

    drawn = keras_peers.draw_article(Network(), np.zeros((2, 32, 32, 3)))
    assert Network.asked == list(range(16))
    assert (drawn == 16).all()


def test_article_is_as_large_as_it_says():
    assert make_article_model().count_params() == pytest.approx(3.59e6, rel=0.001)


def test_model_predict_draws_what_predict_draws(monkeypatch):
    model = make_model()
    monkeypatch.setattr(keras_peers, "make_model", lambda: model)
    drawn = keras_peers.draw_by_model_predict()(2)
    np.testing.assert_allclose(drawn, predict(model, 2), atol=1e-4)


def test_heun_is_of_second_order_and_asks_as_often_as_said():
    """The ordinary differential equation `dx/dlevel = 0.5 x - 0.1` has an exact solution."""
    noise = np.array([[-1.0], [2.0]])
    exact = 0.2 + (noise - 0.2) * np.exp(-0.5)
    calls = []

    def step(x, level, next_level):
        calls.append(level)
        return x + (level - next_level) * (0.1 - 0.5 * x)

    def error(steps):
        levels = np.linspace(1, 0, steps + 1)
        return np.abs(growth.draw_heun(step, noise, levels) - exact).max()

    assert error(16) / error(32) == pytest.approx(4, rel=0.1)
    assert len(calls) == 31 + 63
    assert min(calls) > 0


def test_few_steps_are_measured_anew_for_another_network(tmp_path, monkeypatch):
    drawn = []

    def predict(model, schedule, noise):
        drawn.append(schedule.timesteps)
        return np.zeros_like(noise)

    monkeypatch.setattr(growth, "predict", predict)
    monkeypatch.setattr(growth, "load_pretrained", lambda: None)
    monkeypatch.setattr(growth, "load_cars", lambda split: None)
    found = argparse.Namespace(compare=lambda images, held_out: {})
    monkeypatch.setitem(sys.modules, "diffusion_core.evaluation", found)
    monkeypatch.setattr(growth.checkpoints, "PRETRAINED", tmp_path)
    weights = tmp_path / "small.safetensors"
    arguments = argparse.Namespace(pictures=1, most_calls=2, results=tmp_path)
    for content in (b"one", b"one", b"two"):
        weights.write_bytes(content)
        growth.steps(arguments)
    assert drawn == [1, 2] * 2
    assert len(json.loads((tmp_path / "growth-steps.json").read_text())["rows"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("training --only tyop", "training has no tyop; it has ours, "),
        ("training --only predict", "training has no predict"),
        ("training --only ours", "name another folder by --results"),
        ("quality drawing --only diffusers", "name another folder by --results"),
    ],
)
def test_a_part_does_not_replace_the_whole(line, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers.py", *line.split()])
    monkeypatch.setattr(peers, "BENCHES", dict.fromkeys(peers.BENCHES))
    with pytest.raises(SystemExit):
        peers.main()
    assert message in capsys.readouterr().err


def test_a_part_goes_to_its_own_folder_or_to_a_file_that_grows(tmp_path, monkeypatch):
    ran = []
    benches = {what: lambda _, what=what: ran.append(what) for what in peers.BENCHES}
    monkeypatch.setattr(peers, "BENCHES", benches)
    for line in ("", "quality --only ours", f"training --only ours --results {tmp_path}"):
        monkeypatch.setattr(sys, "argv", ["peers.py", *line.split()])
        peers.main()
    assert ran == ["training", "drawing", "quality", "quality", "training"]


def test_ours_follows_its_budget():
    contestant = keras_peers.ours(batch=4, size=8, widths=(4,))
    cars = np.zeros((8, 8, 8, 3), np.float32)
    shares = []
    noted = contestant._replace(train=lambda images, share: shares.append(share))
    assert process.train_for(noted, cars, 0.05, seed=0) == len(shares)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] < 1
    contestant.train(cars[:4], 0.75)
    drawn = contestant.draw(np.ones((2, 8, 8, 3), np.float32))
    assert drawn["averaged"].shape == (2, 8, 8, 3)


def test_peak_memory_is_the_childs_own():
    held = np.ones(2**27)  # one gigabyte here, in the parent
    found = process.run_child(PEER_PYTHON, "matmul.py", "rate", "numpy")
    assert 50 < found["peak_megabytes"] < 500
    assert found["whole_seconds"] > 0
    assert found["gigaflops"] > 0
    del held


def test_a_failing_child_says_why():
    with pytest.raises(RuntimeError, match="nobody"):
        process.run_child(PEER_PYTHON, "torch_peers.py", "train", "nobody", images=1)


def test_quality_is_not_measured_twice(tmp_path, monkeypatch):
    started = []

    def run(python, script, do, name, **request):
        started.append(name)
        path = tmp_path / f"{name}.npy"
        np.save(path, np.zeros((request["pictures"], 32, 32, 3), np.uint8))
        about = {"steps": 1, "images": 64, "train_seconds": 1.0, "versions": {}}
        return {**about, "drawn": {"averaged": str(path)}}

    monkeypatch.setattr(peers, "run_child", run)
    monkeypatch.setitem(
        sys.modules,
        "diffusion_core.evaluation",
        argparse.Namespace(compare=lambda images, held_out: {"pictures": len(images)}),
    )
    cars = np.arange(12 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(12, 32, 32, 3)
    monkeypatch.setattr(peers, "load_cars", lambda split="train": cars)
    arguments = argparse.Namespace(
        peer_python="python",
        only=["ours", "diffusers"],
        minutes=0.1,
        seed=0,
        pictures=12,
        scratch=tmp_path / "scratch",
        results=tmp_path,
    )
    peers.quality(arguments)
    assert started == ["ours", "diffusers"]
    peers.quality(arguments)
    assert started == ["ours", "diffusers"]
    arguments.minutes = 0.2
    peers.quality(arguments)
    assert started == ["ours", "diffusers"] * 2
