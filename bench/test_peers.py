"""The peers are what bench/peers.py says they are.

    PEER_PYTHON=PYTHON .venv/bin/pytest bench/test_peers.py

PYTHON is the interpreter of an environment with bench/requirements.txt. `make test` leaves this
file out, since that environment is not among the project's pins.
"""

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


def peer(*command):
    command = [PEER_PYTHON, *map(str, command)]
    child = subprocess.run(command, capture_output=True, text=True, cwd=BENCH)
    assert child.returncode == 0, child.stderr[-2000:]
    return child.stdout


def test_twin_computes_what_our_network_computes_at_the_same_cost(tmp_path):
    """With random weights of a trained network's size, norms and biases included."""
    ours = make_model()
    random = np.random.default_rng(0)
    for variable in ours.weights:
        variable.assign(variable + random.normal(0, 0.1, variable.shape))
    question = {
        "image": random.standard_normal((4, 32, 32, 3), np.float32),
        "level": random.random((4, 1), np.float32),
        "next_level": random.random((4, 1), np.float32),
    }
    weights = {variable.path: np.asarray(variable) for variable in ours.weights}
    np.savez(tmp_path / "in.npz", **question, **weights)
    peer("torch_peers.py", "outputs", tmp_path / "in.npz", tmp_path / "out.npz")
    twin = dict(np.load(tmp_path / "out.npz"))
    expected = ours.predict(list(question.values()), verbose=0)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(twin["answer"], expected, atol=1e-4)
    assert twin["parameters"] == ours.count_params()
    assert twin["forward"] == 2 * keras_peers.multiply_adds(ours)
    # The first layer asks for no gradient of the picture, so it is a little less.
    passes = twin["forward_and_back"] / twin["forward"]
    assert passes == pytest.approx(peers.OPERATIONS_A_STEP, rel=0.02)


def test_diffusers_costs_about_our_operations_without_tensorflow():
    code = (
        "import sys, torch_peers as t; print(t.diffusers().multiply_adds, 'keras' in sys.modules)"
    )
    operations, keras = peer("-c", code).split()
    assert int(operations) == pytest.approx(keras_peers.multiply_adds(make_model()), rel=0.15)
    assert keras == "False"


def test_diffusers_draws_the_picture_that_the_noise_points_from():
    """A network that knows the answer: `noise = (x - signal x0) / sqrt(1 - signal²)`."""
    code = """if True:
        import numpy as np, torch_peers as t
        clean, noise = np.random.default_rng(0).standard_normal((2, 3, 4, 4, 3), np.float32) / 3
        power, asked = t.DDPMScheduler().alphas_cumprod, []
        def network(x, step):
            asked.append(int(step))
            return (x - power[step].sqrt() * t.to_torch(clean)) / (1 - power[step]).sqrt()
        np.testing.assert_allclose(t.draw_diffusers(network, noise), clean, atol=1e-4)
        assert len(asked) == 16 and asked[0] == 999
    """
    peer("-c", code)


def test_ddim_draws_the_picture_that_the_noise_points_from():
    clean, noise = np.random.default_rng(0).standard_normal((2, 2, 4, 4, 3), np.float32)
    asked = []

    def network(question):
        x, variance = question
        asked.append(float(variance[0, 0, 0, 0]))
        return (x - np.sqrt(1 - variance) * clean) / np.sqrt(variance)

    np.testing.assert_allclose(keras_peers.draw_ddim(network, noise), clean, atol=1e-3)
    assert len(asked) == 16
    assert asked[0] == pytest.approx(1 - 0.02**2, abs=1e-5)


def test_networks_are_as_large_as_those_of_their_pages():
    assert keras_peers.make_ddim_model(32).count_params() == 1_953_507
    assert keras_peers.make_ddim_model(64).count_params() == 1_953_507
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("training --only tyop", "training has no tyop; it has ours, "),
        ("training --only ours", "name another folder by --results"),
    ],
)
def test_a_part_does_not_replace_the_whole(line, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers.py", *line.split()])
    with pytest.raises(SystemExit):
        peers.main()
    assert message in capsys.readouterr().err


def test_ours_follows_its_budget():
    contestant = keras_peers.ours(batch=4, size=8, widths=(4,))
    shares = []
    noted = contestant._replace(train=lambda images, share: shares.append(share))
    steps = process.train_for(noted, np.zeros((8, 8, 8, 3), np.float32), 0.05, seed=0)
    assert steps == len(shares)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] < 1


def test_peak_memory_is_the_childs_own_and_a_failing_child_says_why():
    held = np.ones(2**27)  # one gigabyte here, in the parent
    found = process.run_child(PEER_PYTHON, "process.py", "rate", "numpy")
    assert 50 < found["peak_megabytes"] < 500
    del held
    with pytest.raises(RuntimeError, match="nobody"):
        process.run_child(PEER_PYTHON, "torch_peers.py", "train", "nobody", images=1)
